/* Tests of daemon/relay.c: how a relayed connection ends, from either side, in every state. */
#define lp_now_ms clock_now /* the relay's clock; its timers are real */
#include "../../daemon/relay.c"

#include "relayrig.h"
#include "suites.h"

static uint64_t now_ms = 1000000;
static unsigned looks;

uint64_t clock_now(void)
{
    looks++;
    return now_ms;
}

static const uint8_t close_notify[] = {1, 0};

static void expect_end(const struct rig *g, unsigned code, int err)
{
    CU_ASSERT(g->ended == 1 && g->f.code == code && g->f.err == err);
    if (code)
        CU_ASSERT(*g->f.text && !g->saw_eof); /* the reason comes before the program's EOF */
}

/* The program ends its direction, the peer answers at length, then ends its own. */
static void test_half_close_up(void)
{
    static const uint16_t suites[] = {0x1301, 0xC02F};

    for (int i = 0; i < 2; i++) {
        struct rig g;

        rig_open(&g, suites[i], i, 0);
        rig_program_says(&g, "request");
        shutdown(g.program, SHUT_WR);
        rig_peer_hears_text(&g, "request");
        rig_peer_hears_alert(&g, 1, 0);
        rig_eof(&g, g.peer);
        for (int k = 0; k < 5; k++) {
            rig_peer_says(&g, RC_DATA, "answer", 6);
            rig_program_hears(&g, "answer");
        }
        rig_turns(&g, 20);
        CU_ASSERT_EQUAL(g.ended, 0);
        rig_peer_says(&g, RC_ALERT, close_notify, 2);
        rig_eof(&g, g.program);
        RIG_UNTIL(&g, g.ended);
        expect_end(&g, 0, 0);
        rig_close(&g);
    }
}

static void test_half_close_down(void)
{
    struct rig g;

    rig_open(&g, 0x1302, true, 0);
    rig_peer_says(&g, RC_DATA, "hello", 5);
    rig_peer_says(&g, RC_ALERT, close_notify, 2);
    rig_program_hears(&g, "hello");
    rig_eof(&g, g.program);
    for (int k = 0; k < 5; k++) {
        rig_program_says(&g, "still here");
        rig_peer_hears_text(&g, "still here");
    }
    shutdown(g.peer, SHUT_WR); /* FIN after close_notify is no news */
    rig_turns(&g, 20);
    CU_ASSERT_EQUAL(g.ended, 0);
    rig_program_says(&g, "last");
    fd_close(&g.program);
    rig_peer_hears_text(&g, "last");
    rig_peer_hears_alert(&g, 1, 0);
    rig_eof(&g, g.peer);
    RIG_UNTIL(&g, g.ended);
    expect_end(&g, 0, 0);
    rig_close(&g);
}

/* What follows a close_notify in the same batch is nobody's. */
static void test_after_close_notify(void)
{
    uint8_t wire[512];
    struct rig g;
    size_t n;

    rig_open(&g, 0x1301, false, 0);
    n = rig_seal(&g, RC_DATA, "data", 4, wire);
    n += rig_seal(&g, RC_ALERT, close_notify, 2, wire + n);
    n += rig_seal(&g, RC_DATA, "late", 4, wire + n);
    rig_push(&g, g.peer, wire, n);
    rig_program_hears(&g, "data");
    rig_eof(&g, g.program);
    fd_close(&g.program);
    rig_peer_hears_alert(&g, 1, 0);
    RIG_UNTIL(&g, g.ended);
    expect_end(&g, 0, 0);
    rig_close(&g);
}

static void test_truncation(void)
{
    for (int half = 0; half < 2; half++) {
        struct rig g;
        uint8_t wire[64];
        size_t n;

        rig_open(&g, 0x1301, true, 0);
        rig_peer_says(&g, RC_DATA, "part", 4);
        if (half) { /* in the middle of a record */
            n = rig_seal(&g, RC_DATA, "lost", 4, wire);
            rig_push(&g, g.peer, wire, n - 3);
        }
        shutdown(g.peer, SHUT_WR);
        RIG_UNTIL(&g, g.ended);
        expect_end(&g, W_CODE_RESET, ECONNRESET);
        CU_ASSERT_PTR_NOT_NULL(strstr(g.f.text, "without close_notify"));
        rig_program_hears(&g, "part"); /* what came whole is delivered all the same */
        rig_eof(&g, g.program);
        rig_close(&g);
    }
}

static void test_reset(void)
{
    for (int state = 0; state < 4; state++) {
        struct rig g;

        rig_open(&g, 0x1301, true, 0);
        if (state == 1) { /* after the peer's close_notify */
            rig_peer_says(&g, RC_ALERT, close_notify, 2);
            rig_eof(&g, g.program);
            rig_turns(&g, 5);
        } else if (state == 2) { /* after the program's */
            shutdown(g.program, SHUT_WR);
            rig_peer_hears_alert(&g, 1, 0);
        } else if (state == 3) { /* while the network is full */
            rig_program_overflows(&g);
        }
        sf_abort(g.peer);
        fd_close(&g.peer);
        RIG_UNTIL(&g, g.ended);
        CU_ASSERT_EQUAL(g.f.code, W_CODE_RESET);
        CU_ASSERT_EQUAL(g.f.err, ECONNRESET);
        rig_close(&g);
    }
}

/* The program is gone, in every state it can be gone in. */
static void test_program_gone(void)
{
    for (int state = 0; state < 6; state++) {
        struct rig g;

        rig_open(&g, 0x1303, state & 1, state == 2 ? 4608 : 0);
        if (state == 1) /* with something that it did not read */
            rig_peer_says(&g, RC_DATA, "unread", 6);
        else if (state == 2) /* ... and more behind that waits in the relay */
            rig_peer_overflows(&g);
        else if (state == 3)
            shutdown(g.program, SHUT_WR);
        else if (state == 4) {
            rig_peer_says(&g, RC_ALERT, close_notify, 2);
            rig_eof(&g, g.program);
        } else if (state == 5)
            rig_program_says(&g, "last words");
        rig_turns(&g, 10);
        CU_ASSERT_EQUAL(g.ended, 0);
        fd_close(&g.program);
        if (state == 5)
            rig_peer_hears_text(&g, "last words");
        rig_peer_hears_alert(&g, 1, 0);
        RIG_UNTIL(&g, g.ended);
        expect_end(&g, 0, 0);
        rig_close(&g);
    }
}

/* The program reads no more, but goes on writing. */
static void test_program_deaf(void)
{
    struct rig g;

    rig_open(&g, 0x1301, false, 0);
    shutdown(g.program, SHUT_RD);
    rig_peer_says(&g, RC_DATA, "nobody hears", 12);
    rig_turns(&g, 10);
    CU_ASSERT_EQUAL(g.ended, 0);
    rig_program_says(&g, "but I talk");
    rig_peer_hears_text(&g, "but I talk");
    shutdown(g.program, SHUT_WR);
    rig_peer_hears_alert(&g, 1, 0);
    RIG_UNTIL(&g, g.ended);
    expect_end(&g, 0, 0);
    rig_close(&g);
}

/* A failure while the program is slow: what was opened before it still arrives, then the reason. */
static void test_failure_waits(void)
{
    static uint8_t bytes[60000], got[60000];
    uint8_t wire[64];
    int small = 4608;
    struct rig g;
    size_t n;

    tp_fill(bytes, sizeof(bytes));
    rig_open(&g, 0x1301, false, 0);
    setsockopt(g.relay->local, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (size_t at = 0; at < sizeof(bytes); at += 6000)
        rig_peer_says(&g, RC_DATA, bytes + at, 6000);
    n = rig_seal(&g, RC_DATA, "bad", 3, wire);
    wire[n - 1] ^= 1;
    rig_push(&g, g.peer, wire, n);
    rig_turns(&g, 50);
    rig_pull(&g, g.program, got, sizeof(got));
    CU_ASSERT(memcmp(got, bytes, sizeof(got)) == 0);
    RIG_UNTIL(&g, g.ended);
    expect_end(&g, W_CODE_PROTOCOL_VIOLATION, EBADMSG);
    rig_eof(&g, g.program);
    rig_close(&g);

    /* ... or until the program goes */
    rig_open(&g, 0x1301, false, 0);
    setsockopt(g.relay->local, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (int i = 0; i < 10; i++)
        rig_peer_says(&g, RC_DATA, bytes, 2000);
    rig_push(&g, g.peer, (const uint8_t *)"no TLS at all", 13);
    RIG_UNTIL(&g, g.relay->f.code != 0);
    rig_turns(&g, 50);
    CU_ASSERT_EQUAL(g.ended, 0);
    fd_close(&g.program);
    RIG_UNTIL(&g, g.ended);
    CU_ASSERT_EQUAL(g.f.code, W_CODE_PROTOCOL_VIOLATION);
    rig_close(&g);
}

/* The peer does not read: the program is stopped, and no more than a batch is kept. */
static void test_back_pressure_up(void)
{
    static uint8_t bytes[1 << 20];
    struct rig g;
    size_t in = 0, out = 0, most = 0;

    tp_fill(bytes, sizeof(bytes));
    rig_open(&g, 0x1301, false, 4608);
    for (int idle = 0; idle < 50 && in < sizeof(bytes);) {
        ssize_t k = send(g.program, bytes + in, sizeof(bytes) - in, MSG_DONTWAIT);

        in += k > 0 ? (size_t)k : 0;
        idle = k > 0 ? 0 : idle + 1;
        rig_turn(&g);
        most = g.relay->to_tcp.n > most ? g.relay->to_tcp.n : most;
    }
    CU_ASSERT(in < 400000 && most > 0 && most <= sizeof(g.shared->out));
    shutdown(g.program, SHUT_WR);
    while (out < in) {
        uint8_t *p;
        size_t n = rig_peer_hears(&g, RC_DATA, &p);

        CU_ASSERT_FATAL(out + n <= in && memcmp(p, bytes + out, n) == 0);
        out += n;
    }
    rig_peer_hears_alert(&g, 1, 0);
    rig_eof(&g, g.peer);
    CU_ASSERT_EQUAL(st_get(&g.stats.relay_tx), in);
    CU_ASSERT_PTR_NULL(g.relay->to_tcp.p);
    rig_close(&g);
}

/* The program does not read: the peer is stopped, and no more than a batch is kept. */
static void test_back_pressure_down(void)
{
    static uint8_t bytes[1 << 20], wire[(1 << 20) + 65536], got[1 << 20];
    size_t n = 0, sent = 0, most = 0;
    struct rig g;

    tp_fill(bytes, sizeof(bytes));
    rig_open(&g, 0x1302, false, 4608);
    for (size_t at = 0; at < sizeof(bytes); at += 8192)
        n += rig_seal(&g, RC_DATA, bytes + at, 8192, wire + n);
    for (int idle = 0; idle < 50 && sent < n;) {
        ssize_t k = send(g.peer, wire + sent, n - sent, MSG_DONTWAIT);

        sent += k > 0 ? (size_t)k : 0;
        idle = k > 0 ? 0 : idle + 1;
        rig_turn(&g);
        most = g.relay->to_local.n > most ? g.relay->to_local.n : most;
        CU_ASSERT(g.relay->to_local.n == 0 || !g.relay->tcp_in.busy); /* not even looked at */
    }
    CU_ASSERT(sent < 400000 && most > 0 && most <= sizeof(g.shared->in));
    for (size_t at = 0; at < sizeof(got);) {
        ssize_t k = recv(g.program, got + at, sizeof(got) - at, MSG_DONTWAIT);

        at += k > 0 ? (size_t)k : 0;
        k = sent < n ? send(g.peer, wire + sent, n - sent, MSG_DONTWAIT) : 0;
        sent += k > 0 ? (size_t)k : 0;
        rig_turn(&g);
        CU_ASSERT_EQUAL_FATAL(g.ended, 0);
    }
    CU_ASSERT(memcmp(got, bytes, sizeof(got)) == 0);
    CU_ASSERT_EQUAL(st_get(&g.stats.relay_rx), sizeof(got));
    CU_ASSERT(g.relay->to_local.p == NULL && g.relay->cut.p == NULL); /* idle: no buffer */
    rig_close(&g);
}

/* Until the deadline was looked at some times. */
static void linger_passes(struct rig *g)
{
    unsigned since = looks;

    RIG_UNTIL(g, g->ended || looks >= since + 3);
}

/* The program is gone and the peer reads nothing: not for ever, nothing stays in the kernel. */
static void test_linger(void)
{
    struct rig g;
    ssize_t k = 1;
    char c[4096];

    for (int half = 0; half < 2; half++) {
        rig_open(&g, 0x1301, true, 0);
        g.o.relay_linger_ms = 5;
        rig_program_overflows(&g);
        if (half) /* closes one direction first */
            shutdown(g.program, SHUT_WR);
        rig_turns(&g, 10);
        CU_ASSERT(!g.relay->linger.busy);
        fd_close(&g.program);
        linger_passes(&g);
        CU_ASSERT_EQUAL(g.ended, 0);
        now_ms += 4;
        linger_passes(&g);
        CU_ASSERT_EQUAL(g.ended, 0);
        now_ms++;
        RIG_UNTIL(&g, g.ended);
        CU_ASSERT(g.f.code == W_CODE_TIMEOUT && g.f.err == ETIMEDOUT);
        CU_ASSERT_PTR_NOT_NULL(strstr(g.f.text, "limits: relay-linger"));
        RIG_UNTIL(&g, st_get(&g.stats.relays) == 0);
        while ((k = recv(g.peer, c, sizeof(c), MSG_DONTWAIT)) > 0)
            ;
        CU_ASSERT(k < 0 && errno == ECONNRESET);
        rig_close(&g);
    }
}

/* ... but whenever it reads, the time begins anew, and in the end it has got everything. */
static void test_linger_moves(void)
{
    size_t in, out = 0;
    struct rig g;

    rig_open(&g, 0x1301, false, 4608);
    g.o.relay_linger_ms = 5;
    in = rig_program_overflows(&g);
    fd_close(&g.program);
    RIG_UNTIL(&g, g.relay->linger.busy);
    for (int step = 0; out < in; step++) {
        uint8_t *p;

        now_ms += 4;
        if (step < 5)
            linger_passes(&g);
        for (size_t had = g.relay->to_tcp.n; out < in && g.relay->to_tcp.n == had;)
            out += rig_peer_hears(&g, RC_DATA, &p);
        CU_ASSERT_FATAL(out == in || g.ended == 0);
    }
    rig_peer_hears_alert(&g, 1, 0);
    RIG_UNTIL(&g, g.ended);
    expect_end(&g, 0, 0);
    rig_close(&g);
}

/* A program that is there may be slow: it only writes, reads nothing, or reads nothing of a
 * connection that has failed. */
static void test_no_linger(void)
{
    struct rig g;

    for (int how = 0; how < 3; how++) {
        rig_open(&g, 0x1301, false, 4608);
        g.o.relay_linger_ms = 1;
        if (how == 0) {
            shutdown(g.program, SHUT_RD);
            rig_peer_says(&g, RC_DATA, "nobody hears", 12);
            rig_program_overflows(&g);
        } else {
            rig_peer_overflows(&g);
        }
        if (how == 2)
            rl_fail(g.relay, W_CODE_RESET, ECONNRESET, -1, "made up");
        now_ms += 1000000;
        rig_turns(&g, 20);
        CU_ASSERT(!g.relay->linger.busy && g.ended == 0);
        rig_close(&g);
    }
}

static void test_disown(void)
{
    struct rig g;

    rig_open(&g, 0x1301, false, 0);
    rl_disown(g.relay);
    rig_program_says(&g, "goes on");
    rig_peer_hears_text(&g, "goes on");
    rig_peer_says(&g, RC_HANDSHAKE, "\4\0\0\1x", 5); /* a ticket, as far as the relay looks */
    rig_peer_says(&g, RC_DATA, "on", 2);
    rig_program_hears(&g, "on");
    fd_close(&g.program);
    RIG_UNTIL(&g, st_get(&g.stats.relays) == 0);
    CU_ASSERT_EQUAL(g.ended, 0);
    g.ended = 1; /* what rig_close() expects of an owner that was told */
    rig_close(&g);
}

/* stop() may be followed by release() from anywhere: nothing is freed under a busy operation. */
static void test_busy_release(void)
{
    struct rig g;

    rig_open(&g, 0x1301, false, 0);
    stop(g.relay);
    release(g.relay);
    CU_ASSERT(st_get(&g.stats.relays) == 1 && g.ended == 1);
    rig_close(&g);
    rl_shared_free(NULL);
}

void suite_relay(void)
{
    CU_pSuite s = CU_add_suite("relay", NULL, NULL);

    CU_add_test(s, "half-close up", test_half_close_up);
    CU_add_test(s, "half-close down", test_half_close_down);
    CU_add_test(s, "after close_notify", test_after_close_notify);
    CU_add_test(s, "truncation", test_truncation);
    CU_add_test(s, "reset", test_reset);
    CU_add_test(s, "program gone", test_program_gone);
    CU_add_test(s, "program deaf", test_program_deaf);
    CU_add_test(s, "failure waits", test_failure_waits);
    CU_add_test(s, "back-pressure up", test_back_pressure_up);
    CU_add_test(s, "back-pressure down", test_back_pressure_down);
    CU_add_test(s, "linger", test_linger);
    CU_add_test(s, "linger while it moves", test_linger_moves);
    CU_add_test(s, "no linger", test_no_linger);
    CU_add_test(s, "disown", test_disown);
    CU_add_test(s, "busy release", test_busy_release);
}
