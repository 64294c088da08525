/* Which TLS sessions are kept, and which connections may resume them. */
#ifndef HTLS_RESUME_H
#define HTLS_RESUME_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "sessions.h"
#include "stats.h"

struct hs_setup;

/* A worker's. cache NULL: no session is kept or resumed. */
struct ru_ctx {
    struct se_cache *cache;
    struct st_worker *stats;
    unsigned lifetime; /* seconds that a peer's certificate, once seen, is relied on */
};

/* One handshake's; all zero when it has nothing to do with sessions. */
struct ru_link {
    const struct ru_ctx *ctx;
    uint32_t uid;
    bool verify, done;
    uint8_t key[SE_KEY];
    SSL_SESSION *offered; /* owned */
    uint64_t proven;      /* until when what is known of the peer may be relied on */
    unsigned tickets;     /* of TLS 1.3, that came */
};

/* Before the handshake, when ssl has been configured by s: offers a session if there is one that
 * this connection may resume. What goes wrong here only means a full handshake. */
void ru_open(struct ru_link *l, const struct ru_ctx *ctx, SSL *ssl, const struct hs_setup *s);

/* After a handshake that succeeded: counts, keeps the session of TLS 1.2. */
void ru_done(struct ru_link *l, SSL *ssl);

/* A ticket of TLS 1.3 has become this session. */
void ru_ticket(struct ru_link *l, const SSL_SESSION *session);

/* The end, in any state. A handshake that was not finished takes what it offered with it: were the
 * session the reason, the next try would fail the same way. */
void ru_close(struct ru_link *l);

#endif
