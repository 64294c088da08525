/* A worker process: the loop, everything that its connections share. */
#ifndef HTLS_WORKER_H
#define HTLS_WORKER_H

#include <stdbool.h>

#include "handshake.h"
#include "loop.h"
#include "offload.h"
#include "options.h"
#include "probe.h"
#include "relay.h"
#include "sessions.h"
#include "stats.h"
#include "tickets.h"
#include "trust.h"
#include "turns.h"

struct worker {
    unsigned index;
    int control; /* SEQPACKET to the control process */
    const struct options *options;
    const struct pr_caps *caps;
    struct st_shared *shared;
    struct st_worker *stats;
    struct lp_loop *lp;
    struct hs_ctx *hs_ctx;
    struct tr_trust *trust;
    struct of_diag *diag; /* may be NULL */
    struct rl_shared *relays;
    struct se_cache *sessions; /* NULL: switched off */
    struct tickets *tickets;
    struct lp_op control_in, sweep;
    struct turns turns;            /* whose handshake may run */
    unsigned since_trim;           /* handshakes that ended since memory was last given back */
    bool starting;                 /* cn_start_waiting() is at work */
    uint8_t in[W_MESSAGE_MAX + 1]; /* one client's message, while it is handled */
    uint8_t out[W_MESSAGE_MAX];
};

/* The worker's whole life, in the forked child: builds its parts, isolates, turns the loop.
 * key_log_fd and control are its own. sessions: NULL when they are switched off. Returns the
 * process's exit status. */
int wk_main(unsigned index, int control, int key_log_fd, const struct options *o,
            const struct pr_caps *caps, struct st_shared *shared, struct se_cache *sessions);

#endif
