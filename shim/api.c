/* libhtls: htls.h over the conversation with the daemon and the reading of records. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "../proto/secret.h"
#include "env.h"
#include "goodbye.h"
#include "keep.h"
#include "sys.h"
#include "target.h"
#include "turn.h"

#define RECORD 16384       /* bytes of the longest record */
#define CLOSE_WAIT_MS 1000 /* how long htls_close() waits for room for close_notify */

EXPORT struct htls *htls_new(void)
{
    struct htls *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->fd = h->sock = -1;
    h->facts.alert = -1;
    rr_init(&h->rr, 0);
    return h;
}

static void poison(int fd)
{
    (void)sy.shutdown(fd, SHUT_RDWR);
}

EXPORT void htls_free(struct htls *h)
{
    if (!h)
        return;
    if (h->running)
        poison(h->fd);
    if (ap_leave(h))
        kp_free(&h->rr);
    if (h->sock >= 0)
        sy.close(h->sock);
    free(h->daemon);
    free(h->alpn);
    free(h->groups);
    free(h->trust_store);
    free(h->name);
    free(h->pem);
    secret_wipe(h->early, h->early_len);
    free(h->early);
    free(h);
}

/* --- the handshake ------------------------------------------------------------------- */

static int load_ca_file(struct htls *h)
{
    const char *path = en_ca_file();
    int r;

    if (h->pem || h->trust_store || !path)
        return 0;
    r = en_load(path, &h->pem, &h->pem_len);
    if (r < 0)
        return cl_failed(&h->facts, W_CODE_BAD_REQUEST, -r, "HTLS_CA_FILE %s: %s", path,
                         strerror(-r));
    return 0;
}

static const char *daemon_of(const struct htls *h)
{
    return h->daemon ? h->daemon : en_socket();
}

static int check_start(struct htls *h, int fd, const char *name)
{
    int r;

    if (h->used)
        return -EALREADY;
    if (!name || *name == '\0' || strlen(name) > W_NAME_MAX)
        return cl_failed(&h->facts, W_CODE_BAD_REQUEST, EINVAL,
                         "a server name of 1 to 253 bytes is needed");
    r = tg_check(fd);
    if (r < 0)
        return cl_failed(&h->facts, W_CODE_BAD_SOCKET, -r, "TLS cannot begin on descriptor %d: %s",
                         fd, strerror(-r));
    return 0;
}

static int start(struct htls *h, int fd, const char *name, int timeout_ms, bool prompt)
{
    struct cl_params p = {.prompt = prompt, .caps = W_CAP_EARLY};
    socklen_t n = sizeof(h->linger);
    int r = check_start(h, fd, name);

    if (r < 0)
        return r;
    (void)sy.getsockopt(fd, SOL_SOCKET, SO_LINGER, &h->linger, &n);
    h->facts = (struct facts){.alert = -1}; /* a refused argument of an earlier call is forgotten */
    r = ap_set_string(&h->name, name);
    if (r == 0)
        r = load_ca_file(h);
    if (r == 0) {
        p.name = h->name;
        p.alpn = h->alpn;
        p.version_min = h->version_min;
        p.version_max = h->version_max;
        p.suites = h->suites;
        p.n_suites = h->n_suites;
        p.groups = h->groups;
        p.pem = h->pem;
        p.pem_len = h->pem_len;
        p.trust_store = h->trust_store;
        p.no_verify = h->no_verify;
        p.path = h->path;
        p.timeout_ms = timeout_ms;
        p.caps |= kp_prepare(daemon_of(h));
        r = cl_start(daemon_of(h), &p, fd, -1, 0, &h->sock, &h->deadline, &h->facts);
    }
    h->fd = fd;
    h->used = true;
    if (r < 0) {
        poison(fd);
        return r;
    }
    h->running = true;
    return 0;
}

EXPORT int htls_start(struct htls *h, int fd, const char *name, int timeout_ms)
{
    return start(h, fd, name, timeout_ms, true);
}

EXPORT int htls_pollfd(const struct htls *h)
{
    return h->running ? h->sock : -EBADF;
}

/* The relay's end takes the number of the program's socket, with its close-on-exec flag. */
static int replace(int fd, int by)
{
    int flags = sy.fcntl(fd, F_GETFD);
    int r = sy.dup3(by, fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) < 0 ? -errno : 0;

    sy.close(by);
    return r;
}

/* The answer is in: TLS is up, or the descriptor is dead. */
static int conclude(struct htls *h, int r, struct cl_result *result)
{
    h->running = false;
    if (r == 0)
        r = cl_check_mode(result, false, &h->facts);
    if (r == 0)
        kp_learn(&h->facts, daemon_of(h));
    if (r == 0 && result->fd >= 0) {
        r = replace(h->fd, result->fd);
        if (r < 0)
            cl_failed(&h->facts, W_CODE_INTERNAL_ERROR, -r, "dup3: %s", strerror(-r));
    }
    if (h->linger.l_onoff) /* on a relay's end it has no effect, and is there to be asked for */
        (void)sy.setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &h->linger, sizeof(h->linger));
    if (r < 0) {
        poison(h->fd);
        sy.close(h->sock);
        h->sock = -1;
        free(result->early);
        return r;
    }
    h->early = result->early;
    h->early_len = result->early_len;
    rr_init(&h->rr, h->facts.version);
    if (h->facts.mode_rx != W_MODE_RELAY) {
        ap_join(h, daemon_of(h));
        sy.close(h->sock);
        h->sock = -1;
    }
    h->up = true;
    return 0;
}

EXPORT int htls_finish(struct htls *h)
{
    struct cl_result result = {.fd = -1};
    int r;

    if (!h->running)
        return h->up ? 0 : -EALREADY;
    r = cl_finish(h->sock, &result, &h->facts);
    if (r == -EAGAIN) {
        if (cl_now() < h->deadline)
            return -EAGAIN;
        r = cl_failed(&h->facts, W_CODE_TIMEOUT, ETIMEDOUT, "htlsd did not answer in time");
    }
    return conclude(h, r, &result);
}

EXPORT int htls_connect(struct htls *h, int fd, const char *name, int timeout_ms)
{
    struct cl_result result = {.fd = -1};
    int r = start(h, fd, name, timeout_ms, false);

    if (r < 0)
        return r;
    r = cl_wait(h->sock, h->deadline, &result, &h->facts);
    return conclude(h, r, &result);
}

/* --- data ---------------------------------------------------------------------------- */

EXPORT int htls_fd(const struct htls *h)
{
    return h->fd >= 0 ? h->fd : -EBADF;
}

EXPORT size_t htls_pending(const struct htls *h)
{
    return h->early_len - h->early_at;
}

static ssize_t take_early(struct htls *h, const struct iovec *iov, int iovcnt, int flags)
{
    size_t at = h->early_at, n = 0;

    for (int i = 0; i < iovcnt && at < h->early_len; i++) {
        size_t step = h->early_len - at;

        step = step < iov[i].iov_len ? step : iov[i].iov_len;
        memcpy(iov[i].iov_base, h->early + at, step);
        at += step;
        n += step;
    }
    if (!(flags & MSG_PEEK))
        h->early_at = at;
    return (ssize_t)n;
}

/* The relay's stream is over, with n = 0 or -ECONNRESET: did the daemon say why? */
static ssize_t relay_end(struct htls *h, ssize_t n)
{
    int r;

    if (h->facts.code)
        return -atomic_load(&h->rr.error);
    if (atomic_load(&h->rr.eof)) /* it was in order; what becomes of the daemon now is no matter */
        return 0;
    r = cl_relay_end(h->sock, h->fd, atomic_load(&h->rr.shut_wr), &h->facts);
    if (r == 0) {
        atomic_store(&h->rr.eof, n == 0);
        return n;
    }
    atomic_store(&h->rr.error, -r);
    return r;
}

/* Where nothing is asked for, nothing is no end. */
static bool wants(const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++)
        if (iov[i].iov_len > 0)
            return true;
    return false;
}

EXPORT ssize_t htls_readv(struct htls *h, const struct iovec *iov, int iovcnt, int flags)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)iovcnt};
    ssize_t n;

    if (!h->up)
        return -ENOTCONN;
    if (iovcnt < 0)
        return -EINVAL;
    if (htls_pending(h) > 0)
        return take_early(h, iov, iovcnt, flags);
    if (h->facts.mode_rx == W_MODE_RELAY) {
        if (!wants(iov, iovcnt))
            return 0;
        n = sy.recvmsg(h->fd, &m, flags);
        if (n < 0)
            n = -errno;
        return n == -ECONNRESET || n == 0 ? relay_end(h, n) : n;
    }
    n = rr_recvmsg(h->fd, &h->rr, &m, flags);
    if (n < 0 && atomic_load(&h->rr.error)) {
        h->facts.alert = (int16_t)atomic_load(&h->rr.alert);
        cl_failed(&h->facts, W_CODE_RESET, (int)-n, "%s", rr_why(&h->rr));
    }
    return n;
}

EXPORT ssize_t htls_recv(struct htls *h, void *buf, size_t n, int flags)
{
    struct iovec iov = {buf, n};

    return htls_readv(h, &iov, 1, flags);
}

EXPORT ssize_t htls_writev(struct htls *h, const struct iovec *iov, int iovcnt, int flags)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)iovcnt};
    struct tn_turn turn = {.s = NULL};
    ssize_t n;

    if (!h->up)
        return -ENOTCONN;
    if (iovcnt < 0)
        return -EINVAL;
    n = tn_begin(&turn, h->fd, &h->rr, flags);
    if (n < 0)
        return n;
    if (atomic_load(&h->rr.shut_wr)) /* the kernel would take the bytes and lose them */
        n = -EPIPE;
    else
        n = sy.sendmsg(h->fd, &m, flags | MSG_NOSIGNAL);
    if (n == -1)
        n = -errno;
    tn_wrote(&turn, n, RECORD, 1);
    tn_end(&turn);
    return n;
}

EXPORT ssize_t htls_send(struct htls *h, const void *buf, size_t n, int flags)
{
    struct iovec iov = {(void *)(uintptr_t)buf, n};

    return htls_writev(h, &iov, 1, flags);
}

static int end_output(struct htls *h, int wait_ms)
{
    int r = 0;

    if (!h->up)
        return -ENOTCONN;
    if (h->facts.mode_tx ==
        W_MODE_RELAY) /* the daemon makes close_notify of the end of our stream */
        atomic_store(&h->rr.shut_wr, true);
    else
        r = gb_close_notify(h->fd, &h->rr, wait_ms);
    if (r == 0 && sy.shutdown(h->fd, SHUT_WR) < 0 && errno != ENOTCONN)
        r = -errno;
    return r;
}

EXPORT int htls_shutdown(struct htls *h)
{
    int flags = sy.fcntl(h->fd, F_GETFL);

    return end_output(h, flags >= 0 && (flags & O_NONBLOCK) ? 0 : CLOSE_WAIT_MS);
}

EXPORT int htls_close(struct htls *h)
{
    bool relay = h->facts.mode_rx == W_MODE_RELAY, last = ap_leave(h);
    int r = h->up && (relay || last) ? end_output(h, CLOSE_WAIT_MS) : 0;

    if (h->running)
        poison(h->fd);
    if (last) {
        rr_clear(h->fd, &h->rr);
        kp_free(&h->rr);
    }
    h->running = h->up = false;
    if (h->fd >= 0)
        sy.close(h->fd);
    if (h->sock >= 0)
        sy.close(h->sock);
    h->fd = h->sock = -1;
    return r;
}
