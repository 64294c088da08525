/* Sends and receives one datagram with its descriptors, so that none leaks and none is guessed at.
 *
 * Whoever sends is hostile: the kernel puts any number of descriptors into our table before we see
 * the first byte. So every path through the receiving side either hands a descriptor to the caller
 * or closes it, and a datagram that was cut is refused whole. */
#include "fdmsg.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void plain_close(int fd)
{
    close(fd);
}

void (*fm_discard)(int fd) = plain_close;

void fm_prepare_recv(struct fm_io *io, void *buf, size_t cap)
{
    memset(io, 0, sizeof(*io));
    io->iov = (struct iovec){.iov_base = buf, .iov_len = cap};
    io->msg.msg_iov = &io->iov;
    io->msg.msg_iovlen = 1;
    io->msg.msg_control = &io->control;
    io->msg.msg_controllen = sizeof(io->control);
}

void fm_prepare_send(struct fm_io *io, const void *buf, size_t len, const int *fds, unsigned nfds)
{
    struct cmsghdr *c;

    memset(io, 0, sizeof(*io));
    io->iov = (struct iovec){.iov_base = (void *)buf, .iov_len = len};
    io->msg.msg_iov = &io->iov;
    io->msg.msg_iovlen = 1;
    if (nfds == 0)
        return;
    io->msg.msg_control = &io->control;
    io->msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    c = CMSG_FIRSTHDR(&io->msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
}

/* What take_rights has found so far. */
struct found {
    int fds[FM_FDS_MAX];
    unsigned n;
    int error;
};

/* Keeps the descriptors that may stay and closes the others at once. */
static void take_rights(struct found *found, const struct cmsghdr *c)
{
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const unsigned char *p = CMSG_DATA(c);
    int fd;

    for (size_t i = 0; i < count; i++) {
        memcpy(&fd, p + i * sizeof(int), sizeof(int));
        if (found->n < FM_FDS_MAX) {
            found->fds[found->n++] = fd;
            continue;
        }
        fm_discard(fd);
        found->error = -EMSGSIZE;
    }
}

int fm_take_fds(struct fm_io *io, int fds[FM_FDS_MAX], unsigned *nfds)
{
    struct found found = {.n = 0};
    struct cmsghdr *c;

    if (io->msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        found.error = -EMSGSIZE;
    for (c = CMSG_FIRSTHDR(&io->msg); c; c = CMSG_NXTHDR(&io->msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            take_rights(&found, c);
        else
            found.error = -EBADMSG;
    }
    /* Taken: a second call finds nothing, so no descriptor is ever closed or handed out twice. */
    io->msg.msg_controllen = 0;
    *nfds = 0;
    if (found.error < 0) {
        while (found.n > 0)
            fm_discard(found.fds[--found.n]);
        return found.error;
    }
    memcpy(fds, found.fds, found.n * sizeof(int));
    *nfds = found.n;
    return 0;
}

int fm_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds, int flags)
{
    struct fm_io io;
    ssize_t n;

    /* An empty datagram cannot be told from the end of the connection. */
    if (len == 0 || nfds > FM_FDS_MAX)
        return -EINVAL;
    fm_prepare_send(&io, buf, len, fds, nfds);
    do
        n = sendmsg(sock, &io.msg, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

int fm_recv(int sock, void *buf, size_t cap, int fds[FM_FDS_MAX], unsigned *nfds, int flags)
{
    struct fm_io io;
    ssize_t n;
    int rc;

    *nfds = 0;
    fm_prepare_recv(&io, buf, cap);
    do
        n = recvmsg(sock, &io.msg, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    rc = fm_take_fds(&io, fds, nfds);
    if (rc < 0)
        return rc;
    if (n == 0 && *nfds > 0) { /* an empty datagram, so as to slip descriptors past the end */
        while (*nfds > 0)
            fm_discard(fds[--*nfds]);
        return -EBADMSG;
    }
    return (int)n;
}
