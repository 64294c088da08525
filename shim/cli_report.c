/* Fetches a daemon's report over its socket. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"

#define WAIT_SECONDS 5

enum { ID_HELLO = 1, ID_STATUS = 2 };

/* A whole message needs much room, both ways, and one of the two at a time is enough. */
struct talk {
    int fd;
    uint8_t buf[W_MESSAGE_MAX];
    struct w_msg msg;
};

static const char *remedy(int error)
{
    switch (error) {
    case ENOENT:
        return "no htlsd there; start it (systemctl start htlsd), or name its socket with --socket "
               "or HTLS_SOCKET";
    case ECONNREFUSED:
        return "the socket is there, but nobody listens; start htlsd (systemctl start htlsd)";
    case EACCES:
    case EPERM:
        return "not allowed to connect; its folder or socket-mode in htls.conf decides who is";
    case EAGAIN:
        return "htlsd does not answer within 5 seconds; its log (journalctl -u htlsd) may say why";
    case EPROTOTYPE:
        return "this is another program's socket; name htlsd's with --socket or HTLS_SOCKET";
    case ENAMETOOLONG:
        return "this path is too long for a socket, 107 bytes are the most";
    case EPIPE:
    case ECONNRESET:
        return "htlsd closed the connection; its log (journalctl -u htlsd) may say why";
    case EBADMSG:
    case EPROTO:
    case EPROTONOSUPPORT:
    case ENODATA:
    case EMFILE:
    case EMSGSIZE:
        return "what answers is not htlsd, or one of another version; htls --version says ours";
    default:
        return strerror(error);
    }
}

static int explain(const char *path, int rc, char *why)
{
    snprintf(why, CL_WHY_MAX, "%s: %s", path, remedy(-rc));
    return rc;
}

/* A Unix socket's connect() and send() wait as long as SO_SNDTIMEO says, then fail with EAGAIN. */
static int open_socket(const char *path, int *out)
{
    const struct timeval wait = {.tv_sec = WAIT_SECONDS};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = -1;

    if (strlen(path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -errno;
    *out = fd_steal(&fd);
    return 0;
}

/* Sends what `b` built into t->buf and receives the answer into the same place. An ERROR is turned
 * into its errno, with the daemon's own words in `why`. */
static int exchange(struct talk *t, struct w_buf *b, enum w_type want, char *why)
{
    int fds[FM_FDS_MAX];
    unsigned nfds;
    uint32_t id = want == W_WELCOME ? ID_HELLO : ID_STATUS;
    int n = w_end(b);

    if (n < 0)
        return n;
    n = fm_send(t->fd, t->buf, (size_t)n, NULL, 0, 0);
    if (n < 0)
        return n;
    n = fm_recv(t->fd, t->buf, sizeof(t->buf), fds, &nfds, 0);
    if (n < 0)
        return n;
    if (n == 0)
        return -ECONNRESET;
    while (nfds > 0)
        close(fds[--nfds]);
    n = w_decode(&t->msg, t->buf, (size_t)n, 0, W_TO_CLIENT);
    if (n < 0)
        return n;
    if (t->msg.type == W_ERROR) {
        int text = (int)t->msg.v[W_A_TEXT].n;

        snprintf(why, CL_WHY_MAX, "htlsd: %.*s", text, (const char *)t->msg.v[W_A_TEXT].p);
        return -(int)t->msg.v[W_A_ERRNO].u;
    }
    return t->msg.type == want && t->msg.id == id ? 0 : -EPROTO;
}

static int hello(struct talk *t, struct cl_report *r, char *why)
{
    struct w_buf b;
    int rc;

    w_begin(&b, t->buf, sizeof(t->buf), W_HELLO, ID_HELLO, 0);
    w_put_num(&b, W_A_VERSION, W_VERSION);
    w_put_num(&b, W_A_CAPS, 0);
    w_put_text(&b, W_A_AGENT, "htls (command line)");
    rc = exchange(t, &b, W_WELCOME, why);
    if (rc < 0)
        return rc;
    return w_text(&t->msg, W_A_AGENT, r->agent, sizeof(r->agent));
}

static int status(struct talk *t, struct cl_report *r, char *why)
{
    struct w_buf b;
    struct w_val v;
    int rc;

    w_begin(&b, t->buf, sizeof(t->buf), W_STATUS, ID_STATUS, 0);
    rc = exchange(t, &b, W_REPORT, why);
    if (rc < 0)
        return rc;
    v = t->msg.v[W_A_REPORT];
    for (uint32_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];

        /* Whoever answered may be a stranger: nothing of his steers the terminal. */
        bool safe = (c >= 0x20 && c != 0x7f) || c == '\n';

        r->text[i] = '?';
        if (safe)
            r->text[i] = (char)c;
    }
    r->text[v.n] = '\0';
    return 0;
}

static int ask(struct talk *t, const char *path, struct cl_report *r, char *why)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    int rc = open_socket(path, &t->fd);

    if (rc < 0)
        return rc;
    if (getsockopt(t->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    r->pid = cred.pid;
    r->uid = cred.uid;
    rc = hello(t, r, why);
    if (rc < 0)
        return rc;
    return status(t, r, why);
}

int cl_ask(const char *path, struct cl_report *out, char why[CL_WHY_MAX])
{
    struct talk *t = calloc(1, sizeof(*t));
    struct cl_report *r = calloc(1, sizeof(*r));
    int rc = -ENOMEM;

    why[0] = '\0';
    if (t && r) {
        t->fd = -1;
        rc = ask(t, path, r, why);
        fd_close(&t->fd);
    }
    if (rc == 0)
        *out = *r;
    else if (!why[0])
        rc = explain(path, rc, why);
    free(t);
    free(r);
    return rc;
}

bool cl_next(const char **p, struct cl_line *line)
{
    const char *s = *p + strspn(*p, "\n");
    size_t len = strcspn(s, "\n"), key = strcspn(s, " \n"), gap;

    if (!*s)
        return false;
    gap = strspn(s + key, " ");
    line->key = s;
    line->key_len = (int)key;
    line->value = s + key + gap;
    line->value_len = (int)(len - key - gap);
    *p = s + len;
    return true;
}

bool cl_find(const char *text, const char *key, struct cl_line *line)
{
    struct cl_line l;
    int n = (int)strlen(key);

    while (cl_next(&text, &l)) {
        if (l.key_len == n && memcmp(l.key, key, (size_t)n) == 0) {
            *line = l;
            return true;
        }
    }
    return false;
}
