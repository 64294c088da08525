/* Tests of what daemon/handshake.c takes for its setup: names, suites, versions, ALPN, groups. */
#include "hslink.h"
#include "suites.h"

#include <openssl/x509_vfy.h>

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

/* Whether a handshake for that name succeeds; -1: the name itself is refused. */
static int named(const char *name, char sni[W_NAME_MAX + 1])
{
    struct hs_setup s = hslink_setup(store, name);
    struct hslink l;
    int r = -1;

    if (hslink_open(&l, &s, tp_ctx(TP_EC), 0) == 0) {
        r = hslink_run(&l) == HS_DONE;
        SSL_do_handshake(l.server);
        snprintf(sni, W_NAME_MAX + 1, "%s",
                 SSL_get_servername(l.server, TLSEXT_NAMETYPE_host_name) ?: "");
    } else {
        CU_ASSERT(l.f.code == W_CODE_BAD_REQUEST && l.f.err == EINVAL && l.h == NULL);
        CU_ASSERT_PTR_NOT_NULL(strstr(l.f.text, "is no host name"));
    }
    hslink_close(&l);
    return r;
}

static void test_names(void)
{
    static const char *const bad[] = {"",    ".",     "a..b", ".a",    "a b",
                                      "a/b", "a:443", "*.a",  "a\x80", "[::1]",
                                      "b..", "a,b",   "a\"b", "b@a",   "1.2.3.4:5"};
    char sni[W_NAME_MAX + 1], label[80];

    CU_ASSERT_EQUAL(named("server.test", sni), 1);
    CU_ASSERT_STRING_EQUAL(sni, "server.test");
    CU_ASSERT_EQUAL(named("server.test.", sni), 1); /* the root's dot is no part of the name */
    CU_ASSERT_STRING_EQUAL(sni, "server.test");
    CU_ASSERT_EQUAL(named("SERVER.Test", sni), 1);
    CU_ASSERT_EQUAL(named("a-b.wild.test", sni), 1);
    CU_ASSERT_EQUAL(named("a_b.wild.test", sni), 0); /* a name, but no wildcard covers it */
    CU_ASSERT_EQUAL(named("a.b.wild.test", sni), 0);
    CU_ASSERT_EQUAL(named("wild.test", sni), 0);
    CU_ASSERT_EQUAL(named("server", sni), 0); /* the subject's CN is no name */
    CU_ASSERT_EQUAL(named("127.0.0.1", sni), 1);
    CU_ASSERT_STRING_EQUAL(sni, "");
    CU_ASSERT_EQUAL(named("::1", sni), 1);
    CU_ASSERT_STRING_EQUAL(sni, "");
    CU_ASSERT_EQUAL(named("::2", sni), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        CU_ASSERT_EQUAL(named(bad[i], sni), -1);
    memset(label, 'a', sizeof(label));
    label[63] = '\0';
    CU_ASSERT_EQUAL(named(label, sni), 0);
    label[63] = 'a';
    label[64] = '\0';
    CU_ASSERT_EQUAL(named(label, sni), -1);
}

static void test_unverified(void)
{
    static const char *const names[] = {"other.test", "192.0.2.1"};

    for (int i = 0; i < 2; i++) {
        struct hs_setup s = hslink_setup(NULL, names[i]);
        struct hslink l;

        s.verify = false;
        CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(TP_SELF), 0), 0);
        CU_ASSERT_EQUAL(hslink_run(&l), HS_DONE);
        hslink_close(&l);
    }
}

static int choose_second(SSL *ssl, const unsigned char **out, unsigned char *n,
                         const unsigned char *in, unsigned in_n, void *arg)
{
    (void)ssl, (void)arg, (void)in_n;
    *out = in + 1 + in[0] + 1;
    *n = in[1 + in[0]];
    return SSL_TLSEXT_ERR_OK;
}

static void test_choices(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hs_facts facts;
    struct hslink l;
    SSL_CTX *c = tp_ctx(TP_EC);

    s.alpn = (const uint8_t *)"\2h2\5a\0b\1c";
    s.alpn_len = 9;
    strcpy(s.groups, "P-384");
    SSL_CTX_set_alpn_select_cb(c, choose_second, NULL);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, c, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(&l), HS_DONE);
    hs_facts(l.h, &facts);
    CU_ASSERT(facts.alpn_len == 5 && memcmp(facts.alpn, "a\0b\1c", 5) == 0);
    CU_ASSERT_STRING_EQUAL(facts.group, "secp384r1");
    hslink_close(&l);

    strcpy(s.groups, "P-384:nonsense");
    CU_ASSERT_EQUAL(hslink_open(&l, &s, NULL, 0), -EINVAL);
    CU_ASSERT(l.f.code == W_CODE_BAD_REQUEST && strstr(l.f.text, "nonsense"));
    hslink_close(&l);
    *s.groups = '\0';
    s.alpn = (const uint8_t *)"\5h2";
    s.alpn_len = 3;
    CU_ASSERT_EQUAL(hslink_open(&l, &s, NULL, 0), -EINVAL);
    CU_ASSERT(l.f.code == W_CODE_BAD_REQUEST && strstr(l.f.text, "ALPN"));
    hslink_close(&l);
}

static void test_versions(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hs_facts facts;
    struct hslink l;

    s.version_max = KS_TLS12;
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(TP_RSA), 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(&l), HS_DONE);
    hs_facts(l.h, &facts);
    CU_ASSERT_EQUAL(facts.suite->version, KS_TLS12);
    hslink_close(&l);
    /* only suites of the other version: nothing to offer */
    s.suites[0] = ks_find(0x1301);
    s.n_suites = 1;
    CU_ASSERT_EQUAL(hslink_open(&l, &s, NULL, 0), -EINVAL);
    CU_ASSERT_EQUAL(l.f.code, W_CODE_NO_COMMON_SUITE);
    hslink_close(&l);
    s.n_suites = 0;
    s.version_max = KS_TLS13;
    CU_ASSERT_EQUAL(hslink_open(&l, &s, NULL, 0), -EINVAL);
    CU_ASSERT_EQUAL(l.f.code, W_CODE_NO_COMMON_SUITE);
    hslink_close(&l);
    /* as many as a request can hold, all of the longest name */
    s.n_suites = HS_SUITES_MAX;
    for (size_t i = 0; i < HS_SUITES_MAX; i++)
        s.suites[i] = ks_find(i % 2 ? 0xCCA9 : 0x1303);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(TP_EC), 0), 0);
    CU_ASSERT_EQUAL(hslink_run(&l), HS_DONE);
    hslink_close(&l);
    for (size_t i = 0; i < HS_SUITES_MAX; i++)
        s.suites[i] = ks_find(0x1303);
    CU_ASSERT_EQUAL(hslink_open(&l, &s, NULL, 0), 0);
    hslink_close(&l);
}

void suite_handshake_setup(void)
{
    CU_pSuite s = CU_add_suite("handshake_setup", setup, teardown);

    CU_add_test(s, "names", test_names);
    CU_add_test(s, "unverified", test_unverified);
    CU_add_test(s, "choices", test_choices);
    CU_add_test(s, "versions", test_versions);
}
