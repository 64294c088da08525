/* The interposed symbols that make, end or question descriptors. */
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io.h"
#include "life.h"
#include "next.h"
#include "preload.h"
#include "sockopt.h"

/* --- the end ------------------------------------------------------------------------- */

EXPORT int close(int fd)
{
    if (fs_find(fd) && result(li_closing(fd)) < 0)
        return -1;
    return NX(close)(fd);
}

/* What we hide in the range is left out, for its connections may not be in it. */
EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    unsigned ours;

    if (flags & (int)CLOSE_RANGE_CLOEXEC)
        return NX(close_range)(first, last, flags);
    li_closing_range(first, last);
    while (li_hidden_in(first, last, &ours)) {
        if (ours > first && NX(close_range)(first, ours - 1, flags) < 0)
            return -1;
        if (ours == last)
            return 0;
        first = ours + 1;
    }
    return NX(close_range)(first, last, flags);
}

EXPORT void closefrom(int first)
{
    if (close_range(first < 0 ? 0 : (unsigned)first, UINT_MAX, 0) < 0)
        NX(closefrom)(first);
}

EXPORT int shutdown(int fd, int how)
{
    struct fs_state *s = fs_find(fd);

    return !s || io_plain(s) ? NX(shutdown)(fd, how) : (int)result(io_shutdown(s, fd, how));
}

__attribute__((destructor)) static void on_exit_(void)
{
    li_exiting();
}

/* pthread_atfork's handlers are not told whether there is a child. */
EXPORT pid_t fork(void)
{
    pid_t child = NX(fork)();
    int own = errno;

    if (child < 0)
        fs_fork_failed();
    errno = own;
    return child;
}

/* --- the beginning ------------------------------------------------------------------------------
 */

EXPORT int socket(int domain, int type, int protocol)
{
    int fd = NX(socket)(domain, type, protocol);

    li_made(fd);
    return fd;
}

EXPORT int accept(int listener, __SOCKADDR_ARG addr, socklen_t *len)
{
    int fd = NX(accept)(listener, addr, len);

    li_made(fd);
    return fd;
}

EXPORT int accept4(int listener, __SOCKADDR_ARG addr, socklen_t *len, int flags)
{
    int fd = NX(accept4)(listener, addr, len, flags);

    li_made(fd);
    return fd;
}

/* --- duplication --------------------------------------------------------------------- */

EXPORT int dup(int fd)
{
    int to = NX(dup)(fd);

    if (to >= 0)
        li_duplicated(fd, to);
    return to;
}

EXPORT int dup2(int from, int to)
{
    int r;

    if (from != to && fs_find(to) && NX(fcntl)(from, F_GETFD) >= 0 && result(li_replacing(to)) < 0)
        return -1;
    r = NX(dup2)(from, to);
    if (r >= 0 && from != to)
        li_duplicated(from, to);
    return r;
}

EXPORT int dup3(int from, int to, int flags)
{
    int r;

    if (from != to && fs_find(to) && NX(fcntl)(from, F_GETFD) >= 0 && result(li_replacing(to)) < 0)
        return -1;
    r = NX(dup3)(from, to, flags);
    if (r >= 0)
        li_duplicated(from, to);
    return r;
}

EXPORT int pidfd_getfd(int pidfd, int target, unsigned flags)
{
    int fd = NX(pidfd_getfd)(pidfd, target, flags);

    if (fd >= 0)
        li_taken(fd);
    return fd;
}

/* The argument is an int or a pointer, or absent: passed on as the word it is. */
EXPORT int fcntl(int fd, int cmd, ...)
{
    va_list ap;
    void *arg;
    int r;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    r = NX(fcntl)(fd, cmd, arg);
    if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC))
        li_duplicated(fd, r);
    return r;
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
    va_list ap;
    void *arg;
    int r;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    r = NX(fcntl64)(fd, cmd, arg);
    if (r >= 0 && (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC))
        li_duplicated(fd, r);
    return r;
}

/* --- questions ----------------------------------------------------------------------- */

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return (int)result(so_set(fd, level, name, value, len));
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return (int)result(so_get(fd, level, name, value, len));
}

/* A relay's end and a gate are AF_UNIX; the program asked about its TCP connection. */
static int stand_in(int fd)
{
    struct fs_state *s = fs_find(fd);

    return s && s->shadow >= 0 ? s->shadow : fd;
}

/* Called once more to see how the first, non-blocking call went. */
EXPORT int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    return NX(connect)(stand_in(fd), addr, len);
}

EXPORT int getpeername(int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
    return NX(getpeername)(stand_in(fd), addr, len);
}

EXPORT int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
    return NX(getsockname)(stand_in(fd), addr, len);
}
