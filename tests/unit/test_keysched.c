/* Tests of daemon/keysched.c: published vectors and derivations by hand. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include <stddef.h>
#include <string.h>

/* Stands in for the wipe, so that a test can ask whether a secret was in what was wiped. */
static void spy_bzero(void *p, size_t n);
#define explicit_bzero spy_bzero
#include "../../daemon/keysched.c"
#undef explicit_bzero

#include "../../daemon/record.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>

static const uint8_t *needle;
static size_t needle_len;
static int needle_wiped;

static void spy_bzero(void *p, size_t n)
{
    if (needle && memmem(p, n, needle, needle_len))
        needle_wiped++;
    memset(p, 0, n);
}

static void hex(uint8_t *out, size_t n, const char *text)
{
    size_t got = 0;

    CU_ASSERT_EQUAL_FATAL(OPENSSL_hexstr2buf_ex(out, n, &got, text, ' '), 1);
    CU_ASSERT_EQUAL_FATAL(got, n);
}

static bool is_hex(const uint8_t *p, size_t n, const char *text)
{
    uint8_t want[128];

    hex(want, n, text);
    return memcmp(p, want, n) == 0;
}

/* RFC 8448 section 3, application traffic secrets. */
#define CLIENT_SECRET "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
#define SERVER_SECRET "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"

static void test_rfc8448(void)
{
    static const char record_hex[] =
        "17030300 43a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a"
        "20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
    uint8_t secret[32], record[72], type = 0, *plain = NULL;
    struct rc_ctx *c = NULL;
    struct ks_dir d = {0};
    size_t n = 0;

    hex(secret, 32, SERVER_SECRET);
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1301), secret, 32), 0);
    CU_ASSERT(is_hex(d.key, 16, "9f02283b6c9c07efc26bb9f2ac92e356"));
    CU_ASSERT(is_hex(d.iv, 12, "cf782b88dd83549aadf1e984"));
    CU_ASSERT(memcmp(d.secret, secret, 32) == 0 && d.seq == 0);
    hex(secret, 32, CLIENT_SECRET);
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1301), secret, 32), 0);
    CU_ASSERT(is_hex(d.key, 16, "17422dda596ed5d9acd890e3c63f5051"));
    CU_ASSERT(is_hex(d.iv, 12, "5b78923dee08579033e523d9"));
    hex(record, sizeof(record), record_hex);
    CU_ASSERT_EQUAL_FATAL(rc_new(&c, &d, 0), 0);
    CU_ASSERT_EQUAL_FATAL(rc_open(c, record, sizeof(record), &type, &plain, &n), 0);
    CU_ASSERT(type == RC_DATA && n == 50 && plain[0] == 0 && plain[49] == 49);
    rc_free(c);
}

/* HKDF-Expand-Label by hand, one block: the info is length, label, empty context, block number. */
static void expand_by_hand(const EVP_MD *md, const uint8_t *secret, size_t secret_len,
                           const char *label, uint8_t *out, size_t n)
{
    uint8_t info[64] = {(uint8_t)(n >> 8), (uint8_t)n, (uint8_t)(6 + strlen(label))}, full[64];
    size_t at = 3;

    at += (size_t)sprintf((char *)info + at, "tls13 %s", label) + 1;
    info[at++] = 1;
    CU_ASSERT_PTR_NOT_NULL(HMAC(md, secret, (int)secret_len, info, at, full, NULL));
    memcpy(out, full, n);
}

static void test_next(void)
{
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t secret[48], want[48], key[32], iv[12];

    for (size_t i = 0; i < n_suites && s[i].version == KS_TLS13; i++) {
        const EVP_MD *md = s[i].secret_len == 48 ? EVP_sha384() : EVP_sha256();
        struct ks_dir d = {0};

        memset(secret, 0x5a, sizeof(secret));
        CU_ASSERT_EQUAL(ks_tls13(&d, &s[i], secret, s[i].secret_len), 0);
        for (int generation = 1; generation <= 3; generation++) {
            d.seq = 99;
            CU_ASSERT_EQUAL(ks_next(&d), 0);
            expand_by_hand(md, secret, s[i].secret_len, "traffic upd", want, s[i].secret_len);
            expand_by_hand(md, want, s[i].secret_len, "key", key, s[i].key_len);
            expand_by_hand(md, want, s[i].secret_len, "iv", iv, sizeof(iv));
            CU_ASSERT(d.seq == 0 && d.suite == &s[i]);
            CU_ASSERT(memcmp(d.secret, want, s[i].secret_len) == 0);
            CU_ASSERT(memcmp(d.key, key, s[i].key_len) == 0);
            CU_ASSERT(memcmp(d.iv, iv, sizeof(iv)) == 0);
            memcpy(secret, want, sizeof(secret));
        }
    }
}

/* RFC 5246 section 5 by hand. */
static void p_hash(const EVP_MD *md, const uint8_t *secret, size_t secret_len, const uint8_t *seed,
                   size_t seed_len, uint8_t *out, size_t n)
{
    uint8_t a[64 + 128], block[64];
    unsigned hash = (unsigned)EVP_MD_get_size(md);

    HMAC(md, secret, (int)secret_len, seed, seed_len, a, NULL);
    for (size_t at = 0; at < n; at += hash) {
        memcpy(a + hash, seed, seed_len);
        HMAC(md, secret, (int)secret_len, a, hash + seed_len, block, NULL);
        memcpy(out + at, block, n - at < hash ? n - at : hash);
        HMAC(md, secret, (int)secret_len, a, hash, block, NULL);
        memcpy(a, block, hash);
    }
}

/* The TLS 1.2 PRF vectors that the TLS working group published: they prove p_hash, p_hash the rest.
 */
static void test_prf_vectors(void)
{
    uint8_t secret[16], seed[10 + 16] = "test label", out[48];

    hex(secret, 16, "9bbe436ba940f017b17652849a71db35");
    hex(seed + 10, 16, "a0ba9f936cda311827a6f796ffd5198c");
    p_hash(EVP_sha256(), secret, 16, seed, sizeof(seed), out, sizeof(out));
    CU_ASSERT(is_hex(out, 48,
                     "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
                     "6b301791e90d35c9c9a46b4e14baf9af"));
    hex(secret, 16, "b80b733d6ceefcdc71566ea48e5567df");
    hex(seed + 10, 16, "cd665cf6a8447dd6ff8b27555edb7465");
    p_hash(EVP_sha384(), secret, 16, seed, sizeof(seed), out, sizeof(out));
    CU_ASSERT(is_hex(out, 48,
                     "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cd"
                     "e9ca0faa60be9fe34f82b1233c9146a0"));
}

static void test_tls12(void)
{
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t master[48], seed[13 + 64] = "key expansion", block[88];

    memset(master, 0x11, sizeof(master));
    memset(seed + 13, 0x33, 32); /* the server's */
    memset(seed + 45, 0x22, 32);
    for (size_t i = 0; i < n_suites; i++) {
        const EVP_MD *md = strcmp(s[i].digest, "SHA384") == 0 ? EVP_sha384() : EVP_sha256();
        size_t key = s[i].key_len, iv = s[i].aead == KS_CHACHA20 ? 12 : 4;
        static const uint8_t zero[12];
        struct ks_dir c, v;

        if (s[i].version != KS_TLS12)
            continue;
        memset(&c, 0xee, sizeof(c));
        memset(&v, 0xee, sizeof(v));
        CU_ASSERT_EQUAL(ks_tls12(&c, &v, &s[i], master, seed + 45, seed + 13), 0);
        p_hash(md, master, sizeof(master), seed, sizeof(seed), block, sizeof(block));
        CU_ASSERT(memcmp(c.key, block, key) == 0 && memcmp(v.key, block + key, key) == 0);
        CU_ASSERT(memcmp(c.iv, block + 2 * key, iv) == 0);
        CU_ASSERT(memcmp(v.iv, block + 2 * key + iv, iv) == 0);
        CU_ASSERT(memcmp(c.iv + iv, zero, 12 - iv) == 0 && memcmp(v.nonce, zero, 8) == 0);
        CU_ASSERT(c.seq == 1 && v.seq == 1 && c.suite == &s[i] && v.suite == &s[i]);
    }
}

static void test_refuses(void)
{
    static const uint8_t bytes[48];
    struct ks_suite odd = *ks_find(0x1301);
    struct ks_dir d, before;

    memset(&d, 0x77, sizeof(d));
    before = d;
    CU_ASSERT_EQUAL(ks_tls13(&d, NULL, bytes, 32), -EINVAL);
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1301), bytes, 48), -EINVAL);
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1302), bytes, 32), -EINVAL);
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0xC02B), bytes, 32), -EINVAL);
    CU_ASSERT_EQUAL(ks_tls12(&d, &d, ks_find(0x1301), bytes, bytes, bytes), -EINVAL);
    odd.digest = "no such digest";
    CU_ASSERT_EQUAL(ks_tls13(&d, &odd, bytes, 32), -ENOTRECOVERABLE);
    odd.version = KS_TLS12;
    CU_ASSERT_EQUAL(ks_tls12(&d, &d, &odd, bytes, bytes, bytes), -ENOTRECOVERABLE);
    CU_ASSERT(memcmp(&d, &before, sizeof(d)) == 0);
    odd.version = KS_TLS13;
    d.suite = before.suite = &odd;
    CU_ASSERT_EQUAL(ks_next(&d), -ENOTRECOVERABLE);
    CU_ASSERT(memcmp(&d, &before, sizeof(d)) == 0);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    d.suite = ks_find(0xC02B);
    CU_ASSERT_EQUAL(ks_next(&d), -EINVAL);
}

/* What was derived is gone from every place but the one it was asked for. */
static void test_wiped(void)
{
    static const uint8_t bytes[48] = "secret";
    struct ks_dir d, e;

    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1301), bytes, 32), 0);
    e = d;
    needle_wiped = 0;
    needle_len = 16;
    needle = e.key;
    CU_ASSERT_EQUAL(ks_tls13(&d, ks_find(0x1301), bytes, 32), 0);
    CU_ASSERT_EQUAL(needle_wiped, 1);
    CU_ASSERT_EQUAL(ks_next(&e), 0);
    needle_wiped = 0;
    needle_len = 32;
    needle = e.secret;
    CU_ASSERT_EQUAL(ks_next(&d), 0);
    CU_ASSERT_EQUAL(needle_wiped, 2); /* the next secret itself, then the direction made from it */
    CU_ASSERT_EQUAL(ks_tls12(&d, &e, ks_find(0xC02B), bytes, bytes, bytes), 0);
    needle_wiped = 0;
    needle_len = 16;
    needle = e.key;
    CU_ASSERT_EQUAL(ks_tls12(&d, &d, ks_find(0xC02B), bytes, bytes, bytes), 0);
    CU_ASSERT(needle_wiped > 0);
    needle = NULL;
}

static void test_table(void)
{
    size_t n;
    const struct ks_suite *s = ks_suites(&n);

    CU_ASSERT_EQUAL(n, 11);
    for (size_t i = 0; i < n; i++)
        CU_ASSERT_PTR_EQUAL(ks_find(s[i].id), &s[i]);
    CU_ASSERT_PTR_NULL(ks_find(0x1305));
    CU_ASSERT_PTR_NULL(ks_find(0));
    CU_ASSERT_STRING_EQUAL(ks_aead_name(KS_CHACHA20), "CHACHA20-POLY1305");
    CU_ASSERT_STRING_EQUAL(ks_aead_name(KS_AEADS), "?");
}

void suite_keysched(void)
{
    CU_pSuite s = CU_add_suite("keysched", NULL, NULL);

    CU_add_test(s, "table", test_table);
    CU_add_test(s, "RFC 8448", test_rfc8448);
    CU_add_test(s, "key update", test_next);
    CU_add_test(s, "PRF vectors", test_prf_vectors);
    CU_add_test(s, "TLS 1.2 key block", test_tls12);
    CU_add_test(s, "refuses", test_refuses);
    CU_add_test(s, "secrets are wiped", test_wiped);
}
