/* Tests of daemon/dispose.c: a close of a stranger's descriptor never waits. */
#include "../../daemon/dispose.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

static long elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

/* A connection whose close would wait three seconds: it has unsent bytes, and lingers. */
static int lingering(int *peer)
{
    const struct linger linger = {1, 3};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    static char bytes[65536];

    CU_ASSERT_FATAL(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 1) == 0 &&
                    getsockname(listener, (struct sockaddr *)&a, &n) == 0 &&
                    connect(fd, (struct sockaddr *)&a, n) == 0);
    *peer = accept(listener, NULL, NULL);
    close(listener);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    CU_ASSERT_EQUAL(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    return fd;
}

/* Sends fd through sock, in a message of `len` bytes, and gives it up: the message is its last
 * holder. */
static void give_away(int sock, int fd, size_t len)
{
    struct fm_io io;

    fm_prepare_send(&io, "x", len, &fd, 1);
    CU_ASSERT_EQUAL(sendmsg(sock, &io.msg, 0), (ssize_t)len);
    close(fd);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_tcp(void)
{
    struct timespec t;
    int peer, fd = lingering(&peer), other;

    clock_gettime(CLOCK_MONOTONIC, &t);
    di_close(fd);
    CU_ASSERT(elapsed_ms(&t) < 1000 && !is_open(fd));
    close(peer);
    fd = lingering(&peer); /* the flag is every holder's: a client's other copy keeps it */
    other = dup(fd);
    di_close(fd);
    CU_ASSERT(!is_open(fd) && sf_lingers(other));
    di_close(other);
    close(peer);
}

static void test_queue(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

    for (int i = 0; i < 2; i++) {
        struct timespec t;
        int pair[2], peers[2];

        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, types[i], 0, pair), 0);
        give_away(pair[0], lingering(&peers[0]), 1);
        /* Behind an empty datagram, which looks like the end. */
        give_away(pair[0], lingering(&peers[1]), i == 1 ? 0 : 1);
        clock_gettime(CLOCK_MONOTONIC, &t);
        di_close_unix(pair[1]);
        CU_ASSERT(elapsed_ms(&t) < 1000 && !is_open(pair[1]));
        close(pair[0]);
        close(peers[0]);
        close(peers[1]);
    }
}

static void test_received(void)
{
    struct timespec t;
    int pair[2], peer;
    char c = 0;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    give_away(pair[0], lingering(&peer), 1);
    clock_gettime(CLOCK_MONOTONIC, &t);
    CU_ASSERT(di_recv(pair[1], &c, 1, MSG_DONTWAIT) == 1 && c == 'x');
    CU_ASSERT(elapsed_ms(&t) < 1000);
    CU_ASSERT(di_recv(pair[1], &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    close(pair[0]);
    close(pair[1]);
    close(peer);
}

/* Any other file: a pipe end is really closed (its reader sees the end), in a thread's death. */
static void test_other(void)
{
    struct pollfd p;
    int pipes[2], pair[2], peer;
    struct timespec t;

    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    di_close(pipes[1]);
    CU_ASSERT(!is_open(pipes[1]));
    p = (struct pollfd){.fd = pipes[0], .events = POLLIN};
    CU_ASSERT(poll(&p, 1, 2000) == 1 && (p.revents & POLLHUP));
    di_drop(&pipes[0]);
    CU_ASSERT_EQUAL(pipes[0], -1);
    di_drop(&pipes[0]);
    /* A stranger's AF_UNIX socket, whose queue is not ours to empty. */
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    give_away(pair[0], lingering(&peer), 1);
    clock_gettime(CLOCK_MONOTONIC, &t);
    di_close(pair[1]);
    CU_ASSERT(elapsed_ms(&t) < 1000);
    close(pair[0]);
    close(peer);
}

void suite_dispose(void)
{
    CU_pSuite s = CU_add_suite("dispose", NULL, NULL);

    CU_add_test(s, "TCP that lingers", test_tcp);
    CU_add_test(s, "a queue with descriptors", test_queue);
    CU_add_test(s, "received beside bytes", test_received);
    CU_add_test(s, "any other file", test_other);
}
