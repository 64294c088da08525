/* Tests of shim/target.c: on which descriptors TLS can begin. */
#include "../../shim/target.c"

#include "suites.h"
#include "tcp_pair.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <string.h>

static void test_kinds(void)
{
    struct sockaddr_in a;
    int listener = tcp_listener(&a, 1), pipes[2], pair[2];
    int udp = socket(AF_INET, SOCK_DGRAM, 0), raw = socket(AF_INET, SOCK_STREAM, 0);

    CU_ASSERT_EQUAL(tg_check(-1), -EBADF);
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT_EQUAL(tg_check(pipes[0]), -ENOTSOCK);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CU_ASSERT_EQUAL(tg_check(pair[0]), -EINVAL);
    CU_ASSERT_EQUAL(connect(udp, (struct sockaddr *)&a, sizeof(a)), 0);
    CU_ASSERT_EQUAL(tg_check(udp), -EINVAL);
    CU_ASSERT_EQUAL(tg_check(listener), -EINVAL);
    CU_ASSERT_EQUAL(tg_check(raw), -ENOTCONN);
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(pair[i]);
    }
    close(udp);
    close(raw);
    close(listener);
}

static void test_connected(void)
{
    int pair[2];

    tcp_pair(pair);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(tg_check(pair[i]), 0);
        CU_ASSERT_EQUAL(tg_untouched(pair[i]), 0);
        close(pair[i]);
    }
}

/* What each end may have done, and what the other then sees. */
static void test_touched(void)
{
    char c;
    int pair[2];

    tcp_pair(pair);
    CU_ASSERT_EQUAL(send(pair[0], "xy", 2, 0), 2);
    CU_ASSERT_EQUAL(tg_untouched(pair[0]), -EINVAL);
    CU_ASSERT_EQUAL(recv(pair[1], &c, 1, MSG_PEEK), 1);
    CU_ASSERT_EQUAL(tg_untouched(pair[1]), 0); /* came, and was not read */
    CU_ASSERT_EQUAL(recv(pair[1], &c, 1, 0), 1);
    CU_ASSERT_EQUAL(tg_untouched(pair[1]), -EINVAL);
    close(pair[0]);
    close(pair[1]);
    for (int how = SHUT_RD; how <= SHUT_RDWR; how++) {
        tcp_pair(pair);
        CU_ASSERT_EQUAL(shutdown(pair[0], how), 0);
        CU_ASSERT(tg_check(pair[0]) == -EINVAL || tg_untouched(pair[0]) == -EINVAL);
        if (how != SHUT_RD) { /* the peer has closed its side: that is for the handshake to find */
            CU_ASSERT_EQUAL(recv(pair[1], &c, 1, MSG_PEEK), 0);
            CU_ASSERT_EQUAL(tg_check(pair[1]), 0);
            CU_ASSERT_EQUAL(tg_untouched(pair[1]), 0);
        }
        close(pair[0]);
        close(pair[1]);
    }
}

static void test_over(void)
{
    struct linger hard = {1, 0};
    char c;
    int pair[2];

    tcp_pair(pair);
    CU_ASSERT_EQUAL(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(pair[1]);
    CU_ASSERT_EQUAL(recv(pair[0], &c, 1, 0), -1); /* RST */
    CU_ASSERT_EQUAL(tg_check(pair[0]), -ENOTCONN);
    close(pair[0]);
}

/* A listener with a full backlog answers no SYN. */
static void test_connecting(void)
{
    struct sockaddr_in a;
    int listener = tcp_listener(&a, 0), fd[3];

    for (int i = 0; i < 3; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fd[i], (struct sockaddr *)&a, sizeof(a));
    }
    CU_ASSERT_EQUAL(tg_check(fd[2]), 0);
    CU_ASSERT_EQUAL(tg_untouched(fd[2]), 0);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    close(listener);
}

static int say_tls(int fd, int level, int name, void *value, socklen_t *len)
{
    if (level == IPPROTO_TCP && name == TCP_ULP) {
        strcpy(value, "tls");
        return 0;
    }
    return getsockopt(fd, level, name, value, len);
}

static void test_ulp(void)
{
    int pair[2];

    tcp_pair(pair);
    sy.getsockopt = say_tls;
    CU_ASSERT_EQUAL(tg_check(pair[0]), -EISCONN);
    sy.getsockopt = getsockopt;
    close(pair[0]);
    close(pair[1]);
}

void suite_target(void)
{
    CU_pSuite suite = CU_add_suite("target", NULL, NULL);

    CU_add_test(suite, "kinds of descriptors", test_kinds);
    CU_add_test(suite, "a fresh connection", test_connected);
    CU_add_test(suite, "used already", test_touched);
    CU_add_test(suite, "over already", test_over);
    CU_add_test(suite, "still connecting", test_connecting);
    CU_add_test(suite, "TLS already", test_ulp);
}
