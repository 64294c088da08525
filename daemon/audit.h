/* Which of the TCP sockets that somebody counts on does the kernel still have? */
#ifndef HTLS_AUDIT_H
#define HTLS_AUDIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct nl_sock;
struct au_kept; /* a socket that is counted on */

/* All zero but for what the owner fills; used again and again. */
struct audit {
    struct lp_loop *lp;
    /* All was looked at (0), or could not be (-errno: nothing is known). Called from the loop;
     * au_missing() may be asked until au_end(). */
    void (*done)(struct audit *a, int result);

    bool running;
    struct lp_op ended;
    int wake; /* an eventfd */
    pthread_t thread;
    /* While it runs the rest is the thread's, but for `stop`. */
    atomic_bool stop;
    int result;
    struct nl_sock *sock;
    uint32_t seq;
    struct au_kept *kept;
    size_t n, cap, unseen;
};

/* A netlink socket for audits of the network namespace that the calling thread is in; the caller
 * frees it. Returns 0 or -errno. */
int au_open_socket(struct nl_sock **out);

/* Can it be asked for TCP sockets? Returns 0, or -errno (-ENOENT: the kernel has no tcp_diag and
 * cannot load it). */
int au_probe(struct nl_sock *sock);

/* Counts on one more. Not while an audit runs. Returns 0 or -ENOMEM. */
int au_keep(struct audit *a, uint64_t cookie);

/* Begins to look at all TCP sockets of the network namespace of sock, which must stay until done().
 * Returns 0, then done() will be called, or -errno. */
int au_start(struct audit *a, struct nl_sock *sock);

/* The next from *at (at first 0) that was not found: it has no place in TCP any more. It was
 * closed, or it is dead (reset, or ended from both sides) and perhaps still held by a process. */
bool au_missing(const struct audit *a, size_t *at, uint64_t *cookie);

/* Forgets those that were kept. One that runs is ended first, done() is not called then: only when
 * the loop turns no more. */
void au_end(struct audit *a);
/* The same in a child after fork: the thread is the parent's. */
void au_forget(struct audit *a);

#endif
