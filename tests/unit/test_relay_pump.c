/* Tests of daemon/relay_pump.c: records and messages, well-formed or not, however they arrive. */
#include "../../daemon/relay_pump.c"

#include "relayrig.h"
#include "suites.h"

static void test_both_ways(void)
{
    static const size_t sizes[] = {1, 1000, RC_PLAIN_MAX, RC_PLAIN_MAX + 1, 100000};
    static uint8_t bytes[100000], got[100000];
    size_t n_suites;
    const struct ks_suite *all = ks_suites(&n_suites);

    tp_fill(bytes, sizeof(bytes));
    for (size_t i = 0; i < n_suites; i++) {
        struct rig g;

        rig_open(&g, all[i].id, i % 2, 0);
        for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
            rig_push(&g, g.program, bytes, sizes[k]);
            for (size_t at = 0; at < sizes[k];) {
                uint8_t *p = NULL;
                size_t n = rig_peer_hears(&g, RC_DATA, &p);

                CU_ASSERT_FATAL(n > 0 && at + n <= sizes[k] && memcmp(p, bytes + at, n) == 0);
                at += n;
            }
            for (size_t at = 0; at < sizes[k]; at += RC_PLAIN_MAX)
                rig_peer_says(&g, RC_DATA, bytes + at,
                              sizes[k] - at < RC_PLAIN_MAX ? sizes[k] - at : RC_PLAIN_MAX);
            memset(got, 0, sizes[k]);
            rig_pull(&g, g.program, got, sizes[k]);
            CU_ASSERT(memcmp(got, bytes, sizes[k]) == 0);
        }
        rig_close(&g);
    }
}

/* Two records and an empty one, cut at every byte, and in bytes. */
static void test_any_cut(void)
{
    uint8_t wire[512];
    size_t n = 0, whole = 1;

    for (size_t cut = 0; cut < whole; cut++) {
        struct rig g;

        rig_open(&g, 0x1301, false, 0);
        n = rig_seal(&g, RC_DATA, "one", 3, wire);
        n += rig_seal(&g, RC_DATA, "", 0, wire + n);
        n += rig_seal(&g, RC_DATA, "two", 3, wire + n);
        whole = n;
        if (cut == 0) {
            for (size_t i = 0; i < n; i++) {
                rig_push(&g, g.peer, wire + i, 1);
                rig_turns(&g, 2);
            }
        } else {
            rig_push(&g, g.peer, wire, cut);
            rig_turns(&g, 3);
            CU_ASSERT_EQUAL(g.ended, 0);
            rig_push(&g, g.peer, wire + cut, n - cut);
        }
        rig_program_hears(&g, "onetwo");
        CU_ASSERT_EQUAL(g.relay->cut.n, 0);
        rig_close(&g);
    }
}

/* The longest record that may be, byte for byte behind another that was cut. */
static void test_long_cut(void)
{
    static uint8_t bytes[RC_PLAIN_MAX], got[RC_PLAIN_MAX], wire[10 * (RC_BODY_MAX + RC_HEADER)];
    struct rig g;
    size_t n = 0;

    tp_fill(bytes, sizeof(bytes));
    rig_open(&g, 0x1302, false, 0);
    for (int i = 0; i < 10; i++)
        n += rig_seal(&g, RC_DATA, bytes, sizeof(bytes), wire + n);
    for (size_t at = 0, step; at < n; at += step) { /* a prime, so that every cut comes up */
        step = n - at < 7919 ? n - at : 7919;
        rig_push(&g, g.peer, wire + at, step);
        rig_turn(&g);
    }
    for (int i = 0; i < 10; i++) {
        rig_pull(&g, g.program, got, sizeof(got));
        CU_ASSERT(memcmp(got, bytes, sizeof(got)) == 0);
    }
    rig_close(&g);
}

/* Sends raw bytes, or a sealed record when type is not 0; expects the end and the alert to the
 * peer (-1: none). */
static void fails(uint16_t suite, uint8_t type, const void *p, size_t n, int flip, int alert,
                  int err)
{
    uint8_t wire[RC_HEADER + RC_BODY_MAX];
    struct rig g;

    rig_open(&g, suite, false, 0);
    rig_peer_says(&g, RC_DATA, "before", 6);
    rig_program_hears(&g, "before");
    if (type)
        n = rig_seal(&g, type, p, n, wire);
    else
        memcpy(wire, p, n);
    if (flip >= 0)
        wire[(size_t)flip % n] ^= 0x40;
    rig_push(&g, g.peer, wire, n);
    RIG_UNTIL(&g, g.ended);
    CU_ASSERT_EQUAL(g.f.err, err);
    CU_ASSERT(*g.f.text && !g.saw_eof);
    if (alert >= 0) {
        CU_ASSERT(g.f.code == W_CODE_PROTOCOL_VIOLATION && g.f.alert == alert && g.f.alert_sent);
        rig_peer_hears_alert(&g, LEVEL_FATAL, (uint8_t)alert);
    }
    rig_eof(&g, g.program);
    rig_close(&g);
}

static void test_corrupt(void)
{
    static const uint16_t suites[] = {0x1301, 0x1303, 0x1304, 0xC02B, 0xCCA9, 0xC0AC};
    static const uint8_t huge[] = {23, 3, 3, 0x41, 0x01}, no_tls[] = "GET / HTTP/1.0\r\n";
    static const uint8_t short_one[] = {23, 3, 3, 0, 3, 1, 2, 3};
    static uint8_t zero[RC_HEADER + RC_PLAIN_MAX + 1 + 16 + 1];

    for (size_t i = 0; i < sizeof(suites) / sizeof(*suites); i++) {
        fails(suites[i], RC_DATA, "text", 4, 6, BAD_RECORD_MAC, EBADMSG);
        fails(suites[i], RC_DATA, "text", 4, -1 + (int)RC_HEADER + 12, BAD_RECORD_MAC, EBADMSG);
        fails(suites[i], 0, short_one, sizeof(short_one), -1, BAD_RECORD_MAC, EBADMSG);
        fails(suites[i], 0, huge, sizeof(huge), -1, RECORD_OVERFLOW, EBADMSG);
        fails(suites[i], 0, no_tls, sizeof(no_tls) - 1, -1, UNEXPECTED_MESSAGE, EBADMSG);
    }
    zero[0] = 23, zero[1] = zero[2] = 3;
    zero[3] = (sizeof(zero) - 5) >> 8, zero[4] = (sizeof(zero) - 5) & 0xff;
    fails(0x1301, 0, zero, sizeof(zero), -1, RECORD_OVERFLOW, EBADMSG);
}

static void test_wrong_records(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 2}, finished[] = {20, 0, 0, 1, 0};

    fails(0x1301, RC_ALERT, "\1", 1, -1, DECODE_ERROR, EPROTO);
    fails(0x1301, RC_ALERT, "\1\0\1\0", 4, -1, DECODE_ERROR, EPROTO);
    fails(0x1301, RC_HANDSHAKE, update, sizeof(update), -1, 47, EPROTO);
    fails(0x1301, RC_HANDSHAKE, finished, sizeof(finished), -1, UNEXPECTED_MESSAGE, EPROTO);
    fails(0xC02B, RC_HANDSHAKE, finished, sizeof(finished), -1, UNEXPECTED_MESSAGE, EPROTO);
    fails(0xC02B, RC_CCS, "\1", 1, -1, UNEXPECTED_MESSAGE, EPROTO);
    fails(0xC02B, RC_ALERT, "\2\50", 2, -1, -1, EPROTO);
    fails(0x1301, RC_ALERT, "\1\50", 2, -1, -1, EPROTO); /* the level of 1.3 says nothing */
}

static uint8_t tickets[512];
static size_t tickets_n;

static void on_tickets(void *owner, const uint8_t *plain, size_t n)
{
    (void)owner;
    CU_ASSERT_FATAL(tickets_n + n <= sizeof(tickets));
    memcpy(tickets + tickets_n, plain, n);
    tickets_n += n;
}

/* The peer's own alert is told with its number; what is only a warning is not the end. */
static void test_peer_alerts(void)
{
    struct rig g;

    rig_open(&g, 0x1301, false, 0);
    rig_peer_says(&g, RC_ALERT, "\1\132", 2); /* user_canceled */
    rig_peer_says(&g, RC_DATA, "on", 2);
    rig_program_hears(&g, "on");
    rig_peer_says(&g, RC_ALERT, "\2\24", 2);
    RIG_UNTIL(&g, g.ended);
    CU_ASSERT(g.f.code == W_CODE_RESET && g.f.alert == 20 && !g.f.alert_sent);
    CU_ASSERT_PTR_NOT_NULL(strstr(g.f.text, "alert 20"));
    rig_close(&g);

    rig_open(&g, 0xC02B, false, 0);
    g.relay->owner.tickets = on_tickets;
    tickets_n = 0;
    rig_peer_says(&g, RC_ALERT, "\1\144", 2);       /* no_renegotiation */
    rig_peer_says(&g, RC_HANDSHAKE, "\0\0\0\0", 4); /* HelloRequest */
    rig_peer_says(&g, RC_DATA, "on", 2);
    rig_program_hears(&g, "on");
    CU_ASSERT_EQUAL(tickets_n, 0);
    rig_close(&g);
}

static void peer_updates(struct rig *g, uint8_t asks)
{
    const uint8_t update[] = {24, 0, 0, 1, asks};

    rig_peer_says(g, RC_HANDSHAKE, update, sizeof(update));
    CU_ASSERT_EQUAL(ks_next(&g->to_relay), 0);
    CU_ASSERT_EQUAL(rc_rekey(g->seal, &g->to_relay), 0);
}

static void peer_hears_update(struct rig *g)
{
    uint8_t *p = NULL;
    size_t n = rig_peer_hears(g, RC_HANDSHAKE, &p);

    CU_ASSERT_FATAL(n == 5 && memcmp(p, "\30\0\0\1\0", 5) == 0);
    CU_ASSERT_EQUAL(ks_next(&g->from_relay), 0);
    CU_ASSERT_EQUAL(rc_rekey(g->open, &g->from_relay), 0);
}

static void test_key_update(void)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1304};

    for (int i = 0; i < 4; i++) {
        struct rig g;

        rig_open(&g, suites[i], false, 0);
        peer_updates(&g, 0);
        rig_peer_says(&g, RC_DATA, "new key", 7);
        rig_program_hears(&g, "new key");
        rig_program_says(&g, "old key");
        rig_peer_hears_text(&g, "old key");
        peer_updates(&g, 1);
        rig_peer_says(&g, RC_DATA, "third", 5);
        rig_program_hears(&g, "third");
        rig_program_says(&g, "new key");
        peer_hears_update(&g);
        rig_peer_hears_text(&g, "new key");
        /* after the program's end nothing is answered any more */
        shutdown(g.program, SHUT_WR);
        rig_peer_hears_alert(&g, 1, 0);
        peer_updates(&g, 1);
        rig_peer_says(&g, RC_DATA, "fourth", 6);
        rig_program_hears(&g, "fourth");
        rig_eof(&g, g.peer);
        rig_close(&g);
    }
}

/* As many at once as may be: each is answered, in order. Data makes room for as many again. */
static void test_key_update_many(void)
{
    static uint8_t bytes[RC_PLAIN_MAX], got[RC_PLAIN_MAX];
    unsigned most;
    struct rig g;

    tp_fill(bytes, sizeof(bytes));
    rig_open(&g, 0x1301, false, 0);
    most = g.o.key_updates;
    for (int turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < most; i++)
            peer_updates(&g, 1);
        for (unsigned i = 0; i < most; i++)
            peer_hears_update(&g);
        for (unsigned i = 0; i < most * UD_BYTES / sizeof(bytes); i++) {
            if (turn == 0) { /* either way */
                rig_peer_says(&g, RC_DATA, bytes, sizeof(bytes));
                rig_pull(&g, g.program, got, sizeof(got));
            } else {
                uint8_t *p;

                rig_push(&g, g.program, bytes, sizeof(bytes));
                for (size_t n = 0; n < sizeof(bytes);)
                    n += rig_peer_hears(&g, RC_DATA, &p);
            }
        }
    }
    rig_close(&g);
}

/* One more than may be, asked for an answer or not: the end, and the peer is told why. */
static void test_key_update_cap(void)
{
    for (uint8_t asks = 0; asks < 2; asks++) {
        unsigned most;
        struct rig g;

        rig_open(&g, 0x1301, false, 0);
        most = g.o.key_updates;
        rig_peer_says(&g, RC_DATA, "before", 6);
        /* Seconds may pass: they make room for one each. */
        for (unsigned i = 0; i < 10 * most && !g.ended; i++) {
            peer_updates(&g, asks);
            rig_turn(&g);
        }
        RIG_UNTIL(&g, g.ended);
        CU_ASSERT(g.f.code == W_CODE_PROTOCOL_VIOLATION && g.f.err == EPROTO);
        CU_ASSERT(g.f.alert == UNEXPECTED_MESSAGE && g.f.alert_sent);
        CU_ASSERT_PTR_NOT_NULL(strstr(g.f.text, "limits: key-updates"));
        for (unsigned i = 0; i < most && asks; i++)
            peer_hears_update(&g);
        if (!asks)
            rig_peer_hears_alert(&g, LEVEL_FATAL, UNEXPECTED_MESSAGE);
        rig_program_hears(&g, "before");
        rig_eof(&g, g.program);
        rig_close(&g);
    }
}

/* A peer that asks on and on and reads nothing: what it is owed is one answer, before the data that
 * comes next. */
static void test_owed_once(void)
{
    struct rig g;
    size_t said, most = 0, answers = 0;
    uint8_t type = 0, *p;

    rig_open(&g, 0x1301, false, 4608);
    g.o.key_updates = 65536;
    ud_open(&g.relay->updates, g.o.key_updates, lp_now_ms());
    said = rig_program_overflows(&g);
    for (int i = 0; i < 5000; i++) {
        uint8_t wire[64];
        const uint8_t update[] = {24, 0, 0, 1, 1};
        size_t n = rig_seal(&g, RC_HANDSHAKE, update, sizeof(update), wire);

        ks_next(&g.to_relay);
        rc_rekey(g.seal, &g.to_relay);
        rig_push(&g, g.peer, wire, n);
        if (i == 100)
            most = g.relay->to_tcp.n;
    }
    rig_turns(&g, 50);
    CU_ASSERT(g.ended == 0 && g.relay->owed && g.relay->to_tcp.n <= most);
    while (said > 0) {
        size_t n = rig_peer_hears_any(&g, &type, &p);

        if (type == RC_HANDSHAKE) {
            answers++;
            ks_next(&g.from_relay);
            rc_rekey(g.open, &g.from_relay);
        } else {
            said -= n;
        }
    }
    CU_ASSERT(answers <= 1);
    rig_program_says(&g, "next");
    while (type != RC_DATA || said == 0) {
        size_t n = rig_peer_hears_any(&g, &type, &p);

        if (type == RC_HANDSHAKE) {
            answers++;
            ks_next(&g.from_relay);
            rc_rekey(g.open, &g.from_relay);
        } else {
            CU_ASSERT(n == 4 && memcmp(p, "next", 4) == 0);
            said = 1;
        }
    }
    CU_ASSERT_EQUAL(answers, 1);
    rig_close(&g);
}

/* Tickets never reach the program, but the owner, whole, in pieces, or with a KeyUpdate in the last
 * record. */
static void test_tickets(void)
{
    uint8_t ticket[300] = {4, 0, 1, 40}, last[300];
    struct rig g;

    rig_open(&g, 0x1301, false, 0);
    g.relay->owner.tickets = on_tickets;
    tickets_n = 0;
    for (size_t piece = 1; piece <= sizeof(ticket); piece += piece < 8 ? 1 : 73) {
        for (size_t at = 0; at < sizeof(ticket); at += piece)
            rig_peer_says(&g, RC_HANDSHAKE, ticket + at,
                          sizeof(ticket) - at < piece ? sizeof(ticket) - at : piece);
        rig_peer_says(&g, RC_DATA, "data", 4);
        rig_program_hears(&g, "data");
        CU_ASSERT(tickets_n == sizeof(ticket) && memcmp(tickets, ticket, sizeof(ticket)) == 0);
        tickets_n = 0;
    }
    rig_peer_says(&g, RC_HANDSHAKE, ticket, 100);
    memcpy(last, ticket + 100, 200);
    memcpy(last + 200, "\30\0\0\1\1", 5);
    rig_peer_says(&g, RC_HANDSHAKE, last, 205);
    CU_ASSERT_EQUAL(ks_next(&g.to_relay), 0);
    CU_ASSERT_EQUAL(rc_rekey(g.seal, &g.to_relay), 0);
    rig_peer_says(&g, RC_DATA, "new", 3);
    rig_program_hears(&g, "new");
    peer_hears_update(&g);
    CU_ASSERT_EQUAL(tickets_n, 100); /* what came with the KeyUpdate was not for the owner */
    rig_close(&g);
}

void suite_relay_pump(void)
{
    CU_pSuite s = CU_add_suite("relay_pump", NULL, NULL);

    CU_add_test(s, "both ways", test_both_ways);
    CU_add_test(s, "any cut", test_any_cut);
    CU_add_test(s, "long cut", test_long_cut);
    CU_add_test(s, "corrupt", test_corrupt);
    CU_add_test(s, "wrong records", test_wrong_records);
    CU_add_test(s, "peer's alerts", test_peer_alerts);
    CU_add_test(s, "key update", test_key_update);
    CU_add_test(s, "key update, many", test_key_update_many);
    CU_add_test(s, "key update, cap", test_key_update_cap);
    CU_add_test(s, "key update, storm", test_owed_once);
    CU_add_test(s, "tickets", test_tickets);
}
