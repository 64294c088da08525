/* Tests of daemon/handshake.c against OpenSSL as the server: keys, counters, tickets, names. */
#include "../../daemon/handshake.c"

#include "hslink.h"
#include "suites.h"

#include <sys/ioctl.h>
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

static int unread(int fd)
{
    int n = -1;

    ioctl(fd, FIONREAD, &n);
    return n;
}

/* A finished handshake with that suite; `tickets` of TLS 1.3 lie in our queue then. */
static void up(struct hslink *l, const struct ks_suite *suite, size_t tickets)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    SSL_CTX *c = tp_ctx(strstr(suite->name, "_RSA_") ? TP_RSA : TP_EC);

    s.suites[0] = suite;
    s.n_suites = 1;
    SSL_CTX_set_num_tickets(c, tickets);
    CU_ASSERT_EQUAL_FATAL(hslink_open(l, &s, c, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(l), HS_DONE);
    CU_ASSERT_EQUAL_FATAL(SSL_do_handshake(l->server), 1);
}

/* Opens one record that lies in our queue. */
static void take(struct hslink *l, struct rc_ctx *c, uint8_t want_type, const char *want)
{
    uint8_t r[RC_HEADER + RC_BODY_MAX], type = 0, *plain = NULL;
    size_t n = 0;
    int len;

    CU_ASSERT_EQUAL_FATAL(recv(l->fds[0], r, RC_HEADER, 0), (ssize_t)RC_HEADER);
    len = rc_length(r);
    CU_ASSERT_EQUAL_FATAL(recv(l->fds[0], r + RC_HEADER, (size_t)len - RC_HEADER, MSG_WAITALL),
                          len - (ssize_t)RC_HEADER);
    CU_ASSERT_EQUAL_FATAL(rc_open(c, r, (size_t)len, &type, &plain, &n), 0);
    CU_ASSERT_EQUAL(type, want_type);
    if (want)
        CU_ASSERT(n == strlen(want) && memcmp(plain, want, n) == 0);
}

static void give(int fd, struct rc_ctx *c, uint8_t type, const void *p, size_t n)
{
    uint8_t r[RC_HEADER + RC_BODY_MAX];
    int len = rc_seal(c, type, p, n, r);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(send(fd, r, (size_t)len, 0), len);
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
        take(l, in, RC_DATA, "to us");
        give(l->fds[0], out, RC_DATA, "to them", 7);
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

        up(&l, &all[i], 2);
        CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(unread(l.fds[0]), 0);
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

    up(&l, suite, 0);
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
        before = unread(l.fds[0]);
        CU_ASSERT(before > (int)sizeof(data));
        CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(unread(l.fds[0]), before);
        hslink_close(&l);
    }
}

/* Data in front of a ticket, and a ticket behind data, stay where they are. */
static void test_drain_leaves_data(void)
{
    struct rc_ctx *in = NULL;
    struct ks_dir rx, tx;
    struct hslink l;
    int before;

    up(&l, ks_find(0x1301), 1);
    CU_ASSERT_EQUAL(SSL_write(l.server, "data", 4), 4);
    CU_ASSERT_EQUAL(SSL_new_session_ticket(l.server), 1);
    CU_ASSERT_EQUAL(SSL_write(l.server, "more", 4), 4);
    CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
    before = unread(l.fds[0]);
    CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0); /* nothing more for it */
    CU_ASSERT_EQUAL(unread(l.fds[0]), before);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT(rx.seq == 1 && rc_new(&in, &rx, 0) == 0);
    take(&l, in, RC_DATA, "data");
    take(&l, in, RC_HANDSHAKE, NULL);
    take(&l, in, RC_DATA, "more");
    rc_free(in);
    hslink_close(&l);
}

/* As many tickets as the peer likes: some are taken, the rest is left whole. */
static void test_many_tickets(void)
{
    struct rc_ctx *in = NULL;
    struct ks_dir rx, tx;
    struct hslink l;

    up(&l, ks_find(0x1302), DRAIN_MAX + 4);
    CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT(rx.seq == DRAIN_MAX && rc_new(&in, &rx, 0) == 0);
    for (int i = 0; i < 4; i++)
        take(&l, in, RC_HANDSHAKE, NULL);
    CU_ASSERT_EQUAL(unread(l.fds[0]), 0);
    rc_free(in);
    hslink_close(&l);
}

/* Records of the server, made by hand from its keys: what is no whole ticket is left alone. */
static void left_alone(uint8_t type, const void *p, size_t n)
{
    struct rc_ctx *out = NULL;
    struct ks_dir rx, tx;
    struct hslink l;
    int before;

    up(&l, ks_find(0x1303), 0);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT_EQUAL_FATAL(rc_new(&out, &rx, 1), 0);
    give(l.fds[1], out, type, p, n);
    before = unread(l.fds[0]);
    CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(unread(l.fds[0]), before);
    CU_ASSERT(hs_keys(l.h, &rx, &tx, &l.f) == 0 && rx.seq == 0);
    rc_free(out);
    hslink_close(&l);
}

static void test_drain_leaves_others(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 1}, half[] = {4, 0, 0, 100, 0, 0, 1};
    static const uint8_t both[] = {4, 0, 0, 16, 0, 0, 1, 0,  0, 0, 0, 0, 1,
                                   7, 0, 1, 9,  0, 0, 0, 24, 0, 0, 1, 0};
    static const uint8_t alert[] = {1, 0};

    left_alone(RC_HANDSHAKE, update, sizeof(update));
    left_alone(RC_HANDSHAKE, half, sizeof(half));
    left_alone(RC_HANDSHAKE, both, sizeof(both)); /* a ticket, and a KeyUpdate in its record */
    left_alone(RC_ALERT, alert, sizeof(alert));
    left_alone(RC_DATA, "\4\0\0\0", 4);
}

/* A ticket that is not whole in the queue yet, or that is damaged. */
static void test_drain_partial(void)
{
    struct hslink l;
    struct ks_dir rx, tx;
    uint8_t r[4096];
    ssize_t n;

    up(&l, ks_find(0x1301), 1);
    n = recv(l.fds[0], r, sizeof(r), 0);
    CU_ASSERT_FATAL(n > 10);
    for (ssize_t k = 0; k<n; k += n - 1 - k> 40 ? 40 : 1) {
        if (k > 0)
            CU_ASSERT_EQUAL(send(l.fds[1], r, (size_t)k, 0), k);
        CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(unread(l.fds[0]), (int)k);
        if (k > 0)
            CU_ASSERT_EQUAL(recv(l.fds[0], r, (size_t)k, 0), k);
    }
    r[n - 1] ^= 1;
    CU_ASSERT_EQUAL(send(l.fds[1], r, (size_t)n, 0), n);
    CU_ASSERT_EQUAL(hs_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(unread(l.fds[0]), (int)n);
    CU_ASSERT(hs_keys(l.h, &rx, &tx, &l.f) == 0 && rx.seq == 0);
    hslink_close(&l);
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
        while (recv(relay[0], &byte, 1, 0) == 1)
            CU_ASSERT_EQUAL(send(l.fds[0], &byte, 1, 0), 1);
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

        up(&l, ks_find(suites[i]), 0);
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
    CU_add_test(s, "drain leaves data", test_drain_leaves_data);
    CU_add_test(s, "many tickets", test_many_tickets);
    CU_add_test(s, "drain leaves others", test_drain_leaves_others);
    CU_add_test(s, "drain, partial", test_drain_partial);
    CU_add_test(s, "slowly", test_slowly);
    CU_add_test(s, "want write", test_want_write);
    CU_add_test(s, "key log", test_key_log);
    CU_add_test(s, "no secrets", test_no_secrets);
}
