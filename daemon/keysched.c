/* The cipher suites that htls knows, with the derivation of one direction's keys from its secrets.
 *
 * The two key derivation functions are fetched once per process and never freed. A worker has one
 * thread, so the first use needs no lock; a fork inherits them. What libcrypto copies of a secret
 * it clears itself when the context of a derivation is freed, which is always in the same function.
 */
#include "keysched.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "../proto/secret.h"

#define MASTER_LEN 48u
#define RANDOM_LEN 32u

static const struct ks_suite suites[] = {
    {0x1301, KS_TLS13, KS_AES_128_GCM, 16, 32, "SHA256", "TLS_AES_128_GCM_SHA256",
     "TLS_AES_128_GCM_SHA256"},
    {0x1302, KS_TLS13, KS_AES_256_GCM, 32, 48, "SHA384", "TLS_AES_256_GCM_SHA384",
     "TLS_AES_256_GCM_SHA384"},
    {0x1303, KS_TLS13, KS_CHACHA20, 32, 32, "SHA256", "TLS_CHACHA20_POLY1305_SHA256",
     "TLS_CHACHA20_POLY1305_SHA256"},
    {0x1304, KS_TLS13, KS_AES_128_CCM, 16, 32, "SHA256", "TLS_AES_128_CCM_SHA256",
     "TLS_AES_128_CCM_SHA256"},
    {0xC02B, KS_TLS12, KS_AES_128_GCM, 16, 0, "SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
     "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    {0xC02F, KS_TLS12, KS_AES_128_GCM, 16, 0, "SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
     "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    {0xC02C, KS_TLS12, KS_AES_256_GCM, 32, 0, "SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384",
     "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    {0xC030, KS_TLS12, KS_AES_256_GCM, 32, 0, "SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
     "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    {0xCCA9, KS_TLS12, KS_CHACHA20, 32, 0, "SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
     "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    {0xCCA8, KS_TLS12, KS_CHACHA20, 32, 0, "SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
     "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    {0xC0AC, KS_TLS12, KS_AES_128_CCM, 16, 0, "SHA256", "ECDHE-ECDSA-AES128-CCM",
     "TLS_ECDHE_ECDSA_WITH_AES_128_CCM"},
};

static const char *const aead_names[KS_AEADS] = {
    [KS_AES_128_GCM] = "AES-128-GCM",
    [KS_AES_256_GCM] = "AES-256-GCM",
    [KS_CHACHA20] = "CHACHA20-POLY1305",
    [KS_AES_128_CCM] = "AES-128-CCM",
};

const struct ks_suite *ks_suites(size_t *n)
{
    *n = sizeof(suites) / sizeof(suites[0]);
    return suites;
}

const struct ks_suite *ks_find(uint16_t id)
{
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        if (suites[i].id == id)
            return &suites[i];
    }
    return NULL;
}

const char *ks_aead_name(enum ks_aead aead)
{
    return aead < KS_AEADS ? aead_names[aead] : "?";
}

/* One run of *cached, which is fetched by name the first time. The caller owns and wipes out. */
static int derive(EVP_KDF **cached, const char *name, const OSSL_PARAM *params, uint8_t *out,
                  size_t n)
{
    EVP_KDF_CTX *ctx = NULL;
    int ok = 0;

    if (!*cached)
        *cached = EVP_KDF_fetch(NULL, name, NULL);
    if (*cached)
        ctx = EVP_KDF_CTX_new(*cached);
    if (ctx)
        ok = EVP_KDF_derive(ctx, out, n, params);
    EVP_KDF_CTX_free(ctx);
    if (ok <= 0) {
        /* SSL_get_error() reads this thread's queue: what failed here is no TLS error of a peer. */
        ERR_clear_error();
        return -ENOTRECOVERABLE;
    }
    return 0;
}

/* HKDF-Expand-Label with an empty context, which is all that record keys need. */
static int expand_label(const struct ks_suite *suite, const uint8_t *secret, const char *label,
                        uint8_t *out, size_t n)
{
    static EVP_KDF *cached;
    static char prefix[] = "tls13 ";
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)suite->digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, suite->secret_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, sizeof(prefix) - 1),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };

    return derive(&cached, "TLS13-KDF", params, out, n);
}

int ks_tls13(struct ks_dir *d, const struct ks_suite *suite, const uint8_t *secret, size_t len)
{
    struct ks_dir next = {.suite = suite};
    SECRET_WIPE(next);
    int r;

    if (!suite || suite->version != KS_TLS13 || len != suite->secret_len)
        return -EINVAL;
    r = expand_label(suite, secret, "key", next.key, suite->key_len);
    if (r < 0)
        return r;
    r = expand_label(suite, secret, "iv", next.iv, sizeof(next.iv));
    if (r < 0)
        return r;
    memcpy(next.secret, secret, len);
    *d = next;
    return 0;
}

int ks_next(struct ks_dir *d)
{
    uint8_t secret[KS_SECRET_MAX];
    SECRET_WIPE(secret);
    int r;

    if (!d->suite || d->suite->version != KS_TLS13)
        return -EINVAL;
    r = expand_label(d->suite, d->secret, "traffic upd", secret, d->suite->secret_len);
    if (r < 0)
        return r;
    return ks_tls13(d, d->suite, secret, d->suite->secret_len);
}

/* The TLS 1.2 PRF over a seed of two halves. */
static int prf(const struct ks_suite *suite, const uint8_t *secret, size_t secret_len,
               const char *label, const uint8_t first[RANDOM_LEN], const uint8_t second[RANDOM_LEN],
               uint8_t *out, size_t n)
{
    static EVP_KDF *cached;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)suite->digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, (void *)secret, secret_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)label, strlen(label)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)first, RANDOM_LEN),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)second, RANDOM_LEN),
        OSSL_PARAM_construct_end(),
    };

    return derive(&cached, "TLS1-PRF", params, out, n);
}

static void fill12(struct ks_dir *d, const struct ks_suite *suite, const uint8_t *key,
                   const uint8_t *iv, size_t iv_len)
{
    secret_wipe(d, sizeof(*d));
    d->suite = suite;
    d->seq = 1;
    memcpy(d->key, key, suite->key_len);
    memcpy(d->iv, iv, iv_len);
}

int ks_tls12(struct ks_dir *client, struct ks_dir *server, const struct ks_suite *suite,
             const uint8_t master[48], const uint8_t client_random[32],
             const uint8_t server_random[32])
{
    uint8_t block[2 * (KS_KEY_MAX + sizeof(client->iv))];
    SECRET_WIPE(block);
    size_t key_len, iv_len;
    int r;

    if (!suite || suite->version != KS_TLS12)
        return -EINVAL;
    key_len = suite->key_len;
    iv_len = suite->aead == KS_CHACHA20 ? sizeof(client->iv) : 4;
    /* Server random first: the master secret is made from them the other way round. */
    r = prf(suite, master, MASTER_LEN, "key expansion", server_random, client_random, block,
            2 * (key_len + iv_len));
    if (r < 0)
        return r;
    fill12(client, suite, block, block + 2 * key_len, iv_len);
    fill12(server, suite, block + key_len, block + 2 * key_len + iv_len, iv_len);
    return 0;
}
