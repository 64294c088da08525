/* Tests of daemon/resume.c: whose sessions are alike, what is kept, what is offered, for how long.
 */
#include "../../daemon/resume.c"

#include "resumerig.h"
#include "suites.h"

/* --- who is alike -------------------------------------------------------------------- */

static void differ(unsigned how)
{
    want.uid += how == 1;
    want.verify ^= how == 2;
    want.port ^= how == 3;
    if (how == 4)
        want.version_min = KS_TLS13;
    if (how == 5)
        want.version_max = KS_TLS12;
    want.trust[31] ^= how == 6;
    want.name[0] = how == 7 ? 'S' : 's';
    want.n_suites -= how == 8;
    if (how == 9)
        want.suites[1] = want.suites[2];
    if (how == 10)
        strcpy(want.groups, "X25519");
    if (how == 11)
        strcat(want.name, "\2h2"); /* the same bytes as in 12, cut elsewhere */
    if (how >= 12) {
        want.alpn = (const uint8_t *)(how == 12 ? "\2h2" : how == 13 ? "\2h2\2h3" : "\2h3\2h2");
        want.alpn_len = how == 12 ? 3 : 6;
    }
}

#define DIFFERENCES 14

/* Each difference gives a key of its own; none gives the same. */
static void test_keys(void)
{
    static uint8_t keys[DIFFERENCES + 1][SE_KEY];
    uint8_t again[SE_KEY];

    for (unsigned i = 0; i <= DIFFERENCES; i++) {
        want = hslink_setup(NULL, "server.test");
        differ(i);
        CU_ASSERT(make_key(keys[i], &want) == 0 && make_key(again, &want) == 0);
        CU_ASSERT_EQUAL(memcmp(keys[i], again, SE_KEY), 0);
        for (unsigned k = 0; k < i; k++)
            CU_ASSERT_NOT_EQUAL(memcmp(keys[i], keys[k], SE_KEY), 0);
    }
}

/* --- what is not kept ---------------------------------------------------------------- */

static void test_extended_master_secret(void)
{
    begin_case(0xC02B, TP_EC);
    SSL_CTX_set_options(server, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    CU_ASSERT_FALSE(connects());
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(counted(0, 2, 0, 2) && se_count(ru.cache) == 0);
    end_case();
}

/* The certificate is left out, everything else is there; what is too long or no session is not. */
static void test_bare(void)
{
    static const uint8_t wrong[] = {0x30, 3, 0x02, 5, 1}, no_sequence[] = {0x04, 1, 1};
    static uint8_t big[5000] = {0x30, 0x82, 0x13, 0x84, 0x04, 0x82, 0x13, 0x80};
    struct se_session s = {.n = 77};
    SSL_SESSION *session;
    const uint8_t *p;

    begin_case(0x1301, TP_RSA);
    CU_ASSERT_FALSE(connects());
    s = next_session();
    p = s.bytes;
    session = d2i_SSL_SESSION(NULL, &p, (long)s.n);
    CU_ASSERT(session && p == s.bytes + s.n && s.n < 400);
    CU_ASSERT(!SSL_SESSION_get0_peer(session) && SSL_SESSION_is_resumable(session));
    SSL_SESSION_free(session);
    CU_ASSERT_EQUAL(copy_bare(&s, wrong, sizeof(wrong)), -EINVAL);
    CU_ASSERT_EQUAL(copy_bare(&s, no_sequence, sizeof(no_sequence)), -EINVAL);
    CU_ASSERT_EQUAL(copy_bare(&s, big, sizeof(big)), -EMSGSIZE);
    ERR_clear_error();
    end_case();
}

static int stuff(SSL *ssl, void *arg)
{
    static char big[SE_BYTES_MAX];

    (void)arg;
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), big, sizeof(big));
}

static void test_too_long(void)
{
    static const uint16_t suites[] = {0x1301, 0xC02B};

    for (int i = 0; i < 2; i++) {
        begin_case(suites[i], TP_EC);
        SSL_CTX_set_num_tickets(server, 1);
        SSL_CTX_set_session_ticket_cb(server, stuff, NULL, NULL);
        CU_ASSERT_FALSE(connects());
        CU_ASSERT(counted(0, 1, 0, 1) && se_count(ru.cache) == 0);
        end_case();
    }
}

static void test_nobody(void)
{
    begin_case(0x1301, TP_EC);
    want.uid = 65534;
    CU_ASSERT_FALSE(connects());
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(counted(0, 0, 0, 0) && se_count(ru.cache) == 0);
    end_case();
}

/* Without a cache all is as if there were no sessions. */
static void test_switched_off(void)
{
    struct se_cache *cache;

    begin_case(0x1301, TP_EC);
    cache = ru.cache;
    ru.cache = NULL;
    CU_ASSERT_FALSE(connects());
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(counted(0, 0, 0, 0));
    ru.cache = cache;
    end_case();
}

/* --- what is not offered ------------------------------------------------------------- */

/* What was not checked is kept apart; what was is not given to who checks otherwise. */
static void test_verification(void)
{
    begin_case(0x1301, TP_SELF);
    want.verify = false;
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(connects() && counted(1, 1, 3, 0));
    want.verify = true;
    for (int i = 0; i < 2; i++) {
        struct se_session s = {.n = 0};
        struct hslink l;

        /* The second time with the unchecked session under the key of the checked: its own result
         * speaks against it. */
        if (i == 1) {
            s = next_session();
            CU_ASSERT_EQUAL(make_key(key, &want), 0);
            put_back(&s);
        }
        SSL_CTX_up_ref(server);
        CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &want, server, 0), 0);
        CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
        CU_ASSERT_EQUAL(l.f.code, W_CODE_CERTIFICATE_UNTRUSTED);
        hslink_close(&l);
    }
    end_case();
}

/* Under this connection's key lies a session that it must not offer. */
static void test_does_not_suit(void)
{
    static const struct {
        uint16_t then, now, min, max;
    } rows[] = {{0x1301, 0x1303, KS_TLS12, KS_TLS13}, /* the same hash: OpenSSL would take it */
                {0x1301, 0xC02B, KS_TLS12, KS_TLS12},
                {0xC02B, 0x1301, KS_TLS13, KS_TLS13},
                {0xC02B, 0xC02C, KS_TLS12, KS_TLS13}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct se_session s;

        begin_case(rows[i].then, TP_EC);
        CU_ASSERT_FALSE(connects());
        s = next_session();
        only(rows[i].now);
        want.version_min = rows[i].min;
        want.version_max = rows[i].max;
        CU_ASSERT_EQUAL(make_key(key, &want), 0);
        put_back(&s);
        CU_ASSERT_FALSE(connects());
        CU_ASSERT_TRUE(connects());
        end_case();
    }
}

/* What is no session is no reason to fail. */
static void test_garbage(void)
{
    struct se_session s;

    begin_case(0xC02B, TP_EC);
    CU_ASSERT_FALSE(connects());
    s = next_session();
    for (size_t n = 1; n < s.n; n += n < 20 ? 1 : 50) {
        struct se_session cut = s;
        struct hslink l;

        cut.n = n;
        put_back(&cut);
        CU_ASSERT_EQUAL(hslink_open(&l, &want, NULL, 0), 0);
        CU_ASSERT(l.h && ERR_peek_error() == 0 && se_count(ru.cache) == 0);
        hslink_close(&l);
    }
    end_case();
}

/* --- how long ------------------------------------------------------------------------ */

static void test_how_long(void)
{
    struct se_session s;
    SSL_SESSION *session;
    const uint8_t *p;
    uint64_t now;

    /* The leaf has an hour less a minute, the ticket two: what ends first counts. */
    begin_case(0x1301, TP_EC);
    SSL_CTX_set_timeout(server, 7200);
    CU_ASSERT_FALSE(connects());
    s = next_session();
    now = now_s();
    CU_ASSERT(s.proven > now + 3500 && s.proven <= now + 3600 && s.until == s.proven);
    p = s.bytes;
    session = d2i_SSL_SESSION(NULL, &p, (long)s.n);
    CU_ASSERT_EQUAL(session_ends(session, now + 10000, now), now + 7200);
    CU_ASSERT_EQUAL(session_ends(session, now + 10, now), now + 10);
    SSL_SESSION_free(session);
    end_case();

    /* What the configuration says is an end too, of what is not verified the only one. */
    begin_case(0x1301, TP_EC);
    ru.lifetime = 100;
    CU_ASSERT_FALSE(connects());
    s = next_session();
    CU_ASSERT(s.proven <= now_s() + 100 && s.until == s.proven);
    want.verify = false;
    ru.lifetime = 100000;
    CU_ASSERT_FALSE(connects());
    s = next_session();
    CU_ASSERT(s.proven > now_s() + 99000 && s.until <= now_s() + 7200);
    end_case();
}

/* A ticket for no time at all is none. */
static void test_no_time(void)
{
    static const uint8_t ticket[] = {4, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 1, 9, 0, 0};

    for (uint8_t lifetime = 0; lifetime < 2; lifetime++) {
        uint8_t message[sizeof(ticket)];
        struct rc_ctx *out = NULL;
        struct ks_dir rx, tx;
        struct hslink l;

        begin_case(0x1301, TP_EC);
        hslink_up(&l, store, want.suites[0], 0);
        CU_ASSERT(hs_keys(l.h, &rx, &tx, &l.f) == 0 && rc_new(&out, &rx, 1) == 0);
        memcpy(message, ticket, sizeof(message));
        message[6] = lifetime;
        hslink_give(l.fds[1], out, RC_HANDSHAKE, message, sizeof(message));
        CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
        CU_ASSERT(counted(0, 1, lifetime, 1 - lifetime) && se_count(ru.cache) == lifetime);
        rc_free(out);
        hslink_close(&l);
        end_case();
    }
}

void suite_resume(void)
{
    CU_pSuite s = CU_add_suite("resume", setup, teardown);

    CU_add_test(s, "keys", test_keys);
    CU_add_test(s, "extended master secret", test_extended_master_secret);
    CU_add_test(s, "bare", test_bare);
    CU_add_test(s, "too long", test_too_long);
    CU_add_test(s, "the overflow uid", test_nobody);
    CU_add_test(s, "switched off", test_switched_off);
    CU_add_test(s, "verification", test_verification);
    CU_add_test(s, "does not suit", test_does_not_suit);
    CU_add_test(s, "garbage", test_garbage);
    CU_add_test(s, "how long", test_how_long);
    CU_add_test(s, "no time", test_no_time);
}
