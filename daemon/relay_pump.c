/* The relay's two pumps.
 *
 * up:   program --recv--> plain --seal--> records --send--> network
 * down: network --recv--> records --open--> plain --send--> program
 *
 * They decide nothing about the connection's life: they set *_eof and f, relay.c draws the
 * consequences. */
#include "relay_pump.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "dispose.h"

enum { CLOSE_NOTIFY = 0, UNEXPECTED_MESSAGE = 10, BAD_RECORD_MAC = 20, RECORD_OVERFLOW = 22 };
enum { DECODE_ERROR = 50, INTERNAL_ERROR = 80, USER_CANCELED = 90 };
enum { LEVEL_WARNING = 1, LEVEL_FATAL = 2 };

/* Seals one short record of ours behind what waits for the network. Returns as rs_pass(). */
static int say(struct relay *r, uint8_t type, const uint8_t *p, size_t n)
{
    uint8_t record[16 + RC_HEADER + RC_OVERHEAD];
    int len = rc_seal(r->seal, type, p, n, record);

    return len < 0 ? len : rs_pass(&r->to_tcp, r->tcp, record, (size_t)len);
}

void rl_fail(struct relay *r, unsigned code, int err, int alert, const char *text)
{
    const uint8_t record[2] = {LEVEL_FATAL, (uint8_t)alert};

    if (r->f.code)
        return;
    r->f.alert = alert;
    r->f.alert_sent = alert >= 0;
    fl_set(&r->f, code, err, "%s", text);
    if (alert >= 0 && !r->up_eof)
        (void)say(r, RC_ALERT, record, sizeof(record));
    r->up_eof = r->down_eof = true;
}

static void network_failed(struct relay *r, int err)
{
    bool reset = err == ECONNRESET || err == EPIPE;

    rl_fail(r, W_CODE_RESET, reset ? ECONNRESET : err, -1,
            reset ? "the peer reset the connection" : strerror(err));
}

/* --- up ------------------------------------------------------------------------------ */

static void up_end(struct relay *r)
{
    static const uint8_t close_notify[2] = {LEVEL_WARNING, CLOSE_NOTIFY};
    int k = say(r, RC_ALERT, close_notify, sizeof(close_notify));

    if (k < 0)
        network_failed(r, -k);
    r->up_eof = true;
}

/* Says the KeyUpdate that is owed, under the old key, and changes ours (RFC 8446 section 4.6.3). */
static int pay(struct relay *r)
{
    static const uint8_t update[5] = {24, 0, 0, 1, 0};
    int k = say(r, RC_HANDSHAKE, update, sizeof(update));

    r->owed = false;
    if (k >= 0)
        k = ks_next(&r->tx);
    return k < 0 ? k : rc_rekey(r->seal, &r->tx);
}

/* Seals n bytes of s->in into s->out. Returns the length or -errno. */
static ssize_t seal_batch(struct relay *r, size_t n)
{
    size_t len = 0;

    for (size_t at = 0; at < n; at += RC_PLAIN_MAX) {
        size_t part = n - at < RC_PLAIN_MAX ? n - at : RC_PLAIN_MAX;
        int k = rc_seal(r->seal, RC_DATA, r->s->in + at, part, r->s->out + len);

        if (k < 0)
            return k;
        len += (size_t)k;
    }
    return (ssize_t)len;
}

/* One batch. True to go on. */
static bool up_batch(struct relay *r)
{
    struct rl_shared *s = r->s;
    ssize_t n = di_recv(r->local, s->in, RL_BATCH, MSG_DONTWAIT), len;
    int k;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (n <= 0) { /* an error too: the program closed and left something unread */
        up_end(r);
        return false;
    }
    k = r->owed ? pay(r) : 0;
    len = k < 0 ? k : seal_batch(r, (size_t)n);
    if (len < 0) {
        rl_fail(r, W_CODE_INTERNAL_ERROR, EIO, INTERNAL_ERROR, "a record could not be sealed");
        return false;
    }
    st_add(&s->stats->relay_tx, (uint64_t)n);
    ud_moved(&r->updates, s->options->key_updates, (uint64_t)n);
    k = rs_pass(&r->to_tcp, r->tcp, s->out, (size_t)len);
    if (k < 0)
        network_failed(r, -k);
    return k == 1;
}

void rl_up(struct relay *r)
{
    for (int i = 0; i < RL_TURNS && up_batch(r); i++)
        ;
}

/* --- down ---------------------------------------------------------------------------- */

static void on_alert(struct relay *r, const uint8_t *p, size_t n)
{
    char text[96];

    if (n != 2) {
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EPROTO, DECODE_ERROR, "the peer sent half an alert");
        return;
    }
    if (p[1] == CLOSE_NOTIFY) {
        r->down_eof = true;
        return;
    }
    /* TLS 1.3 knows no warnings but these two (RFC 8446 section 6); TLS 1.2's are passed over. */
    if (p[1] == USER_CANCELED || (r->rx.suite->version == KS_TLS12 && p[0] != LEVEL_FATAL))
        return;
    snprintf(text, sizeof(text), "the peer ended the connection with alert %d", p[1]);
    rl_fail(r, W_CODE_RESET, EPROTO, -1, text);
    r->f.alert = p[1];
}

/* The peer changed its key, and may want us to do the same: at once where nothing waits for the
 * network, else before the next data, several by one. */
static int key_update(struct relay *r, bool asked)
{
    int k = ks_next(&r->rx);

    if (k == 0)
        k = rc_rekey(r->open, &r->rx);
    if (k < 0 || !asked || r->up_eof)
        return k;
    r->owed = true;
    return r->to_tcp.n ? 0 : pay(r);
}

static void on_handshake(struct relay *r, const uint8_t *p, size_t n)
{
    enum ph_event event;
    int k = ph_feed(&r->messages, r->rx.suite->version, p, n, &event);

    if (k < 0)
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EPROTO, -k,
                "the peer sent a handshake message that may not come after the handshake");
    else if (event == PH_NOTHING && r->owner.tickets && r->rx.suite->version == KS_TLS13)
        r->owner.tickets(r->owner.owner, p, n);
    else if (event != PH_NOTHING &&
             ud_take(&r->updates, r->s->options->key_updates, lp_now_ms()) < 0)
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EPROTO, UNEXPECTED_MESSAGE,
                "the peer changes its key again and again and sends no data (limits: key-updates)");
    else if (event != PH_NOTHING && key_update(r, event == PH_KEY_UPDATE_ASK) < 0)
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EPROTO, INTERNAL_ERROR,
                "the peer's key update could not be answered");
}

/* Opens one record. Data moves to s->in + *plain, which lies before the record. */
static void one_record(struct relay *r, uint8_t *record, size_t len, size_t *plain)
{
    uint8_t type, *p;
    size_t n;
    int k = rc_open(r->open, record, len, &type, &p, &n);

    if (k < 0) {
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EBADMSG,
                k == -EMSGSIZE ? RECORD_OVERFLOW : BAD_RECORD_MAC,
                "a record does not authenticate: it was damaged or forged on the way");
    } else if (type == RC_DATA) {
        ud_moved(&r->updates, r->s->options->key_updates, n);
        memmove(r->s->in + *plain, p, n);
        *plain += n;
    } else if (type == RC_ALERT) {
        on_alert(r, p, n);
    } else if (type == RC_HANDSHAKE) {
        on_handshake(r, p, n);
    } else {
        rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EPROTO, UNEXPECTED_MESSAGE,
                "the peer sent a record of unknown type");
    }
}

/* Opens all whole records of s->in[0..n); what is left of one is kept. Returns how many bytes of
 * data now lie at the start of s->in. */
static size_t open_batch(struct relay *r, size_t n)
{
    uint8_t *in = r->s->in;
    size_t at = 0, plain = 0;

    while (!r->down_eof && n - at >= RC_HEADER) {
        int len = rc_length(in + at);

        if (len < 0) {
            rl_fail(r, W_CODE_PROTOCOL_VIOLATION, EBADMSG,
                    len == -EMSGSIZE ? RECORD_OVERFLOW : UNEXPECTED_MESSAGE,
                    "the peer sent what is no TLS record");
            break;
        }
        if ((size_t)len > n - at)
            break;
        one_record(r, in + at, (size_t)len, &plain);
        at += (size_t)len;
    }
    if (!r->down_eof && rs_add(&r->cut, in + at, n - at) < 0)
        rl_fail(r, W_CODE_INTERNAL_ERROR, ENOMEM, INTERNAL_ERROR, "no memory for a record");
    return plain;
}

/* One batch. True to go on. */
static bool down_batch(struct relay *r)
{
    struct rl_shared *s = r->s;
    size_t had = r->cut.n, plain;
    ssize_t n;
    int k;

    if (had)
        memcpy(s->in, r->cut.p + r->cut.at, had);
    n = recv(r->tcp, s->in + had, RL_BATCH, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (n < 0) {
        network_failed(r, errno);
        return false;
    }
    if (n == 0) {
        rl_fail(r, W_CODE_RESET, ECONNRESET, -1,
                "the peer closed the connection without close_notify: data may be missing");
        return false;
    }
    rs_free(&r->cut);
    plain = open_batch(r, had + (size_t)n);
    st_add(&s->stats->relay_rx, plain);
    k = rs_pass(&r->to_local, r->local, s->in, plain);
    if (k == -ENOMEM) { /* a part of it is lost: that must not look like the program's end */
        rl_fail(r, W_CODE_INTERNAL_ERROR, ENOMEM, INTERNAL_ERROR, "no memory for data");
    } else if (k < 0) {
        rl_down_refused(r);
    }
    return k == 1 && !r->down_eof;
}

void rl_down_refused(struct relay *r)
{
    rs_free(&r->to_local);
    r->down_eof = true;
}

void rl_down(struct relay *r)
{
    for (int i = 0; i < RL_TURNS && down_batch(r); i++)
        ;
}
