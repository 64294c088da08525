/* One TCP connection of the peer, cut into TLS records. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../daemon/record.h"

/* Of what came while we were sending. A client that sends more and reads nothing waits. */
#define IN_ROOM (4u << 20)
#define HELD_ROOM (1u << 20)

int wi_patience_ms(void)
{
    const char *factor = getenv("HTLS_TEST_PATIENCE");
    int by = factor ? atoi(factor) : 1;

    return 20000 * (by > 0 ? by : 1);
}

int wi_listen(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&a, n) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    *port = ntohs(a.sin_port);
    return fd;
}

static int wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    int k;

    do
        k = poll(&p, 1, wi_patience_ms());
    while (k < 0 && errno == EINTR);
    if (k < 0)
        return -errno;
    return k == 0 ? -ETIMEDOUT : p.revents;
}

static int begin(struct wi_sock *w, int fd)
{
    int on = 1;

    memset(w, 0, sizeof(*w));
    w->fd = fd;
    w->in = malloc(IN_ROOM);
    w->held = malloc(HELD_ROOM);
    if (!w->in || !w->held) {
        wi_close(w);
        return -ENOMEM;
    }
    /* A test decides what travels together: by cork, not by the state of the connection. */
    (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return 0;
}

int wi_accept(struct wi_sock *w, int listener)
{
    int k = wait_for(listener, POLLIN), fd;

    if (k < 0)
        return k;
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : begin(w, fd);
}

int wi_connect(struct wi_sock *w, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_port = htons(port);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return begin(w, fd);
}

void wi_close(struct wi_sock *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->in);
    free(w->held);
    memset(w, 0, sizeof(*w));
    w->fd = -1;
}

/* Takes what has come, as far as there is room. */
static void fill(struct wi_sock *w)
{
    int on = 1;
    ssize_t n;

    if (w->ended)
        return;
    if (w->at > 0 && (w->at == w->n || w->n == IN_ROOM)) {
        memmove(w->in, w->in + w->at, w->n - w->at);
        w->n -= w->at;
        w->at = 0;
    }
    if (w->n == IN_ROOM)
        return;
    n = recv(w->fd, w->in + w->n, IN_ROOM - w->n, 0);
    /* Or a client that writes little and often waits for our delayed ACK each time. */
    if (n > 0 && n < 4096)
        (void)setsockopt(w->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
    if (n > 0) {
        w->n += (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        w->error = n == 0 ? 0 : errno;
        w->ended = true;
    }
}

static bool want_more(const struct wi_sock *w)
{
    return !w->ended && (w->n < IN_ROOM || w->at > 0);
}

static int push(struct wi_sock *w, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(w->fd, p, n, MSG_NOSIGNAL);

        if (k >= 0) {
            p += k;
            n -= (size_t)k;
        } else if (errno == EAGAIN) {
            int ready = wait_for(w->fd, want_more(w) ? POLLIN | POLLOUT : POLLOUT);

            if (ready < 0)
                return ready;
            if (ready & ~POLLOUT)
                fill(w);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int wi_send(struct wi_sock *w, const void *p, size_t n)
{
    if (!w->corked)
        return push(w, p, n);
    if (n > HELD_ROOM - w->held_n)
        return -ENOBUFS;
    memcpy(w->held + w->held_n, p, n);
    w->held_n += n;
    return 0;
}

void wi_cork(struct wi_sock *w)
{
    w->corked = true;
}

int wi_uncork(struct wi_sock *w)
{
    size_t n = w->held_n;

    w->corked = false;
    w->held_n = 0;
    return push(w, w->held, n);
}

int wi_fin(struct wi_sock *w)
{
    return shutdown(w->fd, SHUT_WR) < 0 ? -errno : 0;
}

void wi_reset(struct wi_sock *w)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(w->fd);
    w->fd = -1;
    w->ended = true;
    w->error = ECONNABORTED;
}

/* The length of the whole record that lies at in[at], 0 when more must come, or -errno. */
static int whole(const struct wi_sock *w)
{
    size_t have = w->n - w->at;
    int len = have < RC_HEADER ? 0 : rc_length(w->in + w->at);

    return len > 0 && (size_t)len > have ? 0 : len;
}

bool wi_ready(struct wi_sock *w)
{
    if (whole(w) == 0)
        fill(w);
    return whole(w) != 0 || w->ended;
}

int wi_record(struct wi_sock *w, uint8_t **record, size_t *len)
{
    int k;

    while ((k = whole(w)) == 0) {
        if (w->ended)
            return 0;
        fill(w);
        if (whole(w) != 0 || w->ended)
            continue;
        k = wait_for(w->fd, POLLIN);
        if (k < 0)
            return k;
    }
    if (k < 0)
        return k;
    *record = w->in + w->at;
    *len = (size_t)k;
    w->at += (size_t)k;
    return 1;
}
