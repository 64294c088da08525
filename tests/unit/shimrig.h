/* A TCP connection, a fake daemon that the shim finds, and what both leave behind. */
#ifndef HTLS_TESTS_SHIMRIG_H
#define HTLS_TESTS_SHIMRIG_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../shim/fdstate.h"
#include "../../shim/lock.h"
#include "fake_daemon.h"
#include "tcp_pair.h"

/* The shim reads HTLS_SOCKET once in a process: a symbolic link that every test points elsewhere.
 */
#define RIG_SOCKET "/tmp/htls-unit-rig.sock"

struct rig {
    struct fake d;
    int tcp[2]; /* the program's, the peer's */
    unsigned fds;
    sem_t go; /* for act: wait for it where the test must come first */
};

static inline unsigned rig_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0, lines = 0;
    struct dirent *e;

    while ((e = readdir(dir))) {
        int fd = atoi(e->d_name), type = 0;
        socklen_t len = sizeof(type);

        n++;
        (void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
        lines += fd >= 900 && type == SOCK_SEQPACKET;
    }
    closedir(dir);
    return n - (lines > 0); /* the process's one line (shim/line.h) may be there or not */
}

static inline void rig_start(struct rig *r, void (*act)(struct fake *d, int sock))
{
    r->fds = rig_count_fds();
    sem_init(&r->go, 0, 0);
    tcp_pair(r->tcp);
    r->d.arg = r;
    fake_start(&r->d, act);
    unlink(RIG_SOCKET);
    CU_ASSERT_EQUAL_FATAL(symlink(r->d.path, RIG_SOCKET), 0);
}

static inline struct rig *rig_of(struct fake *d)
{
    return d->arg;
}

static inline void rig_go(struct rig *r)
{
    sem_post(&r->go);
}

static inline short rig_poll(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

    CU_ASSERT(poll(&p, 1, ms) >= 0);
    return p.revents;
}

/* hidden: descriptors that stay behind for the whole process (the set of pending upgrades). */
static inline void rig_stop(struct rig *r, int (*closing)(int fd))
{
    rig_go(r); /* nobody waits for ever */
    (void)closing(r->tcp[0]);
    close(r->tcp[0]);
    close(r->tcp[1]);
    fake_stop(&r->d);
    unlink(RIG_SOCKET);
    sem_destroy(&r->go);
    CU_ASSERT_EQUAL(rig_count_fds(), r->fds);
}

#endif
