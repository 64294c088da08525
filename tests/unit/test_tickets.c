/* Tests of daemon/tickets.c: what is taken from a real server's tickets, before the keys leave and
 * after. */
#include "../../daemon/tickets.c"

#include "resumerig.h"
#include "suites.h"

#include <malloc.h>

/* --- before the keys leave ----------------------------------------------------------- */

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

/* --- after --------------------------------------------------------------------------- */

static struct lp_loop *lp;
static struct tickets *table;

/* A connection whose handshake waits for tickets; the test reads its records as the kernel would.
 */
struct late {
    struct hslink l;
    struct rc_ctx *in;
    int wire; /* the socket, whose number the handshake knew belongs to somebody else now */
    int stranger[2];
};

static void begin_late(uint16_t suite, size_t tickets)
{
    begin_case(suite, TP_EC);
    SSL_CTX_set_num_tickets(server, tickets);
    CU_ASSERT_FATAL(lp_open(&lp, 8) == 0 && tk_open(&table, lp) == 0);
}

static void end_late(void)
{
    tk_close(table);
    tk_close(NULL);
    lp_close(lp);
    end_case();
}

static void keep(struct late *k, uint64_t cookie)
{
    struct ks_dir rx, tx;

    k->in = NULL;
    SSL_CTX_up_ref(server);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&k->l, &want, server, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(&k->l), HS_DONE);
    CU_ASSERT_EQUAL_FATAL(SSL_do_handshake(k->l.server), 1);
    CU_ASSERT_EQUAL(tk_drain(k->l.h, &k->l.f), 0);
    CU_ASSERT_EQUAL(hs_keys(k->l.h, &rx, &tx, &k->l.f), 0);
    CU_ASSERT_EQUAL_FATAL(rc_new(&k->in, &rx, 0), 0);
    memcpy(key, k->l.h->resume.key, sizeof(key));
    k->wire = dup(k->l.fds[0]);
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, k->stranger), 0);
    CU_ASSERT_EQUAL(send(k->stranger[1], "theirs", 6, 0), 6);
    CU_ASSERT_EQUAL(dup2(k->stranger[0], k->l.fds[0]), k->l.fds[0]);
    tk_keep(table, cookie, k->l.h);
    k->l.h = NULL;
}

static void let_go(struct late *k)
{
    char c;

    CU_ASSERT_EQUAL(hslink_unread(k->stranger[0]), 6);
    CU_ASSERT(recv(k->stranger[1], &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    close(k->stranger[0]);
    close(k->stranger[1]);
    close(k->wire);
    rc_free(k->in);
    SSL_set_shutdown(k->l.server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    hslink_close(&k->l);
}

/* The next record, as its reader has it. Returns the length of its plaintext. */
static size_t read_record(struct late *k, uint8_t want_type, uint8_t out[RC_PLAIN_MAX])
{
    static uint8_t r[RC_HEADER + RC_BODY_MAX];
    uint8_t type = 0, *plain = NULL;
    size_t n = 0;
    int len;

    CU_ASSERT_EQUAL_FATAL(recv(k->wire, r, RC_HEADER, 0), (ssize_t)RC_HEADER);
    len = rc_length(r);
    CU_ASSERT_EQUAL_FATAL(recv(k->wire, r + RC_HEADER, (size_t)len - RC_HEADER, MSG_WAITALL),
                          len - (ssize_t)RC_HEADER);
    CU_ASSERT_EQUAL_FATAL(rc_open(k->in, r, (size_t)len, &type, &plain, &n), 0);
    CU_ASSERT_EQUAL_FATAL(type, want_type);
    memcpy(out, plain, n);
    return n;
}

/* The server sends data, then a ticket. Returns the ticket's message. */
static size_t late_ticket(struct late *k, uint8_t out[RC_PLAIN_MAX])
{
    CU_ASSERT_EQUAL(SSL_write(k->l.server, "data", 4), 4);
    CU_ASSERT_EQUAL(read_record(k, RC_DATA, out), 4);
    CU_ASSERT_EQUAL(SSL_new_session_ticket(k->l.server), 1);
    CU_ASSERT_EQUAL(SSL_do_handshake(k->l.server), 1);
    return read_record(k, RC_HANDSHAKE, out);
}

static uint8_t p[RC_PLAIN_MAX + 1];

/* Tickets behind data: two are taken, both resume, a third is not waited for. */
static void test_late(void)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1304};

    for (size_t i = 0; i < 4; i++) {
        struct late k;

        begin_late(suites[i], 0);
        keep(&k, 7);
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), 0);
        CU_ASSERT(counted(0, 1, 1, 0));
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), 0);
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), -ENOENT);
        CU_ASSERT(counted(0, 1, 2, 0));
        let_go(&k);
        CU_ASSERT(connects() && connects());
        CU_ASSERT_FALSE(connects());
        end_late();
    }
}

/* What the drain took counts too: one more is waited for, or none. */
static void test_some_were_early(void)
{
    for (size_t early = 1; early <= 2; early++) {
        struct late k;

        begin_late(0x1301, early);
        keep(&k, 7);
        CU_ASSERT(table->places[0].until <= lp_now_ms() + NEXT_MS);
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), early == 1 ? 0 : -ENOENT);
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), -ENOENT);
        CU_ASSERT(counted(0, 1, 2, 0));
        let_go(&k);
        CU_ASSERT_TRUE(connects());
        end_late();
    }
}

/* A message in pieces of any length; two messages in one record. */
static void test_cut(void)
{
    struct late k;
    size_t n;

    for (size_t piece = 1; piece < 300; piece += piece < 6 ? 1 : 83) {
        begin_late(0x1301, 0);
        keep(&k, 7);
        n = late_ticket(&k, p);
        for (size_t at = 0; at < n; at += piece) {
            CU_ASSERT(counted(0, 1, 0, 0));
            CU_ASSERT_EQUAL(tk_feed(table, 7, p + at, n - at < piece ? n - at : piece), 0);
        }
        CU_ASSERT(counted(0, 1, 1, 0));
        let_go(&k);
        CU_ASSERT_TRUE(connects());
        end_late();
    }
    begin_late(0x1303, 0);
    keep(&k, 7);
    n = late_ticket(&k, p);
    n += late_ticket(&k, p + n);
    CU_ASSERT_EQUAL(tk_feed(table, 7, p, n), 0);
    let_go(&k);
    CU_ASSERT(counted(0, 1, 2, 0) && connects() && connects());
    end_late();
}

/* What is no ticket ends the wait, and leaves nothing in the cache. */
static void test_late_garbage(void)
{
    static const struct {
        const char *p;
        size_t n;
    } rows[] = {{"", 0},
                {"\30\0\0\1\1", 5},                              /* KeyUpdate */
                {"\15\0\0\3\0\0\0", 7},                          /* CertificateRequest */
                {"\0\0\0\0", 4},                                 /* HelloRequest */
                {"\4\0\0\2\0\0", 6},                             /* a ticket that is none */
                {"\4\0\0\17\0\0\1\0\0\0\0\0\1\7\0\0\0\0\0", 19}, /* of no bytes */
                {"\4\2\0\1", 4}};                                /* far too long */

    for (size_t i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
        struct late k;

        begin_late(0x1301, 0);
        keep(&k, 7);
        CU_ASSERT_EQUAL(tk_feed(table, 8, p, 4), -ENOENT); /* another connection's */
        CU_ASSERT_EQUAL(tk_feed(table, 0, p, 4), -ENOENT);
        if (i < sizeof(rows) / sizeof(rows[0])) {
            CU_ASSERT_EQUAL(tk_feed(table, 7, (const uint8_t *)rows[i].p, rows[i].n), -EBADMSG);
        } else {
            memcpy(p, "\4\0\200\0", 4); /* more than a record holds */
            CU_ASSERT_EQUAL(tk_feed(table, 7, p, sizeof(p)), -EBADMSG);
        }
        CU_ASSERT_EQUAL(ERR_peek_error(), 0);
        CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), -ENOENT);
        CU_ASSERT(se_count(ru.cache) == 0);
        let_go(&k);
        end_late();
    }
}

/* Nothing is kept where no ticket can be of use. */
static void test_not_kept(void)
{
    struct late k;

    begin_late(0xC02B, 0); /* TLS 1.2 */
    keep(&k, 7);
    CU_ASSERT_EQUAL(tk_feed(table, 7, p, 4), -ENOENT);
    let_go(&k);
    end_late();
    begin_late(0x1301, 0);
    want.uid = 65534; /* shares nothing */
    keep(&k, 7);
    CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), -ENOENT);
    let_go(&k);
    want.uid = 1;
    keep(&k, 0); /* the kernel gave no cookie */
    CU_ASSERT_PTR_NULL(table->places[0].hs);
    CU_ASSERT_EQUAL(tk_feed(table, 0, p, late_ticket(&k, p)), -ENOENT);
    let_go(&k);
    end_late();
}

/* One more than there are places: the oldest makes way. A cookie that comes again is the new one.
 */
static void test_full_table(void)
{
    static struct late k[PLACES + 1];
    unsigned fives = 0;

    begin_late(0x1301, 0);
    for (unsigned i = 0; i <= PLACES; i++) {
        keep(&k[i], i + 1);
        for (struct waiting *w = table->places; w < table->places + PLACES; w++)
            w->until -= w->cookie == i + 1 ? PLACES - i : 0; /* a millisecond apart */
    }
    CU_ASSERT_EQUAL(tk_feed(table, 1, p, late_ticket(&k[0], p)), -ENOENT);
    for (unsigned i = 1; i <= PLACES; i++)
        CU_ASSERT_EQUAL(tk_feed(table, i + 1, p, late_ticket(&k[i], p)), 0);
    let_go(&k[0]);
    keep(&k[0], 5); /* in the place of k[4]'s */
    for (struct waiting *w = table->places; w < table->places + PLACES; w++)
        fives += w->cookie == 5;
    CU_ASSERT_EQUAL(fives, 1);
    CU_ASSERT_EQUAL(tk_feed(table, 5, p, late_ticket(&k[0], p)), 0);
    CU_ASSERT_EQUAL(tk_feed(table, 6, p, late_ticket(&k[5], p)), 0);
    for (unsigned i = 0; i <= PLACES; i++)
        let_go(&k[i]);
    end_late();
}

static void on_stop(struct lp_op *op, int result)
{
    (void)op, (void)result;
    lp_stop(lp);
}

static void turn(unsigned ms)
{
    struct lp_op stop = {.done = on_stop};

    lp_timer(lp, &stop, ms);
    CU_ASSERT_EQUAL(lp_run(lp), 0);
}

/* When its time is over a handshake is gone, and the timer with the last one. */
static void test_late_expiry(void)
{
    struct late k, other;

    begin_late(0x1301, 0);
    keep(&k, 7);
    keep(&other, 8);
    CU_ASSERT(table->tick.busy && table->places[0].cookie == 7);
    CU_ASSERT(table->places[0].until > lp_now_ms() + 1000);
    CU_ASSERT(table->places[0].until + TICK_MS <= lp_now_ms() + 2000);
    CU_ASSERT_EQUAL(tk_feed(table, 8, p, late_ticket(&other, p)), 0);
    CU_ASSERT(table->places[1].until <= lp_now_ms() + NEXT_MS); /* not long for a second one */
    table->places[0].until = lp_now_ms() + 10;
    table->places[1].until += 100;
    turn(TICK_MS + 20);
    CU_ASSERT(!table->places[0].hs && table->places[1].hs && table->tick.busy);
    CU_ASSERT_EQUAL(tk_feed(table, 7, p, late_ticket(&k, p)), -ENOENT);
    turn(TICK_MS + 20);
    CU_ASSERT(!table->places[1].hs && !table->tick.busy);
    let_go(&k);
    let_go(&other);
    end_late();
}

/* One that waits holds no buffers: they are most of what OpenSSL has allocated. */
static void test_waits_small(void)
{
    struct late k;
    size_t held;

    begin_late(0x1301, 0);
    keep(&k, 7);
    held = mallinfo2().uordblks; /* with a sanitizer always 0 */
    give_up(&table->places[0]);
    CU_ASSERT(held - mallinfo2().uordblks < 32768);
    let_go(&k);
    end_late();
}

void suite_tickets(void)
{
    CU_pSuite s = CU_add_suite("tickets", setup, teardown);

    CU_add_test(s, "drain leaves data", test_drain_leaves_data);
    CU_add_test(s, "many tickets", test_many_tickets);
    CU_add_test(s, "drain leaves others", test_drain_leaves_others);
    CU_add_test(s, "drain, partial", test_drain_partial);
    CU_add_test(s, "late", test_late);
    CU_add_test(s, "some were early", test_some_were_early);
    CU_add_test(s, "cut", test_cut);
    CU_add_test(s, "late garbage", test_late_garbage);
    CU_add_test(s, "not kept", test_not_kept);
    CU_add_test(s, "full table", test_full_table);
    CU_add_test(s, "late, expiry", test_late_expiry);
    CU_add_test(s, "waits small", test_waits_small);
}
