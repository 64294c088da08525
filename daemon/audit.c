/* An audit: all TCP sockets of a network namespace, compared with those that somebody counts on
 * (kernel-notes/09-socket-ends.md).
 *
 * It runs on a thread of its own. The kernel walks one table for all namespaces, and one system
 * call of a dump may pass a million sockets of others before it finds one of ours: no loop can wait
 * for that. The thread has its own netlink socket and its own copy of the cookies; it takes no
 * lock, no memory, no descriptor and writes no log, so that the process may fork meanwhile. Its
 * last act is to write to an eventfd that the loop polls.
 *
 * What becomes a connection after au_start() is not in the copy: a dump that is too early for it
 * cannot find it missing. */
#include "audit.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "../proto/secret.h"

/* The kernel continues a dump by counting within a hash chain: when a socket before that place
 * goes meanwhile, a living one behind it is left out. Only who is left out of both dumps is
 * missing. */
#define DUMPS 2
#define PIECE 32768 /* the most that the kernel gives at once */
#define TIMER_TIME_WAIT 3

struct au_kept {
    uint64_t cookie;
    bool seen;
};

/* The kernel answers within the call that asks; this only keeps a lost answer from being waited for
 * without end. */
static const struct timeval patience = {.tv_sec = 10};

struct request {
    struct nlmsghdr head;
    struct inet_diag_req_v2 what;
};

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const struct au_kept *)a)->cookie, y = ((const struct au_kept *)b)->cookie;

    return x < y ? -1 : x > y;
}

static void on_socket(struct audit *a, const struct inet_diag_msg *m)
{
    struct au_kept *k,
        key = {.cookie = m->id.idiag_cookie[0] | (uint64_t)m->id.idiag_cookie[1] << 32};

    /* Not a socket but what remembers one: it has the cookie of a socket that may be closed. */
    if (m->idiag_timer == TIMER_TIME_WAIT || a->n == 0)
        return;
    k = bsearch(&key, a->kept, a->n, sizeof(*k), compare);
    if (k && !k->seen) {
        k->seen = true;
        a->unseen--;
    }
}

/* Returns 1 at the end of a dump, 0 before, -errno. */
static int on_message(struct audit *a, struct nlmsghdr *h)
{
    int status = -EPROTO;

    if (h->nlmsg_seq != a->seq) /* of a dump that was given up */
        return 0;
    switch (h->nlmsg_type) {
    case SOCK_DIAG_BY_FAMILY:
        if (nlmsg_datalen(h) < (int)sizeof(struct inet_diag_msg))
            return -EPROTO;
        on_socket(a, nlmsg_data(h));
        return 0;
    case NLMSG_DONE: /* a kernel without tcp_diag finds nothing, and says why here only */
    case NLMSG_ERROR:
        if (nlmsg_datalen(h) >= (int)sizeof(status))
            memcpy(&status, nlmsg_data(h), sizeof(status));
        return status < 0 ? status : h->nlmsg_type == NLMSG_DONE ? 1 : -EPROTO;
    default:
        return 0;
    }
}

static int ask(struct audit *a, int family, uint32_t states)
{
    struct request q = {.head = {.nlmsg_len = sizeof(q),
                                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                                 .nlmsg_seq = ++a->seq},
                        .what = {.sdiag_family = (uint8_t)family,
                                 .sdiag_protocol = IPPROTO_TCP,
                                 .idiag_states = states}};

    return nl_sendto(a->sock, &q, sizeof(q)) < 0 ? -EIO : 0;
}

static int dump(struct audit *a, int family, uint32_t states)
{
    _Alignas(struct nlmsghdr) char piece[PIECE];
    int fd = nl_socket_get_fd(a->sock), r;

    /* The rest of a dump that failed: there is no second one before its end. */
    while (!a->stop && recv(fd, piece, sizeof(piece), MSG_DONTWAIT) > 0)
        ;
    r = ask(a, family, states);
    while (r == 0) {
        ssize_t n = TEMP_FAILURE_RETRY(recv(fd, piece, sizeof(piece), 0));
        struct nlmsghdr *h = (struct nlmsghdr *)(void *)piece;
        int left = (int)n;

        if (n < 0)
            return -errno;
        if (a->stop)
            return -ECANCELED;
        for (; r == 0 && nlmsg_ok(h, left); h = nlmsg_next(h, &left))
            r = on_message(a, h);
    }
    return r < 0 ? r : 0;
}

static int dump_all(struct audit *a)
{
    /* What can still hold data or get some. Those in TIME_WAIT are of no use, but left out they
     * make a call as long as they are many. */
    const uint32_t states = 1 << TCP_ESTABLISHED | 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 |
                            1 << TCP_TIME_WAIT | 1 << TCP_CLOSE_WAIT | 1 << TCP_LAST_ACK |
                            1 << TCP_CLOSING;
    int r = 0;

    for (int i = 0; i < DUMPS && r == 0 && a->unseen > 0; i++) {
        r = dump(a, AF_INET, states);
        if (r == 0)
            r = dump(a, AF_INET6, states);
    }
    return r;
}

static void *run(void *arg)
{
    struct audit *a = arg;

    if (a->n > 0)
        qsort(a->kept, a->n, sizeof(*a->kept), compare);
    a->result = dump_all(a);
    eventfd_write(a->wake, 1);
    return NULL;
}

static void on_ended(struct lp_op *op, int result)
{
    struct audit *a = LP_OWNER(op, struct audit, ended);

    (void)result;
    pthread_join(a->thread, NULL);
    fd_close(&a->wake);
    a->running = false;
    a->done(a, a->result);
}

int au_open_socket(struct nl_sock **out)
{
    /* Connected to the kernel: only it can send here. Root of a container could else forge an
     * answer. */
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct nl_sock *sock = nl_socket_alloc();
    int r = 0;

    if (!sock)
        return -ENOMEM;
    errno = 0;
    if (nl_connect(sock, NETLINK_SOCK_DIAG) < 0 ||
        connect(nl_socket_get_fd(sock), (const struct sockaddr *)&kernel, sizeof(kernel)) < 0 ||
        setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) <
            0) {
        r = errno ? -errno : -EIO;
        nl_socket_free(sock);
        return r;
    }
    *out = sock;
    return 0;
}

int au_probe(struct nl_sock *sock)
{
    struct audit a = {.sock = sock};

    return dump(&a, AF_INET, 0); /* those in no state at all */
}

int au_keep(struct audit *a, uint64_t cookie)
{
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 64;
        struct au_kept *kept = realloc(a->kept, cap * sizeof(*kept));

        if (!kept)
            return -ENOMEM;
        a->kept = kept;
        a->cap = cap;
    }
    a->kept[a->n++] = (struct au_kept){.cookie = cookie};
    return 0;
}

int au_start(struct audit *a, struct nl_sock *sock)
{
    int r;

    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->wake < 0)
        return -errno;
    a->sock = sock;
    a->unseen = a->n;
    a->stop = false;
    a->ended.done = on_ended;
    r = -pthread_create(&a->thread, NULL, run, a);
    if (r < 0) {
        fd_close(&a->wake);
        return r;
    }
    a->running = true;
    lp_poll(a->lp, &a->ended, a->wake, POLLIN);
    return 0;
}

bool au_missing(const struct audit *a, size_t *at, uint64_t *cookie)
{
    while (*at < a->n) {
        const struct au_kept *k = &a->kept[(*at)++];

        if (!k->seen) {
            *cookie = k->cookie;
            return true;
        }
    }
    return false;
}

void au_forget(struct audit *a)
{
    if (a->running)
        fd_close(&a->wake);
    a->running = false;
    free(a->kept);
    a->kept = NULL;
    a->n = a->cap = 0;
}

void au_end(struct audit *a)
{
    if (a->running) {
        a->stop = true;
        pthread_join(a->thread, NULL);
    }
    au_forget(a);
}
