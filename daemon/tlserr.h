/* The one map from what OpenSSL says to what a client is told. */
#ifndef HTLS_TLSERR_H
#define HTLS_TLSERR_H

#include <openssl/types.h>

#include "failure.h"
#include "sockbio.h"

/* Alerts seen by the info callback; -1 = none. */
struct te_alerts {
    int received;
    int sent;
};

/* Fills *f after a failed SSL call. `name` is the name that was verified. Clears the error queue.
 */
void te_failure(struct failure *f, SSL *ssl, int ssl_error, const struct sb_state *io,
                const struct te_alerts *alerts, const char *name);

#endif
