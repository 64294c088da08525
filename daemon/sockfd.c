/* Questions to a socket that a client sent us: what is it, whom does it reach? */
#include "sockfd.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "ktls.h"

static int int_option(int fd, int level, int name)
{
    int value;
    socklen_t n = sizeof(value);

    return getsockopt(fd, level, name, &value, &n) < 0 ? -errno : value;
}

static int tcp_state(int fd)
{
    struct tcp_info info;
    socklen_t n = sizeof(info);

    memset(&info, 0, sizeof(info));
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ? -errno : info.tcpi_state;
}

static int bad_socket(struct failure *f, int err, const char *what)
{
    return fl_set(f, W_CODE_BAD_SOCKET, err, "%s", what);
}

int sf_check(int tcp, int gate, struct failure *f)
{
    int domain = int_option(tcp, SOL_SOCKET, SO_DOMAIN);
    int state;

    if (domain == -ENOTSOCK || domain == -EBADF)
        return bad_socket(f, ENOTSOCK, "the descriptor is no socket");
    if (!sf_is_tcp(tcp))
        return bad_socket(f, EINVAL, "the socket is not TCP");
    state = tcp_state(tcp);
    if (state == TCP_LISTEN)
        return bad_socket(f, EINVAL, "the socket is listening; hand over a connected one");
    if (state == TCP_CLOSE) {
        int err = int_option(tcp, SOL_SOCKET, SO_ERROR);

        if (err > 0)
            return fl_set(f, err == ECONNREFUSED ? W_CODE_REFUSED : W_CODE_RESET, err,
                          "connect: %s", strerror(err));
        return bad_socket(f, ENOTCONN, "the socket is not connected");
    }
    if (kt_attached(tcp))
        return bad_socket(f, EISCONN, "the socket already speaks TLS");
    if (gate >= 0 && (int_option(gate, SOL_SOCKET, SO_DOMAIN) != AF_UNIX ||
                      int_option(gate, SOL_SOCKET, SO_TYPE) != SOCK_STREAM))
        return bad_socket(f, EINVAL, "the gate is no AF_UNIX stream socket");
    return 0;
}

bool sf_connecting(int fd)
{
    return tcp_state(fd) == TCP_SYN_SENT;
}

bool sf_lingers(int fd)
{
    struct linger l = {0};
    socklen_t n = sizeof(l);

    return getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &n) == 0 && l.l_onoff && l.l_linger > 0;
}

void sf_linger_off(int fd)
{
    const struct linger off = {0};

    if (sf_lingers(fd))
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
}

void sf_abort(int fd)
{
    const struct linger now = {.l_onoff = 1};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

uint64_t sf_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t n = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) < 0 ? 0 : cookie;
}

bool sf_is_tcp(int fd)
{
    int domain = int_option(fd, SOL_SOCKET, SO_DOMAIN);

    return (domain == AF_INET || domain == AF_INET6) &&
           int_option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

uint64_t sf_netns(int fd)
{
    uint64_t cookie = 0;
    socklen_t n = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &n) < 0 ? 0 : cookie;
}

void sf_peer_name(int fd, char *out, size_t cap)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof(a);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getpeername(fd, (struct sockaddr *)&a, &n) < 0 ||
        getnameinfo((struct sockaddr *)&a, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(out, cap, "?");
        return;
    }
    snprintf(out, cap, a.ss_family == AF_INET6 ? "[%.46s]:%.5s" : "%.46s:%.5s", host, port);
}

uint16_t sf_peer_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } a = {.any.sa_family = AF_UNSPEC};
    socklen_t n = sizeof(a);

    if (getpeername(fd, &a.any, &n) < 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port);
}
