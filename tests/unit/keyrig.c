#include "keyrig.h"

#include <errno.h>
#include <linux/tls.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include "../../daemon/ktls.h"
#include "../../daemon/rekey.h"
#include "../../proto/fdmsg.h"
#include "../../proto/posths.h"
#include "../../shim/goodbye.h"
#include "../../shim/keep.h"
#include "../../shim/lock.h"
#include "tcp_pair.h"

#define CLIENTS 16

static void reply(int sock, struct w_buf *b, int fd)
{
    int len = w_end(b);

    CU_ASSERT_FATAL(len > 0);
    (void)fm_send(sock, b->p, (size_t)len, &fd, fd >= 0, 0);
}

static void result(struct keyrig *r, int sock, uint32_t id, const struct rk_key *key, bool owed)
{
    uint8_t buf[256];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_RESULT, id, 0);
    w_put_num(&b, W_A_TLS_VERSION, 0x0304);
    w_put_num(&b, W_A_CIPHER, r->e.suite);
    w_put_num(&b, W_A_MODE_TX, W_MODE_KERNEL);
    w_put_num(&b, W_A_MODE_RX, W_MODE_KERNEL);
    w_put_num(&b, W_A_COOKIE, 1);
    if (key)
        w_put_num(&b, W_A_GENERATION, key->generation);
    if (key && key->n > 0)
        w_put_bytes(&b, W_A_KEY, key->block, (size_t)key->n);
    if (key)
        w_put_num(&b, W_A_OWED, owed);
    reply(sock, &b, -1);
}

static void refuse(int sock, uint32_t id, unsigned code, int alert)
{
    uint8_t buf[256];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_ERROR, id, 0);
    w_put_num(&b, W_A_CODE, code);
    w_put_num(&b, W_A_ERRNO, code == W_CODE_NO_STATE ? ENOKEY : EPROTO);
    if (alert >= 0)
        w_put_num(&b, W_A_ALERT, (uint64_t)alert);
    w_put_text(&b, W_A_TEXT, "as the test wants it");
    reply(sock, &b, -1);
}

static void on_control(struct keyrig *r, int sock, const struct w_msg *m)
{
    struct ph_stream at = {.have = 0};
    enum ph_event event = PH_NOTHING;
    uint32_t generation = (uint32_t)w_num(m, W_A_GENERATION, 0);
    struct failure f = {.alert = -1};
    struct rk_key key = {.n = 0};

    atomic_fetch_add(&r->controls, 1);
    (void)ph_feed(&at, 0x0304, m->v[W_A_RECORD].p, m->v[W_A_RECORD].n, &event);
    if (event == PH_NOTHING) {
        result(r, sock, m->id, NULL, false);
        return;
    }
    atomic_fetch_add(&r->updates, 1);
    r->moved = w_num(m, W_A_MOVED, 0);
    if (atomic_load(&r->refuse)) {
        unsigned code = (unsigned)atomic_load(&r->refuse);

        refuse(sock, m->id, code, code == W_CODE_KEY_UPDATE ? 10 : -1);
    } else if (rk_received(&r->e, &generation, event == PH_KEY_UPDATE_ASK, &key, &f) < 0) {
        refuse(sock, m->id, f.code, f.alert);
    } else {
        result(r, sock, m->id, &key, r->e.owed);
    }
}

static void on_rekey(struct keyrig *r, int sock, const struct w_msg *m)
{
    struct failure f = {.alert = -1};
    struct rk_key key = {.n = 0};

    atomic_fetch_add(&r->rekeyed, 1);
    if (atomic_load(&r->refuse))
        refuse(sock, m->id, (unsigned)atomic_load(&r->refuse), -1);
    else if (rk_sending(&r->e, (uint32_t)w_num(m, W_A_GENERATION, 0), &key, &f) < 0)
        refuse(sock, m->id, f.code, f.alert);
    else
        result(r, sock, m->id, &key, false);
}

static void on_share(struct keyrig *r, int sock, uint32_t id)
{
    int memory = memfd_create("pool", MFD_CLOEXEC);
    uint8_t buf[64];
    struct w_buf b;

    atomic_fetch_add(&r->shares, 1);
    CU_ASSERT_EQUAL(ftruncate(memory, (off_t)W_SLOT_SIZE * 64), 0);
    if (r->pool) {
        w_begin(&b, buf, sizeof(buf), W_SHARED, id, 1);
        w_put_num(&b, W_A_POOL, r->pool);
        reply(sock, &b, memory);
    } else {
        refuse(sock, id, W_CODE_UNSUPPORTED, -1);
    }
    close(memory);
}

static void on_hello(const struct keyrig *r, int sock, uint32_t id)
{
    uint8_t buf[64];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_WELCOME, id, 0);
    w_put_num(&b, W_A_VERSION, 1);
    w_put_num(&b, W_A_CAPS, r->caps);
    reply(sock, &b, -1);
}

static bool serve(struct keyrig *r, int sock)
{
    static uint8_t buf[W_MESSAGE_MAX];
    int fds[2], len;
    unsigned nfds;
    struct w_msg m;

    len = fm_recv(sock, buf, sizeof(buf), fds, &nfds, 0);
    if (len <= 0 || w_decode(&m, buf, (size_t)len, nfds, W_TO_DAEMON) < 0)
        return false;
    while (nfds > 0)
        close(fds[--nfds]);
    if (m.type == W_CONTROL || m.type == W_REKEY)
        (void)poll(NULL, 0, atomic_load(&r->delay_ms));
    (void)pthread_mutex_lock(&r->mutex);
    switch (m.type) {
    case W_HELLO:
        on_hello(r, sock, m.id);
        break;
    case W_CONTROL:
        on_control(r, sock, &m);
        break;
    case W_REKEY:
        on_rekey(r, sock, &m);
        break;
    case W_SHARE:
        on_share(r, sock, m.id);
        break;
    default:
        CU_FAIL("a message that nobody expects");
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return true;
}

/* Any number of clients at once, until the listener is shut. */
static void act(struct fake *d, int sock)
{
    struct pollfd p[CLIENTS] = {{.fd = d->listener, .events = POLLIN},
                                {.fd = dup(sock), .events = POLLIN}};
    nfds_t n = 2;

    while (poll(p, n, -1) > 0 && !(p[0].revents & POLLHUP)) {
        for (nfds_t i = 1; i < n; i++)
            if (p[i].revents && !serve(d->arg, p[i].fd)) {
                close(p[i].fd);
                p[i] = p[--n];
                break;
            }
        if ((p[0].revents & POLLIN) && n < CLIENTS) {
            int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0)
                p[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    while (n > 1)
        close(p[--n].fd);
}

static bool into_kernel(struct keyrig *r, const struct ks_dir *rx, const struct ks_dir *tx)
{
    int both;

    if (kt_attach(r->tcp[0]) < 0 || kt_attach(r->tcp[1]) < 0 ||
        kt_install(r->tcp[0], rx, tx, &both) < 0 ||
        kt_install(r->tcp[1], &r->peer_rx, &r->peer_tx, &both) < 0)
        return false;
    return true;
}

/* On a pair of its own: to find out costs a key. */
static bool can_rekey(const struct ks_dir *tx)
{
    int pair[2];
    bool can;

    tcp_pair(pair);
    can = kt_attach(pair[0]) == 0 && kt_set(pair[0], TLS_TX, tx) == 0 &&
          kt_set(pair[0], TLS_TX, tx) == 0;
    close(pair[0]);
    close(pair[1]);
    return can;
}

static void make_keys(struct keyrig *r, struct ks_dir *rx, struct ks_dir *tx)
{
    const struct ks_suite *suite = ks_find(0x1301);

    r->e.suite = suite->id;
    for (size_t i = 0; i < KS_SECRET_MAX; i++) {
        r->e.rx_secret[0][i] = (uint8_t)(i * 7 + 1);
        r->e.tx_secret[0][i] = (uint8_t)(i * 11 + 5);
    }
    CU_ASSERT_EQUAL_FATAL(ks_tls13(rx, suite, r->e.rx_secret[0], suite->secret_len), 0);
    CU_ASSERT_EQUAL_FATAL(ks_tls13(tx, suite, r->e.tx_secret[0], suite->secret_len), 0);
    r->peer_tx = *rx;
    r->peer_rx = *tx;
}

void keyrig_start(struct keyrig *r)
{
    uint32_t caps = W_CAP_CONTROL | W_CAP_REKEY;
    struct facts f = {.version = 0x0304,
                      .mode_tx = W_MODE_KERNEL,
                      .mode_rx = W_MODE_KERNEL,
                      .cookie = 1,
                      .caps = caps};
    struct ks_dir rx, tx;
    struct lk_saved saved;

    memset(r, 0, sizeof(*r));
    r->caps = caps;
    (void)pthread_mutex_init(&r->mutex, NULL);
    make_keys(r, &rx, &tx);
    tcp_pair(r->tcp);
    r->kernel = into_kernel(r, &rx, &tx);
    r->rekeys = r->kernel && can_rekey(&tx);
    r->d.arg = r;
    r->d.talks_on_lines = true;
    fake_start(&r->d, act);
    lk_take(&saved);
    kp_begin(&r->s, &f, r->d.path);
    lk_give(&saved);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r->s.slot);
}

void keyrig_stop(struct keyrig *r)
{
    if (kp_end(&r->s))
        kp_free(&r->s);
    close(r->tcp[0]);
    close(r->tcp[1]);
    fake_stop(&r->d);
    (void)pthread_mutex_destroy(&r->mutex);
}

void keyrig_peer_update(struct keyrig *r, bool ask)
{
    uint8_t record[] = {24, 0, 0, 1, ask};

    CU_ASSERT_EQUAL(gb_record(r->tcp[1], 22, record, sizeof(record)), 0);
    CU_ASSERT_EQUAL(ks_next(&r->peer_tx), 0);
    CU_ASSERT_EQUAL(kt_set(r->tcp[1], TLS_TX, &r->peer_tx), 0);
}

ssize_t keyrig_peer_read(struct keyrig *r, void *buf, size_t n, int *type)
{
    struct iovec iov = {buf, n};
    char control[CMSG_SPACE(1)];
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct pollfd p = {.fd = r->tcp[1], .events = POLLIN};
    ssize_t k;

    k = recvmsg(r->tcp[1], &m, MSG_DONTWAIT);
    if (k < 0 &&
        errno == EAGAIN) { /* poll may be silent behind a change of keys: it comes second */
        m.msg_controllen = sizeof(control);
        (void)poll(&p, 1, 5000);
        k = recvmsg(r->tcp[1], &m, MSG_DONTWAIT);
    }
    if (k < 0)
        return -errno;
    *type = m.msg_controllen ? *CMSG_DATA(CMSG_FIRSTHDR(&m)) : 0;
    if (*type == 22 && k == 5 && ((uint8_t *)buf)[0] == 24) {
        CU_ASSERT_EQUAL(ks_next(&r->peer_rx), 0);
        CU_ASSERT_EQUAL(kt_set(r->tcp[1], TLS_RX, &r->peer_rx), 0);
    }
    return k;
}
