/* Commands that send. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "schedule.h"

enum { NEW_SESSION_TICKET = 4 };

/* data N SEED [RECORD]: N bytes of that seed's stream, in records of RECORD bytes */
static void run_data(struct peer *p, char **args)
{
    uint64_t n = pe_number(args[0], 0), seed = pe_number(args[1], 0);
    uint64_t part = pe_number(args[2], RC_PLAIN_MAX);
    uint8_t block[RC_PLAIN_MAX];
    int k = part > 0 && part <= sizeof(block) ? 0 : -EMSGSIZE;

    for (uint64_t at = 0; at < n && k == 0; at += part) {
        size_t step = n - at < part ? (size_t)(n - at) : (size_t)part;

        sc_fill(seed, at, block, step);
        k = la_send(&p->c, RC_DATA, block, step);
    }
    pe_done(p, k);
}

static int send_hex(struct peer *p, uint8_t type, const char *text)
{
    uint8_t bytes[RC_PLAIN_MAX];
    int n = pe_hex(text, bytes, sizeof(bytes));

    return n < 0 ? -EINVAL : la_send(&p->c, type, bytes, (size_t)n);
}

/* bytes HEX: one record of data */
static void run_bytes(struct peer *p, char **args)
{
    pe_done(p, send_hex(p, RC_DATA, args[0]));
}

/* empty [N]: N records of data without data */
static void run_empty(struct peer *p, char **args)
{
    int k = 0;

    for (uint64_t i = pe_number(args[0], 1); i > 0 && k == 0; i--)
        k = la_send(&p->c, RC_DATA, "", 0);
    pe_done(p, k);
}

/* pad N HEX: data with N bytes of padding */
static void run_pad(struct peer *p, char **args)
{
    uint8_t bytes[RC_PLAIN_MAX];
    int n = pe_hex(args[1], bytes, sizeof(bytes));

    pe_done(p, n < 0 ? -EINVAL
                     : la_send_padded(&p->c, bytes, (size_t)n, (size_t)pe_number(args[0], 0)));
}

/* keyupdate 0|1 */
static void run_keyupdate(struct peer *p, char **args)
{
    pe_done(p, la_update(&p->c, pe_number(args[0], 0) == 1, LA_NEXT_KEY));
}

/* keyupdate-old 0|1: says it and keeps its key, a fault */
static void run_keyupdate_old(struct peer *p, char **args)
{
    pe_done(p, la_update(&p->c, pe_number(args[0], 0) == 1, LA_OLD_KEY));
}

/* key next|again: the next key without a KeyUpdate, or the same one from record 0 on; faults */
static void run_key(struct peer *p, char **args)
{
    pe_done(p, la_key(&p->c, strcmp(args[0], "next") == 0));
}

/* storm N [0|1]: KeyUpdates and nothing else; stops where the client ends the connection */
static void run_storm(struct peer *p, char **args)
{
    uint64_t n = pe_number(args[0], 0), i;
    int k = 0;

    for (i = 0; i < n && k == 0; i++)
        k = la_update(&p->c, pe_number(args[1], 0) == 1, LA_NEXT_KEY);
    if (k == 0 || k == -EPIPE || k == -ECONNRESET)
        pe_ok("sent=%llu ended=%d", (unsigned long long)i, k < 0);
    else
        pe_done(p, k);
}

/* ticket-split PARTS: a NewSessionTicket over so many records; ticket: in one */
static void run_ticket_split(struct peer *p, char **args)
{
    size_t parts = (size_t)pe_number(args[0], 1), n = RC_PLAIN_MAX, at = 0;
    uint8_t message[RC_PLAIN_MAX];
    int k = tl_ticket(p->session, message, &n);

    for (size_t i = 1; i <= parts && k == 0; i++) {
        size_t end = n * i / parts;

        k = end > at ? la_send(&p->c, RC_HANDSHAKE, message + at, end - at) : 0;
        at = end;
    }
    pe_done(p, k);
}

/* certreq: asks for a certificate after the handshake, with one signature algorithm */
static void run_certreq(struct peer *p, char **args)
{
    static const uint8_t message[] = {13, 0, 0,  15, 4, 'r', 'e', 'q', '1', 0,
                                      8,  0, 13, 0,  4, 0,   2,   4,   3};

    (void)args;
    pe_done(p, la_send(&p->c, RC_HANDSHAKE, message, sizeof(message)));
}

/* hellorequest (TLS 1.2) */
static void run_hellorequest(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, la_send(&p->c, RC_HANDSHAKE, "\0\0\0", 4));
}

/* handshake HEX: one record of that type */
static void run_handshake(struct peer *p, char **args)
{
    pe_done(p, send_hex(p, RC_HANDSHAKE, args[0]));
}

/* record TYPE HEX: sealed as it should be, of any content type */
static void run_record(struct peer *p, char **args)
{
    pe_done(p, send_hex(p, (uint8_t)pe_number(args[0], 0), args[1]));
}

/* alert LEVEL DESCRIPTION */
static void run_alert(struct peer *p, char **args)
{
    const uint8_t alert[2] = {(uint8_t)pe_number(args[0], 0), (uint8_t)pe_number(args[1], 0)};

    pe_done(p, la_send(&p->c, RC_ALERT, alert, sizeof(alert)));
}

/* close: close_notify, without FIN */
static void run_close(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, la_send(&p->c, RC_ALERT, "\1", 2));
}

static void run_fin(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, wi_fin(&p->c.w));
}

static void run_rst(struct peer *p, char **args)
{
    (void)args;
    wi_reset(&p->c.w);
    pe_ok("reset");
}

/* --- damage -------------------------------------------------------------------------- */

/* Seals bytes given in hexadecimal into p->cut. Returns the record's length or -errno. */
static int prepare(struct peer *p, const char *text)
{
    uint8_t bytes[RC_PLAIN_MAX];
    int n = pe_hex(text, bytes, sizeof(bytes));

    return n < 0 ? -EINVAL : la_seal(&p->c, RC_DATA, bytes, (size_t)n, p->cut);
}

/* corrupt HEX: data, with one bit of its record turned over */
static void run_corrupt(struct peer *p, char **args)
{
    int n = prepare(p, args[0]);

    if (n > 0) {
        p->cut[n - 1] ^= 1;
        n = wi_send(&p->c.w, p->cut, (size_t)n);
    }
    pe_done(p, n);
}

/* badlength: a record that says to be longer than any may be */
static void run_badlength(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, wi_send(&p->c.w,
                       "\x17\3\3\xff\xff"
                       "abcdefgh",
                       13));
}

/* badtype [TYPE [HEX]]: data, with a header that names another content type */
static void run_badtype(struct peer *p, char **args)
{
    int n = prepare(p, args[0] && args[1] ? args[1] : "00");

    if (n > 0) {
        p->cut[0] = (uint8_t)pe_number(args[0], 99);
        n = wi_send(&p->c.w, p->cut, (size_t)n);
    }
    pe_done(p, n);
}

/* half HEX: the first half of a record of data */
static void run_half(struct peer *p, char **args)
{
    int n = prepare(p, args[0]), k = n;

    if (n > 0) {
        size_t first = (size_t)n / 2;

        k = wi_send(&p->c.w, p->cut, first);
        p->cut_n = (size_t)n - first;
        memmove(p->cut, p->cut + first, p->cut_n);
    }
    pe_done(p, k);
}

/* rest: the other half */
static void run_rest(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, wi_send(&p->c.w, p->cut, p->cut_n));
    p->cut_n = 0;
}

/* raw HEX: bytes of the wire */
static void run_raw(struct peer *p, char **args)
{
    uint8_t bytes[RC_PLAIN_MAX];
    int n = pe_hex(args[0], bytes, sizeof(bytes));

    pe_done(p, n < 0 ? -EINVAL : wi_send(&p->c.w, bytes, (size_t)n));
}

/* cork, uncork: what is sent between them travels in one piece */
static void run_cork(struct peer *p, char **args)
{
    (void)args;
    wi_cork(&p->c.w);
    pe_ok("corked");
}

static void run_uncork(struct peer *p, char **args)
{
    (void)args;
    pe_done(p, wi_uncork(&p->c.w));
}

const struct pe_command pe_sending[] = {
    {"data", 2, 3, run_data, 1},
    {"bytes", 1, 1, run_bytes, 1},
    {"empty", 0, 1, run_empty, 1},
    {"pad", 2, 2, run_pad, 1},
    {"keyupdate", 1, 1, run_keyupdate, 1},
    {"keyupdate-old", 1, 1, run_keyupdate_old, 1},
    {"key", 1, 1, run_key, 1},
    {"storm", 1, 2, run_storm, 1},
    {"ticket", 0, 0, run_ticket_split, 1},
    {"ticket-split", 1, 1, run_ticket_split, 1},
    {"certreq", 0, 0, run_certreq, 1},
    {"hellorequest", 0, 0, run_hellorequest, 1},
    {"handshake", 1, 1, run_handshake, 1},
    {"record", 2, 2, run_record, 1},
    {"alert", 2, 2, run_alert, 1},
    {"close", 0, 0, run_close, 1},
    {"fin", 0, 0, run_fin, 1},
    {"rst", 0, 0, run_rst, 1},
    {"corrupt", 1, 1, run_corrupt, 1},
    {"badlength", 0, 0, run_badlength, 1},
    {"badtype", 0, 2, run_badtype, 1},
    {"half", 1, 1, run_half, 1},
    {"rest", 0, 0, run_rest, 1},
    {"raw", 1, 1, run_raw, 1},
    {"cork", 0, 0, run_cork, 1},
    {"uncork", 0, 0, run_uncork, 1},
    {NULL, 0, 0, NULL, 0},
};
