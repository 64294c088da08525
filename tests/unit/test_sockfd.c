/* Tests of daemon/sockfd.c: what a client may hand over, and what not. */
#include "../../daemon/sockfd.c"

#include "suites.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static void refused(int tcp, int gate, unsigned code, int err)
{
    struct failure f = {.alert = -1};

    CU_ASSERT_EQUAL(sf_check(tcp, gate, &f), -err);
    CU_ASSERT(f.code == code && f.err == err && *f.text);
}

static void test_good(void)
{
    struct failure f = {.alert = -1};
    int fds[2], gate[2];

    tp_pair(fds, 1);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, gate), 0);
    CU_ASSERT_EQUAL(sf_check(fds[0], -1, &f), 0);
    CU_ASSERT_EQUAL(sf_check(fds[0], gate[0], &f), 0);
    CU_ASSERT_FALSE(sf_connecting(fds[0]));
    shutdown(fds[1], SHUT_WR); /* half-closed by the peer is still a connection */
    CU_ASSERT_EQUAL(sf_check(fds[0], -1, &f), 0);
    CU_ASSERT_EQUAL(f.code, 0);
    CU_ASSERT(sf_cookie(fds[0]) != 0 && sf_cookie(fds[0]) == sf_cookie(fds[0]) &&
              sf_cookie(fds[0]) != sf_cookie(fds[1]));
    CU_ASSERT_EQUAL(sf_cookie(-1), 0);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(gate[i]);
    }
}

static void test_bad(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[2], pair[2], dgram[2];
    int udp = socket(AF_INET, SOCK_DGRAM, 0), raw = socket(AF_INET6, SOCK_STREAM, 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram), 0);
    tp_pair(fds, 1);
    listen(listener, 1);
    refused(null, -1, W_CODE_BAD_SOCKET, ENOTSOCK);
    refused(-1, -1, W_CODE_BAD_SOCKET, ENOTSOCK);
    refused(pair[0], -1, W_CODE_BAD_SOCKET, EINVAL);
    refused(udp, -1, W_CODE_BAD_SOCKET, EINVAL);
    refused(listener, -1, W_CODE_BAD_SOCKET, EINVAL);
    refused(raw, -1, W_CODE_BAD_SOCKET, ENOTCONN);
    refused(fds[0], null, W_CODE_BAD_SOCKET, EINVAL);
    refused(fds[0], dgram[0], W_CODE_BAD_SOCKET, EINVAL);
    refused(fds[0], fds[1], W_CODE_BAD_SOCKET, EINVAL);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(pair[i]);
        close(dgram[i]);
    }
    close(null);
    close(udp);
    close(raw);
    close(listener);
}

/* A connect that failed while the client was not looking: its own error, not "not connected". */
static void test_refused_connect(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), nobody;
    struct pollfd p = {.fd = s, .events = POLLOUT};
    socklen_t n = sizeof(a);

    nobody = socket(AF_INET, SOCK_STREAM, 0); /* bound, but not listening */
    CU_ASSERT_EQUAL(bind(nobody, (struct sockaddr *)&a, n), 0);
    CU_ASSERT_EQUAL(getsockname(nobody, (struct sockaddr *)&a, &n), 0);
    CU_ASSERT_EQUAL(connect(s, (struct sockaddr *)&a, n), -1);
    CU_ASSERT_EQUAL(poll(&p, 1, 1000), 1);
    refused(s, -1, W_CODE_REFUSED, ECONNREFUSED);
    close(s);
    close(nobody);
}

static void test_names(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t n = sizeof(a);
    char name[64], small[8], want[64];
    int fds[2], listener = socket(AF_INET6, SOCK_STREAM, 0), s = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in in;
    socklen_t m = sizeof(in);

    tp_pair(fds, 1);
    CU_ASSERT_EQUAL(getpeername(fds[0], (struct sockaddr *)&in, &m), 0);
    snprintf(want, sizeof(want), "127.0.0.1:%u", ntohs(in.sin_port));
    sf_peer_name(fds[0], name, sizeof(name));
    CU_ASSERT_STRING_EQUAL(name, want);
    CU_ASSERT_EQUAL(sf_peer_port(fds[0]), ntohs(in.sin_port));
    sf_peer_name(fds[0], small, sizeof(small));
    CU_ASSERT_STRING_EQUAL(small, "127.0.0");
    if (bind(listener, (struct sockaddr *)&a, n) == 0) { /* else a machine without IPv6 */
        CU_ASSERT(listen(listener, 1) == 0 &&
                  getsockname(listener, (struct sockaddr *)&a, &n) == 0);
        CU_ASSERT_EQUAL(connect(s, (struct sockaddr *)&a, n), 0);
        snprintf(want, sizeof(want), "[::1]:%u", ntohs(a.sin6_port));
        sf_peer_name(s, name, sizeof(name));
        CU_ASSERT_STRING_EQUAL(name, want);
        CU_ASSERT_EQUAL(sf_peer_port(s), ntohs(a.sin6_port));
    }
    sf_peer_name(listener, name, sizeof(name));
    CU_ASSERT_STRING_EQUAL(name, "?");
    CU_ASSERT_EQUAL(sf_peer_port(listener), 0);
    close(fds[0]);
    close(fds[1]);
    close(s);
    close(listener);
}

/* A time of 0 means RST at close, and nobody waits for that: it stays the program's. */
static void test_linger(void)
{
    static const struct linger values[] = {{0, 0}, {1, 0}, {1, 3}, {0, 3}};
    struct linger l;
    socklen_t n = sizeof(l);
    int fds[2];

    tp_pair(fds, 1);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &values[i], sizeof(l)), 0);
        CU_ASSERT_EQUAL(sf_lingers(fds[0]), i == 2);
        sf_linger_off(fds[0]);
        CU_ASSERT_EQUAL(getsockopt(fds[0], SOL_SOCKET, SO_LINGER, &l, &n), 0);
        CU_ASSERT_EQUAL(l.l_onoff, i == 1);
    }
    close(fds[0]);
    close(fds[1]);
}

void suite_sockfd(void)
{
    CU_pSuite s = CU_add_suite("sockfd", NULL, NULL);

    CU_add_test(s, "good", test_good);
    CU_add_test(s, "bad", test_bad);
    CU_add_test(s, "refused connect", test_refused_connect);
    CU_add_test(s, "names", test_names);
    CU_add_test(s, "what lingers", test_linger);
}
