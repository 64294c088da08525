/* Two connected TCP sockets on the loopback interface. */
#ifndef HTLS_TESTS_TCP_PAIR_H
#define HTLS_TESTS_TCP_PAIR_H

#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A listener on a free port; *a is where. */
static inline int tcp_listener(struct sockaddr_in *a, int backlog)
{
    socklen_t n = sizeof(*a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)a, n), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, backlog), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)a, &n), 0);
    return fd;
}

/* pair[0] has connected, pair[1] was accepted. */
static inline void tcp_pair(int pair[2])
{
    struct sockaddr_in a;
    int listener = tcp_listener(&a, 1);

    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(pair[0], (struct sockaddr *)&a, sizeof(a)), 0);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CU_ASSERT_FATAL(pair[1] >= 0);
    close(listener);
}

/* The same with IPv6. */
static inline void tcp_pair6(int pair[2])
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t n = sizeof(a);
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_FATAL(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 1) == 0 &&
                    getsockname(listener, (struct sockaddr *)&a, &n) == 0);
    pair[0] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(pair[0], (struct sockaddr *)&a, n), 0);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CU_ASSERT_FATAL(pair[1] >= 0);
    close(listener);
}

/* Closes what of it is still open. */
static inline void tcp_pair_close(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (fcntl(pair[i], F_GETFD) >= 0)
            close(pair[i]);
}

#endif
