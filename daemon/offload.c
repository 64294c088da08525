/* One sock_diag question by libnl: who does this socket's TLS? (kernel-notes/05-sock-diag.md) */
#include "offload.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct of_diag {
    struct nl_sock *sock;
};

struct answer {
    int txconf, rxconf; /* TLS_CONF_*, 0 = not said */
};

int of_open(struct of_diag **out)
{
    struct timeval second = {.tv_sec = 1};
    struct of_diag *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->sock = nl_socket_alloc();
    if (!d->sock || nl_connect(d->sock, NETLINK_SOCK_DIAG) < 0) {
        of_close(d);
        return -EIO;
    }
    /* sock_diag answers within the send call; this only keeps a lost answer from stopping the
     * worker. */
    setsockopt(nl_socket_get_fd(d->sock), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
    *out = d;
    return 0;
}

void of_close(struct of_diag *d)
{
    if (!d)
        return;
    nl_socket_free(d->sock);
    free(d);
}

static void fill_addr(__be32 out[4], __be16 *port, const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;

        memcpy(out, &in->sin_addr, sizeof(in->sin_addr));
        memcpy(port, &in->sin_port, sizeof(*port));
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;

        memcpy(out, &in6->sin6_addr, sizeof(in6->sin6_addr));
        memcpy(port, &in6->sin6_port, sizeof(*port));
    }
}

static int fill_request(struct inet_diag_req_v2 *r, int fd)
{
    struct sockaddr_storage local = {0}, peer = {0};
    socklen_t n = sizeof(local), m = sizeof(peer), c = sizeof(uint64_t);
    uint64_t cookie;

    memset(r, 0, sizeof(*r));
    if (getsockname(fd, (struct sockaddr *)&local, &n) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &m) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &c) < 0)
        return -errno;
    r->sdiag_family = (uint8_t)local.ss_family;
    r->sdiag_protocol = IPPROTO_TCP;
    r->idiag_ext = 1 << (INET_DIAG_INFO - 1); /* ULP details come with the TCP information */
    r->idiag_states = ~0u;
    fill_addr(r->id.idiag_src, &r->id.idiag_sport, &local);
    fill_addr(r->id.idiag_dst, &r->id.idiag_dport, &peer);
    r->id.idiag_cookie[0] = (uint32_t)cookie;
    r->id.idiag_cookie[1] = (uint32_t)(cookie >> 32);
    return 0;
}

static int on_message(struct nl_msg *msg, void *arg)
{
    struct nlattr *top[INET_DIAG_MAX + 1], *ulp[INET_ULP_INFO_MAX + 1], *tls[TLS_INFO_MAX + 1];
    struct answer *a = arg;

    if (nlmsg_parse(nlmsg_hdr(msg), sizeof(struct inet_diag_msg), top, INET_DIAG_MAX, NULL) < 0 ||
        !top[INET_DIAG_ULP_INFO] ||
        nla_parse_nested(ulp, INET_ULP_INFO_MAX, top[INET_DIAG_ULP_INFO], NULL) < 0 ||
        !ulp[INET_ULP_INFO_TLS] ||
        nla_parse_nested(tls, TLS_INFO_MAX, ulp[INET_ULP_INFO_TLS], NULL) < 0)
        return NL_OK;
    if (tls[TLS_INFO_TXCONF])
        a->txconf = nla_get_u16(tls[TLS_INFO_TXCONF]);
    if (tls[TLS_INFO_RXCONF])
        a->rxconf = nla_get_u16(tls[TLS_INFO_RXCONF]);
    return NL_OK;
}

static int ask(struct of_diag *d, int fd, struct answer *a)
{
    struct inet_diag_req_v2 request;
    struct nl_cb *cb;
    int r = fill_request(&request, fd);

    if (r < 0)
        return r;
    cb = nl_cb_alloc(NL_CB_DEFAULT);
    if (!cb)
        return -ENOMEM;
    nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_message, a);
    r = nl_send_simple(d->sock, SOCK_DIAG_BY_FAMILY, NLM_F_ACK, &request, sizeof(request));
    if (r >= 0)
        r = nl_recvmsgs(d->sock, cb);
    /* The answer and its ACK are two datagrams; the second would be taken for the next answer. */
    if (r >= 0)
        r = nl_wait_for_ack(d->sock);
    nl_cb_put(cb);
    return r < 0 ? -EIO : 0;
}

static enum w_mode mode_of(int conf)
{
    return conf == TLS_CONF_HW ? W_MODE_NIC : W_MODE_KERNEL;
}

void of_confirm(struct of_diag *d, int fd, enum w_mode *tx, enum w_mode *rx)
{
    struct answer a = {0};

    if (d)
        (void)ask(d, fd, &a);
    *tx = mode_of(a.txconf);
    *rx = mode_of(a.rxconf);
}
