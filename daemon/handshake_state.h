/* The inside of a handshake, shared by handshake.c and tickets.c. */
#ifndef HTLS_HANDSHAKE_STATE_H
#define HTLS_HANDSHAKE_STATE_H

#include <openssl/ssl.h>

#include "handshake.h"
#include "keylog.h"
#include "../proto/posths.h"
#include "resume.h"
#include "sockbio.h"
#include "tlserr.h"

struct hs_ctx {
    SSL_CTX *ssl_ctx;
    int key_log_fd;
    struct ru_ctx resume;
};

/* Secret inside: wiped by hs_free(). */
struct hs {
    SSL *ssl;
    struct hs_ctx *ctx;
    struct sb_state io;
    struct te_alerts alerts;
    char name[W_NAME_MAX + 1];
    uint64_t seq[2]; /* [0] read, [1] write: sequence number of the next record */
    struct kl_secrets secrets;
    struct ru_link resume;
    struct ph_stream late; /* messages that came when the keys had left */
};

#endif
