/* A TCP connection, a daemon that is a thread, an object of libhtls. For test_api.c, which includes
 * the source under test before it. */
#ifndef HTLS_TESTS_API_RIG_H
#define HTLS_TESTS_API_RIG_H

#include "fake_daemon.h"

#include <CUnit/CUnit.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

static int mine, peer; /* the two ends */
static struct fake d;
static struct htls *h;

static void connect_pair(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int l = socket(AF_INET, SOCK_STREAM, 0);

    CU_ASSERT_EQUAL_FATAL(bind(l, (struct sockaddr *)&a, n), 0);
    CU_ASSERT_EQUAL_FATAL(listen(l, 1), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(l, (struct sockaddr *)&a, &n), 0);
    mine = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(mine, (struct sockaddr *)&a, n), 0);
    peer = accept(l, NULL, NULL);
    CU_ASSERT_TRUE_FATAL(peer >= 0);
    close(l);
}

static void begin(void (*act)(struct fake *, int))
{
    connect_pair();
    fake_start(&d, act);
    h = htls_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    CU_ASSERT_EQUAL(htls_set_daemon(h, d.path), 0);
}

static void finish(void)
{
    htls_free(h);
    fake_stop(&d);
    close(mine);
    close(peer);
}

/* In both directions, so that nothing can go out in the clear. */
static bool is_shut(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};

    return send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE &&
           poll(&p, 1, 0) > 0;
}

static void expect(const char *text, size_t n, int flags)
{
    char buf[64];

    CU_ASSERT_EQUAL(htls_recv(h, buf, n, flags), (ssize_t)strlen(text));
    CU_ASSERT_EQUAL(memcmp(buf, text, strlen(text)), 0);
}

/* What the daemon does. */

static void act_kernel(struct fake *f, int sock)
{
    fake_take(f, sock);
    fake_welcome(f, sock);
    fake_result(f, sock, W_MODE_KERNEL, -1, NULL, 0);
}

static void act_early(struct fake *f, int sock)
{
    fake_take(f, sock);
    fake_result(f, sock, W_MODE_KERNEL, -1, "early", 5);
}

/* The thread is the relay's other end: says "relay", echoes one piece, ends. */
static void relay(struct fake *f, int sock, bool in_order)
{
    struct pollfd p = {.fd = sock, .events = POLLIN | POLLRDHUP};
    char buf[16];
    int pair[2];
    ssize_t n;

    fake_take(f, sock);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fake_result(f, sock, W_MODE_RELAY, pair[1], NULL, 0);
    close(pair[1]);
    (void)send(pair[0], "relay", 5, MSG_NOSIGNAL);
    n = recv(pair[0], buf, sizeof(buf), 0);
    if (n > 0)
        (void)send(pair[0], buf, (size_t)n, MSG_NOSIGNAL);
    if (!in_order)
        fake_error(f, sock, W_CODE_RESET, ECONNRESET, "cut off");
    else
        n = recv(pair[0], buf, sizeof(buf), 0); /* up to the program's own end */
    close(pair[0]);
    /* This connection is the client's to close; it may ask whether we live. */
    while (poll(&p, 1, 5000) == 1 && recv(sock, buf, sizeof(buf), 0) > 0)
        fake_report(f, sock);
}

static void act_relay(struct fake *f, int sock)
{
    relay(f, sock, true);
}

static void act_relay_cut(struct fake *f, int sock)
{
    relay(f, sock, false);
}

/* Dies: everything is closed, and nothing was said. `arg` != NULL: the stream goes first, and the
 * connection outlives it for a while. */
static void act_relay_dies(struct fake *f, int sock)
{
    char c;
    int pair[2];

    fake_take(f, sock);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fake_result(f, sock, W_MODE_RELAY, pair[1], NULL, 0);
    close(pair[1]);
    CU_ASSERT_EQUAL(recv(pair[0], &c, 1, 0), 1);
    close(pair[0]);
    if (f->arg)
        (void)poll(NULL, 0, 100);
}

static void act_refuse(struct fake *f, int sock)
{
    fake_take(f, sock);
    fake_error(f, sock, W_CODE_CERTIFICATE_EXPIRED, EKEYREJECTED, "it has expired");
}

/* Answers when the client has been told to go on: it writes one byte into its TCP connection. */
static void act_later(struct fake *f, int sock)
{
    char c;

    fake_take(f, sock);
    fake_welcome(f, sock);
    CU_ASSERT_EQUAL(recv(peer, &c, 1, MSG_PEEK), 1);
    fake_result(f, sock, W_MODE_KERNEL, -1, NULL, 0);
}

static bool client_went;

static void act_wait_for_end(struct fake *f, int sock)
{
    struct pollfd p = {.fd = sock, .events = POLLRDHUP};

    fake_take(f, sock);
    client_went = poll(&p, 1, 5000) == 1 && (p.revents & (POLLRDHUP | POLLHUP));
}

static void act_wrong_mode(struct fake *f, int sock)
{
    fake_take(f, sock);
    fake_result(f, sock, W_MODE_RELAY, -1, NULL, 0); /* and where is the relay's end? */
}

#endif
