/* Streams of stdio that read and write by the functions that the program would call itself: the
 * interposed read, write and close. libc knows no number for such a stream, so we do. */
#include "stream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "lock.h"

/* Never freed, only reused: fileno() looks through them under no lock. */
struct stream {
    _Atomic(FILE *) f; /* NULL = free */
    atomic_int fd;
    atomic_int busy; /* in st_flush(): libc may not free it yet */
    struct stream *next;
};

static _Atomic(struct stream *) streams;

static ssize_t get(void *cookie, char *buf, size_t n)
{
    struct stream *s = cookie;

    return read(atomic_load(&s->fd), buf, n);
}

/* To the end or to an error, as libc does it: a count that is short is an error to it. */
static ssize_t put(void *cookie, const char *buf, size_t n)
{
    struct stream *s = cookie;
    size_t done = 0;

    while (done < n) {
        ssize_t k = write(atomic_load(&s->fd), buf + done, n - done);

        if (k < 0)
            break;
        done += (size_t)k;
    }
    return (ssize_t)done;
}

static int no_seek(void *cookie, off64_t *at, int whence)
{
    (void)cookie;
    (void)at;
    (void)whence;
    errno = ESPIPE; /* as on every socket */
    return -1;
}

static int end(void *cookie)
{
    struct stream *s = cookie;
    int fd = atomic_load(&s->fd);

    atomic_store(&s->f, NULL);
    while (atomic_load(&s->busy))
        (void)usleep(1000);
    return close(fd);
}

/* Under the lock: a free one, marked as taken. */
static struct stream *take(void)
{
    struct stream *s = atomic_load(&streams);

    while (s && atomic_load(&s->f))
        s = s->next;
    if (s)
        return s;
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->next = atomic_load(&streams);
    atomic_store(&streams, s);
    return s;
}

FILE *st_open(int fd, const char *mode)
{
    const cookie_io_functions_t functions = {
        .read = get, .write = put, .seek = no_seek, .close = end};
    struct lk_saved saved;
    struct stream *s;
    FILE *f = NULL;

    lk_take(&saved);
    s = take();
    if (s) {
        atomic_store(&s->fd, fd);
        f = fopencookie(s, mode, functions);
        atomic_store(&s->f, f);
    }
    lk_give(&saved);
    return f;
}

int st_number(FILE *f)
{
    for (struct stream *s = atomic_load(&streams); s && f; s = s->next)
        if (atomic_load(&s->f) == f)
            return atomic_load(&s->fd);
    return -1;
}

static void flush(FILE *f)
{
    if (ftrylockfile(f))
        return;
    if (__fpending(f) > 0)
        (void)fflush_unlocked(f);
    funlockfile(f);
}

void st_flush(void)
{
    if (__libc_single_threaded) {
        (void)fflush(NULL);
        return;
    }
    for (struct stream *s = atomic_load(&streams); s; s = s->next) {
        FILE *f;

        atomic_fetch_add(&s->busy, 1);
        f = atomic_load(&s->f);
        if (f)
            flush(f);
        atomic_fetch_sub(&s->busy, 1);
    }
}
