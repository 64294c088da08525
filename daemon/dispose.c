/* Closing what strangers sent us, without ever waiting.
 *
 * A close may wait when it drops the last reference: a TCP socket with SO_LINGER waits for its
 * peer, a FUSE file for its server, an AF_UNIX socket closes what lies in its queue. Whoever sends
 * a descriptor can arrange for us to be the last holder. So queues are emptied first, and a TCP
 * socket that lingers or any other file is closed by the death of a thread that holds nothing else:
 * an exiting task does not linger, and if the file waits all the same, it is that thread alone that
 * waits. The flag itself is left alone: it may be what a client set after our answer. */
#include "dispose.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "log.h"
#include "sockfd.h"

#define STACK ((size_t)64 * 1024)
#define READS_MAX 8192 /* of a queue; the kernel bounds it by the sender's buffer, far below */

/* --- by the death of a thread ----------------------------------------------------------------- */

/* Owned by the thread. */
struct sacrifice {
    int fd;
    sem_t has_it, may_die;
    bool alone; /* it has a table of descriptors of its own */
};

/* Takes a copy of the table, keeps the one descriptor, and dies of it. */
static void *die_of_it(void *arg)
{
    struct sacrifice *s = arg;

    s->alone = unshare(CLONE_FILES) == 0;
    if (s->alone) {
        /* None of these is the last reference: the other thread waits meanwhile and has them all.
         */
        if (s->fd > 0)
            (void)close_range(0, (unsigned)s->fd - 1, 0);
        (void)close_range((unsigned)s->fd + 1, UINT_MAX, 0);
    }
    sem_post(&s->has_it);
    while (sem_wait(&s->may_die) < 0 && errno == EINTR)
        ;
    free(s);
    return NULL;
}

static int start(struct sacrifice *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    r = pthread_create(&thread, &attr, die_of_it, s);
    pthread_attr_destroy(&attr);
    return -r;
}

static void close_by_death(int fd)
{
    struct sacrifice *s = calloc(1, sizeof(*s));
    int r = s ? 0 : -ENOMEM;

    if (s) {
        s->fd = fd;
        sem_init(&s->has_it, 0, 0);
        sem_init(&s->may_die, 0, 0);
        r = start(s);
    }
    if (r < 0) {
        lg_error("descriptor %d of a client stays open, no thread to close it: %s", fd,
                 strerror(-r));
        free(s);
        return;
    }
    while (sem_wait(&s->has_it) < 0 && errno == EINTR)
        ;
    if (s->alone)
        close(fd);
    else
        lg_error("descriptor %d of a client stays open, no memory to close it", fd);
    sem_post(&s->may_die);
}

/* --- the queue of an AF_UNIX socket ----------------------------------------------------------- */

static int int_option(int fd, int name)
{
    int value = -1;
    socklen_t n = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &n) < 0 ? -1 : value;
}

/* The descriptors of a received message. */
static void discard_rights(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const unsigned char *p = CMSG_DATA(c);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int got;

            memcpy(&got, p + i * sizeof(got), sizeof(got));
            di_close(got);
        }
    }
}

/* As di_recv(); *more = false only at the end of the stream, when the message had neither bytes nor
 * control data. */
static ssize_t receive(int fd, void *buf, size_t n, int flags, bool *more)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 253) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = {buf, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    ssize_t k;

    m.msg_controllen = sizeof(control.bytes);
    k = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
    *more = k > 0 || (k == 0 && m.msg_controllen > 0);
    if (k >= 0 && m.msg_controllen > 0)
        discard_rights(&m);
    return k;
}

ssize_t di_recv(int fd, void *buf, size_t n, int flags)
{
    bool more;

    return receive(fd, buf, n, flags, &more);
}

/* One message out of the queue. Returns false at its end. With SO_PASSCRED every message, an empty
 * one too, has control data; the end of the stream has none. */
static bool take_one(int fd, bool stream)
{
    char data[4096];
    bool more;
    ssize_t n = receive(fd, data, sizeof(data), MSG_DONTWAIT, &more);

    if (n < 0)
        return errno == EINTR || errno == ECONNRESET; /* that is said once, before the rest */
    return more &&
           !(stream && n == 0); /* a stream has no empty messages, its end has credentials */
}

void di_close_unix(int fd)
{
    bool stream = int_option(fd, SO_TYPE) == SOCK_STREAM;
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
    shutdown(fd, SHUT_RDWR); /* nothing more comes in */
    for (int i = 0; i < READS_MAX && take_one(fd, stream); i++)
        ;
    close(fd);
}

/* --- any kind --------------------------------------------------------------------------------- */

void di_close(int fd)
{
    if (sf_is_tcp(fd) && !sf_lingers(fd))
        close(fd);
    else
        close_by_death(fd);
}

void di_drop(int *fd)
{
    if (*fd >= 0)
        di_close(*fd);
    *fd = -1;
}
