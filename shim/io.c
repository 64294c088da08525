/* Reads and writes by the kind of connection that a number names. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "goodbye.h"
#include "sys.h"
#include "upgrade.h"

#define SHUTDOWN_WAIT_MS 1000 /* for room for close_notify in a full send buffer */

bool io_plain(struct fs_state *s)
{
    return fs_kind(s) == FS_CONFIG || fs_kind(s) == FS_FREE;
}

/* A call on a gate: goes on when TLS is up by now, else it would block, as the program wished. */
static int pass_gate(struct fs_state *s, int fd, int flags)
{
    int file;

    if (fs_kind(s) != FS_GATE || up_settle(s))
        return 0;
    file = sy.fcntl(fd, F_GETFL);
    if ((flags & MSG_DONTWAIT) || (file >= 0 && (file & O_NONBLOCK)))
        return -EAGAIN;
    up_wait(s, fd);
    return 0;
}

/* The first call that meets a failure takes the errno that SO_ERROR would else give once. */
static int failed(struct fs_state *s)
{
    atomic_store(&s->so_error, 0);
    return -atomic_load(&s->error);
}

ssize_t io_after_read(struct fs_state *s, int fd, ssize_t n)
{
    int own = n < 0 ? errno : 0;

    if (fs_kind(s) != FS_RELAY || n > 0 || (n < 0 && own != ECONNRESET))
        return n < 0 ? -own : n;
    if (atomic_load(&s->rr.eof)) /* it was in order; what becomes of the daemon now is no matter */
        return -own;
    if (up_relay_error(s, fd))
        return failed(s);
    if (n == 0)
        atomic_store(&s->rr.eof, true);
    return -own;
}

/* Nothing was asked for: then nothing is no end of stream. */
static bool no_room(const struct msghdr *msg)
{
    for (size_t i = 0; i < msg->msg_iovlen; i++)
        if (msg->msg_iov[i].iov_len > 0)
            return false;
    return true;
}

static ssize_t receive(struct fs_state *s, int fd, struct msghdr *msg, int flags)
{
    int r = pass_gate(s, fd, flags);

    if (r < 0)
        return r;
    switch (fs_kind(s)) {
    case FS_BUSY: /* another thread's setsockopt is not back yet */
        return -EBUSY;
    case FS_FAILED:
        return failed(s);
    case FS_KERNEL:
        if (flags & MSG_ERRQUEUE)
            break;
        return rr_recvmsg(fd, &s->rr, msg, flags);
    default:
        break;
    }
    if (no_room(msg)) /* read(2) returns at once, recvmsg(2) on a relay's end would wait */
        return 0;
    return io_after_read(s, fd, sy.recvmsg(fd, msg, flags));
}

/* Another thread may close the number while we wait: what we learn then must not be told to the
 * connection that gets the state next. */
ssize_t io_recvmsg(struct fs_state *s, int fd, struct msghdr *msg, int flags)
{
    ssize_t r;

    if (!fs_hold(s, fd))
        return -EBADF;
    r = receive(s, fd, msg, flags);
    fs_release(s);
    return r;
}

ssize_t io_read(struct fs_state *s, int fd, void *buf, size_t n, int flags)
{
    struct iovec iov = {buf, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    return io_recvmsg(s, fd, &m, flags);
}

static int may_write(struct io_turn *t, struct fs_state *s, int fd, int flags)
{
    int r = pass_gate(s, fd, flags);

    if (r < 0)
        return r;
    switch (fs_kind(s)) {
    case FS_BUSY:
        return -EBUSY;
    case FS_FAILED:
        return failed(s);
    case FS_KERNEL:
        r = tn_begin(&t->turn, fd, &s->rr, flags);
        if (r == 0 && atomic_load(&s->rr.shut_wr)) { /* the kernel would take and lose the bytes */
            tn_end(&t->turn);
            r = -EPIPE;
        }
        return r;
    default:
        return 0;
    }
}

int io_begin(struct io_turn *t, struct fs_state *s, int fd, int flags, bool quiet)
{
    int r;

    if (!fs_hold(s, fd))
        return -EBADF;
    *t = (struct io_turn){.s = s};
    r = may_write(t, s, fd, flags);
    if (r < 0)
        fs_release(s);
    if (r == -EPIPE && !quiet)
        (void)raise(SIGPIPE);
    return r;
}

void io_end(struct io_turn *t, ssize_t n, size_t unit, size_t calls)
{
    tn_wrote(&t->turn, n, unit, calls);
    tn_end(&t->turn);
    fs_release(t->s);
}

int io_shutdown(struct fs_state *s, int fd, int how)
{
    int r = pass_gate(s, fd, 0);

    if (r < 0)
        return -ENOTCONN; /* as on a socket whose connect is still under way */
    if (fs_kind(s) == FS_BUSY)
        return -EBUSY;
    if (fs_kind(s) == FS_FAILED)
        return -ENOTCONN;
    if (how != SHUT_WR)
        atomic_store(&s->rr.shut_rd, true);
    if (fs_kind(s) == FS_KERNEL && how != SHUT_RD)
        (void)gb_close_notify(fd, &s->rr, SHUTDOWN_WAIT_MS);
    if (how != SHUT_RD) /* also where there was no room for it: nothing may follow */
        atomic_store(&s->rr.shut_wr, true);
    if (how != SHUT_RD && s->rr.slot)
        atomic_fetch_or(&s->rr.slot->flags, SH_SHUT_WR);
    return sy.shutdown(fd, how) < 0 ? -errno : 0;
}
