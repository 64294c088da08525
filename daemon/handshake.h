/* One TLS handshake, driven by OpenSSL over the client's socket, up to the keys of both directions.
 */
#ifndef HTLS_HANDSHAKE_H
#define HTLS_HANDSHAKE_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "keysched.h"

#define HS_SUITES_MAX 32

struct hs;
struct hs_ctx; /* a worker's SSL_CTX */
struct ru_ctx;

/* What is fixed before the handshake. Only read during hs_new(). */
struct hs_setup {
    char name[W_NAME_MAX + 1]; /* DNS name or IP address */
    const uint8_t *alpn;       /* RFC 7301 wire form: length-prefixed names */
    size_t alpn_len;
    uint16_t version_min, version_max;
    const struct ks_suite *suites[HS_SUITES_MAX]; /* in order of preference */
    size_t n_suites;
    char groups[256];  /* "" = OpenSSL's default */
    X509_STORE *store; /* a reference is taken */
    bool verify;
    /* Sessions are resumed only where all of the above are equal, the store by its digest, and: */
    uint8_t trust[32];
    uint32_t uid;  /* of the client */
    uint16_t port; /* of the peer */
};

/* What was negotiated. Text is "" where there is none. */
struct hs_facts {
    const struct ks_suite *suite;
    char alpn[256]; /* alpn_len bytes: RFC 7301 allows any */
    size_t alpn_len;
    char group[48];
    bool resumed;
};

enum hs_want { HS_DONE, HS_WANT_READ, HS_WANT_WRITE, HS_FAILED };

/* key_log_fd: lines in NSS key log format go there, -1 = none. */
int hs_ctx_new(struct hs_ctx **out, int key_log_fd);
void hs_ctx_free(struct hs_ctx *c);

/* From now on sessions are kept in that cache, and resumed. ru is copied. */
void hs_ctx_resume(struct hs_ctx *c, const struct ru_ctx *ru);

/* Prepares a client handshake on fd, which stays the caller's and keeps its flags. Returns 0, or
 * -errno with *f filled (-EINVAL: a name, group or suite that cannot be). */
int hs_new_client(struct hs **out, struct hs_ctx *c, int fd, const struct hs_setup *s,
                  struct failure *f);

/* Wipes and frees; NULL is ignored. Sends nothing. */
void hs_free(struct hs *h);

/* Goes as far as the socket lets it. HS_FAILED fills *f; an alert that OpenSSL wanted to send is
 * sent. */
enum hs_want hs_step(struct hs *h, struct failure *f);

/* After HS_DONE and tk_drain(): the keys and sequence numbers with which both directions go on. */
int hs_keys(struct hs *h, struct ks_dir *rx, struct ks_dir *tx, struct failure *f);

void hs_facts(const struct hs *h, struct hs_facts *facts);

#endif
