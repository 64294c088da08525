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

/* A client's line beside its conversation: it is welcomed, and nothing else. */
static bool is_line(struct fake *d, int sock)
{
    uint8_t buf[512];
    struct w_msg m;
    char agent[64];
    ssize_t n = recv(sock, buf, sizeof(buf), MSG_PEEK);

    if (n <= 0 || w_decode(&m, buf, (size_t)n, 0, W_TO_DAEMON) < 0 || m.type != W_HELLO ||
        w_text(&m, W_A_AGENT, agent, sizeof(agent)) < 0 || !strstr(agent, " line"))
        return false;
    CU_ASSERT_FATAL(d->n_lines < FAKE_LINES);
    d->lines[d->n_lines++] = sock;
    (void)recv(sock, buf, sizeof(buf), 0);
    d->m.id = m.id;
    fake_welcome(d, sock);
    return true;
}

static void *run(void *arg)
{
    struct fake *d = arg;
    int sock;

    do
        sock = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
    while (sock >= 0 && d->beside && is_line(d, sock));
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
    struct fake told = *d;

    memset(d, 0, sizeof(*d));
    d->act = act;
    d->slow_ms = told.slow_ms;
    d->arg = told.arg;
    d->beside = !told.talks_on_lines;
    d->talks_on_lines = told.talks_on_lines;
    d->offers = told.offers;
    d->pool = told.pool;
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
    for (unsigned i = 0; i < d->n_lines; i++)
        close(d->lines[i]);
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
    w_put_num(&b, W_A_CAPS, d->offers);
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
    if (d->pool) {
        w_put_num(&b, W_A_POOL, d->pool);
        w_put_num(&b, W_A_SLOT, 5);
        w_put_num(&b, W_A_RECORDS_MAX, 1000);
    }
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
