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
#include "upgrade.h"

#define MOVED_MAX 64

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

/* What is left, for the next piece; NULL = for ever. */
static const struct timespec *left(const struct limit *l, struct timespec *out)
{
    struct timespec now;

    if (l->forever)
        return NULL;
    clock_gettime(CLOCK_MONOTONIC, &now);
    out->tv_sec = l->end.tv_sec - now.tv_sec;
    out->tv_nsec = l->end.tv_nsec - now.tv_nsec;
    if (out->tv_nsec < 0) {
        out->tv_nsec += 1000000000;
        out->tv_sec--;
    }
    if (out->tv_sec < 0)
        *out = (struct timespec){0, 0};
    return out;
}

int wa_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    struct limit l = limit_of(timeout);
    struct timespec rest;
    int r;

    (void)up_settle_all(NULL, 0, NULL);
    do {
        r = NX(ppoll)(fds, n, left(&l, &rest), mask);
    } while (r > 0 && wa_needed() && up_settle_all(NULL, 0, NULL) > 0);
    return r;
}

int wa_select(int n, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout,
              const sigset_t *mask)
{
    fd_set *const sets[3] = {in, out, bad};
    struct limit l = limit_of(timeout);
    struct timespec rest;
    fd_set asked[3];
    int r;

    (void)up_settle_all(NULL, 0, NULL);
    if (n > FD_SETSIZE) /* larger sets of the program's own making: no second look */
        return NX(pselect)(n, in, out, bad, timeout, mask);
    for (int i = 0; i < 3; i++)
        if (sets[i])
            asked[i] = *sets[i];
    for (;;) {
        r = NX(pselect)(n, in, out, bad, left(&l, &rest), mask);
        if (r <= 0 || !wa_needed() || up_settle_all(NULL, 0, NULL) == 0)
            return r;
        for (int i = 0; i < 3; i++)
            if (sets[i])
                *sets[i] = asked[i];
    }
}

/* Takes out the events of registrations that have moved to another file. Returns how many stay. */
static int drop_moved(int epfd, struct epoll_event *events, int n, const struct fs_reg *moved,
                      unsigned n_moved)
{
    int kept = 0;

    for (int i = 0; i < n; i++) {
        bool stale = false;

        for (unsigned k = 0; k < n_moved && !stale; k++)
            stale = moved[k].epfd == epfd && moved[k].event.data.u64 == events[i].data.u64;
        if (!stale)
            events[kept++] = events[i];
    }
    return kept;
}

static int real_epoll(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
                      const sigset_t *mask)
{
    long long ms = -1;

    if (timeout) /* rounded up: a rest of a microsecond is not over yet */
        ms = (long long)timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000;
    return NX(epoll_pwait)(epfd, events, max, ms > 2000000000 ? 2000000000 : (int)ms, mask);
}

int wa_epoll(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
             const sigset_t *mask)
{
    struct limit l = limit_of(timeout);
    struct fs_reg moved[MOVED_MAX];
    struct timespec rest;
    unsigned n_moved;
    int r;

    (void)up_settle_all(NULL, 0, NULL);
    for (;;) {
        r = real_epoll(epfd, events, max, left(&l, &rest), mask);
        if (r <= 0 || !wa_needed() || up_settle_all(moved, MOVED_MAX, &n_moved) == 0)
            return r;
        r = drop_moved(epfd, events, r, moved, n_moved);
        if (r > 0)
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

void wa_epoll_ctl(int epfd, int op, int fd, const struct epoll_event *event)
{
    struct fs_state *s = fs_find(fd);
    struct lk_saved saved;
    struct fs_reg *r;

    if (!s || fs_kind(s) != FS_GATE)
        return;
    lk_take(&saved);
    r = fs_kind(s) == FS_GATE ? reg_of(s, epfd, fd) : NULL;
    if (r && op == EPOLL_CTL_DEL)
        *r = s->regs[--s->n_regs];
    else if (r && event)
        r->event = *event;
    lk_give(&saved);
}
