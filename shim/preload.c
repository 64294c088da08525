/* The interposed symbols that move data: each looks whether the number is ours, then hands on. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <fcntl.h>

#include "io.h"
#include "life.h"
#include "next.h"
#include "preload.h"

/* --- reading ------------------------------------------------------------------------- */

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
    struct fs_state *s = fs_find(fd);

    return !s || io_plain(s) ? NX(read)(fd, buf, n) : result(io_read(s, fd, buf, n, 0));
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
    struct fs_state *s = fs_find(fd);
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};

    if (!s || io_plain(s) || n < 0 || n > IOV_MAX)
        return NX(readv)(fd, iov, n);
    return result(io_recvmsg(s, fd, &m, 0));
}

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    struct fs_state *s = fs_find(fd);

    return !s || io_plain(s) ? NX(recv)(fd, buf, n, flags) : result(io_read(s, fd, buf, n, flags));
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, __SOCKADDR_ARG addr, socklen_t *len)
{
    struct fs_state *s = fs_find(fd);

    if (!s || io_plain(s))
        return NX(recvfrom)(fd, buf, n, flags, addr, len);
    if (len)
        *len = 0; /* TCP names no sender */
    return result(io_read(s, fd, buf, n, flags));
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct fs_state *s = fs_find(fd);
    ssize_t n;

    if (s && !io_plain(s))
        return result(io_recvmsg(s, fd, msg, flags));
    n = NX(recvmsg)(fd, msg, flags);
    if (n >= 0 && msg->msg_controllen > 0)
        li_received(msg);
    return n;
}

/* One message is a right answer to a question for several. */
EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *timeout)
{
    struct fs_state *s = fs_find(fd);
    ssize_t k;

    if (!s || io_plain(s) || n == 0) {
        k = NX(recvmmsg)(fd, v, n, flags, timeout);
        for (ssize_t i = 0; i < k; i++)
            if (v[i].msg_hdr.msg_controllen > 0)
                li_received(&v[i].msg_hdr);
        return (int)k;
    }
    k = result(io_recvmsg(s, fd, &v->msg_hdr, flags & ~MSG_WAITFORONE));
    if (k < 0)
        return -1;
    v->msg_len = (unsigned)k;
    return 1;
}

/* What _FORTIFY_SOURCE makes of the three. Its own check is the caller's libc's: it aborts there.
 */
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
    struct fs_state *s = fs_find(fd);

    if (!s || io_plain(s) || n > room)
        return NX(__read_chk)(fd, buf, n, room);
    return result(io_read(s, fd, buf, n, 0));
}

ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
    struct fs_state *s = fs_find(fd);

    if (!s || io_plain(s) || n > room)
        return NX(__recv_chk)(fd, buf, n, room, flags);
    return result(io_read(s, fd, buf, n, flags));
}

ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, __SOCKADDR_ARG addr,
                       socklen_t *len);
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
                              __SOCKADDR_ARG addr, socklen_t *len)
{
    struct fs_state *s = fs_find(fd);

    if (!s || io_plain(s) || n > room)
        return NX(__recvfrom_chk)(fd, buf, n, room, flags, addr, len);
    if (len)
        *len = 0;
    return result(io_read(s, fd, buf, n, flags));
}

/* --- writing: the real call, in turn, where it is allowed now -------------------------- */

#define RECORD 16384 /* what one call's records hold, but for its last */
#define PAGE 4096    /* the same of calls that move pages */

#define WRITE(fd, flags, quiet, unit, call)                                                        \
    ({                                                                                             \
        struct fs_state *s_ = fs_find(fd);                                                         \
        struct io_turn t_;                                                                         \
        ssize_t r_;                                                                                \
        if (!s_ || io_plain(s_)) {                                                                 \
            r_ = (call);                                                                           \
        } else {                                                                                   \
            r_ = result(io_begin(&t_, s_, fd, flags, quiet));                                      \
            if (r_ == 0) {                                                                         \
                r_ = (call);                                                                       \
                io_end(&t_, r_, unit, 1);                                                          \
            }                                                                                      \
        }                                                                                          \
        r_;                                                                                        \
    })

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
    return WRITE(fd, 0, false, RECORD, NX(write)(fd, buf, n));
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return WRITE(fd, 0, false, RECORD, NX(writev)(fd, iov, n));
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    return WRITE(fd, flags, flags & MSG_NOSIGNAL, RECORD, NX(send)(fd, buf, n, flags));
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, __CONST_SOCKADDR_ARG addr,
                      socklen_t len)
{
    struct fs_state *s = fs_find(fd);

    if (s &&
        fs_kind(s) == FS_RELAY) /* TCP takes no notice of an address, AF_UNIX would refuse it */
        return send(fd, buf, n, flags);
    return WRITE(fd, flags, flags & MSG_NOSIGNAL, RECORD, NX(sendto)(fd, buf, n, flags, addr, len));
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return WRITE(fd, flags, flags & MSG_NOSIGNAL, RECORD, NX(sendmsg)(fd, msg, flags));
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
    struct fs_state *s = fs_find(fd);
    struct io_turn t;
    ssize_t sum = 0;
    int r;

    if (!s || io_plain(s))
        return NX(sendmmsg)(fd, v, n, flags);
    r = (int)result(io_begin(&t, s, fd, flags, flags & MSG_NOSIGNAL));
    if (r < 0)
        return r;
    r = NX(sendmmsg)(fd, v, n, flags);
    for (int i = 0; i < r; i++)
        sum += v[i].msg_len;
    io_end(&t, r < 0 ? -1 : sum, RECORD, r < 0 ? 0 : (size_t)r);
    return r;
}

EXPORT ssize_t sendfile(int out, int in, off_t *at, size_t n)
{
    return WRITE(out, 0, false, PAGE, NX(sendfile)(out, in, at, n));
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *at, size_t n)
{
    return WRITE(out, 0, false, PAGE, NX(sendfile64)(out, in, at, n));
}

/* A splice that waits for its pipe would keep all other writers waiting, perhaps those who fill the
 * pipe: the pipe is waited for before, and never in turn. */
static ssize_t splice_in_turn(int in, off64_t *at_in, int out, off64_t *at_out, size_t n,
                              unsigned flags)
{
    struct pollfd p = {.fd = in, .events = POLLIN};
    int file = NX(fcntl)(in, F_GETFL);
    bool wait = !(flags & SPLICE_F_NONBLOCK) && file >= 0 && !(file & O_NONBLOCK);
    unsigned own = flags | (wait ? SPLICE_F_NONBLOCK : 0);
    ssize_t k;

    for (;;) {
        if (wait && NX(poll)(&p, 1, -1) < 0)
            return -1;
        k = WRITE(out, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0, false, PAGE,
                  NX(splice)(in, at_in, out, at_out, n, own));
        if (k >= 0 || errno != EAGAIN || !wait || NX(poll)(&p, 1, 0) != 0)
            return k;
    }
}

/* Out of a kernel connection splice meets the records that are not data: one recvmsg with nothing
 * to take clears the way, then it is tried again. */
static ssize_t splice_from(struct fs_state *from, int in, off64_t *at_in, int out, off64_t *at_out,
                           size_t n, unsigned flags)
{
    int wait = flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0;
    ssize_t k;
    char peek;

    for (;;) {
        k = io_read(from, in, &peek, 1,
                    wait | MSG_PEEK); /* handles what is no data; waits for data */
        if (k <= 0)
            return result(k);
        k = NX(splice)(in, at_in, out, at_out, n, flags);
        if (k == 0 && n > 0 && fs_kind(from) == FS_KERNEL)
            continue; /* an empty record stood before the data */
        if (k >= 0 || (errno != EINVAL && errno != EIO) || fs_kind(from) != FS_KERNEL)
            return k;
        if (io_read(from, in, &peek, 1, MSG_DONTWAIT | MSG_PEEK) > 0)
            return k; /* data is at the head: the refusal was meant */
    }
}

EXPORT ssize_t splice(int in, off64_t *at_in, int out, off64_t *at_out, size_t n, unsigned flags)
{
    struct fs_state *from = fs_find(in), *to = fs_find(out);

    if (to && !io_plain(to))
        return splice_in_turn(in, at_in, out, at_out, n, flags);
    if (from && !io_plain(from))
        return splice_from(from, in, at_in, out, at_out, n, flags);
    return NX(splice)(in, at_in, out, at_out, n, flags);
}
