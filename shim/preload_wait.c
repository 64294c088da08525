/* The interposed symbols that wait for descriptors. */
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "next.h"
#include "preload.h"
#include "swap.h"
#include "wait.h"

static const struct timespec *from_ms(int ms, struct timespec *ts)
{
    if (ms < 0)
        return NULL;
    *ts = (struct timespec){ms / 1000, (long)(ms % 1000) * 1000000};
    return ts;
}

/* While no upgrade runs the real call is made; if one has ended when it comes back, in another
 * thread, what woke it may be a gate that is gone. */
#define ANSWER(r, seen) ((r) <= 0 || (!wa_needed() && !wa_settled(seen)))

static int poll_for(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                    const sigset_t *mask)
{
    unsigned seen = wa_seen();
    int r;

    if (!wa_needed()) {
        r = NX(ppoll)(fds, n, timeout, mask);
        if (ANSWER(r, seen))
            return r;
    }
    return wa_poll(fds, n, timeout, mask);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    unsigned seen = wa_seen();
    struct timespec ts;
    int r;

    if (!wa_needed()) {
        r = NX(poll)(fds, n, timeout);
        if (ANSWER(r, seen))
            return r;
    }
    return wa_poll(fds, n, from_ms(timeout, &ts), NULL);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    return poll_for(fds, n, timeout, mask);
}

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
    if (room / sizeof(*fds) < n)
        return NX(__poll_chk)(fds, n, timeout, room);
    return poll(fds, n, timeout);
}

int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                size_t room);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                       const sigset_t *mask, size_t room)
{
    if (room / sizeof(*fds) < n)
        return NX(__ppoll_chk)(fds, n, timeout, mask, room);
    return poll_for(fds, n, timeout, mask);
}

/* The program's sets are results too: only what it asked for at first can be asked again. */
struct asked {
    fd_set *where[3];
    fd_set was[3];
};

static void keep(struct asked *a, int n, fd_set *in, fd_set *out, fd_set *bad)
{
    *a = (struct asked){.where = {in, out, bad}};
    for (int i = 0; i < 3; i++)
        if (a->where[i] && n > 0)
            memcpy(&a->was[i], a->where[i], ((size_t)n + 63) / 64 * 8);
}

static void restore(const struct asked *a, int n)
{
    for (int i = 0; i < 3; i++)
        if (a->where[i] && n > 0)
            memcpy(a->where[i], &a->was[i], ((size_t)n + 63) / 64 * 8);
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *bad, struct timeval *timeout)
{
    struct timespec ts = {0, 0};
    unsigned seen = wa_seen();
    struct asked a;
    int r;

    if (timeout)
        ts = (struct timespec){timeout->tv_sec, (long)timeout->tv_usec * 1000};
    if (n > FD_SETSIZE) /* larger sets of the program's own making: no second look */
        return NX(select)(n, in, out, bad, timeout);
    if (!wa_needed()) {
        keep(&a, n, in, out, bad);
        r = NX(select)(n, in, out, bad, timeout);
        if (ANSWER(r, seen))
            return r;
        restore(&a, n);
    }
    return wa_select(n, in, out, bad, timeout ? &ts : NULL, NULL);
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout,
                   const sigset_t *mask)
{
    unsigned seen = wa_seen();
    struct asked a;
    int r;

    if (n > FD_SETSIZE)
        return NX(pselect)(n, in, out, bad, timeout, mask);
    if (!wa_needed()) {
        keep(&a, n, in, out, bad);
        r = NX(pselect)(n, in, out, bad, timeout, mask);
        if (ANSWER(r, seen))
            return r;
        restore(&a, n);
    }
    return wa_select(n, in, out, bad, timeout, mask);
}

/* --- epoll --------------------------------------------------------------------------- */

EXPORT int epoll_create(int size)
{
    int epfd = NX(epoll_create)(size);

    sw_new_set(epfd);
    return epfd;
}

EXPORT int epoll_create1(int flags)
{
    int epfd = NX(epoll_create1)(flags);

    sw_new_set(epfd);
    return epfd;
}

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return wa_needed() ? wa_epoll_ctl(epfd, op, fd, event) : NX(epoll_ctl)(epfd, op, fd, event);
}

/* Events are taken by being reported: those of the first call must not be lost. */
#define EPOLL(call, epfd, events, max, timeout, mask)                                              \
    ({                                                                                             \
        unsigned seen_ = wa_seen();                                                                \
        int r_ = 0;                                                                                \
        bool done_ = false;                                                                        \
        if (!wa_needed()) {                                                                        \
            r_ = (call);                                                                           \
            done_ = ANSWER(r_, seen_);                                                             \
            if (!done_)                                                                            \
                r_ = wa_epoll_answer(epfd, events, r_, seen_);                                     \
            done_ = done_ || r_ > 0;                                                               \
        }                                                                                          \
        done_ ? r_ : wa_epoll(epfd, events, max, timeout, mask);                                   \
    })

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    struct timespec ts;

    return EPOLL(NX(epoll_wait)(epfd, events, max, timeout), epfd, events, max,
                 from_ms(timeout, &ts), NULL);
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout,
                       const sigset_t *mask)
{
    struct timespec ts;

    return EPOLL(NX(epoll_pwait)(epfd, events, max, timeout, mask), epfd, events, max,
                 from_ms(timeout, &ts), mask);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int max,
                        const struct timespec *timeout, const sigset_t *mask)
{
    return EPOLL(NX(epoll_pwait2)(epfd, events, max, timeout, mask), epfd, events, max, timeout,
                 mask);
}
