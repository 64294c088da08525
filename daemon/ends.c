/* The ends of sockets, heard from the kernel's multicast of destroyed sockets.
 *
 * Theory of operation (kernel-notes/09-socket-ends.md). sock_diag tells the freeing of every TCP
 * socket of a network namespace to those who have joined its groups there, with the socket's
 * cookie. There is one ear per namespace in which connections are kept: our own, for ever, and
 * foreign ones while they are needed, for a netlink socket keeps its namespace alive.
 *
 * Events are lost when an ear's buffer is full. The kernel says that once, and loses all that comes
 * from then on without a word, until the buffer has been emptied. Only then all that is kept is
 * compared with all that is there, in an audit: one at a time, behind a pause of AUDIT_PAUSE_MS and
 * AUDIT_REST times what the last one of that namespace took, or of AUDIT_RETRY_MS if it failed.
 *
 * Root of a container can send to the groups of its own namespace: only what the kernel itself sent
 * is listened to, or a forged event would be the end of a stranger's connection. */
#include "ends.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "audit.h"
#include "log.h"
#include "netns.h"

#define FOREIGN_MAX 64     /* namespaces: two descriptors each, and the namespace itself */
#define BUFFER (4 << 20)   /* bytes of events that wait: the kernel counts 1280 for one */
#define BATCH 64           /* events per system call */
#define BATCHES_PER_TURN 4 /* then the others of the loop get their turn */
#define TELL_PER_TURN 256
#define TICK_MS 1000
#define LEAVE_MS 10000 /* a foreign namespace is likely to be needed again at once */
#define AUDIT_PAUSE_MS 1000
#define AUDIT_REST 9 /* so that endless overflows cost a tenth of a CPU */
#define AUDIT_RETRY_MS 30000

/* What is taken of an event; the rest is cut off. */
struct event {
    struct nlmsghdr head;
    struct inet_diag_msg what;
};

struct ear {
    struct ends *e;
    uint64_t netns;
    struct nl_sock *events; /* NULL: this place is free once `hear` is not busy */
    struct nl_sock *dumps;
    struct lp_op hear;
    unsigned kept;
    uint64_t idle_ms; /* when the last was dropped */
    bool lost;        /* events, and the buffer is not empty yet */
    bool audit_wanted;
    uint64_t audit_ms; /* not before; while one runs, since when */
};

struct ends {
    struct lp_loop *lp;
    struct en_owner o;
    int deaf; /* why nothing is heard of, -errno */
    struct lp_op tick, tell;
    struct audit audit;
    struct ear *audited; /* whose audit runs or is being told */
    size_t told;
    struct ear ears[1 + FOREIGN_MAX]; /* our own first */
};

static void wait_tick(struct ends *e)
{
    if (!e->tick.busy)
        lp_timer(e->lp, &e->tick, TICK_MS);
}

/* --- audits -------------------------------------------------------------------------- */

static void audit_failed(struct ends *e, int err)
{
    struct ear *r = e->audited;

    au_end(&e->audit);
    e->audited = NULL;
    lg_warning("sockets of network namespace %llu could not be listed: %s; trying again in %d s",
               (unsigned long long)r->netns, strerror(-err), AUDIT_RETRY_MS / 1000);
    r->audit_wanted = true;
    r->audit_ms = lp_now_ms() + AUDIT_RETRY_MS;
    wait_tick(e);
}

/* What is kept of r's namespace becomes the roll of an audit. */
static int call_roll(struct ear *r)
{
    struct ends *e = r->e;
    uint64_t cookie, netns;
    int err = 0;

    if (e->o.catch_up)
        e->o.catch_up(e->o.owner);
    for (size_t at = 0; err == 0 && e->o.each(e->o.owner, &at, &cookie, &netns);)
        if (netns == r->netns)
            err = au_keep(&e->audit, cookie);
    return err;
}

static void start_audit(struct ear *r)
{
    struct ends *e = r->e;
    int err;

    e->audited = r;
    r->audit_wanted = false;
    r->audit_ms = lp_now_ms();
    err = call_roll(r);
    if (err == 0)
        err = au_start(&e->audit, r->dumps);
    if (err < 0)
        audit_failed(e, err);
}

static void next_audit(struct ends *e)
{
    for (int i = 0; i <= FOREIGN_MAX && !e->audited; i++) {
        struct ear *r = &e->ears[i];

        if (!r->events || !r->audit_wanted)
            continue;
        if (lp_now_ms() >= r->audit_ms)
            start_audit(r);
        else
            wait_tick(e);
    }
}

static void want_audit(struct ear *r)
{
    r->audit_wanted = true;
    next_audit(r->e);
}

static void on_tell(struct lp_op *op, int result)
{
    struct ends *e = LP_OWNER(op, struct ends, tell);
    uint64_t cookie;

    (void)result;
    for (int i = 0; i < TELL_PER_TURN; i++) {
        if (!au_missing(&e->audit, &e->told, &cookie)) {
            au_end(&e->audit);
            e->audited = NULL;
            next_audit(e);
            return;
        }
        e->o.gone(e->o.owner, cookie, false);
    }
    lp_timer(e->lp, &e->tell, 0);
}

static void on_audit(struct audit *a, int result)
{
    struct ends *e = (struct ends *)(void *)((char *)a - offsetof(struct ends, audit));
    uint64_t now = lp_now_ms(), *at = &e->audited->audit_ms;

    if (result < 0) {
        audit_failed(e, result);
        next_audit(e);
        return;
    }
    *at = now + AUDIT_PAUSE_MS + AUDIT_REST * (now - *at);
    e->told = 0;
    on_tell(&e->tell, 0);
}

/* --- events -------------------------------------------------------------------------- */

/* Up to BATCH events that wait. Returns their number, or -errno. */
static int hear_some(struct ear *r)
{
    struct en_owner *o = &r->e->o;
    struct event events[BATCH];
    struct sockaddr_nl from[BATCH];
    struct iovec iov[BATCH];
    struct mmsghdr m[BATCH];
    int n;

    memset(m, 0, sizeof(m));
    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){&events[i], sizeof(events[i])};
        m[i].msg_hdr.msg_name = &from[i];
        m[i].msg_hdr.msg_namelen = sizeof(from[i]);
        m[i].msg_hdr.msg_iov = &iov[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    n = recvmmsg(nl_socket_get_fd(r->events), m, BATCH, MSG_DONTWAIT, NULL);
    if (n < 0)
        return -errno;
    if (o->catch_up)
        o->catch_up(o->owner);
    for (int i = 0; i < n; i++) {
        const uint32_t *half = events[i].what.id.idiag_cookie;

        if (from[i].nl_pid == 0 && m[i].msg_len == sizeof(events[i]) &&
            events[i].head.nlmsg_type == SOCK_DIAG_BY_FAMILY)
            o->gone(o->owner, half[0] | (uint64_t)half[1] << 32, true);
    }
    return n;
}

static void on_hear(struct lp_op *op, int result)
{
    struct ear *r = LP_OWNER(op, struct ear, hear);
    int n = BATCH;

    (void)result;
    if (!r->events)
        return;
    for (int i = 0; i < BATCHES_PER_TURN && n == BATCH; i++) {
        n = hear_some(r);
        if (n == -ENOBUFS) {
            r->lost = true;
            n = BATCH;
        }
    }
    if (r->lost && n < BATCH) {
        r->lost = false;
        if (!r->audit_wanted)
            lg_info("events of sockets in network namespace %llu were lost: listing them all",
                    (unsigned long long)r->netns);
        want_audit(r);
    }
    lp_poll(r->e->lp, &r->hear, nl_socket_get_fd(r->events), POLLIN);
}

/* --- namespaces ---------------------------------------------------------------------- */

static void close_sockets(struct ear *r)
{
    nl_socket_free(r->events);
    nl_socket_free(r->dumps);
    r->events = r->dumps = NULL;
}

static int join(struct nl_sock *sock)
{
    const int size = BUFFER;
    int fd;

    errno = 0;
    if (nl_connect(sock, NETLINK_SOCK_DIAG) < 0)
        return errno ? -errno : -EIO;
    fd = nl_socket_get_fd(sock);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (nl_socket_add_memberships(sock, SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY, 0) < 0)
        return errno ? -errno : -EIO;
    return 0;
}

/* The sockets of an ear, in the network namespace that the calling thread is in. */
static int open_sockets(void *arg)
{
    struct ear *r = arg;
    int err = au_open_socket(&r->dumps);

    if (err < 0)
        return err;
    r->events = nl_socket_alloc();
    err = r->events ? join(r->events) : -ENOMEM;
    if (err == 0)
        err = ns_cookie(nl_socket_get_fd(r->events), &r->netns);
    if (err < 0)
        close_sockets(r);
    return err;
}

static void begin(struct ear *r)
{
    r->lost = r->audit_wanted = false;
    r->audit_ms = 0;
    lp_poll(r->e->lp, &r->hear, nl_socket_get_fd(r->events), POLLIN);
}

static void leave(struct ear *r)
{
    lp_cancel(r->e->lp, &r->hear);
    close_sockets(r);
}

static int open_own(struct ends *e)
{
    struct ear *r = &e->ears[0];
    int err = open_sockets(r);

    if (err < 0)
        return err;
    err = au_probe(r->dumps);
    if (err < 0) {
        close_sockets(r);
        return err;
    }
    begin(r);
    return 0;
}

static struct ear *find(struct ends *e, uint64_t netns)
{
    for (int i = 0; i <= FOREIGN_MAX; i++)
        if (e->ears[i].events && e->ears[i].netns == netns)
            return &e->ears[i];
    return NULL;
}

static int enter(struct ends *e, uint64_t netns, int tcp_fd, struct ear **out)
{
    for (int i = 1; i <= FOREIGN_MAX; i++) {
        struct ear *r = &e->ears[i];
        int err;

        if (r->events || r->hear.busy)
            continue;
        err = ns_call(tcp_fd, open_sockets, r);
        if (err < 0)
            return err;
        if (r->netns != netns) {
            close_sockets(r);
            return -EXDEV;
        }
        begin(r);
        *out = r;
        return 0;
    }
    return -EMFILE;
}

/* Leaves those that are not needed, starts audits that are due. */
static void on_tick(struct lp_op *op, int result)
{
    struct ends *e = LP_OWNER(op, struct ends, tick);

    (void)result;
    for (int i = 1; i <= FOREIGN_MAX; i++) {
        struct ear *r = &e->ears[i];

        if (!r->events || r->kept > 0)
            continue;
        if (r != e->audited && lp_now_ms() - r->idle_ms >= LEAVE_MS)
            leave(r);
        else
            wait_tick(e);
    }
    next_audit(e);
}

/* --- the owner's side ---------------------------------------------------------------- */

int en_open(struct ends **out, struct lp_loop *lp, const struct en_owner *o)
{
    struct ends *e = calloc(1, sizeof(*e));

    if (!e)
        return -ENOMEM;
    e->lp = lp;
    e->o = *o;
    e->tick.done = on_tick;
    e->tell.done = on_tell;
    e->audit.lp = lp;
    e->audit.done = on_audit;
    for (int i = 0; i <= FOREIGN_MAX; i++) {
        e->ears[i].e = e;
        e->ears[i].hear.done = on_hear;
    }
    e->deaf = open_own(e);
    if (e->deaf < 0)
        lg_warning("the ends of kernel connections will not be noticed: sock_diag: %s%s",
                   strerror(-e->deaf), e->deaf == -ENOENT ? " (modprobe tcp_diag)" : "");
    *out = e;
    return 0;
}

void en_forget(struct ends *e)
{
    if (!e)
        return;
    au_forget(&e->audit);
    for (int i = 0; i <= FOREIGN_MAX; i++)
        close_sockets(&e->ears[i]);
    free(e);
}

void en_close(struct ends *e)
{
    if (e)
        au_end(&e->audit);
    en_forget(e);
}

int en_watch(struct ends *e, uint64_t netns, int tcp_fd)
{
    struct ear *r = find(e, netns);
    int err = 0;

    if (e->deaf < 0)
        return e->deaf;
    if (!r)
        err = enter(e, netns, tcp_fd, &r);
    if (err == 0)
        r->kept++;
    return err;
}

void en_unwatch(struct ends *e, uint64_t netns)
{
    struct ear *r = find(e, netns);

    if (!r || r->kept == 0 || --r->kept > 0)
        return;
    r->idle_ms = lp_now_ms();
    wait_tick(e);
}

int en_audit(struct ends *e, uint64_t netns)
{
    struct ear *r = find(e, netns);

    if (!r)
        return -ENOENT;
    want_audit(r);
    return 0;
}
