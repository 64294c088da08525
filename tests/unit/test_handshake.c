/* Tests of daemon/handshake.c against OpenSSL as the server: keys, counters, tickets, names. */
#include "../../daemon/handshake.c"

#include "../../daemon/tickets.h"
#include "hslink.h"
#include "suites.h"

#include <sys/mman.h>

static X509_STORE *store;

static int setup(void)
{
    store = tp_store();
    return 0;
}

static int teardown(void)
{
    X509_STORE_free(store);
    return 0;
}

/* Our record layer goes on where the handshake stopped, both ways, several records each. */
static void go_on(struct hslink *l)
{
    struct rc_ctx *in = NULL, *out = NULL;
    struct ks_dir rx, tx;
    char got[16];

    CU_ASSERT_EQUAL_FATAL(hs_keys(l->h, &rx, &tx, &l->f), 0);
    CU_ASSERT(rc_new(&in, &rx, 0) == 0 && rc_new(&out, &tx, 1) == 0);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(SSL_write(l->server, "to us", 5), 5);
        hslink_take(l, in, RC_DATA, "to us");
        hslink_give(l->fds[0], out, RC_DATA, "to them", 7);
        CU_ASSERT_EQUAL_FATAL(SSL_read(l->server, got, sizeof(got)), 7);
        CU_ASSERT(memcmp(got, "to them", 7) == 0);
    }
    rc_free(in);
    rc_free(out);
}

static void test_every_suite(void)
{
    size_t n;
    const struct ks_suite *all = ks_suites(&n);

    for (size_t i = 0; i < n; i++) {
        struct ks_dir rx, tx;
        struct hs_facts facts;
        struct hslink l;

        hslink_up(&l, store, &all[i], 2);
        CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), 0);
        CU_ASSERT_EQUAL_FATAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
        CU_ASSERT(rx.suite == &all[i] && tx.suite == &all[i]);
        CU_ASSERT_EQUAL(rx.seq, all[i].version == KS_TLS13 ? 2 : 1); /* tickets; Finished */
        CU_ASSERT_EQUAL(tx.seq, all[i].version == KS_TLS13 ? 0 : 1);
        hs_facts(l.h, &facts);
        CU_ASSERT(facts.suite == &all[i] && facts.alpn_len == 0 && !facts.resumed);
        CU_ASSERT_EQUAL(*facts.group != '\0', all[i].version == KS_TLS13);
        go_on(&l);
        hslink_close(&l);
    }
}

/* TLS 1.2: the explicit nonce goes on behind the one of OpenSSL's Finished, also over a carry. */
static void test_nonce(void)
{
    const struct ks_suite *suite = ks_find(0xC02B);
    struct ks_dir rx, tx;
    struct hslink l;

    hslink_up(&l, store, suite, 0);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    for (unsigned i = 0, carry = 1; i < 8; i++) {
        uint8_t want = (uint8_t)(l.h->io.out_nonce[7 - i] + carry);

        carry = carry && want == 0;
        CU_ASSERT_EQUAL(tx.nonce[7 - i], want);
    }
    memset(l.h->io.out_nonce, 0xff, 8);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    for (unsigned i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(tx.nonce[i], 0);
    hslink_close(&l);
}

/* Everything that a server says comes in one piece and far more than it: we stop after Finished. */
static void test_never_past_finished(void)
{
    static const uint16_t suites[] = {0x1301, 0xC02B};
    static char data[20000];

    for (int i = 0; i < 2; i++) {
        struct hs_setup s = hslink_setup(store, "server.test");
        struct hslink l;
        SSL_CTX *c = tp_ctx(TP_EC);
        int before;

        s.suites[0] = ks_find(suites[i]);
        s.n_suites = 1;
        SSL_CTX_set_num_tickets(c, 0);
        CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, c, 0), 0);
        while (l.want != HS_DONE && l.want != HS_FAILED) {
            SSL_do_handshake(l.server);
            if (SSL_is_init_finished(l.server)) /* in TLS 1.2 that is before we have read it all */
                CU_ASSERT_EQUAL(SSL_write(l.server, data, sizeof(data)), (int)sizeof(data));
            l.want = hs_step(l.h, &l.f);
        }
        CU_ASSERT_EQUAL_FATAL(l.want, HS_DONE);
        if (!SSL_is_init_finished(l.server)) {
            CU_ASSERT_EQUAL(SSL_do_handshake(l.server), 1);
            CU_ASSERT_EQUAL(SSL_write(l.server, data, sizeof(data)), (int)sizeof(data));
        }
        before = hslink_unread(l.fds[0]);
        CU_ASSERT(before > (int)sizeof(data));
        CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), before);
        hslink_close(&l);
    }
}

/* One byte at a time in both directions, through a socket that takes hardly any. */
static void test_slowly(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hslink l;
    int relay[2], turns = 0, waits = 0;
    char byte;

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(TP_EC), 0), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, relay), 0);
    /* ours <-> relay[0] is moved by hand to and from the server's socket */
    l.h->io.fd = relay[1];
    while (l.want != HS_DONE && l.want != HS_FAILED && turns++ < 20000) {
        l.want = hs_step(l.h, &l.f);
        waits += l.want == HS_WANT_READ;
        while (recv(relay[0], &byte, 1, 0) == 1) {
            CU_ASSERT_EQUAL(send(l.fds[0], &byte, 1, 0), 1);
            SSL_do_handshake(l.server); /* or the bytes of a long hello fill its queue */
        }
        SSL_do_handshake(l.server);
        if (recv(l.fds[0], &byte, 1, MSG_DONTWAIT) == 1)
            CU_ASSERT_EQUAL(send(relay[0], &byte, 1, 0), 1);
    }
    CU_ASSERT(l.want == HS_DONE && waits > 500);
    l.h->io.fd = l.fds[0];
    close(relay[0]);
    close(relay[1]);
    hslink_close(&l);
}

/* The socket's flags are the client's: never changed. A full socket asks for POLLOUT. */
static void test_want_write(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hslink l;
    char fill[4096] = "";
    int small = 4608;

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, NULL, 0), 0);
    setsockopt(l.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    while (send(l.fds[0], fill, sizeof(fill), MSG_DONTWAIT) > 0)
        ;
    CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_WANT_WRITE);
    while (recv(l.fds[1], fill, sizeof(fill), MSG_DONTWAIT) > 0)
        ;
    CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_WANT_READ);
    hslink_close(&l);
    hs_free(NULL);
    hs_ctx_free(NULL);
}

static void test_key_log(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    static char text[8192];
    struct hslink l;
    int fd = memfd_create("keys", MFD_CLOEXEC), lines = 0;

    memset(text, 0, sizeof(text));
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(TP_EC), 0), 0);
    l.ctx->key_log_fd = fd;
    CU_ASSERT_EQUAL_FATAL(hslink_run(&l), HS_DONE);
    hslink_close(&l);
    CU_ASSERT(pread(fd, text, sizeof(text) - 1, 0) > 0);
    for (char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    CU_ASSERT_EQUAL(lines, 5);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "CLIENT_TRAFFIC_SECRET_0 "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "EXPORTER_SECRET "));
    close(fd);
}

/* Without secrets there are no keys, and nothing that looks like some. */
static void test_no_secrets(void)
{
    static const uint16_t suites[] = {0x1301, 0xC02B};

    for (int i = 0; i < 2; i++) {
        struct ks_dir rx, tx;
        struct hslink l;

        hslink_up(&l, store, ks_find(suites[i]), 0);
        secret_wipe(&l.h->secrets, sizeof(l.h->secrets));
        CU_ASSERT(hs_keys(l.h, &rx, &tx, &l.f) < 0);
        CU_ASSERT_EQUAL(l.f.code, W_CODE_INTERNAL_ERROR);
        hslink_close(&l);
    }
}

void suite_handshake(void)
{
    CU_pSuite s = CU_add_suite("handshake", setup, teardown);

    CU_add_test(s, "every suite", test_every_suite);
    CU_add_test(s, "nonce", test_nonce);
    CU_add_test(s, "never past Finished", test_never_past_finished);
    CU_add_test(s, "slowly", test_slowly);
    CU_add_test(s, "want write", test_want_write);
    CU_add_test(s, "key log", test_key_log);
    CU_add_test(s, "no secrets", test_no_secrets);
}
