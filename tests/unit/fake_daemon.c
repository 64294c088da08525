/* A daemon in a thread, for the tests of what talks to one. */
#include "fake_daemon.h"

#include "../../proto/fdmsg.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void note(struct fake *d, const struct w_msg *m)
{
    if (m->type == W_HELLO)
        d->caps = (uint32_t)w_num(m, W_A_CAPS, 0);
    for (uint32_t i = 0; m->type == W_TRUST && i < m->v[W_A_PEM].n; i++, d->trust++)
        d->trust_sum = (uint8_t)(d->trust_sum + m->v[W_A_PEM].p[i]);
}

void fake_take(struct fake *d, int sock)
{
    static uint8_t buf[W_MESSAGE_MAX];
    struct w_msg m = {.type = 0};
    int fds[2], len;
    unsigned nfds;

    while (m.type != W_CONNECT && d->n < FAKE_MESSAGES) {
        len = fm_recv(sock, buf, sizeof(buf), fds, &nfds, 0);
        if (len <= 0 || w_decode(&m, buf, (size_t)len, nfds, W_TO_DAEMON) < 0)
            return;
        d->types[d->n++] = m.type;
        note(d, &m);
    }
    memcpy(d->raw, buf, m.len);
    memcpy(d->fds, fds, sizeof(fds));
    d->nfds = nfds;
    if (nfds > 0)
        (void)setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &(struct linger){0}, sizeof(struct linger));
    CU_ASSERT_EQUAL(w_decode(&d->m, d->raw, m.len, nfds, W_TO_DAEMON), 0);
}

static void *run(void *arg)
{
    struct fake *d = arg;
    int sock = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);

    if (sock < 0)
        return NULL; /* the test's client never came */
    (void)poll(NULL, 0, d->slow_ms);
    d->act(d, sock);
    close(sock);
    return NULL;
}

void fake_start(struct fake *d, void (*act)(struct fake *d, int sock))
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int slow_ms = d->slow_ms;
    void *arg = d->arg;

    memset(d, 0, sizeof(*d));
    d->act = act;
    d->slow_ms = slow_ms;
    d->arg = arg;
    strcpy(d->dir, "/tmp/htls-unit-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(d->dir));
    snprintf(d->path, sizeof(d->path), "%s/sock", d->dir);
    strcpy(a.sun_path, d->path);
    d->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(d->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(d->listener, 8), 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&d->thread, NULL, run, d), 0);
}

void fake_stop(struct fake *d)
{
    (void)shutdown(d->listener, SHUT_RDWR); /* wakes an accept that nobody will answer */
    pthread_join(d->thread, NULL);
    for (unsigned i = 0; i < d->nfds; i++)
        close(d->fds[i]);
    close(d->listener);
    unlink(d->path);
    rmdir(d->dir);
}

static void send_msg(int sock, struct w_buf *b, const int *fds, unsigned nfds)
{
    int len = w_end(b);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(fm_send(sock, b->p, (size_t)len, fds, nfds, 0), 0);
}

void fake_welcome(struct fake *d, int sock)
{
    uint8_t buf[64];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_WELCOME, d->m.id, 0);
    w_put_num(&b, W_A_VERSION, 1);
    w_put_num(&b, W_A_CAPS, 0);
    send_msg(sock, &b, NULL, 0);
}

void fake_result(struct fake *d, int sock, enum w_mode mode, int fd, const void *early, size_t n)
{
    static uint8_t buf[W_MESSAGE_MAX];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_RESULT, d->m.id, fd >= 0);
    w_put_num(&b, W_A_TLS_VERSION, 0x0304);
    w_put_num(&b, W_A_CIPHER, 0x1301);
    w_put_bytes(&b, W_A_ALPN_SELECTED, "h2", 2);
    w_put_num(&b, W_A_MODE_TX, mode);
    w_put_num(&b, W_A_MODE_RX, mode);
    w_put_text(&b, W_A_WHY, "because");
    w_put_num(&b, W_A_COOKIE, 0x1122334455667788u);
    if (n)
        w_put_bytes(&b, W_A_EARLY, early, n);
    w_put_text(&b, W_A_GROUP, "x25519");
    w_put_num(&b, W_A_RESUMED, 1);
    send_msg(sock, &b, &fd, fd >= 0);
}

void fake_error(struct fake *d, int sock, enum w_code code, int err, const char *text)
{
    uint8_t buf[512];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_ERROR, d->m.id, 0);
    w_put_num(&b, W_A_CODE, code);
    w_put_num(&b, W_A_ERRNO, (uint64_t)err);
    w_put_num(&b, W_A_ALERT, 45);
    w_put_num(&b, W_A_ALERT_SENT, 1);
    w_put_num(&b, W_A_VERIFY_CODE, 10);
    w_put_text(&b, W_A_TEXT, text);
    send_msg(sock, &b, NULL, 0);
}

void fake_report(struct fake *d, int sock)
{
    uint8_t buf[64];
    struct w_buf b;

    (void)d;
    w_begin(&b, buf, sizeof(buf), W_REPORT, 4, 0);
    w_put_bytes(&b, W_A_REPORT, "workers 1\n", 10);
    send_msg(sock, &b, NULL, 0);
}
