/* The system calls of this folder, through one replaceable table.
 *
 * libhtls fills it with libc's functions (sys_libc.c). In the preload library the same names would
 * mean our own wrappers, so there it is filled with what dlsym(RTLD_NEXT) finds (next.c). Unit
 * tests put scripted answers into it. */
#ifndef HTLS_SYS_H
#define HTLS_SYS_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

/* result, name, parameters, arguments */
// clang-format off
#define SY_CALLS(X)                                                                                \
    X(int, close, (int fd), (fd))                                                                  \
    X(int, connect, (int fd, __CONST_SOCKADDR_ARG addr, socklen_t len), (fd, addr, len))           \
    X(int, dup3, (int from, int to, int flags), (from, to, flags))                                 \
    X(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),                 \
      (fd, level, name, value, len))                                                               \
    X(int, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout))                   \
    X(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))                 \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))           \
    X(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),            \
      (fd, level, name, value, len))                                                               \
    X(int, shutdown, (int fd, int how), (fd, how))
// clang-format on

struct sy_calls {
#define SY_MEMBER(result, name, params, args) result(*name) params;
    SY_CALLS(SY_MEMBER)
#undef SY_MEMBER
    int (*fcntl)(int fd, int cmd, ...); /* the one that no list can forward */
    int (*hide)(int fd);                /* moves a descriptor of ours out of the program's way */
    void (*unhide)(int fd);             /* closes it */
};

extern struct sy_calls sy;

#endif
