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
#include "lock.h"
#include "pending.h"
#include "swap.h"
#include "sys.h"
#include "target.h"

#define SHADOW_MIN 900 /* hidden descriptors stay out of the low numbers that programs count on */

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

static int make_shadow(int fd)
{
    int shadow = sy.fcntl(fd, F_DUPFD_CLOEXEC, SHADOW_MIN);

    return shadow >= 0 ? shadow : sy.fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Time limits are the open file's: they move to the one that takes its place. */
static void carry_timeouts(int from, int to)
{
    static const int names[] = {SO_RCVTIMEO, SO_SNDTIMEO};

    for (size_t i = 0; i < 2; i++) {
        struct timeval tv;
        socklen_t n = sizeof(tv);

        if (sy.getsockopt(from, SOL_SOCKET, names[i], &tv, &n) == 0 && (tv.tv_sec || tv.tv_usec))
            (void)sy.setsockopt(to, SOL_SOCKET, names[i], &tv, sizeof(tv));
    }
}

void up_poison(struct fs_state *s, int fd, int error)
{
    (void)sy.shutdown(s->shadow >= 0 ? s->shadow : fd, SHUT_RDWR);
    if (s->sock >= 0)
        sy.close(s->sock);
    s->sock = -1;
    atomic_store(&s->error, error);
    atomic_store(&s->so_error, error);
    fs_set_kind(s, FS_FAILED);
}

static void be_up(struct fs_state *s, enum fs_kind kind)
{
    rr_init(&s->rr, s->facts.version);
    if (kind == FS_KERNEL) {
        if (s->sock >= 0)
            sy.close(s->sock);
        if (s->shadow >= 0)
            sy.close(s->shadow);
        s->sock = s->shadow = -1;
    }
    fs_set_kind(s, kind);
}

/* The state of fd, ready for an upgrade in this thread, under all its numbers. */
static int claim(int fd, struct fs_state **out)
{
    int numbers[SW_NUMBERS_MAX], n = sw_aliases(fd, numbers, SW_NUMBERS_MAX);
    struct fs_state *s;
    struct lk_saved saved;
    int r = 0;

    lk_take(&saved);
    s = fs_find(fd);
    if (s && fs_kind(s) != FS_CONFIG)
        r = -EINVAL; /* a second upgrade */
    if (!s)
        s = fs_new(FS_BUSY);
    if (!s)
        r = -ENOMEM;
    for (int i = 0; r == 0 && i < n; i++)
        if (!fs_find(numbers[i]))
            r = fs_attach(numbers[i], s);
    if (r == 0)
        fs_set_kind(s, FS_BUSY);
    lk_give(&saved);
    if (r == 0)
        *out = s;
    return r;
}

struct numbers {
    struct fs_state *s;
    int list[SW_NUMBERS_MAX], n;
};

static void add_number(int fd, struct fs_state *s, void *arg)
{
    struct numbers *all = arg;

    if (s == all->s && all->n < SW_NUMBERS_MAX)
        all->list[all->n++] = fd;
}

static void numbers_of(struct fs_state *s, struct numbers *all)
{
    all->s = s;
    all->n = 0;
    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, add_number, all);
}

/* --- the question -------------------------------------------------------------------- */

static int ask(struct fs_state *s, int fd, int gate, uint32_t fill)
{
    struct cl_params p = {.name = s->name, .no_verify = s->no_verify};
    const char *ca = en_ca_file();
    char *pem = NULL;
    int r = 0;

    p.alpn = *s->alpn ? s->alpn : NULL;
    p.trust_store = *s->trust_store ? s->trust_store : NULL;
    if (ca && !p.trust_store) {
        r = en_load(ca, &pem, &p.pem_len);
        if (r < 0)
            return cl_failed(&s->facts, W_CODE_BAD_REQUEST, -r, "HTLS_CA_FILE %s: %s", ca,
                             strerror(-r));
        p.pem = pem;
    }
    r = cl_start(en_socket(), &p, fd, gate, fill, &s->sock, &s->deadline, &s->facts);
    free(pem);
    return r;
}

/* --- blocking ------------------------------------------------------------------------ */

/* The relay's end goes under every number; the TCP socket stays reachable through the shadow. */
static int take_relay(struct fs_state *s, int fd, int relay)
{
    struct fs_reg regs[FS_REGS_MAX];
    struct numbers all;
    unsigned n_regs;

    s->shadow = make_shadow(fd);
    if (s->shadow < 0)
        return -errno;
    carry_timeouts(fd, relay);
    numbers_of(s, &all);
    n_regs = sw_find_regs(all.list, all.n, regs, FS_REGS_MAX);
    return sw_replace(all.list, all.n, regs, n_regs, relay);
}

static int upgrade_waiting(struct fs_state *s, int fd)
{
    struct cl_result result = {.fd = -1};
    struct lk_saved saved;
    int r = ask(s, fd, -1, 0);

    if (r == 0)
        r = cl_wait(s->sock, s->deadline, &result, &s->facts);
    lk_take(&saved);
    if (r == 0 && result.fd >= 0) {
        r = take_relay(s, fd, result.fd);
        sy.close(result.fd);
        if (r == 0)
            be_up(s, FS_RELAY);
    } else if (r == 0) {
        be_up(s, FS_KERNEL);
    }
    if (r < 0)
        up_poison(s, fd, -r);
    lk_give(&saved);
    return r;
}

/* --- not blocking -------------------------------------------------------------------- */

/* The gate goes under every number, the TCP socket behind it becomes the shadow. */
static int put_gate(struct fs_state *s, int fd, int near)
{
    struct numbers all;

    s->shadow = make_shadow(fd);
    if (s->shadow < 0)
        return -errno;
    carry_timeouts(fd, near);
    numbers_of(s, &all);
    s->n_regs = sw_find_regs(all.list, all.n, s->regs, FS_REGS_MAX);
    return sw_replace(all.list, all.n, s->regs, s->n_regs, near);
}

static int upgrade_later(struct fs_state *s, int fd)
{
    int near = -1, far = -1, r;
    struct lk_saved saved;
    uint32_t fill = 0;

    r = ga_make(&near, &far, &fill);
    if (r == 0)
        r = ask(s, fd, far, fill);
    lk_take(&saved);
    if (r == 0)
        r = put_gate(s, fd, near);
    if (r == 0) {
        fs_set_kind(s, FS_GATE);
        pd_add(s);
    } else {
        up_poison(s, fd, -r);
    }
    lk_give(&saved);
    if (near >= 0) {
        sy.close(near);
        sy.close(far);
    }
    return r;
}

/* The TCP socket, with keys, comes back under the numbers, with the waiting mode the program chose.
 */
static int take_back(struct fs_state *s, int tcp)
{
    struct numbers all;
    int wanted, has;

    numbers_of(s, &all);
    if (all.n == 0)
        return -EBADF;
    wanted = sy.fcntl(all.list[0], F_GETFL);
    has = sy.fcntl(tcp, F_GETFL);
    if (wanted >= 0 && has >= 0 && ((wanted ^ has) & O_NONBLOCK))
        (void)sy.fcntl(tcp, F_SETFL, has ^ O_NONBLOCK);
    return sw_replace(all.list, all.n, s->regs, s->n_regs, tcp);
}

/* Under the lock. */
static bool settle_locked(struct fs_state *s)
{
    struct cl_result result = {.fd = -1};
    struct numbers all;
    int r;

    if (fs_kind(s) != FS_GATE)
        return true;
    r = cl_finish(s->sock, &result, &s->facts);
    if (r == -EAGAIN && cl_now() < s->deadline)
        return false;
    if (r == -EAGAIN)
        r = cl_failed(&s->facts, W_CODE_TIMEOUT, ETIMEDOUT, "htlsd did not answer in time");
    pd_remove(s);
    if (r == 0 && result.fd >= 0) {
        r = take_back(s, result.fd);
        sy.close(result.fd);
        if (r == 0)
            be_up(s, FS_KERNEL);
    } else if (r == 0) {
        numbers_of(s, &all);
        ga_open_wide(all.list[0]);
        be_up(s, FS_RELAY);
    }
    if (r < 0)
        up_poison(s, s->shadow, -r);
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

void up_wait(struct fs_state *s)
{
    while (!up_settle(s)) {
        uint64_t now = cl_now();
        struct pollfd p = {.fd = s->sock, .events = POLLIN};

        (void)sy.poll(&p, 1, now < s->deadline ? (int)(s->deadline - now) : 0);
    }
}

struct moved {
    struct fs_reg *list;
    unsigned max, n, settled;
};

static void settle_one(int fd, struct fs_state *s, void *arg)
{
    struct moved *m = arg;

    (void)fd;
    if (fs_kind(s) != FS_GATE || !settle_locked(s))
        return;
    m->settled++;
    for (unsigned i = 0; fs_kind(s) == FS_KERNEL && i < s->n_regs && m->n < m->max; i++)
        m->list[m->n++] = s->regs[i];
}

unsigned up_settle_all(struct fs_reg *moved, unsigned max, unsigned *n_moved)
{
    struct moved m = {.list = moved, .max = max};
    struct lk_saved saved;

    lk_take(&saved);
    pd_each_ready(settle_one, &m);
    lk_give(&saved);
    if (n_moved)
        *n_moved = m.n;
    return m.settled;
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

int up_relay_error(struct fs_state *s)
{
    struct cl_result result;
    struct lk_saved saved;
    int error, r;

    lk_take(&saved);
    error = atomic_load(&s->error);
    if (!error && s->sock >= 0) {
        r = cl_finish(s->sock, &result, &s->facts);
        if (r < 0 && r != -EAGAIN)
            error = s->facts.code == W_CODE_NO_DAEMON ? ECONNRESET : -r;
        atomic_store(&s->error, error);
        atomic_store(&s->so_error, error);
    }
    lk_give(&saved);
    return error;
}
