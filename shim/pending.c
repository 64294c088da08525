/* The set of upgrades that run: one epoll descriptor, made at the first of them, hidden,
 * close-on-exec. */
#include "pending.h"

#include <fcntl.h>
#include <unistd.h>

#include "client.h"
#include "next.h"
#include "sys.h"

#define READY_MAX 64
#define HIDDEN_MIN 900 /* out of the low numbers that programs count on */

static int set = -1;
static pid_t owner;        /* a child would share the set itself with its parent */
static uint64_t last_look; /* at all of them */

static int make_set(void)
{
    int fd = NX(epoll_create1)(EPOLL_CLOEXEC), high;

    if (fd < 0)
        return -1;
    high = sy.fcntl(fd, F_DUPFD_CLOEXEC, HIDDEN_MIN);
    if (high < 0)
        return fd;
    sy.close(fd);
    return high;
}

void pd_add(struct fs_state *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};

    if (owner != getpid()) {
        if (set >= 0)
            sy.close(set);
        set = -1;
        owner = getpid();
    }
    if (set < 0 || NX(epoll_ctl)(set, EPOLL_CTL_ADD, s->sock, &e) < 0) {
        set = make_set(); /* the first, or the program closed the one there was */
        if (set >= 0)
            (void)NX(epoll_ctl)(set, EPOLL_CTL_ADD, s->sock, &e);
        last_look = 0;
    }
}

void pd_remove(struct fs_state *s)
{
    if (set >= 0 && s->sock >= 0)
        (void)NX(epoll_ctl)(set, EPOLL_CTL_DEL, s->sock, NULL);
}

void pd_each_ready(void (*fn)(int fd, struct fs_state *s, void *arg), void *arg)
{
    struct epoll_event events[READY_MAX];
    uint64_t now = cl_now();
    int n = set >= 0 ? NX(epoll_wait)(set, events, READY_MAX, 0) : -1;

    if (n < 0 || now - last_look >= 1000) {
        last_look = now;
        fs_each(0, FS_CHUNK * FS_CHUNKS - 1, fn, arg);
        return;
    }
    for (int i = 0; i < n; i++)
        fn(-1, events[i].data.ptr, arg);
}
