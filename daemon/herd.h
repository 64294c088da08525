/* The worker processes' lives: started, replaced when they die, ended. Control's other half. */
#ifndef HTLS_HERD_H
#define HTLS_HERD_H

#include <stdbool.h>

#include "census.h"
#include "internal.h"
#include "loop.h"
#include "options.h"
#include "probe.h"
#include "sessions.h"
#include "stats.h"

struct herd;

/* What the herd needs of control; the pointers must outlive it. */
struct hd_owner {
    const struct options *options;
    const struct pr_caps *caps;
    struct st_shared *shared;
    struct se_cache *sessions; /* for the workers alone; NULL: switched off */
    struct lp_loop *lp;
    struct census *census;         /* told of clients that leave, and of workers that die */
    int key_log;                   /* inherited by the workers, -1 = none */
    void (*in_child)(void *owner); /* in a new worker: drop what is control's alone */
    void (*gave_up)(void *owner);  /* a worker dies again and again: the daemon must end */
    void *owner;
};

/* Starts n workers. Returns 0 or -errno; hd_stop() either way. In a worker it does not return. */
int hd_start(struct herd **out, const struct hd_owner *owner, unsigned n);

/* After SIGCHLD. */
void hd_reap(struct herd *h);

/* Sends a client's connection, which stays the caller's, to the least busy worker. Returns 0;
 * -EAGAIN when its queue is full, with *wait_for to poll for POLLOUT; -ENOENT when there is no
 * worker now; else -errno. */
int hd_give(struct herd *h, int fd, const struct in_peer *who, int *wait_for);

/* Ends all workers, by force after two seconds, and frees. NULL is ignored. */
void hd_stop(struct herd *h);

#endif
