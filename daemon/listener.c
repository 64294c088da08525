/* The daemon's Unix socket: passed on, or made. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../proto/secret.h"
#include "log.h"

#define BACKLOG 4096

static void set_address(struct sockaddr_un *a, const char *path)
{
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, strlen(path) + 1); /* op_parse() has measured it */
}

/* What lies at the path: 0 = nothing, or something dead that is gone now; else -errno, logged. */
static int clear_path(const struct options *o, const struct sockaddr_un *a)
{
    _cleanup_fd_ int fd = -1;
    struct stat st;

    if (lstat(o->socket, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) {
        lg_error("%s exists and is no socket: remove it, or choose another --socket", o->socket);
        return -EEXIST;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno != ECONNREFUSED) {
        lg_error("%s is served by another htlsd: stop it, or choose another --socket", o->socket);
        return -EADDRINUSE;
    }
    return unlink(o->socket) < 0 && errno != ENOENT ? -errno : 0;
}

static int make(const struct options *o)
{
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un a;
    mode_t mask;
    int r;

    if (fd < 0)
        return -errno;
    set_address(&a, o->socket);
    if (strncmp(o->socket, "/run/htls/", 10) == 0) {
        mask = umask(022);
        (void)mkdir("/run/htls", 0755); /* there already, or bind says what is wrong */
        umask(mask);
    }
    r = clear_path(o, &a);
    if (r < 0)
        return r;
    /* The mode must be right from the first moment: bind makes the file by the umask. */
    mask = umask((mode_t)(~o->socket_mode & 0777));
    r = bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0) {
        lg_error("cannot make %s: %s%s", o->socket, strerror(-r),
                 r == -ENOENT ? " (its folder does not exist)" : "");
        return r;
    }
    return listen(fd, BACKLOG) < 0 ? -errno : fd_steal(&fd);
}

int ls_open(const struct options *o, int passed, bool *own)
{
    if (passed < 0) {
        int fd = make(o);

        *own = fd >= 0;
        return fd;
    }
    if (fcntl(passed, F_SETFL, O_NONBLOCK) < 0) {
        int r = -errno;

        close(passed);
        return r;
    }
    return passed;
}
