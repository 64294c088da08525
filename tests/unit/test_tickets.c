/* Tests of daemon/tickets.c: what is taken from a real server's tickets, and what is left. */
#include "../../daemon/tickets.c"

#include "hslink.h"
#include "suites.h"

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

/* Data in front of a ticket, and a ticket behind data, stay where they are. */
static void test_drain_leaves_data(void)
{
    struct rc_ctx *in = NULL;
    struct ks_dir rx, tx;
    struct hslink l;
    int before;

    hslink_up(&l, store, ks_find(0x1301), 1);
    CU_ASSERT_EQUAL(SSL_write(l.server, "data", 4), 4);
    CU_ASSERT_EQUAL(SSL_new_session_ticket(l.server), 1);
    CU_ASSERT_EQUAL(SSL_write(l.server, "more", 4), 4);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
    before = hslink_unread(l.fds[0]);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0); /* nothing more for it */
    CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), before);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT(rx.seq == 1 && rc_new(&in, &rx, 0) == 0);
    hslink_take(&l, in, RC_DATA, "data");
    hslink_take(&l, in, RC_HANDSHAKE, NULL);
    hslink_take(&l, in, RC_DATA, "more");
    rc_free(in);
    hslink_close(&l);
}

/* As many tickets as the peer likes: some are taken, the rest is left whole. */
static void test_many_tickets(void)
{
    struct rc_ctx *in = NULL;
    struct ks_dir rx, tx;
    struct hslink l;

    hslink_up(&l, store, ks_find(0x1302), DRAIN_MAX + 4);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT(rx.seq == DRAIN_MAX && rc_new(&in, &rx, 0) == 0);
    for (int i = 0; i < 4; i++)
        hslink_take(&l, in, RC_HANDSHAKE, NULL);
    CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), 0);
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

    hslink_up(&l, store, ks_find(0x1303), 0);
    CU_ASSERT_EQUAL(hs_keys(l.h, &rx, &tx, &l.f), 0);
    CU_ASSERT_EQUAL_FATAL(rc_new(&out, &rx, 1), 0);
    hslink_give(l.fds[1], out, type, p, n);
    before = hslink_unread(l.fds[0]);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), before);
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

    hslink_up(&l, store, ks_find(0x1301), 1);
    n = recv(l.fds[0], r, sizeof(r), 0);
    CU_ASSERT_FATAL(n > 10);
    for (ssize_t k = 0; k<n; k += n - 1 - k> 40 ? 40 : 1) {
        if (k > 0)
            CU_ASSERT_EQUAL(send(l.fds[1], r, (size_t)k, 0), k);
        CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
        CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), (int)k);
        if (k > 0)
            CU_ASSERT_EQUAL(recv(l.fds[0], r, (size_t)k, 0), k);
    }
    r[n - 1] ^= 1;
    CU_ASSERT_EQUAL(send(l.fds[1], r, (size_t)n, 0), n);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
    CU_ASSERT_EQUAL(hslink_unread(l.fds[0]), (int)n);
    CU_ASSERT(hs_keys(l.h, &rx, &tx, &l.f) == 0 && rx.seq == 0);
    hslink_close(&l);
}

void suite_tickets(void)
{
    CU_pSuite s = CU_add_suite("tickets", setup, teardown);

    CU_add_test(s, "drain leaves data", test_drain_leaves_data);
    CU_add_test(s, "many tickets", test_many_tickets);
    CU_add_test(s, "drain leaves others", test_drain_leaves_others);
    CU_add_test(s, "drain, partial", test_drain_partial);
}
