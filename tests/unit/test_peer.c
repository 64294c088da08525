/* Tests of daemon/peer.c: a client on a socketpair, from HELLO to its end. */
#include "../../daemon/peer.c"

#include "capture.h"
#include "suites.h"
#include "workerrig.h"

static struct wrig g;
static int client; /* our end */
static int fds_before;
static struct capture log_lines;

static void begin_case(void)
{
    const struct in_peer who = {.uid = 1234, .pid = 1};
    int pair[2];

    log_lines = capture_begin(2);
    fds_before = open_fds();
    wrig_open(&g);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    client = pair[0];
    CU_ASSERT_EQUAL_FATAL(pe_open(g.w, pair[1], &who), 0);
    CU_ASSERT_EQUAL(st_get(&g.w->stats->peers), 1);
}

/* The client leaves; control hears of it once; no descriptor stays behind. */
static void end_case(void)
{
    static char said[65536];
    struct in_left gone = {0};

    fd_close(&client);
    WRIG_UNTIL(&g, wrig_idle(&g));
    CU_ASSERT_EQUAL(recv(g.control, &gone, sizeof(gone), MSG_DONTWAIT), (ssize_t)sizeof(gone));
    CU_ASSERT(gone.type == IN_LEFT && gone.uid == 1234);
    CU_ASSERT(recv(g.control, &gone, sizeof(gone), MSG_DONTWAIT) < 0);
    if (g.server)
        SSL_free(g.server);
    g.server = NULL;
    wrig_close(&g);
    CU_ASSERT_EQUAL(open_fds(), fds_before);
    capture_end(log_lines, said, sizeof(said));
    CU_ASSERT_PTR_NULL(strstr(said, "bug:"));
}

static void send_built(struct w_buf *b, const int *fds, unsigned nfds)
{
    int len = w_end(b);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(fm_send(client, b->p, (size_t)len, fds, nfds, MSG_DONTWAIT), 0);
}

static void hello(uint32_t version)
{
    static uint8_t out[256];
    struct w_buf b;

    w_begin(&b, out, sizeof(out), W_HELLO, 1, 0);
    w_put_num(&b, W_A_VERSION, version);
    w_put_num(&b, W_A_CAPS, 0);
    send_built(&b, NULL, 0);
}

/* The next answer; its descriptors in fds. */
static struct w_msg hear(int fds[FM_FDS_MAX], unsigned want)
{
    static uint8_t in[W_MESSAGE_MAX];
    unsigned nfds = 0;
    struct w_msg m = {0};
    int n = -EAGAIN;

    fds[0] = fds[1] = -1;
    WRIG_UNTIL(&g, (n = fm_recv(client, in, sizeof(in), fds, &nfds, MSG_DONTWAIT)) != -EAGAIN);
    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, in, (size_t)n, nfds, W_TO_CLIENT), 0);
    CU_ASSERT_EQUAL(m.type, want);
    return m;
}

static void hear_error(uint32_t id, unsigned code, int err)
{
    int fds[FM_FDS_MAX];
    struct w_msg m = hear(fds, W_ERROR);
    char text[W_TEXT_MAX + 1];

    CU_ASSERT(m.id == id && w_num(&m, W_A_CODE, 0) == code);
    CU_ASSERT_EQUAL(w_num(&m, W_A_ERRNO, 0), (uint64_t)err);
    CU_ASSERT(w_text(&m, W_A_TEXT, text, sizeof(text)) == 0 && *text);
}

static void hear_end(void)
{
    char c;
    ssize_t n = -1;

    WRIG_UNTIL(&g, (n = recv(client, &c, 1, MSG_DONTWAIT)) >= 0);
    CU_ASSERT_EQUAL(n, 0);
}

static void greet(void)
{
    int fds[FM_FDS_MAX];

    hello(W_VERSION);
    hear(fds, W_WELCOME);
}

/* A CONNECT for server.test; tcp is closed here once it is sent. gate: -1 none. */
static void connect_with(uint32_t id, int *tcp, int gate, uint32_t fill, uint32_t flags, int path,
                         const char *store)
{
    static uint8_t out[1024];
    const int fds[2] = {*tcp, gate};
    struct w_buf b;

    w_begin(&b, out, sizeof(out), W_CONNECT, id, gate >= 0 ? 2 : 1);
    w_put_num(&b, W_A_FLAGS, flags | (gate >= 0 ? W_F_GATE : 0));
    w_put_text(&b, W_A_SERVER_NAME, "server.test");
    w_put_text(&b, W_A_TRUST_STORE, store);
    if (path)
        w_put_num(&b, W_A_PATH, (uint64_t)path);
    if (gate >= 0)
        w_put_num(&b, W_A_GATE_FILL, fill);
    send_built(&b, fds, gate >= 0 ? 2 : 1);
    fd_close(tcp);
}

/* Two connected ends over loopback; the server's speaks TLS with that certificate. */
static void serve(int fds[2], enum tp_cert which)
{
    g.server = tp_server(tp_ctx(which), fds, 1);
}

static void test_hello(void)
{
    int fds[FM_FDS_MAX];
    struct w_msg m;
    char agent[64];

    begin_case();
    hello(99);
    m = hear(fds, W_WELCOME);
    CU_ASSERT(m.id == 1 && w_num(&m, W_A_VERSION, 0) == W_VERSION);
    CU_ASSERT_EQUAL(w_num(&m, W_A_CAPS, 99) & (W_CAP_KERNEL | W_CAP_REKEY), 0);
    CU_ASSERT(w_text(&m, W_A_AGENT, agent, sizeof(agent)) == 0 && strstr(agent, "htlsd "));
    hello(1);
    hear_error(1, W_CODE_BAD_REQUEST, EPROTO);
    hear_end();
    end_case();

    begin_case();
    wrig_with_kernel(&g);
    hello(1);
    m = hear(fds, W_WELCOME);
    CU_ASSERT_EQUAL(w_num(&m, W_A_CAPS, 0) & (W_CAP_KERNEL | W_CAP_REKEY),
                    W_CAP_KERNEL | W_CAP_REKEY);
    end_case();
}

static void test_no_hello(void)
{
    static uint8_t out[64];
    struct w_buf b;

    begin_case();
    w_begin(&b, out, sizeof(out), W_STATUS, 5, 0);
    send_built(&b, NULL, 0);
    hear_error(5, W_CODE_BAD_REQUEST, EPROTO);
    hear_end();
    end_case();

    begin_case(); /* never says anything: not for ever */
    end_case();
}

static void test_malformed(void)
{
    int fds[2];

    begin_case();
    tp_pair(fds, 0);
    CU_ASSERT_EQUAL(fm_send(client, "garbage, with descriptors", 25, fds, 2, 0), 0);
    close(fds[0]);
    close(fds[1]);
    hear_error(0, W_CODE_BAD_REQUEST, EBADMSG);
    hear_end();
    end_case();
}

static void hear_result(int got[FM_FDS_MAX], unsigned mode)
{
    struct w_msg m = hear(got, W_RESULT);

    CU_ASSERT_EQUAL(m.id, 7);
    CU_ASSERT_EQUAL(w_num(&m, W_A_MODE_TX, 0), mode);
    CU_ASSERT_EQUAL(w_num(&m, W_A_MODE_RX, 0), mode);
    CU_ASSERT_EQUAL(w_num(&m, W_A_TLS_VERSION, 0), KS_TLS13);
    CU_ASSERT_NOT_EQUAL(w_num(&m, W_A_COOKIE, 0), 0);
    CU_ASSERT_EQUAL(w_has(&m, W_A_WHY), mode == W_MODE_RELAY);
}

/* Through the relay's end to the TLS server and back. */
static void talk(int end)
{
    char got[8] = "";
    int n = -1;

    CU_ASSERT_EQUAL(send(end, "ping", 4, 0), 4);
    WRIG_UNTIL(&g, (n = SSL_read(g.server, got, sizeof(got))) > 0);
    CU_ASSERT(n == 4 && memcmp(got, "ping", 4) == 0);
    CU_ASSERT_EQUAL(SSL_write(g.server, "pong!", 5), 5);
    WRIG_UNTIL(&g, recv(end, got, sizeof(got), MSG_DONTWAIT) == 5);
    CU_ASSERT_EQUAL(memcmp(got, "pong!", 5), 0);
}

static void test_relay(void)
{
    int fds[2], got[FM_FDS_MAX];

    begin_case();
    greet();
    serve(fds, TP_EC);
    connect_with(7, &fds[0], -1, 0, W_F_READS_RECORDS, 0, NULL);
    hear_result(got, W_MODE_RELAY);
    CU_ASSERT_FATAL(got[0] >= 0 && got[1] == -1);
    talk(got[0]);
    CU_ASSERT_EQUAL(st_get(&g.w->stats->relay), 1);
    CU_ASSERT_EQUAL(SSL_shutdown(g.server), 0);
    close(got[0]);
    close(fds[1]);
    end_case();
}

/* The server goes without close_notify: the client is told under the CONNECT's id. */
static void test_relay_ends_badly(void)
{
    int fds[2], got[FM_FDS_MAX];

    begin_case();
    greet();
    serve(fds, TP_EC);
    connect_with(7, &fds[0], -1, 0, 0, 0, NULL);
    hear_result(got, W_MODE_RELAY);
    shutdown(fds[1], SHUT_WR);
    hear_error(7, W_CODE_RESET, ECONNRESET);
    close(got[0]);
    close(fds[1]);
    end_case();

    begin_case(); /* the client is gone by then: its program's relay goes on */
    greet();
    serve(fds, TP_EC);
    connect_with(7, &fds[0], -1, 0, 0, 0, NULL);
    hear_result(got, W_MODE_RELAY);
    fd_close(&client);
    WRIG_UNTIL(&g, st_get(&g.w->stats->peers) == 0);
    talk(got[0]);
    close(got[0]);
    close(fds[1]);
    end_case();
}

/* A gate: the program's end opens after the answer, what it holds never reaches the wire. */
static void test_gate(void)
{
    static char filler[3000];
    int fds[2], gate[2], got[FM_FDS_MAX], n = -1;
    char c;

    begin_case();
    greet();
    serve(fds, TP_EC);
    tp_pair(gate, 0);
    CU_ASSERT_EQUAL(send(gate[0], filler, sizeof(filler), 0), (ssize_t)sizeof(filler));
    connect_with(7, &fds[0], gate[1], sizeof(filler), 0, 0, NULL);
    close(gate[1]);
    hear_result(got, W_MODE_RELAY);
    CU_ASSERT_EQUAL(got[0], -1); /* the gate itself is the relay's end */
    talk(gate[0]);
    close(gate[0]);
    WRIG_UNTIL(&g, (n = SSL_read(g.server, &c, 1)) <= 0 &&
                       SSL_get_error(g.server, n) == SSL_ERROR_ZERO_RETURN);
    close(fds[1]);
    end_case();
}

/* A program that wrote into its socket before TLS was up; one that announced too much. */
static void test_gate_poisoned(void)
{
    for (int more = 0; more < 2; more++) {
        int fds[2], gate[2];
        char c;

        begin_case();
        greet();
        serve(fds, TP_EC);
        tp_pair(gate, 0);
        CU_ASSERT_EQUAL(send(gate[0], "filler!", 7, 0), 7);
        connect_with(7, &fds[0], gate[1], more ? 6 : 8, 0, 0, NULL);
        close(gate[1]);
        hear_error(7, W_CODE_BAD_REQUEST, more ? EPROTO : EINVAL);
        /* the daemon has emptied and closed its end */
        CU_ASSERT(recv(gate[0], &c, 1, MSG_DONTWAIT) == 0);
        close(gate[0]);
        close(fds[1]);
        end_case();
    }
}

static void test_failures(void)
{
    int fds[2], pair[2];

    begin_case();
    greet();
    tp_pair(pair, 0);
    connect_with(7, &pair[0], -1, 0, 0, 0, NULL);
    hear_error(7, W_CODE_BAD_SOCKET, EINVAL);
    close(pair[1]);
    tp_pair(fds, 1);
    connect_with(8, &fds[0], -1, 0, 0, 0, "none");
    hear_error(8, W_CODE_BAD_REQUEST, ENOENT);
    close(fds[1]);
    tp_pair(fds, 1);
    connect_with(9, &fds[0], -1, 0, 0, W_PATH_KERNEL, NULL);
    hear_error(9, W_CODE_NO_KERNEL, EOPNOTSUPP);
    close(fds[1]);
    serve(fds, TP_STRANGER);
    connect_with(10, &fds[0], -1, 0, 0, 0, NULL);
    hear_error(10, W_CODE_CERTIFICATE_UNTRUSTED, EKEYREJECTED);
    CU_ASSERT(st_get(&g.w->stats->refused) == 3 && st_get(&g.w->stats->failed) == 1);
    close(fds[1]);
    end_case();
}

static void test_trust(void)
{
    static uint8_t out[W_MESSAGE_MAX];
    static const char junk[60000] = "no certificate";
    struct w_buf b;
    int fds[2];

    begin_case();
    greet();
    w_begin(&b, out, sizeof(out), W_TRUST, 7, 0);
    w_put_bytes(&b, W_A_PEM, junk, sizeof(junk));
    send_built(&b, NULL, 0);
    tp_pair(fds, 1);
    connect_with(7, &fds[0], -1, 0, 0, 0, NULL);
    hear_error(7, W_CODE_BAD_REQUEST, EINVAL);
    close(fds[1]);
    serve(fds, TP_EC); /* the pieces were of that CONNECT only */
    connect_with(7, &fds[0], -1, 0, 0, 0, NULL);
    {
        int got[FM_FDS_MAX];

        hear_result(got, W_MODE_RELAY);
        close(got[0]);
    }
    for (unsigned i = 0; i < W_TRUST_MAX / sizeof(junk) + 1; i++) {
        w_begin(&b, out, sizeof(out), W_TRUST, 8, 0);
        w_put_bytes(&b, W_A_PEM, junk, sizeof(junk));
        send_built(&b, NULL, 0);
        wrig_turn(&g);
        wrig_turn(&g);
    }
    hear_error(8, W_CODE_LIMIT, EFBIG);
    hear_end();
    close(fds[1]);
    end_case();
}

static void test_others(void)
{
    static uint8_t out[512];
    int fds[FM_FDS_MAX];
    struct w_buf b;
    struct w_msg m;

    begin_case();
    greet();
    w_begin(&b, out, sizeof(out), W_STATUS, 5, 0);
    send_built(&b, NULL, 0);
    m = hear(fds, W_REPORT);
    CU_ASSERT(m.id == 5 && m.v[W_A_REPORT].n > 100);
    w_begin(&b, out, sizeof(out), W_CANCEL, 77, 0); /* of nothing: no answer */
    send_built(&b, NULL, 0);
    w_begin(&b, out, sizeof(out), W_STATUS, 6, 0);
    send_built(&b, NULL, 0);
    m = hear(fds, W_REPORT);
    CU_ASSERT_EQUAL(m.id, 6);
    end_case();
}

/* While a CONNECT runs: CANCEL ends it, a second one ends the client, the client's end ends it. */
static void test_interrupted(void)
{
    static uint8_t out[64];

    for (int how = 0; how < 3; how++) {
        int fds[2], more[2];
        struct w_buf b;
        char c[512];

        begin_case();
        greet();
        tp_pair(fds, 1); /* a server that says nothing */
        connect_with(7, &fds[0], -1, 0, 0, 0, NULL);
        WRIG_UNTIL(&g, recv(fds[1], c, sizeof(c), MSG_DONTWAIT) > 0); /* ClientHello */
        CU_ASSERT_EQUAL(st_get(&g.w->stats->handshakes), 1);
        if (how == 0) {
            w_begin(&b, out, sizeof(out), W_CANCEL, 7, 0);
            send_built(&b, NULL, 0);
            hear_error(7, W_CODE_CANCELLED, ECANCELED);
        } else if (how == 1) {
            tp_pair(more, 1);
            connect_with(8, &more[0], -1, 0, 0, 0, NULL);
            hear_error(8, W_CODE_BAD_REQUEST, EBUSY);
            hear_end();
            close(more[1]);
        } else {
            fd_close(&client);
        }
        WRIG_UNTIL(&g, recv(fds[1], c, sizeof(c), MSG_DONTWAIT) == 0); /* shut down at once */
        close(fds[1]);
        end_case();
    }
}

void suite_peer(void)
{
    CU_pSuite s = CU_add_suite("peer", NULL, NULL);

    CU_add_test(s, "hello", test_hello);
    CU_add_test(s, "no hello", test_no_hello);
    CU_add_test(s, "malformed", test_malformed);
    CU_add_test(s, "relay", test_relay);
    CU_add_test(s, "relay ends badly", test_relay_ends_badly);
    CU_add_test(s, "gate", test_gate);
    CU_add_test(s, "gate poisoned", test_gate_poisoned);
    CU_add_test(s, "failures", test_failures);
    CU_add_test(s, "trust", test_trust);
    CU_add_test(s, "others", test_others);
    CU_add_test(s, "interrupted", test_interrupted);
}
