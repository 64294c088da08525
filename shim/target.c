/* Judges whether TLS can begin on a descriptor, without changing anything about it. */
#include "target.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "sys.h"

/* enum of net/tcp_states.h, which the kernel does not export: what tcpi_state holds. */
enum {
    STATE_ESTABLISHED = 1,
    STATE_SYN_SENT = 2,
    STATE_FIN_WAIT1 = 4,
    STATE_FIN_WAIT2 = 5,
    STATE_CLOSE_WAIT = 8,
    STATE_LISTEN = 10
};

static int int_option(int fd, int level, int name, int *value)
{
    socklen_t n = sizeof(*value);

    return sy.getsockopt(fd, level, name, value, &n) < 0 ? -errno : 0;
}

/* Zeroed first: an older kernel fills less. */
static int tcp_info(int fd, struct tcp_info *info)
{
    socklen_t n = sizeof(*info);

    memset(info, 0, sizeof(*info));
    return sy.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &n) < 0 ? -errno : 0;
}

static int check_ulp(int fd)
{
    char name[16] = {0}; /* TCP_ULP_NAME_MAX */
    socklen_t n = sizeof(name);

    if (sy.getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &n) < 0)
        return 0; /* a kernel without ULPs */
    return strncmp(name, "tls", sizeof(name)) == 0 ? -EISCONN : 0;
}

int tg_check(int fd)
{
    int type, domain, protocol, rc;
    struct tcp_info info;

    rc = int_option(fd, SOL_SOCKET, SO_TYPE, &type);
    if (rc < 0)
        return rc;
    rc = int_option(fd, SOL_SOCKET, SO_DOMAIN, &domain);
    if (rc < 0)
        return rc;
    rc = int_option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
    if (rc < 0)
        return rc;
    if (type != SOCK_STREAM || protocol != IPPROTO_TCP)
        return -EINVAL;
    if (domain != AF_INET && domain != AF_INET6)
        return -EINVAL;
    rc = tcp_info(fd, &info);
    if (rc < 0)
        return rc;
    if (info.tcpi_state == STATE_LISTEN || info.tcpi_state == STATE_FIN_WAIT1 ||
        info.tcpi_state == STATE_FIN_WAIT2)
        return -EINVAL;
    if (info.tcpi_state != STATE_ESTABLISHED && info.tcpi_state != STATE_SYN_SENT &&
        info.tcpi_state != STATE_CLOSE_WAIT)
        return -ENOTCONN;
    return check_ulp(fd);
}

/* tcpi_bytes_sent counts payload alone; tcpi_bytes_received counts the peer's FIN as one byte. */
int tg_untouched(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    struct tcp_info info;
    int unread = 0, rc;
    uint64_t fin;

    rc = tcp_info(fd, &info);
    if (rc < 0)
        return rc;
    if (info.tcpi_state == STATE_SYN_SENT)
        return 0;
    if (ioctl(fd, SIOCINQ, &unread) < 0)
        return -errno;
    fin = info.tcpi_state == STATE_CLOSE_WAIT;
    if (info.tcpi_bytes_sent > 0 || info.tcpi_notsent_bytes > 0)
        return -EINVAL;
    if (info.tcpi_bytes_received > (uint64_t)unread + fin)
        return -EINVAL;
    /* The peer has not closed, yet reading is over: the program shut it. */
    if (!fin && sy.poll(&p, 1, 0) > 0 && (p.revents & POLLRDHUP))
        return -EINVAL;
    return 0;
}
