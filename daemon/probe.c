/* Finds out what this kernel's kTLS can do by having it done on loopback connections.
 *
 * That the ULP attaches proves nothing: the modules of a cipher can be missing, and then the key is
 * refused. So for each version and AEAD one connection is made, keys go into one end of it, and a
 * record in either direction has to pass between that end and our own record layer. The other end
 * stays plain. The keys are constants: nothing but the probe's own text is ever protected by them.
 *
 * Runs once at start, before any connection is served: two milliseconds, more when the kernel has
 * modules to load first. All waits together have one budget, so that the worst kernel costs a
 * second and not a start that hangs. Time inside setsockopt is not counted: there the kernel loads
 * modules, and what it takes for that must not make a cipher look broken. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "probe.h"

#include <ctype.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "../proto/secret.h"
#include "ktls.h"
#include "record.h"

#define BUDGET_MS 1000
#define RECORD_MAX 256u

static const char text[] = "htls looks what this kernel can do";

/* The listener that all pairs of one probe come from. Its owner closes fd. */
struct lobby {
    int fd;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    int64_t budget; /* milliseconds that may still be waited */
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int wait_for(struct lobby *l, int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t before = now_ms();
        int r = poll(&p, 1, l->budget > 0 ? (int)l->budget : 0);

        l->budget -= now_ms() - before;
        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int open_listener(struct lobby *l, const void *addr, socklen_t len)
{
    _cleanup_fd_ int fd = -1;

    memcpy(&l->addr, addr, len);
    l->addr_len = len;
    fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&l->addr, len) < 0 || listen(fd, 16) < 0 ||
        getsockname(fd, (struct sockaddr *)&l->addr, &l->addr_len) < 0)
        return -errno;
    l->fd = fd_steal(&fd);
    return 0;
}

static int open_lobby(struct lobby *l)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int r;

    l->budget = BUDGET_MS;
    r = open_listener(l, &v4, sizeof(v4));
    if (r < 0)
        r = open_listener(l, &v6, sizeof(v6));
    return r;
}

/* The listener's end of the connection from `mine`. Anybody on the machine can connect to the
 * port: strangers are turned away, and many of them do not keep us here. */
static int accept_own(struct lobby *l, const struct sockaddr_storage *mine, int *out)
{
    for (int tries = 0; tries < 64; tries++) {
        _cleanup_fd_ int fd = -1;
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof(from);
        int r = wait_for(l, l->fd, POLLIN);

        if (r < 0)
            return r;
        fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0 && memcmp(&from, mine, sizeof(from)) == 0) {
            *out = fd_steal(&fd);
            return 0;
        }
    }
    return -ECONNABORTED;
}

/* A connection; the caller closes both ends. Closing resets: nothing of it lingers. */
static int open_pair(struct lobby *l, int *near, int *far)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct sockaddr_storage mine = {0};
    socklen_t len = sizeof(mine);
    _cleanup_fd_ int a = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    _cleanup_fd_ int b = -1;
    int r;

    if (a < 0)
        return -errno;
    if (connect(a, (const struct sockaddr *)&l->addr, l->addr_len) < 0 && errno != EINPROGRESS)
        return -errno;
    if (getsockname(a, (struct sockaddr *)&mine, &len) < 0)
        return -errno;
    r = accept_own(l, &mine, &b);
    if (r < 0)
        return r;
    /* The accepted end exists, so the handshake is through; a itself hears of it by now or soon. */
    r = wait_for(l, a, POLLOUT);
    if (r < 0)
        return r;
    if (setsockopt(a, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
        return -errno;
    *near = fd_steal(&a);
    *far = fd_steal(&b);
    return 0;
}

static int send_all(int fd, const void *p, size_t n)
{
    ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

    if (r < 0)
        return -errno;
    return (size_t)r == n ? 0 : -EIO; /* an empty socket buffer takes some bytes whole */
}

static int recv_all(struct lobby *l, int fd, uint8_t *p, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = recv(fd, p + have, n - have, 0);
        int r;

        if (got > 0) {
            have += (size_t)got;
            continue;
        }
        if (got == 0)
            return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = wait_for(l, fd, POLLIN);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Keys that anybody may know. `generation` makes them differ. */
static void make_keys(struct ks_dir *d, const struct ks_suite *suite, uint8_t generation)
{
    *d = (struct ks_dir){.suite = suite};
    memset(d->key, 0x40 + generation, sizeof(d->key));
    memset(d->iv, 0x60 + generation, sizeof(d->iv));
}

/* The kernel sends the text; 0 when it comes out as one record that these keys open. */
static int use_tx(struct lobby *l, int near, int far, const struct ks_dir *d)
{
    uint8_t record[RECORD_MAX], type, *plain;
    struct rc_ctx *c;
    size_t n;
    int r, len;

    r = send_all(near, text, sizeof(text));
    if (r < 0)
        return r;
    r = recv_all(l, far, record, RC_HEADER);
    if (r < 0)
        return r;
    len = rc_length(record);
    if (len < 0 || (size_t)len > sizeof(record))
        return -EBADMSG;
    r = recv_all(l, far, record + RC_HEADER, (size_t)len - RC_HEADER);
    if (r < 0)
        return r;
    r = rc_new(&c, d, 0);
    if (r < 0)
        return r;
    r = rc_open(c, record, (size_t)len, &type, &plain, &n);
    if (r == 0 && (type != RC_DATA || n != sizeof(text) || memcmp(plain, text, n) != 0))
        r = -EBADMSG;
    rc_free(c);
    return r;
}

/* We send a record; 0 when the kernel hands out the text. */
static int use_rx(struct lobby *l, int near, int far, const struct ks_dir *d)
{
    uint8_t record[sizeof(text) + RC_HEADER + RC_OVERHEAD], got[sizeof(text)];
    struct rc_ctx *c;
    int r, len;

    r = rc_new(&c, d, 1);
    if (r < 0)
        return r;
    len = rc_seal(c, RC_DATA, text, sizeof(text), record);
    rc_free(c);
    if (len < 0)
        return len;
    r = send_all(far, record, (size_t)len);
    if (r < 0)
        return r;
    r = recv_all(l, near, got, sizeof(got));
    if (r < 0)
        return r;
    return memcmp(got, text, sizeof(got)) == 0 ? 0 : -EBADMSG;
}

/* One version and AEAD on a connection of its own: fills its fields of caps, and rekey unless that
 * is known to work already. Returns 0 or what kept the ULP from attaching. */
static int try_suite(struct lobby *l, const struct ks_suite *suite, struct pr_caps *caps)
{
    int *tx = &caps->tx[suite->version == KS_TLS13][suite->aead];
    int *rx = &caps->rx[suite->version == KS_TLS13][suite->aead];
    _cleanup_fd_ int near = -1, far = -1;
    struct ks_dir d;
    SECRET_WIPE(d);
    int r = open_pair(l, &near, &far);

    if (r == 0)
        r = kt_attach(near);
    *tx = *rx = r;
    if (r < 0)
        return r;
    make_keys(&d, suite, 0);
    r = kt_set(near, TLS_RX, &d);
    *rx = r < 0 ? r : use_rx(l, near, far, &d);
    /* A missing module is missing for both; the kernel would only search for it once more. */
    r = *rx == -ENOENT ? *rx : kt_set(near, TLS_TX, &d);
    *tx = r < 0 ? r : use_tx(l, near, far, &d);
    if (*tx < 0 || suite->version != KS_TLS13 || caps->rekey == 0)
        return 0;
    make_keys(&d, suite, 1);
    r = kt_set(near, TLS_TX, &d);
    caps->rekey = r < 0 ? r : use_tx(l, near, far, &d);
    return 0;
}

static void set_all(struct pr_caps *caps, int err)
{
    caps->ulp = caps->rekey = err;
    for (int v = 0; v < 2; v++) {
        for (int a = 0; a < KS_AEADS; a++)
            caps->tx[v][a] = caps->rx[v][a] = err;
    }
}

void pr_probe(struct pr_caps *caps)
{
    size_t n;
    const struct ks_suite *s = ks_suites(&n);
    struct lobby l = {.fd = -1};
    int r = open_lobby(&l);

    set_all(caps, r < 0 ? r : -EOPNOTSUPP);
    for (size_t i = 0; i < n && r == 0; i++) {
        /* Suites with the same version and AEAD are one to the kernel. */
        if (caps->tx[s[i].version == KS_TLS13][s[i].aead] != -EOPNOTSUPP)
            continue;
        r = try_suite(&l, &s[i], caps);
        /* A later connection that cannot be made says nothing against what is proved. */
        if (r < 0 && caps->ulp != 0)
            set_all(caps, r);
        else
            caps->ulp = r = 0;
    }
    fd_close(&l.fd);
}

bool pr_takes(const struct pr_caps *caps, const struct ks_suite *suite)
{
    int v = suite->version == KS_TLS13;

    return caps->tx[v][suite->aead] == 0 && caps->rx[v][suite->aead] == 0;
}

bool pr_any(const struct pr_caps *caps)
{
    size_t n;
    const struct ks_suite *s = ks_suites(&n);

    for (size_t i = 0; i < n; i++) {
        if (pr_takes(caps, &s[i]))
            return true;
    }
    return false;
}

/* Appends a line, or nothing when it does not fit whole. */
__attribute__((format(printf, 4, 5))) static void add(char *out, size_t cap, size_t *len,
                                                      const char *format, ...)
{
    va_list ap;
    int n;

    if (*len >= cap)
        return;
    va_start(ap, format);
    n = vsnprintf(out + *len, cap - *len, format, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < cap - *len)
        *len += (size_t)n;
    else
        out[*len] = '\0';
}

/* "yes", or "no (ERRNO: what to do about it)". why is NULL when there is nothing better to say than
 * the system's own words. */
static void add_line(char *out, size_t cap, size_t *len, const char *key, int err, const char *why)
{
    const char *name = strerrorname_np(-err), *text_of = strerrordesc_np(-err);

    if (err == 0)
        add(out, cap, len, "%s yes\n", key);
    else
        add(out, cap, len, "%s no (%s: %s)\n", key, name ? name : "?",
            why       ? why
            : text_of ? text_of
                      : "?");
}

/* The modules that a kernel without autoload has to be given; "crypto-" names are aliases, because
 * the file names differ between kernels. */
static const char *const missing[KS_AEADS] = {
    [KS_AES_128_GCM] = "cipher module missing; modprobe -a gcm ctr",
    [KS_AES_256_GCM] = "cipher module missing; modprobe -a gcm ctr",
    [KS_CHACHA20] = "cipher module missing; modprobe -a chacha20poly1305 crypto-chacha20",
    [KS_AES_128_CCM] = "cipher module missing; modprobe -a ccm ctr",
};

static const char *why_no_ulp(const struct pr_caps *caps)
{
    return caps->ulp == -ENOENT ? "module missing; modprobe tls" : NULL;
}

static const char *why_not(const struct pr_caps *caps, enum ks_aead aead, int err)
{
    if (caps->ulp < 0)
        return "no tls ULP";
    if (err == -ENOENT)
        return missing[aead];
    if (err == -EINVAL)
        return "not known to this kernel";
    if (err == -EBADMSG)
        return "the key is taken, but records do not open";
    return NULL;
}

/* "AES-128-GCM" as part of a key: "aes-128-gcm". */
static void lower_name(enum ks_aead aead, char *out, size_t cap)
{
    const char *name = ks_aead_name(aead);
    size_t i;

    for (i = 0; name[i] && i + 1 < cap; i++)
        out[i] = (char)tolower((unsigned char)name[i]);
    out[i] = '\0';
}

size_t pr_report(const struct pr_caps *caps, char *out, size_t cap)
{
    char name[32], key[64];
    size_t len = 0;

    if (cap == 0)
        return 0;
    out[0] = '\0';
    add_line(out, cap, &len, "ktls.ulp", caps->ulp, why_no_ulp(caps));
    for (int i = 0; i < 2 * KS_AEADS; i++) {
        int v = i / KS_AEADS;
        enum ks_aead aead = (enum ks_aead)(i % KS_AEADS);

        lower_name(aead, name, sizeof(name));
        snprintf(key, sizeof(key), "ktls.tls1%d.%s.tx", v + 2, name);
        add_line(out, cap, &len, key, caps->tx[v][aead], why_not(caps, aead, caps->tx[v][aead]));
        snprintf(key, sizeof(key), "ktls.tls1%d.%s.rx", v + 2, name);
        add_line(out, cap, &len, key, caps->rx[v][aead], why_not(caps, aead, caps->rx[v][aead]));
    }
    add_line(out, cap, &len, "ktls.rekey", caps->rekey,
             caps->ulp < 0                ? "no tls ULP"
             : caps->rekey == -EBUSY      ? "kernel before 6.14"
             : caps->rekey == -EOPNOTSUPP ? "no cipher of TLS 1.3"
                                          : NULL);
    return len;
}

void pr_summary(const struct pr_caps *caps, char *out, size_t cap)
{
    int tx = caps->tx[1][KS_AES_128_GCM], err = tx < 0 ? tx : caps->rx[1][KS_AES_128_GCM];
    size_t len = 0;

    if (cap == 0)
        return;
    out[0] = '\0';
    for (int a = 0; a < KS_AEADS; a++) {
        bool v12 = caps->tx[0][a] == 0 && caps->rx[0][a] == 0;
        bool v13 = caps->tx[1][a] == 0 && caps->rx[1][a] == 0;

        if (v12 || v13)
            add(out, cap, &len, "%s %s%s", len ? "" : "kTLS:", ks_aead_name((enum ks_aead)a),
                v12 && v13 ? ""
                : v13      ? " (1.3 only)"
                           : " (1.2 only)");
    }
    if (len > 0)
        add(out, cap, &len, caps->rekey == 0 ? ", rekey" : ", no rekey");
    else if (caps->ulp < 0)
        add_line(out, cap, &len, "kTLS:", caps->ulp, why_no_ulp(caps));
    else
        add_line(out, cap, &len, "kTLS:", err, why_not(caps, KS_AES_128_GCM, err));
    if (len > 0 && out[len - 1] == '\n')
        out[len - 1] = '\0';
}
