/* Tests of daemon/peer.c: a client on a socketpair, from HELLO to its end. */
#define fm_send send_or_refuse
#include "../../daemon/peer.c"
#undef fm_send

#include "peerrig.h"
#include "suites.h"

int fm_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds, int flags);
static int kernel_says; /* what the kernel says to messages with descriptors, 0 nothing */

int send_or_refuse(int sock, const void *buf, size_t len, const int *fds, unsigned nfds, int flags)
{
    return kernel_says && nfds ? kernel_says : fm_send(sock, buf, len, fds, nfds, flags);
}

static void test_hello(void)
{
    int fds[FM_FDS_MAX];
    struct w_msg m;
    char agent[64];

    prig_begin();
    prig_hello(99);
    m = prig_hear(fds, W_WELCOME);
    CU_ASSERT(m.id == 1 && w_num(&m, W_A_VERSION, 0) == W_VERSION);
    CU_ASSERT_EQUAL(w_num(&m, W_A_CAPS, 99) & (W_CAP_KERNEL | W_CAP_REKEY), 0);
    CU_ASSERT(w_text(&m, W_A_AGENT, agent, sizeof(agent)) == 0 && strstr(agent, "htlsd "));
    prig_hello(1);
    prig_hear_error(1, W_CODE_BAD_REQUEST, EPROTO);
    prig_hear_end();
    prig_end();

    prig_begin();
    wrig_with_kernel(&prig);
    prig_hello(1);
    m = prig_hear(fds, W_WELCOME);
    CU_ASSERT_EQUAL(w_num(&m, W_A_CAPS, 0) & (W_CAP_KERNEL | W_CAP_REKEY),
                    W_CAP_KERNEL | W_CAP_REKEY);
    prig_end();
}

static void test_no_hello(void)
{
    static uint8_t out[64];
    struct w_buf b;

    prig_begin();
    w_begin(&b, out, sizeof(out), W_STATUS, 5, 0);
    prig_send(&b, NULL, 0);
    prig_hear_error(5, W_CODE_BAD_REQUEST, EPROTO);
    prig_hear_end();
    prig_end();

    prig_begin(); /* never says anything: not for ever */
    prig_end();
}

static void test_malformed(void)
{
    int fds[2];

    prig_begin();
    tp_pair(fds, 0);
    CU_ASSERT_EQUAL(fm_send(prig_client, "garbage, with descriptors", 25, fds, 2, 0), 0);
    close(fds[0]);
    close(fds[1]);
    prig_hear_error(0, W_CODE_BAD_REQUEST, EBADMSG);
    prig_hear_end();
    prig_end();
}

static void test_relay(void)
{
    int fds[2], got[FM_FDS_MAX];

    prig_begin();
    prig_greet();
    prig_serve(fds, TP_EC);
    prig_connect(7, &fds[0], -1, 0, W_F_READS_RECORDS, 0, NULL);
    prig_hear_result(got, W_MODE_RELAY);
    CU_ASSERT_FATAL(got[0] >= 0 && got[1] == -1);
    prig_talk(got[0]);
    CU_ASSERT_EQUAL(st_get(&prig.w->stats->relay), 1);
    CU_ASSERT_EQUAL(SSL_shutdown(prig.server), 0);
    close(got[0]);
    close(fds[1]);
    prig_end();
}

/* The server goes without close_notify: the client is told under the CONNECT's id. */
static void test_relay_ends_badly(void)
{
    int fds[2], got[FM_FDS_MAX];

    prig_begin();
    prig_greet();
    prig_serve(fds, TP_EC);
    prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_result(got, W_MODE_RELAY);
    shutdown(fds[1], SHUT_WR);
    prig_hear_error(7, W_CODE_RESET, ECONNRESET);
    close(got[0]);
    close(fds[1]);
    prig_end();

    prig_begin(); /* the client is gone by then: its program's relay goes on */
    prig_greet();
    prig_serve(fds, TP_EC);
    prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_result(got, W_MODE_RELAY);
    fd_close(&prig_client);
    WRIG_UNTIL(&prig, st_get(&prig.w->stats->peers) == 0);
    prig_talk(got[0]);
    close(got[0]);
    close(fds[1]);
    prig_end();
}

/* A gate: the program's end opens after the answer, what it holds never reaches the wire. */
static void test_gate(void)
{
    static char filler[3000];
    int fds[2], gate[2], got[FM_FDS_MAX], n = -1;
    char c;

    prig_begin();
    prig_greet();
    prig_serve(fds, TP_EC);
    tp_pair(gate, 0);
    CU_ASSERT_EQUAL(send(gate[0], filler, sizeof(filler), 0), (ssize_t)sizeof(filler));
    prig_connect(7, &fds[0], gate[1], sizeof(filler), 0, 0, NULL);
    close(gate[1]);
    prig_hear_result(got, W_MODE_RELAY);
    CU_ASSERT_EQUAL(got[0], -1); /* the gate itself is the relay's end */
    prig_talk(gate[0]);
    close(gate[0]);
    WRIG_UNTIL(&prig, (n = SSL_read(prig.server, &c, 1)) <= 0 &&
                          SSL_get_error(prig.server, n) == SSL_ERROR_ZERO_RETURN);
    close(fds[1]);
    prig_end();
}

/* A program that wrote into its socket before TLS was up; one that announced too much. */
static void test_gate_poisoned(void)
{
    for (int more = 0; more < 2; more++) {
        int fds[2], gate[2];
        char c;

        prig_begin();
        prig_greet();
        prig_serve(fds, TP_EC);
        tp_pair(gate, 0);
        CU_ASSERT_EQUAL(send(gate[0], "filler!", 7, 0), 7);
        prig_connect(7, &fds[0], gate[1], more ? 6 : 8, 0, 0, NULL);
        close(gate[1]);
        prig_hear_error(7, W_CODE_BAD_REQUEST, more ? EPROTO : EINVAL);
        /* the daemon has emptied and closed its end */
        CU_ASSERT(recv(gate[0], &c, 1, MSG_DONTWAIT) == 0);
        close(gate[0]);
        close(fds[1]);
        prig_end();
    }
}

/* The kernel carries no more descriptors for us: told by name, and the client may go on. */
static void test_too_many_on_the_way(void)
{
    int fds[2], got[FM_FDS_MAX], n = -1;
    char c;

    prig_begin();
    prig_greet();
    prig_serve(fds, TP_EC);
    kernel_says = -ETOOMANYREFS;
    prig_connect(6, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_error(6, W_CODE_LIMIT, ETOOMANYREFS);
    kernel_says = 0;
    WRIG_UNTIL(&prig, (n = SSL_read(prig.server, &c, 1)) <= 0 &&
                          SSL_get_error(prig.server, n) != SSL_ERROR_WANT_READ);
    SSL_free(prig.server);
    close(fds[1]);
    prig_serve(fds, TP_EC);
    prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_result(got, W_MODE_RELAY);
    prig_talk(got[0]);
    close(got[0]);
    close(fds[1]);
    prig_end();
}

static void test_failures(void)
{
    int fds[2], pair[2];

    prig_begin();
    prig_greet();
    tp_pair(pair, 0);
    prig_connect(7, &pair[0], -1, 0, 0, 0, NULL);
    prig_hear_error(7, W_CODE_BAD_SOCKET, EINVAL);
    close(pair[1]);
    tp_pair(fds, 1);
    prig_connect(8, &fds[0], -1, 0, 0, 0, "none");
    prig_hear_error(8, W_CODE_BAD_REQUEST, ENOENT);
    close(fds[1]);
    tp_pair(fds, 1);
    prig_connect(9, &fds[0], -1, 0, 0, W_PATH_KERNEL, NULL);
    prig_hear_error(9, W_CODE_NO_KERNEL, EOPNOTSUPP);
    close(fds[1]);
    prig_serve(fds, TP_STRANGER);
    prig_connect(10, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_error(10, W_CODE_CERTIFICATE_UNTRUSTED, EKEYREJECTED);
    CU_ASSERT(st_get(&prig.w->stats->refused) == 3 && st_get(&prig.w->stats->failed) == 1);
    close(fds[1]);
    prig_end();
}

static void test_trust(void)
{
    static uint8_t out[W_MESSAGE_MAX];
    static const char junk[60000] = "no certificate";
    struct w_buf b;
    int fds[2];

    prig_begin();
    prig_greet();
    w_begin(&b, out, sizeof(out), W_TRUST, 7, 0);
    w_put_bytes(&b, W_A_PEM, junk, sizeof(junk));
    prig_send(&b, NULL, 0);
    tp_pair(fds, 1);
    prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
    prig_hear_error(7, W_CODE_BAD_REQUEST, EINVAL);
    close(fds[1]);
    prig_serve(fds, TP_EC); /* the pieces were of that CONNECT only */
    prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
    {
        int got[FM_FDS_MAX];

        prig_hear_result(got, W_MODE_RELAY);
        close(got[0]);
    }
    for (unsigned i = 0; i < W_TRUST_MAX / sizeof(junk) + 1; i++) {
        w_begin(&b, out, sizeof(out), W_TRUST, 8, 0);
        w_put_bytes(&b, W_A_PEM, junk, sizeof(junk));
        prig_send(&b, NULL, 0);
        wrig_turn(&prig);
        wrig_turn(&prig);
    }
    prig_hear_error(8, W_CODE_LIMIT, EFBIG);
    prig_hear_end();
    close(fds[1]);
    prig_end();
}

static void test_others(void)
{
    static uint8_t out[512];
    int fds[FM_FDS_MAX];
    struct w_buf b;
    struct w_msg m;

    prig_begin();
    prig_greet();
    w_begin(&b, out, sizeof(out), W_STATUS, 5, 0);
    prig_send(&b, NULL, 0);
    m = prig_hear(fds, W_REPORT);
    CU_ASSERT(m.id == 5 && m.v[W_A_REPORT].n > 100);
    w_begin(&b, out, sizeof(out), W_CANCEL, 77, 0); /* of nothing: no answer */
    prig_send(&b, NULL, 0);
    w_begin(&b, out, sizeof(out), W_STATUS, 6, 0);
    prig_send(&b, NULL, 0);
    m = prig_hear(fds, W_REPORT);
    CU_ASSERT_EQUAL(m.id, 6);
    prig_end();
}

/* While a CONNECT runs: CANCEL ends it, a second one ends the client, the client's end ends
 * it. */
static void test_interrupted(void)
{
    static uint8_t out[64];

    for (int how = 0; how < 3; how++) {
        int fds[2], more[2];
        struct w_buf b;
        char c[512];

        prig_begin();
        prig_greet();
        tp_pair(fds, 1); /* a server that says nothing */
        prig_connect(7, &fds[0], -1, 0, 0, 0, NULL);
        WRIG_UNTIL(&prig, recv(fds[1], c, sizeof(c), MSG_DONTWAIT) > 0); /* ClientHello */
        CU_ASSERT_EQUAL(st_get(&prig.w->stats->handshakes), 1);
        if (how == 0) {
            w_begin(&b, out, sizeof(out), W_CANCEL, 7, 0);
            prig_send(&b, NULL, 0);
            prig_hear_error(7, W_CODE_CANCELLED, ECANCELED);
        } else if (how == 1) {
            tp_pair(more, 1);
            prig_connect(8, &more[0], -1, 0, 0, 0, NULL);
            prig_hear_error(8, W_CODE_BAD_REQUEST, EBUSY);
            prig_hear_end();
            close(more[1]);
        } else {
            fd_close(&prig_client);
        }
        WRIG_UNTIL(&prig, recv(fds[1], c, sizeof(c), MSG_DONTWAIT) == 0); /* shut down at once */
        close(fds[1]);
        prig_end();
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
    CU_add_test(s, "too many on the way", test_too_many_on_the_way);
    CU_add_test(s, "failures", test_failures);
    CU_add_test(s, "trust", test_trust);
    CU_add_test(s, "others", test_others);
    CU_add_test(s, "interrupted", test_interrupted);
}
