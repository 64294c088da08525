/* sd_notify(3) and sd_listen_fds(3), without libsystemd: their protocols are stable. */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../proto/secret.h"

#define LISTEN_FDS_START 3

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

int nt_notify(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    const struct timeval most = {.tv_sec = 1};
    struct sockaddr_un sa;
    _cleanup_fd_ int fd = -1;
    int len;

    if (!name || !*name)
        return 0;
    len = address(name, &sa);
    if (len < 0)
        return len;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0)
        return -errno;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa, (socklen_t)len) < 0)
        return -errno;
    return 0;
}

/* A variable's number, or -1. */
static long number(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    long value;

    if (!text || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    value = strtol(text, &end, 10);
    return errno || *end ? -1 : value;
}

static int socket_number(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0)
        return -1;
    return value;
}

int nt_listen_fd(char why[NT_WHY_MAX])
{
    long pid = number("LISTEN_PID"), n = number("LISTEN_FDS");
    int fd = LISTEN_FDS_START;

    /* Workers and whatever else is started must not take these for their own. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_PIDFDID");
    if (pid != getpid() || n <= 0)
        return -ENOENT;
    if (n != 1) {
        snprintf(why, NT_WHY_MAX,
                 "systemd passed %ld sockets on; htlsd takes one: leave a single "
                 "ListenSequentialPacket= in htlsd.socket",
                 n);
        return -EPROTO;
    }
    if (socket_number(fd, SO_DOMAIN) != AF_UNIX || socket_number(fd, SO_TYPE) != SOCK_SEQPACKET ||
        socket_number(fd, SO_ACCEPTCONN) != 1) {
        snprintf(why, NT_WHY_MAX,
                 "the socket that systemd passed on is no listening Unix socket "
                 "for packets: use ListenSequentialPacket=/PATH, Accept=no");
        return -EPROTO;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        snprintf(why, NT_WHY_MAX, "the socket that systemd passed on: %s", strerror(errno));
        return -EPROTO;
    }
    return fd;
}
