/* Tests of daemon/aftercare.c: a worker that keeps connections, on sockets without TLS, for nothing
 * but their cookies is looked at. */
#include "../../daemon/aftercare.c"

#include "suites.h"
#include "workerrig.h"

static struct wrig g;
static int pair[2]; /* the kept connection's two ends */
static const struct in_peer who = {.uid = 1234, .pid = 1};

static void keep(int tcp, uint16_t suite)
{
    struct cn_result r = {
        .facts = {.suite = ks_find(suite), .alpn = "h2", .alpn_len = 2, .resumed = true},
        .tx = W_MODE_KERNEL,
        .rx = W_MODE_NIC};
    struct ks_dir rx = {.suite = r.facts.suite}, tx = {.suite = r.facts.suite};

    memset(rx.secret, 1, sizeof(rx.secret));
    memset(tx.secret, 2, sizeof(tx.secret));
    snprintf(r.facts.group, sizeof(r.facts.group), "x25519");
    ac_keep(g.w, tcp, &who, "server.test", &r, &rx, &tx);
}

static void begin(uint16_t suite)
{
    struct in_kept note;

    wrig_open(&g);
    g.caps.rekey = 0;
    tp_pair(pair, 0);
    CU_ASSERT(ac_has_room(g.w));
    keep(pair[0], suite);
    CU_ASSERT_EQUAL(recv(g.control, &note, sizeof(note), MSG_DONTWAIT), (ssize_t)sizeof(note));
    CU_ASSERT(note.type == IN_KEPT && note.cookie == sf_cookie(pair[0]) && note.cookie != 0);
    CU_ASSERT_EQUAL(note.netns, sf_netns(pair[0]));
    CU_ASSERT_EQUAL(st_get(&g.w->stats->kept), 1);
}

static void end(void)
{
    close(pair[0]);
    close(pair[1]);
    wrig_close(&g);
}

static uint8_t request[W_MESSAGE_MAX];
static struct w_msg asked;

static void ask(enum w_type type, const uint8_t *record, size_t n, int64_t generation)
{
    struct w_buf b;
    int len;

    w_begin(&b, request, sizeof(request), type, 31, 1);
    if (record) {
        w_put_num(&b, W_A_RECORD_TYPE, 22);
        w_put_bytes(&b, W_A_RECORD, record, n);
    }
    if (generation >= 0)
        w_put_num(&b, W_A_GENERATION, (uint64_t)generation);
    len = w_end(&b);
    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&asked, request, (size_t)len, 1, W_TO_DAEMON), 0);
}

static struct w_msg answer_of(uint32_t caps, enum w_type type)
{
    struct w_msg m = {0};
    int n = ac_answer(g.w, &who, caps, &asked, pair[0]);

    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, g.w->out, (size_t)n, 0, W_TO_CLIENT), 0);
    CU_ASSERT(m.type == type && m.id == 31);
    return m;
}

static void test_attach(void)
{
    const struct pool *pool;
    struct w_msg m;

    begin(0x1302);
    pool = po_make(&g.w->pools, 1234, 64);
    ask(W_ATTACH, NULL, 0, -1);
    m = answer_of(W_CAP_SLOTS, W_RESULT);
    CU_ASSERT(w_num(&m, W_A_TLS_VERSION, 0) == 0x0304 && w_num(&m, W_A_CIPHER, 0) == 0x1302);
    CU_ASSERT(w_num(&m, W_A_MODE_TX, 0) == W_MODE_KERNEL);
    CU_ASSERT(w_num(&m, W_A_MODE_RX, 0) == W_MODE_NIC && w_num(&m, W_A_RESUMED, 0) == 1);
    CU_ASSERT(m.v[W_A_ALPN_SELECTED].n == 2 && m.v[W_A_GROUP].n == 6);
    CU_ASSERT(w_num(&m, W_A_POOL, 0) == pool->id && w_num(&m, W_A_SLOT, 9) == 0);
    CU_ASSERT_EQUAL(w_num(&m, W_A_RECORDS_MAX, 0), 23726566);
    m = answer_of(0, W_RESULT); /* it keeps no slots */
    CU_ASSERT(!w_has(&m, W_A_POOL) && !w_has(&m, W_A_SLOT));
    po_free(&g.w->pools);
    end();
}

/* Another user who was given the socket is served, but shares no memory with its maker. */
static void test_other_uid(void)
{
    struct in_peer other = {.uid = 99};
    struct w_msg m;
    int n;

    begin(0x1301);
    (void)po_make(&g.w->pools, 1234, 64);
    (void)po_make(&g.w->pools, 99, 64);
    ask(W_ATTACH, NULL, 0, -1);
    n = ac_answer(g.w, &other, W_CAP_SLOTS, &asked, pair[0]);
    CU_ASSERT_FATAL(n > 0 && w_decode(&m, g.w->out, (size_t)n, 0, W_TO_CLIENT) == 0);
    CU_ASSERT(m.type == W_RESULT && !w_has(&m, W_A_POOL));
    end();
}

static void test_update(void)
{
    static const uint8_t update[5] = {24, 0, 0, 1, 1},
                         ticket_and_update[] = {4, 0, 0, 1, 7, 24, 0, 0, 1, 0};
    struct w_msg m;
    uint8_t first[KT_BLOCK_MAX];

    begin(0x1301);
    ask(W_CONTROL, update, 5, 0);
    m = answer_of(0, W_RESULT);
    CU_ASSERT(m.v[W_A_KEY].n == 40 && w_num(&m, W_A_GENERATION, 0) == 1);
    CU_ASSERT_EQUAL(w_num(&m, W_A_OWED, 0), 1);
    memcpy(first, m.v[W_A_KEY].p, 40);
    m = answer_of(0, W_RESULT); /* the answer was lost: once more, the same */
    CU_ASSERT(m.v[W_A_KEY].n == 40 && memcmp(m.v[W_A_KEY].p, first, 40) == 0);
    ask(W_REKEY, NULL, 0, 0);
    m = answer_of(0, W_RESULT);
    CU_ASSERT(m.v[W_A_KEY].n == 40 && memcmp(m.v[W_A_KEY].p, first, 40) != 0);
    CU_ASSERT(w_num(&m, W_A_GENERATION, 0) == 1);
    ask(W_CONTROL, ticket_and_update, sizeof(ticket_and_update), -1);
    m = answer_of(0, W_RESULT);
    CU_ASSERT(w_num(&m, W_A_GENERATION, 0) == 2 && w_num(&m, W_A_OWED, 0) == 0);
    end();
}

/* Tickets, whole or in pieces, change no key. */
static void test_tickets(void)
{
    static const uint8_t ticket[] = {4, 0, 0, 3, 1, 2, 3}, piece[] = {99, 24, 0, 0, 1};
    struct w_msg m;

    begin(0x1301);
    ask(W_CONTROL, ticket, sizeof(ticket), 0);
    m = answer_of(0, W_RESULT);
    CU_ASSERT(!w_has(&m, W_A_KEY));
    ask(W_CONTROL, piece, sizeof(piece), 0);
    m = answer_of(0, W_RESULT);
    CU_ASSERT(!w_has(&m, W_A_KEY));
    end();
}

static void refused(uint64_t code, int alert)
{
    struct w_msg m = answer_of(0, W_ERROR);

    CU_ASSERT_EQUAL(w_num(&m, W_A_CODE, 0), code);
    CU_ASSERT_EQUAL(w_has(&m, W_A_ALERT) ? (int)w_num(&m, W_A_ALERT, 0) : -1, alert);
    if (alert >= 0)
        CU_ASSERT_EQUAL(w_num(&m, W_A_ALERT_SENT, 0), 1);
}

static void test_refused(void)
{
    static const uint8_t update[5] = {24, 0, 0, 1, 1}, bad[5] = {24, 0, 0, 1, 2};
    static const uint8_t hello[4] = {0, 0, 0, 0};

    begin(0x1301);
    ask(W_CONTROL, bad, 5, 0);
    refused(W_CODE_PROTOCOL_VIOLATION, 47);
    ask(W_CONTROL, update, 5, 5);
    refused(W_CODE_BAD_REQUEST, -1);
    ask(W_REKEY, NULL, 0, 5);
    refused(W_CODE_BAD_REQUEST, -1);
    g.caps.rekey = -EBUSY;
    ask(W_CONTROL, update, 5, 0);
    refused(W_CODE_UNSUPPORTED, -1);
    ask(W_REKEY, NULL, 0, 0);
    refused(W_CODE_UNSUPPORTED, -1);
    end();
    begin(0xc02f);
    ask(W_CONTROL, update, 5, 0);
    refused(W_CODE_PROTOCOL_VIOLATION, 10);
    ask(W_CONTROL, hello, 4, 0);
    (void)answer_of(0, W_RESULT);
    end();
}

static uint64_t storm(uint64_t moved_each)
{
    static const uint8_t update[5] = {24, 0, 0, 1, 0};
    struct w_msg m;
    uint64_t n = 0, moved = 0;

    g.o.key_updates = 5;
    ud_open(&tb_find(g.w->table, sf_cookie(pair[0]))->updates, 5, lp_now_ms());
    do {
        struct w_buf b;
        int len;

        w_begin(&b, request, sizeof(request), W_CONTROL, 31, 1);
        w_put_num(&b, W_A_RECORD_TYPE, 22);
        w_put_bytes(&b, W_A_RECORD, update, sizeof(update));
        w_put_num(&b, W_A_MOVED, moved += moved_each);
        len = w_end(&b);
        CU_ASSERT_FATAL(len > 0 && w_decode(&asked, request, (size_t)len, 1, W_TO_DAEMON) == 0);
        len = ac_answer(g.w, &who, 0, &asked, pair[0]);
        CU_ASSERT_FATAL(len > 0 && w_decode(&m, g.w->out, (size_t)len, 0, W_TO_CLIENT) == 0);
    } while (m.type == W_RESULT && ++n < 100);
    if (m.type == W_ERROR)
        CU_ASSERT(w_num(&m, W_A_CODE, 0) == W_CODE_KEY_UPDATE && w_num(&m, W_A_ALERT, 0) == 10);
    return n;
}

/* A storm that moves nothing ends with an alert, honest use never does; what is reported twice is
 * counted once. */
static void test_storm(void)
{
    static const uint8_t update[5] = {24, 0, 0, 1, 0};

    begin(0x1301);
    CU_ASSERT(storm(0) - 5 <= 1); /* a second may end meanwhile */
    end();
    begin(0x1301);
    CU_ASSERT_EQUAL(storm(UD_BYTES), 100);
    end();
    begin(0x1301);
    g.o.key_updates = 1;
    ud_open(&tb_find(g.w->table, sf_cookie(pair[0]))->updates, 1, lp_now_ms());
    ask(W_CONTROL, update, 5, 0);
    for (int i = 0; i < 5; i++)
        (void)answer_of(0, W_RESULT);
    end();
}

/* A socket that is not ours goes to control with the client's connection; what comes back from
 * control is answered there. */
static void test_forward(void)
{
    static struct in_serve note;
    int other[2], client[2], fds[2] = {-1, -1}, got[2];
    uint8_t in[1024];
    unsigned nfds;
    struct w_msg m;
    int n;

    begin(0x1301);
    tp_pair(other, 1);
    CU_ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, client) == 0);
    ask(W_ATTACH, NULL, 0, -1);
    CU_ASSERT(ac_answer(g.w, &who, 0, &asked, client[0]) > 0); /* no TCP: nobody keeps it */
    CU_ASSERT_EQUAL(ac_answer(g.w, &who, 0, &asked, other[0]), -ENOKEY);
    CU_ASSERT_EQUAL(ac_forward(g.w, &who, 0, &asked, other[0], client[1]), 0);
    n = fm_recv(g.control, &note, sizeof(note), fds, &nfds, MSG_DONTWAIT);
    CU_ASSERT_FATAL(n == (int)(offsetof(struct in_serve, message) + asked.len) && nfds == 2);
    CU_ASSERT(note.type == IN_FORWARD && note.cookie == sf_cookie(other[0]));
    CU_ASSERT(note.who.uid == 1234 && sf_cookie(fds[0]) == note.cookie);
    CU_ASSERT(ac_serve(g.w, &note, (size_t)n, fds)); /* control errs: it is not ours either */
    CU_ASSERT(fds[0] == -1 && fds[1] == -1);
    n = fm_recv(client[0], in, sizeof(in), got, &nfds, MSG_DONTWAIT);
    CU_ASSERT_FATAL(n > 0 && w_decode(&m, in, (size_t)n, 0, W_TO_CLIENT) == 0);
    CU_ASSERT(m.type == W_ERROR && w_num(&m, W_A_CODE, 0) == W_CODE_NO_STATE);
    fds[0] = dup(pair[0]);
    fds[1] = dup(client[1]);
    CU_ASSERT(ac_serve(g.w, &note, offsetof(struct in_serve, message) + asked.len, fds));
    n = fm_recv(client[0], in, sizeof(in), got, &nfds, MSG_DONTWAIT);
    CU_ASSERT_FATAL(n > 0 && w_decode(&m, in, (size_t)n, 0, W_TO_CLIENT) == 0);
    CU_ASSERT(m.type == W_RESULT && m.id == 31);
    CU_ASSERT(!ac_serve(g.w, &note, 12, fds));
    for (int i = 0; i < 2; i++) {
        close(other[i]);
        close(client[i]);
    }
    end();
}

static void test_ended(void)
{
    struct in_ended note = {.type = IN_ENDED, .n = 2};
    size_t len = offsetof(struct in_ended, cookies) + 2 * sizeof(note.cookies[0]);

    begin(0x1301);
    note.cookies[0] = 999999999;
    note.cookies[1] = sf_cookie(pair[0]);
    CU_ASSERT(!ac_ended(g.w, &note, len - 1) && !ac_ended(g.w, &note, 4));
    CU_ASSERT_EQUAL(st_get(&g.w->stats->kept), 1);
    CU_ASSERT(ac_ended(g.w, &note, len) && ac_ended(g.w, &note, len));
    CU_ASSERT(st_get(&g.w->stats->kept) == 0 && tb_count(g.w->table) == 0);
    end();
}

/* Control's queue is full: it hears of the entry later. */
static void test_untold(void)
{
    struct in_kept note;
    char filler[1024] = {0};
    int more[2], n = 0;

    begin(0x1301);
    while (send(g.w->control, filler, sizeof(filler), MSG_DONTWAIT) > 0)
        n++;
    tp_pair(more, 0);
    keep(more[0], 0x1301);
    CU_ASSERT(g.w->untold.busy);
    while (n-- > 0)
        CU_ASSERT(recv(g.control, filler, sizeof(filler), MSG_DONTWAIT) == sizeof(filler));
    WRIG_UNTIL(&g, recv(g.control, &note, sizeof(note), MSG_DONTWAIT) == sizeof(note));
    CU_ASSERT(note.type == IN_KEPT && note.cookie == sf_cookie(more[0]));
    CU_ASSERT(recv(g.control, &note, sizeof(note), MSG_DONTWAIT) < 0);
    close(more[0]);
    close(more[1]);
    end();
}

static void test_limits(void)
{
    begin(0x1304);
    CU_ASSERT_EQUAL(records_max(g.w, ks_find(0x1304)), 8388608);
    CU_ASSERT_EQUAL(records_max(g.w, ks_find(0x1303)), 0);
    CU_ASSERT_EQUAL(records_max(g.w, ks_find(0xc02f)), 0);
    g.o.records_per_key = 10;
    CU_ASSERT_EQUAL(records_max(g.w, ks_find(0x1303)), 10);
    end();
}

void suite_aftercare(void)
{
    CU_pSuite s = CU_add_suite("aftercare", NULL, NULL);

    CU_add_test(s, "attach", test_attach);
    CU_add_test(s, "attach by another user", test_other_uid);
    CU_add_test(s, "key updates", test_update);
    CU_add_test(s, "tickets", test_tickets);
    CU_add_test(s, "refused", test_refused);
    CU_add_test(s, "a storm of key updates", test_storm);
    CU_add_test(s, "forwarded", test_forward);
    CU_add_test(s, "ended", test_ended);
    CU_add_test(s, "told later", test_untold);
    CU_add_test(s, "limits of keys", test_limits);
}
