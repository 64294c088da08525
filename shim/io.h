/* Reading and writing descriptors that are ours. */
#ifndef HTLS_IO_H
#define HTLS_IO_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "fdstate.h"
#include "turn.h"

/* True when calls pass through untouched after all: no TLS was asked for. */
bool io_plain(struct fs_state *s);

/* recvmsg(2) for a state that is not plain. Returns a count or -errno. */
ssize_t io_recvmsg(struct fs_state *s, int fd, struct msghdr *msg, int flags);
ssize_t io_read(struct fs_state *s, int fd, void *buf, size_t n, int flags);

/* A write: io_begin() asks whether it may be now, for a kernel connection in turn with all who
 * write there, then the real call is made, then io_end() is told what came of it: bytes (negative:
 * none), in records of at least `unit` of them but for the last of each of `calls`. Returns 0, or
 * -errno and there is nothing to end. EPIPE comes with SIGPIPE, unless `quiet`. */
struct io_turn {
    struct fs_state *s;
    struct tn_turn turn;
};
int io_begin(struct io_turn *t, struct fs_state *s, int fd, int flags, bool quiet);
void io_end(struct io_turn *t, ssize_t n, size_t unit, size_t calls);

/* What an end of stream or ECONNRESET on a relay's end really was: the result to give, or -errno.
 * For reads that go by other calls than recvmsg (splice). */
ssize_t io_after_read(struct fs_state *s, int fd, ssize_t n);

/* shutdown(2): close_notify goes before the end of our stream. Returns 0 or -errno. */
int io_shutdown(struct fs_state *s, int fd, int how);

#endif
