/* The peer's own record layer. */
#include "layer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../../proto/secret.h"

enum { CLOSE_NOTIFY = 0, USER_CANCELED = 90 };
enum { LEVEL_FATAL = 2 };
enum { KEY_UPDATE = 24 };

int la_start(struct la_conn *c, const struct ks_dir *rx, const struct ks_dir *tx)
{
    int k;

    c->rx = *rx;
    c->tx = *tx;
    k = rc_new(&c->open, rx, 0);
    return k < 0 ? k : rc_new(&c->seal, tx, 1);
}

void la_end(struct la_conn *c)
{
    rc_free(c->open);
    rc_free(c->seal);
    wi_close(&c->w);
    memset(c, 0, sizeof(*c));
    c->w.fd = -1;
}

static int violation(struct la_conn *c, const char *text)
{
    if (!c->violation[0])
        snprintf(c->violation, sizeof(c->violation), "%s (record %llu, after %llu bytes of data)",
                 text, (unsigned long long)c->records_in, (unsigned long long)c->data_in);
    return -EPROTO;
}

/* --- sending ------------------------------------------------------------------------- */

int la_seal(struct la_conn *c, uint8_t type, const void *p, size_t n, uint8_t *out)
{
    return rc_seal(c->seal, type, p, n, out);
}

static int send_record(struct la_conn *c, uint8_t type, const void *p, size_t n)
{
    uint8_t record[RC_PLAIN_MAX + RC_HEADER + RC_OVERHEAD];
    int k = la_seal(c, type, p, n, record);

    return k < 0 ? k : wi_send(&c->w, record, (size_t)k);
}

static int pay(struct la_conn *c)
{
    return c->we_owe ? la_update(c, false, LA_NEXT_KEY) : 0;
}

int la_send(struct la_conn *c, uint8_t type, const void *p, size_t n)
{
    int k = type == RC_DATA ? pay(c) : 0;

    if (k < 0)
        return k;
    if (type == RC_DATA)
        c->data_out += n;
    return send_record(c, type, p, n);
}

/* What TLS 1.3 authenticates is the text, the type, then zeros: with 0 for a type the sealing
 * function puts down the last of those. */
int la_send_padded(struct la_conn *c, const void *p, size_t n, size_t padding)
{
    uint8_t text[RC_PLAIN_MAX] = "";
    int k;

    if (padding == 0 || c->tx.suite->version != KS_TLS13)
        return la_send(c, RC_DATA, p, n);
    if (n + padding > sizeof(text))
        return -EMSGSIZE;
    k = pay(c);
    if (k < 0)
        return k;
    memcpy(text, p, n);
    text[n] = RC_DATA;
    c->data_out += n;
    return send_record(c, 0, text, n + padding);
}

int la_key(struct la_conn *c, bool next)
{
    int k = next ? ks_next(&c->tx) : 0;

    return k < 0 ? k : rc_rekey(c->seal, &c->tx);
}

int la_update(struct la_conn *c, bool ask, enum la_keep keep)
{
    const uint8_t message[5] = {KEY_UPDATE, 0, 0, 1, ask};
    int k = send_record(c, RC_HANDSHAKE, message, sizeof(message));

    if (k < 0)
        return k;
    c->updates_out++;
    c->we_owe = false;
    c->asks_out += ask;
    if (ask && !c->owed) {
        c->owed = true;
        c->owed_since = c->asks_out;
        c->late = 0;
    }
    return keep == LA_OLD_KEY ? 0 : la_key(c, true);
}

void la_due(struct la_conn *c, unsigned ask, uint64_t from)
{
    if (!c->owed || c->due || c->owed_since > ask)
        return;
    c->due = true;
    c->due_from = from;
}

/* --- receiving ----------------------------------------------------------------------- */

/* Would the record have opened with these keys? */
static bool opens(const struct ks_dir *d, const uint8_t *record, size_t len)
{
    uint8_t copy[RC_HEADER + RC_BODY_MAX], type, *p;
    struct rc_ctx *trial = NULL;
    size_t n;
    bool yes;

    memcpy(copy, record, len);
    yes = rc_new(&trial, d, 0) == 0 && rc_open(trial, copy, len, &type, &p, &n) == 0;
    rc_free(trial);
    return yes;
}

/* A record that does not authenticate: which mistake was it? */
static const char *explain(const struct la_conn *c, const uint8_t *record, size_t len)
{
    struct ks_dir d = c->rx;
    SECRET_WIPE(d);

    if (c->old_rx.suite && opens(&c->old_rx, record, len))
        return "a record under the old key, after KeyUpdate";
    d.seq = 0;
    if (opens(&d, record, len))
        return "a record number 0 once more: one key was installed twice";
    if (ks_next(&d) == 0 && opens(&d, record, len))
        return "a record under the next key, without KeyUpdate";
    return "a record that does not authenticate";
}

static int on_update(struct la_conn *c, const struct la_record *r)
{
    int k;

    if (c->client && (r->n == 0 || r->p[0] != KEY_UPDATE))
        return 0; /* tickets, whole and in pieces */
    if (r->n != 5 || memcmp(r->p, "\x18\0\0\1", 4) != 0 || r->p[4] > 1)
        return violation(c, "a handshake record that is no KeyUpdate");
    c->updates_in++;
    c->asks_in += r->p[4];
    c->we_owe = c->we_owe || r->p[4];
    c->owed = c->due = false;
    c->old_rx = c->rx;
    c->old_rx.seq = rc_seq(c->open);
    k = ks_next(&c->rx);
    if (k == 0)
        k = rc_rekey(c->open, &c->rx);
    return k;
}

static int on_alert(struct la_conn *c, const struct la_record *r)
{
    if (r->n != 2)
        return violation(c, "an alert that is not two bytes");
    c->close_notifies += r->p[1] == CLOSE_NOTIFY;
    if (c->close_notifies > 1)
        return violation(c, "a second close_notify");
    if (r->p[1] != CLOSE_NOTIFY && r->p[1] != USER_CANCELED && r->p[0] == LEVEL_FATAL)
        c->failed = true;
    return 0;
}

static int on_data(struct la_conn *c, const struct la_record *r)
{
    uint64_t at = c->data_in;

    c->data_in += r->n;
    c->late += c->owed;
    if (c->due && at >= c->due_from)
        return violation(c, "data before the KeyUpdate that is owed");
    return 0;
}

static int judge(struct la_conn *c, const struct la_record *r)
{
    bool over = c->close_notifies > 0 || c->failed;
    int k = 0;

    if (r->type == RC_DATA)
        k = on_data(c, r);
    else if (r->type == RC_ALERT)
        k = on_alert(c, r);
    else if (r->type == RC_HANDSHAKE && c->rx.suite->version == KS_TLS13)
        k = on_update(c, r);
    else
        k = violation(c, "a record of a type that may not come here");
    if (k == 0 && over)
        k = violation(c,
                      c->failed ? "a record after a fatal alert" : "a record after close_notify");
    return k;
}

int la_next(struct la_conn *c, struct la_record *r)
{
    uint8_t copy[RC_HEADER + RC_BODY_MAX], *record, *plain;
    size_t len;
    int k = c->violation[0] ? -EPROTO : wi_record(&c->w, &record, &len);

    if (k == -EBADMSG || k == -EMSGSIZE)
        return violation(c, "bytes that are no TLS record");
    if (k <= 0)
        return k;
    memcpy(copy, record, len);
    c->records_in++;
    k = rc_open(c->open, record, len, &r->type, &plain, &r->n);
    if (k < 0)
        return violation(c, explain(c, copy, len));
    r->p = plain;
    k = judge(c, r);
    return k < 0 ? k : 1;
}
