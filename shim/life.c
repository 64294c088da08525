/* Follows descriptor numbers through close and dup. */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "fdstate.h"
#include "goodbye.h"
#include "hidden.h"
#include "keep.h"
#include "line.h"
#include "lock.h"
#include "pending.h"
#include "stream.h"
#include "swap.h"
#include "sys.h"

#define CLOSE_WAIT_MS 1000 /* for room for close_notify in a full send buffer */
#define EXIT_WAIT_MS 300   /* the same for all that exit() leaves open */
#define TOP ((unsigned)FS_CHUNK * FS_CHUNKS)

/* The first number from fd on that is in the table, TOP when there is none. */
static unsigned next_known(unsigned fd)
{
    while (fd < TOP && !fs_find((int)fd))
        fd = atomic_load(&fs_chunks[fd / FS_CHUNK]) ? fd + 1 : (fd / FS_CHUNK + 1) * FS_CHUNK;
    return fd;
}

/* This process lets go of the connection. The last holder of all says the end. */
static void say_goodbye(struct fs_state *s, int fd, int wait_ms)
{
    int flags;

    if (fs_kind(s) != FS_KERNEL || !fs_leave(s))
        return;
    flags = sy.fcntl(fd, F_GETFL); /* who does not wait is not made to */
    if (!atomic_load(&s->rr.error)) {
        (void)gb_close_notify(fd, &s->rr, flags >= 0 && (flags & O_NONBLOCK) ? 0 : wait_ms);
        rr_clear(fd, &s->rr);
    }
    kp_free(&s->rr);
}

/* --- hidden numbers -------------------------------------------------------------------- */

struct search {
    int fd;
    struct fs_state *s;
    int *where; /* is the number kept */
};

static void match(int fd, struct fs_state *s, void *arg)
{
    struct search *w = arg;

    (void)fd;
    if (s->shadow != w->fd && s->sock != w->fd)
        return;
    w->s = s;
    w->where = s->shadow == w->fd ? &s->shadow : &s->sock;
}

/* Under the lock: whose is this hidden number? where stays NULL when a thread has it in its hands.
 */
static struct search find_owner(int fd)
{
    struct search w = {.fd = fd};

    if (*pd_set() == fd)
        w.where = pd_set();
    else
        fs_each(0, (int)TOP - 1, match, &w);
    return w;
}

/* Under the lock. */
static void lose(int fd)
{
    struct search w = find_owner(fd);

    if (w.where)
        *w.where = -1;
    hd_lost(fd);
}

/* All that we hide are sockets, and one epoll set, which has no type. After a raw close, which
 * nobody sees, open() may have given the number to the program. */
static bool is_still_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (S_ISSOCK(st.st_mode) || (st.st_mode & S_IFMT) == 0);
}

/* Under the lock. Threads that wait for an upgrade or the end of a relay know the number of their
 * socket by heart: those stay. */
static int make_room(int fd)
{
    struct search w = find_owner(fd);
    bool watched = w.s && fs_kind(w.s) == FS_GATE && w.where == &w.s->sock;
    int r;

    if (!w.where || (w.s && fs_kind(w.s) == FS_BUSY))
        return -EBUSY;
    r = hd_dup(fd);
    if (r < 0)
        return r;
    if (watched)
        pd_remove(w.s);
    hd_close(w.where);
    *w.where = r;
    if (watched)
        pd_add(w.s);
    return 0;
}

static int try_hidden(int fd, bool replace)
{
    struct lk_saved saved;
    int r = 0;

    lk_take(&saved);
    if (fs_find(fd) != &fs_hidden)
        ; /* gone meanwhile */
    else if (!is_still_ours(fd))
        lose(fd);
    else
        r = replace ? make_room(fd) : -EBADF;
    lk_give(&saved);
    return r;
}

/* The line to the daemon is let go: it has a lock of its own, which may be waited for. */
static int meet_hidden(int fd, bool replace)
{
    int r = try_hidden(fd, replace);

    if (r != -EBUSY)
        return r;
    ln_leave(fd);
    return try_hidden(fd, replace);
}

bool li_hidden_in(unsigned first, unsigned last, unsigned *fd)
{
    if (fs_foreign())
        return false;
    for (unsigned i = next_known(first); i <= last && i < TOP; i = next_known(i + 1)) {
        if (fs_find((int)i) != &fs_hidden)
            continue;
        *fd = i;
        return true;
    }
    return false;
}

/* --- all numbers ----------------------------------------------------------------------- */

/* Under the lock. The thread of a blocking upgrade still holds its state: it is woken, and cleans
 * up itself. */
static void forget(int fd)
{
    struct fs_state *s = fs_find(fd);

    if (s == &fs_hidden)
        lose(fd);
    if (!s || s == &fs_hidden || !fs_detach(fd))
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

static int ending(int fd, bool replace)
{
    struct fs_state *s = fs_find(fd);
    int saved_errno = errno, r = 0;
    struct lk_saved saved;

    if (!s || fs_foreign())
        return 0;
    if (s == &fs_hidden) {
        r = meet_hidden(fd, replace);
    } else {
        if (s->numbers == 1)
            say_goodbye(s, fd, CLOSE_WAIT_MS);
        lk_take(&saved);
        forget(fd);
        lk_give(&saved);
    }
    errno = saved_errno;
    return r;
}

int li_closing(int fd)
{
    return ending(fd, false);
}

int li_replacing(int fd)
{
    return ending(fd, true);
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

void li_closing_range(unsigned first, unsigned last)
{
    if (fs_foreign())
        return;
    for (unsigned fd = next_known(first); fd <= last && fd < TOP; fd = next_known(fd + 1))
        (void)li_closing((int)fd);
}

/* From the first second number of a socket on every upgrade looks for aliases. */
void li_taken(int fd)
{
    struct stat st;

    li_made(fd);
    if (!atomic_load_explicit(&sw_dups, memory_order_relaxed) && fstat(fd, &st) == 0 &&
        S_ISSOCK(st.st_mode))
        atomic_store(&sw_dups, true);
}

void li_received(const struct msghdr *msg)
{
    struct msghdr m = *msg;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        const unsigned char *p = CMSG_DATA(c);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;

            memcpy(&fd, p + i * sizeof(fd), sizeof(fd));
            li_taken(fd);
        }
    }
}

void li_duplicated(int from, int to)
{
    struct fs_state *s = fs_find(from);
    struct lk_saved saved;

    if (!s || s == &fs_hidden) {
        li_taken(to);
        return;
    }
    li_made(to);
    if (fs_foreign())
        return;
    lk_take(&saved);
    s = fs_find(from);
    if (s && s != &fs_hidden)
        (void)fs_attach(to, s);
    lk_give(&saved);
}

/* exit(3): what the program has not closed ends here. Other threads still run: nothing is taken
 * away from them but their turn to write, which they need not have given back. */
void li_exiting(void)
{
    uint64_t deadline = cl_now() + EXIT_WAIT_MS;

    if (fs_foreign() || next_known(0) == TOP)
        return;
    st_flush();
    for (unsigned fd = next_known(0); fd < TOP; fd = next_known(fd + 1)) {
        struct fs_state *s = fs_find((int)fd);
        uint64_t now = cl_now();

        if (!s || !fs_hold(s, (int)fd))
            continue;
        say_goodbye(s, (int)fd, now < deadline ? (int)(deadline - now) : 0);
        fs_release(s);
    }
}
