/* Upgrades a descriptor: asks the daemon, puts the answer under the program's numbers. */
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "client.h"
#include "env.h"
#include "gate.h"
#include "keep.h"
#include "hidden.h"
#include "lock.h"
#include "pending.h"
#include "swap.h"
#include "sys.h"
#include "target.h"

/* --- small steps --------------------------------------------------------------------- */

static int read_name(const void *value, socklen_t len, char name[W_NAME_MAX + 1])
{
    const char *p = value;

    if (len > 0 && p[len - 1] == '\0') /* sizeof("example.com") is as good as strlen */
        len--;
    if (len == 0 || len > W_NAME_MAX || memchr(p, '\0', len))
        return -EINVAL;
    memcpy(name, p, len);
    name[len] = '\0';
    return 0;
}

/* Under the lock: the TCP socket gets a second number, before another file takes the first. */
static int make_shadow(struct fs_state *s, int fd)
{
    int r = hd_dup(fd);

    if (r < 0)
        return r;
    s->shadow = r;
    return 0;
}

/* Time limits are the open file's: they move to the one that takes its place. So does SO_LINGER,
 * which the daemon switches off on what it is sent: where the number names no TCP socket it has no
 * effect and is there to be asked for. */
static void carry_options(int from, int to)
{
    static const int names[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_LINGER};
    union {
        struct timeval limit;
        struct linger linger;
    } value;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        socklen_t n = sizeof(value);

        if (sy.getsockopt(from, SOL_SOCKET, names[i], &value, &n) == 0)
            (void)sy.setsockopt(to, SOL_SOCKET, names[i], &value, n);
    }
}

/* A socket that is still connecting cannot be shut down: then the attempt is given up. */
static void shut(int tcp)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    if (sy.shutdown(tcp, SHUT_RDWR) < 0 && errno == ENOTCONN)
        (void)sy.connect(tcp, &none, sizeof(none));
}

void up_poison(struct fs_state *s, int fd, int error)
{
    shut(s->shadow >= 0 ? s->shadow : fd);
    if (s->shadow >= 0) /* who waits on the gate must hear of it, also when the daemon is silent */
        (void)sy.shutdown(fd, SHUT_RDWR);
    hd_close(&s->sock);
    atomic_store(&s->error, error);
    atomic_store(&s->so_error, error);
    fs_set_kind(s, FS_FAILED);
}

static void be_up(struct fs_state *s, enum fs_kind kind)
{
    if (kind == FS_KERNEL)
        kp_begin(&s->rr, &s->facts, en_socket());
    else
        rr_init(&s->rr, s->facts.version);
    s->rr.names = fs_names;
    if (kind == FS_KERNEL) {
        hd_close(&s->sock);
        hd_close(&s->shadow);
    }
    fs_set_kind(s, kind);
}

/* Under the lock: the state of fd, under all its numbers. */
static int claim_locked(int fd, const int *numbers, int n, struct fs_state **out)
{
    struct fs_state *s = fs_find(fd);
    int r = 0;

    if (s && fs_kind(s) != FS_CONFIG)
        return -EINVAL;      /* a second upgrade */
    if (n == SW_NUMBERS_MAX) /* one that is not known would go on in the clear */
        return -EMFILE;
    if (!s)
        s = fs_new(FS_BUSY);
    if (!s)
        return -ENOMEM;
    for (int i = 0; r == 0 && i < n; i++)
        if (!fs_find(numbers[i]))
            r = fs_attach(numbers[i], s);
    if (r < 0) {
        for (int i = 0; i < n; i++)
            if (fs_find(numbers[i]) == s)
                fs_detach(numbers[i]);
        fs_put(s);
        return r;
    }
    fs_set_kind(s, FS_BUSY);
    *out = s;
    return 0;
}

static int claim(int fd, struct fs_state **out)
{
    int numbers[SW_NUMBERS_MAX], n = sw_aliases(fd, numbers, SW_NUMBERS_MAX), r;
    struct lk_saved saved;

    lk_take(&saved);
    r = claim_locked(fd, numbers, n, out);
    lk_give(&saved);
    if (r == -ENOMEM || r == -EMFILE) /* nobody would remember that it failed */
        shut(fd);
    return r;
}

struct search {
    const struct fs_state *s;
    int fd;
};

static void match(int fd, struct fs_state *s, void *arg)
{
    struct search *w = arg;

    if (s == w->s)
        w->fd = fd;
}

/* Under the lock: a number of s, -1 when there is none. */
static int number_of(const struct fs_state *s)
{
    struct search w = {s, -1};

    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, match, &w);
    return w.fd;
}

/* Under the lock, when the state is the caller's again: true when the program has closed it under
 * our hands. */
static bool orphaned(struct fs_state *s)
{
    if (s->numbers > 0)
        return false;
    fs_put(s);
    return true;
}

/* --- the question -------------------------------------------------------------------- */

/* f is the caller's own: who asks for the state's facts meanwhile sees the old ones. */
static int ask(struct fs_state *s, int fd, int gate, uint32_t fill, struct facts *f)
{
    struct cl_params p = {.name = s->name, .no_verify = s->no_verify, .prompt = gate >= 0};
    const char *ca = en_ca_file();
    int r = 0, sock = -1;
    struct lk_saved saved;
    char *pem = NULL;

    p.caps = kp_prepare(en_socket());
    p.alpn = *s->alpn ? s->alpn : NULL;
    p.trust_store = *s->trust_store ? s->trust_store : NULL;
    if (ca && !p.trust_store) {
        r = en_load(ca, &pem, &p.pem_len);
        if (r < 0)
            return cl_failed(f, W_CODE_BAD_REQUEST, -r, "HTLS_CA_FILE %s: %s", ca, strerror(-r));
        p.pem = pem;
    }
    r = cl_start(en_socket(), &p, fd, gate, fill, &sock, &s->deadline, f);
    free(pem);
    if (r < 0)
        return r;
    lk_take(&saved);
    s->sock = hd_move(sock);
    lk_give(&saved);
    return 0;
}

/* --- blocking ------------------------------------------------------------------------ */

/* The relay's end goes under every number; the TCP socket stays reachable through the shadow. */
static int take_relay(struct fs_state *s, int fd, int relay)
{
    struct fs_reg regs[FS_REGS_MAX];
    int r = make_shadow(s, fd);

    if (r < 0)
        return r;
    carry_options(fd, relay);
    return sw_replace(s, regs, sw_find_regs(s, regs, FS_REGS_MAX), relay);
}

static int upgrade_waiting(struct fs_state *s, int fd)
{
    struct cl_result result = {.fd = -1};
    struct facts f = {.alert = -1};
    struct linger linger = {0};
    socklen_t n = sizeof(linger);
    struct lk_saved saved;
    int r;

    (void)sy.getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &n);
    r = ask(s, fd, -1, 0, &f);
    if (r == 0)
        r = cl_wait(s->sock, s->deadline, &result, &f);
    if (r == 0)
        r = cl_check_mode(&result, false, &f);
    if (r == 0)
        kp_learn(&f, en_socket());
    lk_take(&saved);
    s->facts = f;
    if (orphaned(s)) {
        r = -EBADF;
    } else if (r == 0 && result.fd >= 0) {
        r = take_relay(s, fd, result.fd);
        if (r == 0)
            be_up(s, FS_RELAY);
        else
            up_poison(s, fd, -r);
    } else if (r == 0) {
        be_up(s, FS_KERNEL);
    } else {
        up_poison(s, fd, -r);
    }
    if (linger.l_onoff && r != -EBADF) /* the daemon has switched it off */
        (void)sy.setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    lk_give(&saved);
    if (result.fd >= 0)
        sy.close(result.fd);
    free(result.early); /* not asked for, so none is sent */
    return r;
}

/* --- not blocking -------------------------------------------------------------------- */

/* The gate goes under every number, the TCP socket behind it becomes the shadow. */
static int put_gate(struct fs_state *s, int fd, int near)
{
    int r = make_shadow(s, fd);

    if (r < 0)
        return r;
    s->n_regs = sw_find_regs(s, s->regs, FS_REGS_MAX);
    return sw_replace(s, s->regs, s->n_regs, near);
}

static int upgrade_later(struct fs_state *s, int fd)
{
    struct facts f = {.alert = -1};
    int near = -1, far = -1, r;
    struct lk_saved saved;
    uint32_t fill = 0;

    r = ga_make(&near, &far, &fill);
    if (r == 0) {
        carry_options(fd, near); /* what the daemon is sent has not all of them any more */
        r = ask(s, fd, far, fill, &f);
    }
    lk_take(&saved);
    s->facts = f;
    if (orphaned(s)) {
        r = -EBADF;
    } else {
        if (r == 0)
            r = put_gate(s, fd, near);
        if (r == 0) {
            fs_set_kind(s, FS_GATE);
            pd_add(s);
        } else {
            up_poison(s, fd, -r);
        }
    }
    lk_give(&saved);
    if (near >= 0) {
        sy.close(near);
        sy.close(far);
    }
    return r;
}

/* The TCP socket, with keys, comes back under the numbers, with the waiting mode and the time
 * limits that the program chose meanwhile. */
static int take_back(struct fs_state *s, int gate, int tcp)
{
    int wanted = sy.fcntl(gate, F_GETFL), has = sy.fcntl(tcp, F_GETFL);

    if (wanted >= 0 && has >= 0 && ((wanted ^ has) & O_NONBLOCK))
        (void)sy.fcntl(tcp, F_SETFL, has ^ O_NONBLOCK);
    carry_options(gate, tcp);
    return sw_replace(s, s->regs, s->n_regs, tcp);
}

/* Under the lock. */
static bool settle_locked(struct fs_state *s)
{
    struct cl_result result = {.fd = -1};
    bool closed;
    int r, gate;

    if (fs_kind(s) != FS_GATE)
        return true;
    gate = number_of(s);
    closed = cl_hung_up(gate); /* before the answer is looked for, which comes first */
    r = cl_finish(s->sock, &result, &s->facts);
    if (r == -EAGAIN && !closed && cl_now() < s->deadline)
        return false;
    if (r == -EAGAIN && closed)
        r = cl_failed(&s->facts, W_CODE_NO_DAEMON, EPIPE, "htlsd went away; its log says why");
    else if (r == -EAGAIN)
        r = cl_failed(&s->facts, W_CODE_TIMEOUT, ETIMEDOUT, "htlsd did not answer in time");
    if (r == 0)
        r = cl_check_mode(&result, true, &s->facts);
    pd_remove(s);
    if (r == 0 && result.fd >= 0) {
        r = take_back(s, gate, result.fd);
        if (r == 0)
            be_up(s, FS_KERNEL);
    } else if (r == 0) {
        ga_open_wide(gate);
        be_up(s, FS_RELAY);
    }
    if (r < 0)
        up_poison(s, gate, -r);
    if (result.fd >= 0)
        sy.close(result.fd);
    free(result.early);
    return true;
}

bool up_settle(struct fs_state *s)
{
    struct lk_saved saved;
    bool done;

    lk_take(&saved);
    done = settle_locked(s);
    lk_give(&saved);
    return done;
}

/* Another thread may settle it, and close s->sock, while we sleep: the gate itself tells then. */
void up_wait(struct fs_state *s, int fd)
{
    while (!up_settle(s)) {
        uint64_t now = cl_now();
        struct pollfd p[2] = {{.fd = s->sock, .events = POLLIN},
                              {.fd = fd, .events = POLLIN | POLLOUT}};

        (void)sy.poll(p, 2, now < s->deadline ? (int)(s->deadline - now) : 0);
    }
}

static void settle_one(int fd, struct fs_state *s, void *arg)
{
    (void)fd;
    (void)arg;
    (void)settle_locked(s);
}

void up_settle_all(void)
{
    struct lk_saved saved;

    lk_take(&saved);
    pd_each_ready(settle_one, NULL);
    lk_give(&saved);
}

/* --- both ---------------------------------------------------------------------------- */

int up_client(int fd, const void *value, socklen_t len)
{
    char name[W_NAME_MAX + 1];
    struct fs_state *s = fs_find(fd);
    int flags, r;

    r = read_name(value, len, name);
    if (r < 0)
        return r;
    if (s && fs_kind(s) != FS_CONFIG)
        return -EINVAL;
    r = tg_check(fd);
    if (r < 0)
        return r;
    r = tg_untouched(fd);
    if (r < 0)
        return r;
    r = claim(fd, &s);
    if (r < 0)
        return r;
    memcpy(s->name, name, sizeof(name));
    flags = sy.fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) ? upgrade_later(s, fd) : upgrade_waiting(s, fd);
}

int up_relay_error(struct fs_state *s, int fd)
{
    bool shut_wr = atomic_load(&s->rr.shut_wr);
    struct facts f = {.alert = -1};
    int error, sock = -1, r = 0;
    struct lk_saved saved;

    lk_take(&saved);
    error = atomic_load(&s->error);
    if (!error && s->sock >= 0 && !atomic_load(&s->rr.shut_rd))
        sock = hd_dup(s->sock); /* another thread may close it while we wait */
    lk_give(&saved);
    if (sock < 0)
        return error;
    r = cl_relay_end(sock, fd, shut_wr, &f);
    if (f.code == W_CODE_RESET && atomic_load(&s->rr.eof_ok))
        r = 0;
    lk_take(&saved);
    hd_close(&sock);
    if (r < 0) {
        s->facts.code = f.code;
        s->facts.alert = f.alert;
        memcpy(s->facts.text, f.text, sizeof(f.text));
        atomic_store(&s->error, -r);
        atomic_store(&s->so_error, -r);
    }
    lk_give(&saved);
    return -r;
}
