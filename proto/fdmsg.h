/* One SOCK_SEQPACKET datagram with an exact number of descriptors, out and in. */
#ifndef HTLS_FDMSG_H
#define HTLS_FDMSG_H

#include <stddef.h>
#include <sys/socket.h>

#define FM_FDS_MAX 2

/* Room for as many descriptors as the kernel lets one message carry (SCM_MAX_FD): those that are
 * too many come to us and are discarded by us. The kernel would close what does not fit, in our
 * thread. */
union fm_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * 253)];
};

/* What becomes of a descriptor that is refused; close(2) unless replaced. A close can wait
 * (SO_LINGER, FUSE): a process that serves strangers sets its own before the first message. */
extern void (*fm_discard)(int fd);

/* A message header with its parts, for callers that submit recvmsg/sendmsg themselves (io_uring).
 * Must stay where it is from fm_prepare_* until the operation has completed. */
struct fm_io {
    struct msghdr msg;
    struct iovec iov;
    union fm_control control;
};

/* Prepares io->msg to receive one datagram into buf. Pass MSG_CMSG_CLOEXEC in the flags. */
void fm_prepare_recv(struct fm_io *io, void *buf, size_t cap);

/* Prepares io->msg to send buf with nfds descriptors (0 to FM_FDS_MAX), which stay the caller's. */
void fm_prepare_send(struct fm_io *io, const void *buf, size_t len, const int *fds, unsigned nfds);

/* Takes the descriptors out of a received message into fds[], *nfds of them, all close-on-exec and
 * the caller's from here. Returns 0, or with every descriptor closed and *nfds = 0:
 *   -EMSGSIZE  the datagram or its control data was cut (MSG_TRUNC, MSG_CTRUNC), or > FM_FDS_MAX
 *   -EBADMSG   control data of another kind */
int fm_take_fds(struct fm_io *io, int fds[FM_FDS_MAX], unsigned *nfds);

/* Sends one datagram with its descriptors, which stay the caller's. `flags` are added to
 * MSG_NOSIGNAL. EINTR is retried. Returns 0 or -errno (-EAGAIN with MSG_DONTWAIT). */
int fm_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds, int flags);

/* Receives one datagram. `flags` are added to MSG_CMSG_CLOEXEC. EINTR is retried. Returns its
 * length (0 = the other end is closed) or -errno; on failure nothing is handed out and nothing
 * leaks. */
int fm_recv(int sock, void *buf, size_t cap, int fds[FM_FDS_MAX], unsigned *nfds, int flags);

#endif
