/* The conversation with the daemon about one connection: HELLO, TRUST, CONNECT in one go; one
 * answer. */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "../proto/wire.h"
#include "sys.h"

#define PIECE ((size_t)60000)      /* certificates per TRUST message */
#define GRACE_MS 2000              /* how much later than the daemon we lose patience */
#define REQUEST_MAX ((size_t)8192) /* HELLO or CONNECT: names, 32 suites, 32 protocols */

#define PROMPT_MS 250 /* how long a program that does not wait is held up by a busy daemon */
#define ALIVE_MS 1000 /* how long a living daemon may take to say so */

enum { ID_HELLO = 1, ID_TRUST = 2, ID_CONNECT = 3, ID_STATUS = 4 };

uint64_t cl_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int cl_failed(struct facts *f, unsigned code, int err, const char *format, ...)
{
    va_list ap;

    f->code = (uint16_t)code;
    va_start(ap, format);
    vsnprintf(f->text, sizeof(f->text), format, ap);
    va_end(ap);
    return -err;
}

/* --- ALPN ---------------------------------------------------------------------------- */

/* Cuts the next name off a comma-separated list. Returns its length, 0 at the end. */
static size_t next_name(const char **list, const char **name)
{
    size_t n = strcspn(*list, ",");

    *name = *list;
    *list += n + (*(*list + n) == ',');
    return n;
}

int cl_check_alpn(const char *list)
{
    const char *name;
    unsigned count = 0;

    if (*list == '\0' || *list == ',' || list[strlen(list) - 1] == ',')
        return -EINVAL;
    while (*list) {
        size_t n = next_name(&list, &name);

        if (n == 0 || n > 255 || ++count > 32)
            return -EINVAL;
    }
    return 0;
}

static void put_alpn(struct w_buf *b, const char *list)
{
    const char *name;

    while (list && *list) {
        size_t n = next_name(&list, &name);

        w_put_bytes(b, W_A_ALPN, name, n);
    }
}

/* --- reaching the daemon ------------------------------------------------------------- */

static int no_daemon(struct facts *f, const char *path, int err)
{
    return cl_failed(f, W_CODE_NO_DAEMON, err, "htlsd cannot be reached at %s: %s%s", path,
                     strerror(err),
                     err == ENOENT || err == ECONNREFUSED
                         ? "; is it running? (systemctl start htlsd, or HTLS_SOCKET)"
                         : "");
}

/* A full backlog makes connect(2) on AF_UNIX say EAGAIN, and no poll tells when it would succeed.
 */
static int connect_until(int sock, const struct sockaddr_un *a, uint64_t deadline)
{
    for (;;) {
        if (sy.connect(sock, (const struct sockaddr *)a, sizeof(*a)) == 0)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (cl_now() >= deadline)
            return -ETIMEDOUT;
        if (errno == EAGAIN)
            (void)sy.poll(NULL, 0, 5);
    }
}

static int busy(struct facts *f, const char *what)
{
    return cl_failed(f, W_CODE_TIMEOUT, ETIMEDOUT, "htlsd is busy: %s; try again later", what);
}

int cl_reach(const char *path, uint64_t deadline, int *sock, struct facts *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, r;

    if (strlen(path) >= sizeof(a.sun_path))
        return no_daemon(f, path, ENAMETOOLONG);
    memcpy(a.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cl_failed(f, W_CODE_LIMIT, errno, "no socket to reach htlsd: %s", strerror(errno));
    r = connect_until(fd, &a, deadline);
    if (r < 0) {
        sy.close(fd);
        return r == -ETIMEDOUT ? busy(f, "its backlog is full") : no_daemon(f, path, -r);
    }
    *sock = fd;
    return 0;
}

int cl_wait_for(int sock, short events, uint64_t deadline)
{
    for (;;) {
        uint64_t now = cl_now();
        struct pollfd p = {.fd = sock, .events = events};
        int r = sy.poll(&p, 1, now >= deadline ? 0 : (int)(deadline - now));

        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r == 0 && cl_now() >= deadline)
            return -ETIMEDOUT;
    }
}

/* --- the request --------------------------------------------------------------------- */

int cl_send(int sock, struct w_buf *b, const int *fds, unsigned nfds, uint64_t deadline)
{
    int len = w_end(b), r;

    if (len < 0)
        return -EINVAL;
    for (;;) {
        r = fm_send(sock, b->p, (size_t)len, fds, nfds, MSG_DONTWAIT);
        if (r != -EAGAIN)
            return r;
        r = cl_wait_for(sock, POLLOUT, deadline);
        if (r < 0)
            return r;
    }
}

static int send_hello(int sock, uint8_t *buf, const struct cl_params *p, uint64_t deadline)
{
    struct w_buf b;

    w_begin(&b, buf, REQUEST_MAX, W_HELLO, ID_HELLO, 0);
    w_put_num(&b, W_A_VERSION, W_VERSION);
    w_put_num(&b, W_A_CAPS, p->caps);
    w_put_text(&b, W_A_AGENT, "libhtls " HTLS_VERSION);
    return cl_send(sock, &b, NULL, 0, deadline);
}

static int send_trust(int sock, const struct cl_params *p, uint64_t deadline)
{
    const uint8_t *at = p->pem;
    size_t left = p->pem_len;
    uint8_t *buf;
    int r = 0;

    if (left == 0)
        return 0;
    buf = malloc(PIECE + REQUEST_MAX);
    if (!buf)
        return -ENOMEM;
    while (r == 0 && left > 0) {
        size_t n = left < PIECE ? left : PIECE;
        struct w_buf b;

        w_begin(&b, buf, PIECE + REQUEST_MAX, W_TRUST, ID_TRUST, 0);
        w_put_bytes(&b, W_A_PEM, at, n);
        r = cl_send(sock, &b, NULL, 0, deadline);
        at += n;
        left -= n;
    }
    free(buf);
    return r;
}

static int send_connect(int sock, uint8_t *buf, const struct cl_params *p, const int fds[2],
                        uint32_t fill, uint64_t deadline)
{
    bool gate = fds[1] >= 0;
    struct w_buf b;

    w_begin(&b, buf, REQUEST_MAX * 2, W_CONNECT, ID_CONNECT, gate ? 2 : 1);
    w_put_num(&b, W_A_FLAGS, W_F_READS_RECORDS | (gate ? W_F_GATE : 0));
    w_put_text(&b, W_A_SERVER_NAME, p->name);
    put_alpn(&b, p->alpn);
    if (p->version_min)
        w_put_num(&b, W_A_VERSION_MIN, p->version_min);
    if (p->version_max)
        w_put_num(&b, W_A_VERSION_MAX, p->version_max);
    for (size_t i = 0; i < p->n_suites; i++)
        w_put_num(&b, W_A_SUITE, p->suites[i]);
    w_put_text(&b, W_A_GROUPS, p->groups);
    w_put_text(&b, W_A_TRUST_STORE, p->trust_store);
    if (p->no_verify)
        w_put_num(&b, W_A_VERIFY, W_VERIFY_NONE);
    if (p->path)
        w_put_num(&b, W_A_PATH, (uint64_t)p->path);
    if (p->timeout_ms > 0)
        w_put_num(&b, W_A_TIMEOUT_MS, (uint64_t)p->timeout_ms);
    if (gate)
        w_put_num(&b, W_A_GATE_FILL, fill);
    return cl_send(sock, &b, fds, gate ? 2 : 1, deadline);
}

static int send_request(int sock, const struct cl_params *p, int fd, int gate, uint32_t fill,
                        uint64_t deadline, struct facts *f)
{
    const int fds[2] = {fd, gate};
    uint8_t *buf = malloc(REQUEST_MAX * 2);
    int r = buf ? send_hello(sock, buf, p, deadline) : -ENOMEM;

    if (r == 0)
        r = send_trust(sock, p, deadline);
    if (r == 0)
        r = send_connect(sock, buf, p, fds, fill, deadline);
    free(buf);
    if (r == -EPIPE || r == -ECONNRESET)
        return 0; /* the daemon refused and closed: its reason waits to be read */
    if (r == -EINVAL)
        return cl_failed(f, W_CODE_BAD_REQUEST, EINVAL,
                         "the name or another setting cannot be sent: too long, or not text");
    if (r == -ETIMEDOUT)
        return busy(f, "it does not take the request");
    if (r < 0)
        return cl_failed(f, W_CODE_NO_DAEMON, -r, "htlsd does not take the request: %s",
                         strerror(-r));
    return 0;
}

int cl_start(const char *path, const struct cl_params *p, int fd, int gate, uint32_t fill,
             int *sock, uint64_t *deadline, struct facts *f)
{
    int wait_ms = (p->timeout_ms > 0 ? p->timeout_ms : CL_TIMEOUT_MS) + GRACE_MS;
    uint64_t now = cl_now(), patience;
    int s = -1, r;

    *deadline = now + (uint64_t)wait_ms;
    patience = p->prompt ? now + PROMPT_MS : *deadline;
    r = cl_reach(path, patience, &s, f);
    if (r < 0)
        return r;
    r = send_request(s, p, fd, gate, fill, patience, f);
    if (r < 0) {
        sy.close(s);
        return r;
    }
    *sock = s;
    return 0;
}

/* --- the answer ---------------------------------------------------------------------- */

void cl_facts(const struct w_msg *m, struct facts *f)
{
    f->version = (uint16_t)w_num(m, W_A_TLS_VERSION, 0);
    f->cipher = (uint16_t)w_num(m, W_A_CIPHER, 0);
    f->mode_tx = (uint8_t)w_num(m, W_A_MODE_TX, 0);
    f->mode_rx = (uint8_t)w_num(m, W_A_MODE_RX, 0);
    f->resumed = w_num(m, W_A_RESUMED, 0) != 0;
    f->cookie = w_num(m, W_A_COOKIE, 0);
    f->pool = w_num(m, W_A_POOL, 0);
    f->slot = (uint32_t)w_num(m, W_A_SLOT, 0);
    f->records_max = w_num(m, W_A_RECORDS_MAX, 0);
    (void)w_text(m, W_A_ALPN_SELECTED, f->alpn, sizeof(f->alpn));
    (void)w_text(m, W_A_GROUP, f->group, sizeof(f->group));
    (void)w_text(m, W_A_WHY, f->text, sizeof(f->text));
}

static int on_result(const struct w_msg *m, int fd, struct cl_result *r, struct facts *f)
{
    if (w_has(m, W_A_EARLY) && m->v[W_A_EARLY].n > 0) {
        r->early = malloc(m->v[W_A_EARLY].n);
        if (!r->early)
            return cl_failed(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory");
        memcpy(r->early, m->v[W_A_EARLY].p, m->v[W_A_EARLY].n);
        r->early_len = m->v[W_A_EARLY].n;
    }
    cl_facts(m, f);
    r->fd = fd;
    return 0;
}

int cl_error(const struct w_msg *m, struct facts *f)
{
    f->code = (uint16_t)w_num(m, W_A_CODE, W_CODE_INTERNAL_ERROR);
    f->alert = (int16_t)(w_has(m, W_A_ALERT) ? (int)w_num(m, W_A_ALERT, 0) : -1);
    f->verify_code = (uint32_t)w_num(m, W_A_VERIFY_CODE, 0);
    (void)w_text(m, W_A_TEXT, f->text, sizeof(f->text));
    return -(int)w_num(m, W_A_ERRNO, EPROTO);
}

static int gone(struct facts *f)
{
    return cl_failed(f, W_CODE_NO_DAEMON, EPIPE, "htlsd went away; its log says why");
}

/* One message. Returns 1 when it was not the answer yet. */
static int take_one(int sock, uint8_t *buf, struct cl_result *r, struct facts *f)
{
    int fds[FM_FDS_MAX] = {-1, -1}, len, k;
    unsigned nfds = 0;
    struct w_msg m;

    len = fm_recv(sock, buf, W_MESSAGE_MAX, fds, &nfds, MSG_DONTWAIT);
    if (len ==
        -ECONNRESET) /* the daemon closed with our request unread; its reason lies behind this */
        len = fm_recv(sock, buf, W_MESSAGE_MAX, fds, &nfds, MSG_DONTWAIT);
    if (len == -EAGAIN)
        return -EAGAIN;
    if (len == -EMSGSIZE) /* the descriptor of the answer was cut off */
        return cl_failed(f, W_CODE_LIMIT, EMFILE, "no descriptor is free for htlsd's answer");
    if (len <= 0)
        return gone(f);
    k = w_decode(&m, buf, (size_t)len, nfds, W_TO_CLIENT);
    if (k == 0 && m.type == W_RESULT && m.id == ID_CONNECT) {
        k = on_result(&m, fds[0], r, f);
        if (k == 0)
            return 0;
    } else if (k == 0) {
        if (m.type == W_WELCOME)
            f->caps = (uint32_t)w_num(&m, W_A_CAPS, 0);
        k = m.type == W_ERROR ? cl_error(&m, f) : 1;
    } else {
        k = cl_failed(f, W_CODE_BAD_REQUEST, EPROTO, "htlsd sent a malformed answer: %s",
                      strerror(-k));
    }
    for (unsigned i = 0; i < nfds; i++)
        sy.close(fds[i]);
    return k;
}

int cl_finish(int sock, struct cl_result *r, struct facts *f)
{
    uint8_t *buf = malloc(W_MESSAGE_MAX);
    int k;

    if (!buf)
        return cl_failed(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory");
    *r = (struct cl_result){.fd = -1};
    do {
        k = take_one(sock, buf, r, f);
    } while (k == 1);
    free(buf);
    return k;
}

int cl_check_mode(struct cl_result *r, bool gate, struct facts *f)
{
    bool relay = f->mode_tx == W_MODE_RELAY;

    if ((r->fd >= 0) == (relay != gate))
        return 0;
    if (r->fd >= 0)
        sy.close(r->fd);
    r->fd = -1;
    free(r->early);
    r->early = NULL;
    return cl_failed(f, W_CODE_BAD_REQUEST, EPROTO,
                     "htlsd's answer has %s descriptor, which does not go with mode %s",
                     relay == gate ? "a" : "no", w_mode_name(f->mode_tx));
}

bool cl_hung_up(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return sy.poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

/* Asks the daemon anything at all. */
static bool is_alive(int sock)
{
    uint64_t deadline = cl_now() + ALIVE_MS;
    uint8_t buf[W_HEADER];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_STATUS, ID_STATUS, 0);
    if (cl_send(sock, &b, NULL, 0, deadline) < 0 || cl_wait_for(sock, POLLIN, deadline) < 0)
        return false;
    return sy.recvmsg(sock, &(struct msghdr){0}, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC) > 0;
}

/* The daemon says why before it ends the stream. When it says nothing it either shut its end, in
 * order, or closed it: after both directions have ended, or because it died. A dying process closes
 * its descriptors in no order that we could rely on. */
int cl_relay_end(int sock, int relay, bool shut_wr, struct facts *f)
{
    bool closed = cl_hung_up(relay);
    struct cl_result r;
    int k = cl_finish(sock, &r, f);

    if (k == 0) { /* no second RESULT was asked for */
        if (r.fd >= 0)
            sy.close(r.fd);
        free(r.early);
    }
    if (k == -EAGAIN && closed && !(shut_wr && is_alive(sock)))
        k = gone(f);
    if (k >= 0 || k == -EAGAIN)
        return 0;
    return f->code == W_CODE_NO_DAEMON ? -ECONNRESET : k;
}

int cl_wait(int sock, uint64_t deadline, struct cl_result *r, struct facts *f)
{
    for (;;) {
        int k = cl_finish(sock, r, f);

        if (k != -EAGAIN)
            return k;
        k = cl_wait_for(sock, POLLIN, deadline);
        if (k < 0)
            return cl_failed(f, W_CODE_TIMEOUT, -k, "htlsd did not answer in time");
    }
}
