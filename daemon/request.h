/* What a CONNECT message asks for, checked against the configuration and the kernel. */
#ifndef HTLS_REQUEST_H
#define HTLS_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake.h"
#include "internal.h"
#include "options.h"
#include "probe.h"

struct request {
    struct hs_setup setup; /* setup.alpn is owned here; store, trust, port are not set */
    char trust_store[64];
    enum w_path path;
    unsigned timeout_ms;
    bool reads_records, gate;
    uint32_t gate_fill;
    bool kernel;   /* the plan: keys go to the kernel if the negotiated suite allows it */
    char why[128]; /* why not, when the plan is the relay */
};

/* Reads a decoded CONNECT. Returns 0 with *q to be freed with rq_free(), or -errno with *f filled.
 */
int rq_read(struct request **q, const struct w_msg *m, const struct in_peer *peer,
            const struct options *o, const struct pr_caps *caps, struct failure *f);
void rq_free(struct request *q);

/* The kernel turned out not to be possible for this socket: the plan becomes the relay, or
 * -EOPNOTSUPP with *f filled when the client insists on the kernel. */
int rq_no_kernel(struct request *q, const char *why, struct failure *f);

#endif
