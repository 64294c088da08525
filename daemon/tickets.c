/* Session tickets that come when the handshake is over.
 *
 * Only OpenSSL can make a session of a ticket, and only in the state of that connection. Its keys
 * have left it: the records between here and a ticket were read by the kernel or the relay. But a
 * ticket does not care with which number it comes. So the state is kept for a moment, and a ticket
 * that somebody else read is sealed again, as the record that this state expects next. */
#include "tickets.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../proto/posths.h"
#include "../proto/secret.h"
#include "handshake_state.h"
#include "record.h"

#define DRAIN_MAX 16 /* tickets taken at most; a peer must not keep us here */
#define PLACES 64
#define WANTED 2 /* tickets of one connection: what most servers send */
#define FIRST_MS 1800
#define NEXT_MS 200 /* where there was one the next is close behind, or does not come */
#define TICK_MS 200

struct waiting {
    uint64_t cookie; /* 0 = free */
    struct hs *hs;
    uint64_t until; /* lp_now_ms() */
};

struct tickets {
    struct lp_loop *lp;
    struct lp_op tick;
    struct waiting places[PLACES];
};

/* --- before the keys leave ----------------------------------------------------------- */

/* True for a record that holds whole tickets and nothing else. One that ends in the middle of a
 * message belongs to whoever reads the records behind it, and a KeyUpdate is no business of the SSL
 * object, which would change its keys without us. */
static bool only_tickets(const uint8_t *plain, size_t n)
{
    struct ph_stream s = {.have = 0};
    enum ph_event event;

    return ph_feed(&s, KS_TLS13, plain, n, &event) == 0 && event == PH_NOTHING && s.have == 0;
}

/* True when the record at the head of the queue, whole, opens to session tickets. */
static bool ticket_waits(struct hs *h, const struct ks_dir *rx)
{
    uint8_t record[RC_HEADER + RC_BODY_MAX];
    struct rc_ctx *c;
    uint8_t type, *plain;
    size_t n;
    bool yes;
    int len;

    if (recv(h->io.fd, record, RC_HEADER, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)RC_HEADER)
        return false;
    len = rc_length(record);
    if (len < 0 || record[0] != RC_DATA ||
        recv(h->io.fd, record, (size_t)len, MSG_PEEK | MSG_DONTWAIT) != len)
        return false;
    if (rc_new(&c, rx, 0) < 0)
        return false;
    yes = rc_open(c, record, (size_t)len, &type, &plain, &n) == 0 && type == RC_HANDSHAKE &&
          only_tickets(plain, n);
    rc_free(c);
    secret_wipe(record, sizeof(record)); /* may be the program's data, opened on trial */
    return yes;
}

int tk_drain(struct hs *h, struct failure *f)
{
    struct ks_dir rx, tx;
    SECRET_WIPE(rx);
    SECRET_WIPE(tx);
    char none;
    int r;

    if (SSL_version(h->ssl) != TLS1_3_VERSION)
        return 0; /* TLS 1.2 sends its ticket before the Finished */
    for (int i = 0; i < DRAIN_MAX; i++) {
        r = hs_keys(h, &rx, &tx, f);
        if (r < 0)
            return r;
        if (!ticket_waits(h, &rx))
            return 0;
        h->io.allow = 1;
        ERR_clear_error();
        r = SSL_read(h->ssl, &none, 1);
        if (r > 0 || SSL_get_error(h->ssl, r) != SSL_ERROR_WANT_READ) {
            te_failure(f, h->ssl, SSL_get_error(h->ssl, r), &h->io, &h->alerts, h->name);
            return -f->err;
        }
    }
    return 0;
}

/* --- after --------------------------------------------------------------------------- */

static void give_up(struct waiting *p)
{
    hs_free(p->hs);
    *p = (struct waiting){.cookie = 0};
}

static void on_tick(struct lp_op *op, int result)
{
    struct tickets *t = LP_OWNER(op, struct tickets, tick);
    uint64_t now = lp_now_ms();
    bool any = false;

    (void)result;
    for (struct waiting *p = t->places; p < t->places + PLACES; p++) {
        if (p->cookie && p->until <= now)
            give_up(p);
        any |= p->cookie != 0;
    }
    if (any)
        lp_timer(t->lp, &t->tick, TICK_MS);
}

int tk_open(struct tickets **out, struct lp_loop *lp)
{
    struct tickets *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->lp = lp;
    t->tick.done = on_tick;
    *out = t;
    return 0;
}

void tk_close(struct tickets *t)
{
    if (!t)
        return;
    for (struct waiting *p = t->places; p < t->places + PLACES; p++)
        give_up(p);
    free(t);
}

/* How long a ticket of h is worth waiting for from now on, 0 = not at all. */
static unsigned patience(const struct hs *h)
{
    if (!h->resume.ctx || h->resume.tickets >= WANTED || SSL_version(h->ssl) != TLS1_3_VERSION)
        return 0;
    return h->resume.tickets ? NEXT_MS : FIRST_MS;
}

void tk_keep(struct tickets *t, uint64_t cookie, struct hs *h)
{
    struct waiting *best = t->places;
    unsigned ms = patience(h);

    if (cookie == 0 || ms == 0) {
        hs_free(h);
        return;
    }
    h->io.fd = -1;
    SSL_free_buffers(h->ssl); /* 33 of 53 KiB */
    for (struct waiting *p = t->places; p < t->places + PLACES; p++) {
        if (p->cookie == cookie) {
            best = p;
            break;
        }
        if (p->until < best->until)
            best = p;
    }
    give_up(best);
    *best = (struct waiting){cookie, h, lp_now_ms() + ms};
    if (!t->tick.busy)
        lp_timer(t->lp, &t->tick, TICK_MS);
}

/* Gives the SSL object one record that holds this plaintext. */
static int read_sealed(struct hs *h, const uint8_t *plain, size_t n)
{
    uint8_t record[RC_HEADER + RC_PLAIN_MAX + RC_OVERHEAD];
    struct failure f = {.alert = -1};
    struct ks_dir rx, tx;
    SECRET_WIPE(rx);
    SECRET_WIPE(tx);
    struct rc_ctx *c = NULL;
    char none;
    int r = hs_keys(h, &rx, &tx, &f);

    if (r == 0)
        r = rc_new(&c, &rx, 1);
    if (r < 0)
        return r;
    r = rc_seal(c, RC_HANDSHAKE, plain, n, record);
    rc_free(c);
    if (r < 0)
        return r;
    h->io.mem = record;
    h->io.mem_left = (uint32_t)r;
    h->io.allow = 1;
    ERR_clear_error();
    r = SSL_read(h->ssl, &none, 1);
    r = r <= 0 && SSL_get_error(h->ssl, r) == SSL_ERROR_WANT_READ ? 0 : -EBADMSG;
    h->io.mem_left = 0; /* the record ends with this function */
    ERR_clear_error();
    return r;
}

int tk_feed(struct tickets *t, uint64_t cookie, const uint8_t *plain, size_t n)
{
    struct waiting *p = t->places;
    enum ph_event event;
    unsigned had;
    int r;

    while (p < t->places + PLACES && p->cookie != cookie)
        p++;
    if (cookie == 0 || p == t->places + PLACES)
        return -ENOENT;
    had = p->hs->resume.tickets;
    r = -EBADMSG;
    if (n <= RC_PLAIN_MAX && ph_feed(&p->hs->late, KS_TLS13, plain, n, &event) == 0 &&
        event == PH_NOTHING) /* a KeyUpdate would change the keys of this state alone */
        r = read_sealed(p->hs, plain, n);
    if (r < 0 || patience(p->hs) == 0)
        give_up(p);
    else if (p->hs->resume.tickets > had)
        p->until = lp_now_ms() + NEXT_MS;
    return r;
}
