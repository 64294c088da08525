/* From a traffic secret to the keys of one direction; the cipher suites that htls knows.
 *
 * Kernel and relay are both driven from here: one key schedule, whoever encrypts. */
#ifndef HTLS_KEYSCHED_H
#define HTLS_KEYSCHED_H

#include <stddef.h>
#include <stdint.h>

#define KS_KEY_MAX 32
#define KS_SECRET_MAX 48
#define KS_TLS12 0x0303
#define KS_TLS13 0x0304

enum ks_aead { KS_AES_128_GCM, KS_AES_256_GCM, KS_CHACHA20, KS_AES_128_CCM, KS_AEADS };

/* A cipher suite: a row of the one table in keysched.c. To add a suite, add a row there (a new AEAD
 * also needs a row in ktls.c and one in record.c). */
struct ks_suite {
    uint16_t id;      /* IANA number */
    uint16_t version; /* KS_TLS12 or KS_TLS13 */
    enum ks_aead aead;
    uint8_t key_len;     /* bytes */
    uint8_t secret_len;  /* TLS 1.3: bytes of the hash, so of a traffic secret */
    const char *digest;  /* name of the PRF / HKDF hash for EVP_MD_fetch */
    const char *openssl; /* OpenSSL's name of the suite */
    const char *name;    /* IANA name */
};

/* All rows, in the default order of preference; *n is their number. */
const struct ks_suite *ks_suites(size_t *n);
/* The row of an IANA number, NULL when htls does not know it. */
const struct ks_suite *ks_find(uint16_t id);
const char *ks_aead_name(enum ks_aead aead);

/* What one direction needs to go on from its next record. Secret: wipe it (proto/secret.h). */
struct ks_dir {
    const struct ks_suite *suite;
    uint64_t seq; /* sequence number of the next record */
    uint8_t key[KS_KEY_MAX];
    uint8_t iv[12];                /* TLS 1.3 and ChaCha20: all 12; TLS 1.2 GCM/CCM: the first 4 */
    uint8_t nonce[8];              /* TLS 1.2 GCM/CCM, sending: explicit nonce of the next record */
    uint8_t secret[KS_SECRET_MAX]; /* TLS 1.3: the traffic secret, for the next generation */
};

/* TLS 1.3 (RFC 8446 section 7.3): key and iv from a traffic secret of suite->secret_len bytes. Sets
 * seq to 0. Returns 0, -EINVAL (no TLS 1.3 suite, wrong length) or -ENOTRECOVERABLE (libcrypto
 * failed). */
int ks_tls13(struct ks_dir *d, const struct ks_suite *suite, const uint8_t *secret, size_t len);

/* TLS 1.3 (RFC 8446 section 7.2): d becomes its next generation, seq 0. Untouched on failure. */
int ks_next(struct ks_dir *d);

/* TLS 1.2 (RFC 5246 section 6.3): both directions from the master secret (48 bytes) and the randoms
 * (32 bytes each). seq is set to 1, for the Finished went before; the nonce of each is zero and is
 * the caller's to set for the sending one. */
int ks_tls12(struct ks_dir *client, struct ks_dir *server, const struct ks_suite *suite,
             const uint8_t master[48], const uint8_t client_random[32],
             const uint8_t server_random[32]);

#endif
