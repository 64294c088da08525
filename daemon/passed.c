/* sd_listen_fds(3) without libsystemd, both ends of it. */
#include "passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../proto/secret.h"

#define FIRST 3
#define MOST 4096
#define OWN "htlsd-own" /* the name of a listener that an htlsd made itself */

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

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static bool is_listener(int fd)
{
    return socket_number(fd, SO_DOMAIN) == AF_UNIX &&
           socket_number(fd, SO_TYPE) == SOCK_SEQPACKET && socket_number(fd, SO_ACCEPTCONN) == 1;
}

/* Sealed memory, as only we ask a service manager to keep. */
static bool is_memory(int fd)
{
    const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & sealed) == sealed;
}

/* The next word of a list with colons. */
static void next_name(const char **list, char name[PS_NAME_MAX])
{
    size_t n = strcspn(*list, ":");

    snprintf(name, PS_NAME_MAX, "%.*s", n < PS_NAME_MAX ? (int)n : 0, *list);
    *list += n + ((*list)[n] == ':');
}

static int sort_in(struct passed *p, int fd, const char *name, char why[PS_WHY_MAX])
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        snprintf(why, PS_WHY_MAX, "descriptor %d that was passed on: %s", fd, strerror(errno));
        return -EPROTO;
    }
    if (is_listener(fd) && p->listener < 0) {
        p->listener = fd;
        p->own_path = strcmp(name, OWN) == 0;
        return 0;
    }
    if (is_memory(fd)) {
        p->memories[p->n].fd = fd;
        memcpy(p->memories[p->n++].name, name, PS_NAME_MAX);
        return 0;
    }
    snprintf(why, PS_WHY_MAX,
             "descriptor %d that was passed on is not the one listening Unix socket for packets: "
             "leave a single ListenSequentialPacket=/PATH, Accept=no in htlsd.socket",
             fd);
    return -EPROTO;
}

int ps_take(struct passed *p, char why[PS_WHY_MAX])
{
    long pid = number("LISTEN_PID"), n = number("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    char *list = strdup(names ? names : "");
    const char *at = list;
    int r = list ? 0 : -ENOMEM;

    *p = (struct passed){.listener = -1};
    /* Workers and whatever else is started must not take these for their own. */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_PIDFDID");
    if (pid != getpid() || n <= 0 || n > MOST)
        n = 0;
    p->memories = calloc((size_t)n + 1, sizeof(*p->memories));
    if (!p->memories)
        r = -ENOMEM;
    for (int i = 0; r == 0 && i < n; i++) {
        char name[PS_NAME_MAX];

        next_name(&at, name);
        r = sort_in(p, FIRST + i, name, why);
    }
    free(list);
    if (r < 0)
        ps_free(p);
    return r;
}

int ps_claim(struct passed *p, const char *prefix, char rest[PS_NAME_MAX])
{
    size_t len = strlen(prefix);

    for (size_t i = 0; i < p->n; i++) {
        struct ps_memory *m = &p->memories[i];
        int fd = m->fd;

        if (fd < 0 || strncmp(m->name, prefix, len) != 0)
            continue;
        snprintf(rest, PS_NAME_MAX, "%s", m->name + len);
        m->fd = -1;
        return fd;
    }
    return -ENOENT;
}

void ps_free(struct passed *p)
{
    for (size_t i = 0; p->memories && i < p->n; i++)
        fd_close(&p->memories[i].fd);
    free(p->memories);
    p->memories = NULL;
    p->n = 0;
}

/* Out of the way of the numbers that are to be filled, then down. dup2 clears close-on-exec. */
static int move_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST + (int)n);
        if (fds[i] < 0)
            return -errno;
    }
    for (size_t i = 0; i < n; i++)
        if (dup2(fds[i], FIRST + (int)i) < 0)
            return -errno;
    return 0;
}

int ps_pass_on(const struct passed *out)
{
    size_t n = 0, at = 0, room = (out->n + 1) * (PS_NAME_MAX + 1);
    int *fds = calloc(out->n + 1, sizeof(*fds));
    char *names = calloc(1, room), word[24];
    int r = fds && names ? 0 : -ENOMEM;

    if (r == 0 && out->listener >= 0) {
        fds[n++] = out->listener;
        at += (size_t)snprintf(names, room, "%s", out->own_path ? OWN : "htlsd.socket");
    }
    for (size_t i = 0; r == 0 && i < out->n; i++) {
        fds[n++] = out->memories[i].fd;
        at += (size_t)snprintf(names + at, room - at, "%s%s", at ? ":" : "", out->memories[i].name);
    }
    if (r == 0)
        r = move_all(fds, n);
    snprintf(word, sizeof(word), "%d", (int)getpid());
    if (r == 0 && setenv("LISTEN_PID", word, 1) < 0)
        r = -ENOMEM;
    snprintf(word, sizeof(word), "%zu", n);
    if (r == 0 && (setenv("LISTEN_FDS", word, 1) < 0 || setenv("LISTEN_FDNAMES", names, 1) < 0))
        r = -ENOMEM;
    free(fds);
    free(names);
    return r;
}
