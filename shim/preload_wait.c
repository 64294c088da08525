/* The interposed symbols that wait for descriptors. */
#include <stdarg.h>
#include <stddef.h>

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

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec ts;

    return wa_needed() ? wa_poll(fds, n, from_ms(timeout, &ts), NULL) : NX(poll)(fds, n, timeout);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    return wa_needed() ? wa_poll(fds, n, timeout, mask) : NX(ppoll)(fds, n, timeout, mask);
}

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
    struct timespec ts;

    if (!wa_needed() || room / sizeof(*fds) < n)
        return NX(__poll_chk)(fds, n, timeout, room);
    return wa_poll(fds, n, from_ms(timeout, &ts), NULL);
}

int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                size_t room);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                       const sigset_t *mask, size_t room)
{
    if (!wa_needed() || room / sizeof(*fds) < n)
        return NX(__ppoll_chk)(fds, n, timeout, mask, room);
    return wa_poll(fds, n, timeout, mask);
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *bad, struct timeval *timeout)
{
    struct timespec ts = {0, 0};

    if (!wa_needed())
        return NX(select)(n, in, out, bad, timeout);
    if (timeout)
        ts = (struct timespec){timeout->tv_sec, (long)timeout->tv_usec * 1000};
    return wa_select(n, in, out, bad, timeout ? &ts : NULL, NULL);
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout,
                   const sigset_t *mask)
{
    return wa_needed() ? wa_select(n, in, out, bad, timeout, mask)
                       : NX(pselect)(n, in, out, bad, timeout, mask);
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
    int r = NX(epoll_ctl)(epfd, op, fd, event);

    if (r == 0 && wa_needed())
        wa_epoll_ctl(epfd, op, fd, event);
    return r;
}

EXPORT int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    struct timespec ts;

    return wa_needed() ? wa_epoll(epfd, events, max, from_ms(timeout, &ts), NULL)
                       : NX(epoll_wait)(epfd, events, max, timeout);
}

EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout,
                       const sigset_t *mask)
{
    struct timespec ts;

    return wa_needed() ? wa_epoll(epfd, events, max, from_ms(timeout, &ts), mask)
                       : NX(epoll_pwait)(epfd, events, max, timeout, mask);
}

EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int max,
                        const struct timespec *timeout, const sigset_t *mask)
{
    return wa_needed() ? wa_epoll(epfd, events, max, timeout, mask)
                       : NX(epoll_pwait2)(epfd, events, max, timeout, mask);
}
