/* poll, select, epoll while upgrades run: a gate that opens must not show as what it is. */
#ifndef HTLS_WAIT_H
#define HTLS_WAIT_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include "fdstate.h"

/* False while no upgrade runs in this process: the real calls are made directly. */
static inline bool wa_needed(void)
{
    return atomic_load_explicit(&fs_gates, memory_order_relaxed) != 0;
}

/* Before a real call, and after it: has an upgrade ended meanwhile, in whatever thread? */
static inline unsigned wa_seen(void)
{
    return atomic_load_explicit(&fs_settled, memory_order_acquire);
}

static inline bool wa_settled(unsigned seen)
{
    return wa_seen() != seen;
}

/* All return as the calls they stand for, errno included. timeout: NULL waits for ever. */
int wa_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
int wa_select(int n, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout,
              const sigset_t *mask);
int wa_epoll(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
             const sigset_t *mask);

/* Looks at n events that the real epoll_wait has given since fs_settled was `seen`. Returns how
 * many of them stay. */
int wa_epoll_answer(int epfd, struct epoll_event *events, int n, unsigned seen);

/* epoll_ctl(2), which remembers what a set was told about a gate. */
int wa_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

#endif
