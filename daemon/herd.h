/* The worker processes' lives: started, replaced when they die, ended. Control's other half. */
#ifndef HTLS_HERD_H
#define HTLS_HERD_H

#include <stdbool.h>

#include "census.h"
#include "internal.h"
#include "loop.h"
#include "options.h"
#include "pools.h"
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
    struct census *census; /* told of clients that come, and of workers that die */
    const int *tables;     /* memfd of each worker's table, stays the owner's */
    /* A worker's note, as no_take(). */
    bool (*note)(void *owner, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds);
    int key_log;                   /* inherited by the workers, -1 = none */
    void (*in_child)(void *owner); /* in a new worker: drop what is control's alone */
    void (*gave_up)(void *owner);  /* a worker dies again and again: the daemon must end */
    void *owner;
};

/* Starts n workers. Returns 0 or -errno; hd_stop() either way. In a worker it does not return. */
int hd_start(struct herd **out, const struct hd_owner *owner, unsigned n);

/* After SIGCHLD. */
void hd_reap(struct herd *h);

/* Takes every note that waits now, of all workers. */
void hd_drain(struct herd *h);

/* Sends to one worker. The descriptors stay the caller's. Returns 0; -EAGAIN when its queue is full
 * or it is being replaced; else -errno. hd_fd() is the socket to poll for room, -1 while there is
 * no such worker. */
int hd_send(struct herd *h, unsigned worker, const void *p, size_t n, const int *fds,
            unsigned nfds);
int hd_fd(const struct herd *h, unsigned worker);

/* Sends a client's connection, which stays the caller's, to the least busy worker, with the memory
 * of its uid's slots (NULL = none). Returns 0;
 * -EAGAIN when its queue is full, with *wait_for to poll for POLLOUT; -ENOENT when there is no
 * worker now; else -errno. */
int hd_give(struct herd *h, int fd, const struct in_peer *who, const struct pool *pool,
            int *wait_for);

/* Ends all workers, by force after two seconds, and frees. NULL is ignored. */
void hd_stop(struct herd *h);

#endif
