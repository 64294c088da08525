/* Waiting while upgrades run.
 *
 * The gate itself wakes the real call. Before its events reach the program the upgrade is
 * concluded: in kernel mode another file lies under the number then, and what was seen of the gate
 * (HUP) is dropped. */
#include "wait.h"

#include <errno.h>
#include <string.h>

#include "client.h"
#include "lock.h"
#include "next.h"
#include "swap.h"
#include "upgrade.h"

#define PIECE_S 1 /* so long at most a call sleeps in one go: a daemon may be silent for ever */

/* A time limit that may be waited for in several pieces. */
struct limit {
    bool forever;
    struct timespec end;
};

static struct limit limit_of(const struct timespec *timeout)
{
    struct limit l = {.forever = !timeout};

    if (timeout) {
        clock_gettime(CLOCK_MONOTONIC, &l.end);
        l.end.tv_sec += timeout->tv_sec;
        l.end.tv_nsec += timeout->tv_nsec;
        if (l.end.tv_nsec >= 1000000000) {
            l.end.tv_nsec -= 1000000000;
            l.end.tv_sec++;
        }
    }
    return l;
}

/* What is left, for the next piece; *last says that the program's own time ends with it. */
static const struct timespec *left(const struct limit *l, struct timespec *out, bool *last)
{
    const struct timespec piece = {PIECE_S, 0};
    struct timespec now;

    *last = false;
    *out = piece;
    if (l->forever)
        return out;
    clock_gettime(CLOCK_MONOTONIC, &now);
    out->tv_sec = l->end.tv_sec - now.tv_sec;
    out->tv_nsec = l->end.tv_nsec - now.tv_nsec;
    if (out->tv_nsec < 0) {
        out->tv_nsec += 1000000000;
        out->tv_sec--;
    }
    *last = out->tv_sec < PIECE_S;
    if (out->tv_sec < 0)
        *out = (struct timespec){0, 0};
    if (!*last)
        *out = piece;
    return out;
}

/* After a real call that returned r: true when that is the program's answer. Else something has
 * been settled, here or in another thread, and what woke the call may be gone. */
static bool is_answer(int r, bool last, unsigned seen)
{
    if (r < 0)
        return true;
    up_settle_all();
    return r > 0 ? !wa_settled(seen) : last && !wa_settled(seen);
}

int wa_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    struct limit l = limit_of(timeout);
    struct timespec rest;
    unsigned seen;
    bool last;
    int r;

    do {
        seen = wa_seen();
        up_settle_all();
        r = NX(ppoll)(fds, n, left(&l, &rest, &last), mask);
    } while (!is_answer(r, last, seen));
    return r;
}

int wa_select(int n, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout,
              const sigset_t *mask)
{
    fd_set *const sets[3] = {in, out, bad};
    struct limit l = limit_of(timeout);
    struct timespec rest;
    fd_set asked[3];
    unsigned seen;
    bool last;
    int r;

    if (n > FD_SETSIZE) { /* larger sets of the program's own making: no second look */
        up_settle_all();
        return NX(pselect)(n, in, out, bad, timeout, mask);
    }
    for (int i = 0; i < 3; i++)
        if (sets[i])
            asked[i] = *sets[i];
    for (;;) {
        seen = wa_seen();
        up_settle_all();
        r = NX(pselect)(n, in, out, bad, left(&l, &rest, &last), mask);
        if (is_answer(r, last, seen))
            return r;
        for (int i = 0; i < 3; i++)
            if (sets[i])
                *sets[i] = asked[i];
    }
}

/* What is seen of a gate that gives way to the TCP socket is its HUP. Dropped, and the registration
 * is told to look again, for the TCP socket may have been in the same bunch. */
int wa_epoll_answer(int epfd, struct epoll_event *events, int n, unsigned seen)
{
    int kept = 0;

    if (n <= 0)
        return n;
    if (wa_needed())
        up_settle_all();
    if (!wa_settled(seen))
        return n;
    for (int i = 0; i < n; i++) {
        struct fs_reg reg;

        if ((events[i].events & EPOLLHUP) && sw_moved(epfd, events[i].data.u64, seen, &reg))
            (void)NX(epoll_ctl)(epfd, EPOLL_CTL_MOD, reg.fd, &reg.event);
        else
            events[kept++] = events[i];
    }
    return kept;
}

static int real_epoll(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
                      const sigset_t *mask)
{
    /* Rounded up: a rest of a microsecond is not over yet. */
    long long ms = (long long)timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000;

    return NX(epoll_pwait)(epfd, events, max, (int)ms, mask);
}

int wa_epoll(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
             const sigset_t *mask)
{
    struct limit l = limit_of(timeout);
    struct timespec rest;
    unsigned seen;
    bool last;
    int r;

    for (;;) {
        seen = wa_seen();
        up_settle_all();
        r = real_epoll(epfd, events, max, left(&l, &rest, &last), mask);
        if (r < 0)
            return r;
        r = wa_epoll_answer(epfd, events, r, seen);
        if (r > 0 || (last && !wa_settled(seen)))
            return r;
    }
}

/* Under the lock: the registration of this number in this set, a new one, or NULL when there is no
 * room. */
static struct fs_reg *reg_of(struct fs_state *s, int epfd, int fd)
{
    for (unsigned i = 0; i < s->n_regs; i++)
        if (s->regs[i].epfd == epfd && s->regs[i].fd == fd)
            return &s->regs[i];
    if (s->n_regs == FS_REGS_MAX)
        return NULL;
    s->regs[s->n_regs] = (struct fs_reg){.epfd = epfd, .fd = fd};
    return &s->regs[s->n_regs++];
}

int wa_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    struct fs_state *s = fs_find(fd);
    struct fs_reg *reg = NULL;
    struct lk_saved saved;
    unsigned had;
    int r = -1;

    if (!s || fs_kind(s) != FS_GATE)
        return NX(epoll_ctl)(epfd, op, fd, event);
    lk_take(&saved); /* or it could be settled between the call and the note */
    had = s->n_regs;
    if (fs_kind(s) == FS_GATE)
        reg = reg_of(s, epfd, fd);
    if (fs_kind(s) == FS_GATE && !reg)
        errno = ENOSPC; /* what is not noted would be lost */
    else
        r = NX(epoll_ctl)(epfd, op, fd, event);
    if (reg && r < 0)
        s->n_regs = had;
    else if (reg && op == EPOLL_CTL_DEL)
        *reg = s->regs[--s->n_regs];
    else if (reg && event)
        reg->event = *event;
    lk_give(&saved);
    return r;
}
