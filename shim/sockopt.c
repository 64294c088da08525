/* Socket options: htls's own level, and whose answer the others get. */
#include "sockopt.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "env.h"
#include "fdstate.h"
#include "htls_sockopt.h"
#include "lock.h"
#include "suites.h"
#include "sys.h"
#include "turn.h"
#include "upgrade.h"

/* --- our level: setting -------------------------------------------------------------- */

static int copy_text(char *out, size_t cap, const void *value, socklen_t len)
{
    const char *p = value;

    if (len > 0 && p[len - 1] == '\0')
        len--;
    if (len >= cap || memchr(p, '\0', len))
        return -EINVAL;
    memcpy(out, p, len);
    out[len] = '\0';
    return 0;
}

static int set_alpn(struct fs_state *s, const void *value, socklen_t len)
{
    char list[sizeof(s->alpn)];
    int r = copy_text(list, sizeof(list), value, len);

    if (r == 0 && *list)
        r = cl_check_alpn(list);
    if (r == 0)
        memcpy(s->alpn, list, sizeof(list));
    return r;
}

static int set_verify(struct fs_state *s, const void *value, socklen_t len)
{
    int level;

    if (len != sizeof(level))
        return -EINVAL;
    memcpy(&level, value, sizeof(level));
    if (level != 0 && level != 2)
        return -EINVAL;
    s->no_verify = level == 0;
    return 0;
}

static int set_ca(struct fs_state *s, const void *value, socklen_t len)
{
    return copy_text(s->trust_store, sizeof(s->trust_store), value, len);
}

/* An int, 0 or 1. */
static int read_switch(const void *value, socklen_t len, bool *on)
{
    int n;

    if (len != sizeof(n))
        return -EINVAL;
    memcpy(&n, value, sizeof(n));
    *on = n == 1;
    return n == 0 || n == 1 ? 0 : -EINVAL;
}

/* Before the upgrade and after it. */
static int set_eof_ok(struct fs_state *s, const void *value, socklen_t len)
{
    bool on;
    int r = read_switch(value, len, &on);

    if (r == 0)
        atomic_store(&s->rr.eof_ok, on);
    return r;
}

/* Options that wait for the upgrade. */
static int set_before(int fd, int (*set)(struct fs_state *, const void *, socklen_t),
                      const void *value, socklen_t len)
{
    struct lk_saved saved;
    struct fs_state *s;
    int type, r = 0;
    socklen_t n = sizeof(type);

    if (sy.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
        return -errno;
    lk_take(&saved);
    s = fs_find(fd);
    if (!s) {
        s = fs_new(FS_CONFIG);
        r = s ? fs_attach(fd, s) : -ENOMEM;
        if (s && r < 0)
            fs_put(s);
    }
    if (r == 0)
        r = fs_kind(s) == FS_CONFIG || set == set_eof_ok ? set(s, value, len) : -EINVAL;
    lk_give(&saved);
    return r;
}

static int update_keys(int fd, const void *value, socklen_t len)
{
    struct fs_state *s = fs_find(fd);
    bool ask;
    int r = read_switch(value, len, &ask);

    if (r < 0)
        return r;
    if (!s || !fs_hold(s, fd))
        return -ENOTCONN;
    r = fs_kind(s) == FS_KERNEL ? tn_update(fd, &s->rr, ask) : -EOPNOTSUPP;
    fs_release(s);
    return r;
}

static int close_output(int fd)
{
    struct fs_state *s = fs_find(fd);

    if (!s || (fs_kind(s) != FS_KERNEL && fs_kind(s) != FS_RELAY))
        return -ENOTCONN;
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; /* through our own: close_notify goes first */
}

static int set_ours(int fd, int name, const void *value, socklen_t len)
{
    switch (name) {
    case HTLS_SO_SERVER_NAME:
        return up_client(fd, value, len);
    case HTLS_SO_ALPN:
        return set_before(fd, set_alpn, value, len);
    case HTLS_SO_VERIFY:
        return set_before(fd, set_verify, value, len);
    case HTLS_SO_CA:
        return set_before(fd, set_ca, value, len);
    case HTLS_SO_EOF_OK:
        return set_before(fd, set_eof_ok, value, len);
    case HTLS_SO_UPDATE_KEYS:
        return update_keys(fd, value, len);
    case HTLS_SO_CLOSE_OUTPUT:
        return close_output(fd);
    default:
        return -ENOPROTOOPT;
    }
}

/* --- our level: getting -------------------------------------------------------------- */

/* As getsockopt(2) does: as much as fits, *len is what was written. With room, text has its NUL. */
static int give(const void *p, size_t n, bool text, void *value, socklen_t *len)
{
    size_t fit = n < *len ? n : *len;

    memcpy(value, p, fit);
    if (text && fit < *len)
        ((char *)value)[fit] = '\0';
    *len = (socklen_t)fit;
    return 0;
}

static int give_text(const char *text, void *value, socklen_t *len)
{
    return give(text, strlen(text), true, value, len);
}

static int state_of(const struct fs_state *s)
{
    switch (s ? fs_kind(s) : FS_CONFIG) {
    case FS_BUSY:
    case FS_GATE:
        return HTLS_STATE_HANDSHAKE;
    case FS_KERNEL:
    case FS_RELAY:
        if (atomic_load(&s->error) || atomic_load(&s->rr.error))
            return HTLS_STATE_FAILED;
        return atomic_load(&s->rr.eof) ? HTLS_STATE_CLOSED : HTLS_STATE_UP;
    case FS_FAILED:
        return HTLS_STATE_FAILED;
    default:
        return HTLS_STATE_PLAIN;
    }
}

static const char *error_of(const struct fs_state *s)
{
    const char *why = s ? rr_why(&s->rr) : "";

    if (*why)
        return why;
    return s && s->facts.code ? s->facts.text : "";
}

/* Under the lock, for an upgrade may be writing the facts. */
static int get_known(const struct fs_state *s, int name, void *value, socklen_t *len)
{
    static const struct facts none = {.alert = -1};
    const struct facts *f = s ? &s->facts : &none;
    char mode[48];
    int state, alert;

    switch (name) {
    case HTLS_SO_SERVER_NAME:
        return give_text(s ? s->name : "", value, len);
    case HTLS_SO_STATE:
        state = state_of(s);
        return give(&state, sizeof(state), false, value, len);
    case HTLS_SO_ERROR:
        return give_text(error_of(s), value, len);
    case HTLS_SO_PROTOCOL:
        return give_text(su_version(f->version), value, len);
    case HTLS_SO_CIPHER:
        return give_text(su_name(f->cipher), value, len);
    case HTLS_SO_ALPN_SELECTED:
        return give_text(f->alpn, value, len);
    case HTLS_SO_ALERT:
        alert = s ? atomic_load(&s->rr.alert) : -1;
        alert = alert < 0 ? f->alert : alert;
        return give(&alert, sizeof(alert), false, value, len);
    case HTLS_SO_MODE:
        snprintf(mode, sizeof(mode), "tx=%s rx=%s", f->mode_tx ? w_mode_name(f->mode_tx) : "none",
                 f->mode_rx ? w_mode_name(f->mode_rx) : "none");
        return give_text(mode, value, len);
    default:
        return -ENOPROTOOPT;
    }
}

static int get_ours(int fd, int name, void *value, socklen_t *len)
{
    struct fs_state *s = fs_find(fd);
    struct lk_saved saved;
    socklen_t n = sizeof(int);
    int type, r;

    if (!s && sy.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
        return -errno;
    if (s && fs_kind(s) == FS_GATE)
        (void)up_settle(s);
    lk_take(&saved);
    r = get_known(s, name, value, len);
    lk_give(&saved);
    return r;
}

/* --- other levels -------------------------------------------------------------------- */

/* Options of SOL_SOCKET that belong to the file the program reads and writes; every other one is
 * asked of, and set on, the TCP socket that a relay's end or a gate stands for. */
static bool of_the_file(int level, int name)
{
    static const int names[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT,      SO_SNDLOWAT,
                                SO_RCVBUF,   SO_SNDBUF,   SO_ATTACH_FILTER, SO_LINGER};

    for (size_t i = 0; level == SOL_SOCKET && i < sizeof(names) / sizeof(*names); i++)
        if (names[i] == name)
            return true;
    return false;
}

/* A gate with a larger send buffer would be open. */
static bool opens_gate(const struct fs_state *s, int level, int name)
{
    return level == SOL_SOCKET && name == SO_SNDBUF && fs_kind(s) == FS_GATE;
}

static int stand_in(const struct fs_state *s, int fd, int level, int name)
{
    if (!s || s->shadow < 0)
        return fd;
    return of_the_file(level, name) && !opens_gate(s, level, name) ? fd : s->shadow;
}

/* SO_LINGER is the TCP socket's, whoever holds it, and the daemon that closes it last must not wait
 * for this program's peer. So a time to wait stays with the stand-in, where it is asked for and,
 * after a gate, comes from; a time of 0 (RST at close) goes through, for nobody waits by it. */
static int set_linger(int fd, int shadow, const void *value, socklen_t len)
{
    struct linger l;

    if (sy.setsockopt(fd, SOL_SOCKET, SO_LINGER, value, len) < 0)
        return -errno;
    memcpy(&l, value, sizeof(l)); /* the kernel has found it long enough */
    if (l.l_linger > 0)
        l.l_onoff = 0;
    return sy.setsockopt(shadow, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) < 0 ? -errno : 0;
}

int so_set(int fd, int level, int name, const void *value, socklen_t len)
{
    struct fs_state *s = fs_find(fd);

    if (level == HTLS_LEVEL && !en_secure())
        return value || len == 0 ? set_ours(fd, name, value ? value : "", len) : -EFAULT;
    if (s && s->shadow >= 0 && level == SOL_SOCKET && name == SO_LINGER)
        return set_linger(fd, s->shadow, value, len);
    fd = stand_in(s, fd, level, name);
    return sy.setsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
}

int so_get(int fd, int level, int name, void *value, socklen_t *len)
{
    struct fs_state *s = fs_find(fd);
    int error;

    if (level == HTLS_LEVEL && !en_secure())
        return value && len ? get_ours(fd, name, value, len) : -EFAULT;
    if (s && level == SOL_SOCKET && name == SO_ERROR && fs_kind(s) != FS_CONFIG) {
        if (fs_kind(s) == FS_GATE)
            (void)up_settle(s);
        error = atomic_exchange(&s->so_error, 0);
        if (error || fs_kind(s) == FS_GATE || fs_kind(s) == FS_FAILED)
            return value && len ? give(&error, sizeof(error), false, value, len) : -EFAULT;
    }
    if (s && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE && fs_kind(s) != FS_CONFIG)
        return -EOPNOTSUPP; /* it would hand out, and take away, what is still encrypted */
    fd = stand_in(s, fd, level, name);
    return sy.getsockopt(fd, level, name, value, len) < 0 ? -errno : 0;
}
