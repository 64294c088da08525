/* The set of upgrades that run: one epoll descriptor, made at the first of them, hidden,
 * close-on-exec. */
#include "pending.h"

#include <unistd.h>

#include "client.h"
#include "hidden.h"
#include "next.h"

#define READY_MAX 64

static int set = -1;
static pid_t owner;        /* a child would share the set itself with its parent */
static uint64_t last_look; /* at all of them */

static int make_set(void)
{
    int fd = NX(epoll_create1)(EPOLL_CLOEXEC);

    return fd < 0 ? -1 : hd_move(fd);
}

void pd_add(struct fs_state *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};

    if (owner != getpid()) {
        hd_close(&set);
        owner = getpid();
    }
    if (set < 0 || NX(epoll_ctl)(set, EPOLL_CTL_ADD, s->sock, &e) < 0) {
        set = make_set(); /* the first, or the one there was is gone (a raw close) */
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

int *pd_set(void)
{
    return &set;
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
