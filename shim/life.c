/* Follows descriptor numbers through close and dup. */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "fdstate.h"
#include "lock.h"
#include "pending.h"
#include "swap.h"
#include "sys.h"

#define CLOSE_WAIT_MS 1000 /* for room for close_notify in a full send buffer */

/* The last number is about to go. A connection that crossed a fork may have other holders: the end
 * is then theirs to send. */
static void say_goodbye(struct fs_state *s, int fd)
{
    int flags = sy.fcntl(fd, F_GETFL); /* who does not wait is not made to */

    if (fs_kind(s) != FS_KERNEL || atomic_load(&s->shared) || atomic_load(&s->rr.error))
        return;
    (void)rr_close_notify(fd, &s->rr, flags >= 0 && (flags & O_NONBLOCK) ? 0 : CLOSE_WAIT_MS);
    rr_clear(fd, &s->rr);
}

/* Under the lock. The thread of a blocking upgrade still holds its state: it is woken, and cleans
 * up itself. */
static void forget(int fd)
{
    struct fs_state *s = fs_find(fd);

    if (!s || !fs_detach(fd))
        return;
    if (fs_kind(s) == FS_BUSY) {
        if (s->sock >= 0)
            (void)sy.shutdown(s->sock, SHUT_RDWR);
        return;
    }
    if (fs_kind(s) == FS_GATE)
        pd_remove(s);
    fs_put(s);
}

void li_closing(int fd)
{
    struct fs_state *s = fs_find(fd);
    int saved_errno = errno;
    struct lk_saved saved;

    if (!s || fs_foreign())
        return;
    if (s->numbers == 1)
        say_goodbye(s, fd);
    lk_take(&saved);
    forget(fd);
    lk_give(&saved);
    errno = saved_errno;
}

void li_made(int fd)
{
    int saved_errno = errno;
    struct lk_saved saved;

    if (!fs_find(fd) || fs_foreign())
        return;
    lk_take(&saved);
    forget(fd);
    lk_give(&saved);
    errno = saved_errno;
}

/* Hidden descriptors in a range that the program closes die with it; their numbers must be
 * forgotten. */
static void forget_hidden(int fd, struct fs_state *s, void *arg)
{
    const unsigned *range = arg;

    (void)fd;
    if (s->shadow >= 0 && (unsigned)s->shadow >= range[0] && (unsigned)s->shadow <= range[1])
        s->shadow = -1;
    if (s->sock >= 0 && (unsigned)s->sock >= range[0] && (unsigned)s->sock <= range[1])
        s->sock = -1;
}

void li_closing_range(unsigned first, unsigned last)
{
    unsigned top = FS_CHUNK * FS_CHUNKS - 1, range[2] = {first, last};
    struct lk_saved saved;

    if (fs_foreign())
        return;
    for (unsigned fd = first; fd <= last && fd <= top;) {
        if (!atomic_load(&fs_chunks[fd / FS_CHUNK])) {
            fd = (fd / FS_CHUNK + 1) * FS_CHUNK;
            continue;
        }
        li_closing((int)fd);
        fd++;
    }
    lk_take(&saved);
    fs_each(0, (int)top, forget_hidden, range);
    lk_give(&saved);
}

void li_duplicated(int from, int to)
{
    struct fs_state *s = fs_find(from);
    struct lk_saved saved;
    struct stat st;

    li_made(to);
    if (!s) {
        if (!atomic_load_explicit(&sw_dups, memory_order_relaxed) && fstat(to, &st) == 0 &&
            S_ISSOCK(st.st_mode))
            atomic_store(&sw_dups, true);
        return;
    }
    if (fs_foreign())
        return;
    lk_take(&saved);
    s = fs_find(from);
    if (s)
        (void)fs_attach(to, s);
    lk_give(&saved);
}
