/* Tests of daemon/rekey.c, against the key schedule driven directly. */
#include "../../daemon/rekey.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static struct tb_entry e;
static struct ks_dir rx, tx; /* what the peer would use */

static void begin(uint16_t suite)
{
    uint8_t secret[KS_SECRET_MAX];
    const struct ks_suite *s = ks_find(suite);

    memset(&e, 0, sizeof(e));
    e.suite = suite;
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)i;
    memcpy(e.rx_secret[0], secret, sizeof(secret));
    CU_ASSERT_EQUAL_FATAL(ks_tls13(&rx, s, secret, s->secret_len), 0);
    secret[0] ^= 0xff;
    memcpy(e.tx_secret[0], secret, sizeof(secret));
    CU_ASSERT_EQUAL_FATAL(ks_tls13(&tx, s, secret, s->secret_len), 0);
}

static void same(const struct rk_key *key, const struct ks_dir *d, uint32_t generation)
{
    uint8_t block[KT_BLOCK_MAX];
    int n = kt_block(d, block);

    CU_ASSERT(n > 0 && key->n == n && memcmp(key->block, block, (size_t)n) == 0);
    CU_ASSERT_EQUAL(key->generation, generation);
}

static void test_received(void)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1304};

    for (size_t i = 0; i < 4; i++) {
        begin(suites[i]);
        for (uint32_t g = 0; g < 5; g++) {
            struct failure f = {.alert = -1};
            struct rk_key key, again;

            CU_ASSERT_EQUAL_FATAL(rk_received(&e, g % 2 ? NULL : &g, g == 3, &key, &f), 0);
            CU_ASSERT_EQUAL(ks_next(&rx), 0);
            same(&key, &rx, g + 1);
            CU_ASSERT_EQUAL(e.owed, g >= 3);
            CU_ASSERT_EQUAL(rk_received(&e, &g, true, &again, &f), 0);
            same(&again, &rx, g + 1);
            CU_ASSERT(e.rx_generation == g + 1 && e.owed == (g >= 3));
        }
    }
}

static void test_stale(void)
{
    struct rk_key key = {.n = 7};
    struct failure f = {.alert = -1};
    uint32_t old = 0, future = 3;

    begin(0x1301);
    CU_ASSERT_EQUAL(rk_received(&e, NULL, false, &key, &f), 0);
    CU_ASSERT_EQUAL(rk_received(&e, NULL, false, &key, &f), 0);
    CU_ASSERT_EQUAL(rk_received(&e, &old, true, &key, &f), 0);
    CU_ASSERT(key.n == 0 && key.generation == 2 && e.owed == 0);
    CU_ASSERT_EQUAL(rk_received(&e, &future, true, &key, &f), -EINVAL);
    CU_ASSERT(f.code == W_CODE_BAD_REQUEST && e.rx_generation == 2 && e.owed == 0);
}

static void test_sending(void)
{
    begin(0x1302);
    e.owed = 1;
    for (uint32_t g = 0; g < 4; g++) {
        struct failure f = {.alert = -1};
        struct rk_key key, again;

        CU_ASSERT_EQUAL(rk_sending(&e, g, &key, &f), 0);
        CU_ASSERT_EQUAL(ks_next(&tx), 0);
        same(&key, &tx, g + 1);
        CU_ASSERT_EQUAL(rk_sending(&e, g, &again, &f), 0); /* the send buffer was full */
        same(&again, &tx, g + 1);
        CU_ASSERT(e.tx_generation == g && e.owed == 0);
    }
}

static void test_sending_refused(void)
{
    static const uint32_t wrong[] = {2, 7, UINT32_MAX};
    struct rk_key key;

    for (size_t i = 0; i < 3; i++) {
        struct failure f = {.alert = -1};

        begin(0x1301);
        e.owed = 1;
        CU_ASSERT_EQUAL(rk_sending(&e, wrong[i], &key, &f), -EINVAL);
        CU_ASSERT(f.code == W_CODE_BAD_REQUEST && e.tx_generation == 0 && e.owed == 1);
    }
}

static void test_tls12(void)
{
    struct failure f = {.alert = -1}, again = {.alert = -1};
    struct rk_key key;

    memset(&e, 0, sizeof(e));
    e.suite = 0xc02f;
    CU_ASSERT_EQUAL(rk_received(&e, NULL, false, &key, &f), -EPROTO);
    CU_ASSERT(f.alert == 10 && f.alert_sent);
    CU_ASSERT_EQUAL(rk_sending(&e, 0, &key, &again), -EPROTO);
}

/* What was is not kept: one secret a direction. */
static void test_forward_secrecy(void)
{
    static const uint8_t none[KS_SECRET_MAX];
    struct failure f = {.alert = -1};
    struct rk_key key;

    begin(0x1301);
    CU_ASSERT_EQUAL(rk_received(&e, NULL, false, &key, &f), 0);
    CU_ASSERT(memcmp(e.rx_secret[0], none, sizeof(none)) == 0);
    CU_ASSERT(memcmp(e.rx_secret[1], none, sizeof(none)) != 0);
}

void suite_rekey(void)
{
    CU_pSuite s = CU_add_suite("rekey", NULL, NULL);

    CU_add_test(s, "the peer's update, once", test_received);
    CU_add_test(s, "reports that come late", test_stale);
    CU_add_test(s, "our update", test_sending);
    CU_add_test(s, "generations that are not in use", test_sending_refused);
    CU_add_test(s, "none in TLS 1.2", test_tls12);
    CU_add_test(s, "old secrets are wiped", test_forward_secrecy);
}
