/* Work in other network namespaces (kernel-notes/09-socket-ends.md).
 *
 * A thread enters and ends there; this process never leaves its own namespace. Going there and
 * coming back would not do: who may enter a namespace may lack the right to enter his own again (a
 * container with a user namespace but the host's network), and would stay with strangers. */
#include "netns.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct errand {
    int ns;
    int (*work)(void *arg);
    void *arg;
    int result;
};

int ns_cookie(int fd, uint64_t *cookie)
{
    uint64_t value;
    socklen_t n = sizeof(value);

    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &n) < 0)
        return -errno;
    *cookie = value;
    return 0;
}

static void *go(void *arg)
{
    struct errand *e = arg;

    e->result = setns(e->ns, CLONE_NEWNET) < 0 ? -errno : e->work(e->arg);
    return NULL;
}

int ns_call(int fd, int (*work)(void *arg), void *arg)
{
    struct errand e = {.work = work, .arg = arg};
    pthread_t thread;
    int r;

    e.ns = ioctl(fd, SIOCGSKNS);
    if (e.ns < 0)
        return -errno;
    r = -pthread_create(&thread, NULL, go, &e);
    if (r == 0) {
        pthread_join(thread, NULL);
        r = e.result;
    }
    close(e.ns);
    return r;
}
