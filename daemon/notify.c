/* sd_notify(3) without libsystemd: its protocol is stable. */
#include "notify.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../proto/secret.h"

/* The address in NOTIFY_SOCKET: a path, or '@' for an abstract name. Returns its length. */
static int address(const char *name, struct sockaddr_un *sa)
{
    size_t n = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof(sa->sun_path))
        return -EINVAL;
    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, name, n);
    if (name[0] == '@')
        sa->sun_path[0] = '\0';
    /* An abstract name ends where the length says; a path keeps its NUL. */
    return (int)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '/'));
}

/* fd -1 = none goes with it. */
static int tell(const char *state, int fd)
{
    const char *name = getenv("NOTIFY_SOCKET");
    const struct timeval most = {.tv_sec = 1};
    struct iovec iov = {(void *)(uintptr_t)state, strlen(state)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct sockaddr_un sa;
    _cleanup_fd_ int to = -1;
    int len;

    if (!name || !*name)
        return 0;
    len = address(name, &sa);
    if (len < 0)
        return len;
    to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (to < 0)
        return -errno;
    if (setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0)
        return -errno;
    m.msg_name = &sa;
    m.msg_namelen = (socklen_t)len;
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control.bytes);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
    }
    return sendmsg(to, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int nt_notify(const char *state)
{
    return tell(state, -1);
}

int nt_store(const char *name, int fd)
{
    char state[128];

    snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s", name);
    return tell(state, fd);
}
