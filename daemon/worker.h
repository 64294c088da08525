/* A worker process: the loop, everything that its connections share. */
#ifndef HTLS_WORKER_H
#define HTLS_WORKER_H

#include <stdbool.h>

#include "handshake.h"
#include "internal.h"
#include "loop.h"
#include "offload.h"
#include "options.h"
#include "pools.h"
#include "probe.h"
#include "relay.h"
#include "sessions.h"
#include "stats.h"
#include "table.h"
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
    struct table *table; /* kernel connections that this worker keeps */
    struct pools pools;  /* of the uids it has served */
    struct lp_op untold; /* until control has room to be told of the table's news */
    uint64_t netns;      /* the daemon's own network namespace */
    struct turns turns;  /* whose handshake may run */
    unsigned since_trim; /* handshakes that ended since memory was last given back */
    bool starting;       /* cn_start_waiting() is at work */
    _Alignas(8) uint8_t note[sizeof(struct in_serve) + 1]; /* one message of control */
    uint8_t in[W_MESSAGE_MAX + 1]; /* one client's message, while it is handled */
    uint8_t out[W_MESSAGE_MAX];
};

/* What a worker is born with. The descriptors are its own; the rest is control's, inherited. */
struct wk_inherited {
    unsigned index;
    int control;    /* SEQPACKET to the control process */
    int key_log_fd; /* -1 = none */
    int table_fd;   /* the memory of what it keeps (table.h) */
    const struct options *options;
    const struct pr_caps *caps;
    struct st_shared *shared;
    struct se_cache *sessions; /* NULL: switched off */
};

/* The worker's whole life, in the forked child: builds its parts, isolates, turns the loop. Returns
 * the process's exit status. */
int wk_main(const struct wk_inherited *in);

/* A burst of handshakes leaves its memory with the C library: called at the end of each, this gives
 * it back to the system when it was the last of many. */
void wk_trim(struct worker *w);

#endif
