/* An owner of connections for the tests of daemon/ends.c, who counts what he is told; sockets that
 * end in many ways. Included behind ends.c. */
#ifndef HTLS_TESTS_ENDSRIG_H
#define HTLS_TESTS_ENDSRIG_H

#include "../../daemon/sockfd.h"

#include "netns_rig.h"
#include "tcp_pair.h"

#define NO_SOCKET 0x4e4f4e4500000001 /* a cookie that nobody has */

enum { KEPT_MAX = 1024 };
struct kept {
    uint64_t cookie, netns;
    bool dropped;
    unsigned closed, missing; /* how often that was said */
};
static struct rig {
    struct lp_loop *lp;
    struct ends *ends;
    struct lp_op clock;
    uint64_t own;
    struct kept kept[KEPT_MAX];
    unsigned n, told, rounds;
    void (*catch_up)(void);
} rig;

/* Drops what is closed; what is missing may be held. */
static void rig_gone(void *owner, uint64_t cookie, bool closed)
{
    (void)owner;
    for (unsigned i = 0; i < rig.n; i++)
        if (rig.kept[i].cookie == cookie && !rig.kept[i].dropped) {
            *(closed ? &rig.kept[i].closed : &rig.kept[i].missing) += 1;
            rig.told++;
            if (closed) {
                rig.kept[i].dropped = true;
                en_unwatch(rig.ends, rig.kept[i].netns);
            }
            return;
        }
}

static bool rig_each(void *owner, size_t *at, uint64_t *cookie, uint64_t *netns)
{
    (void)owner;
    rig.rounds += *at == 0;
    for (; *at < rig.n; ++*at)
        if (!rig.kept[*at].dropped) {
            *cookie = rig.kept[*at].cookie;
            *netns = rig.kept[*at].netns;
            ++*at;
            return true;
        }
    return false;
}

static void rig_catch_up(void *owner)
{
    (void)owner;
    if (rig.catch_up)
        rig.catch_up();
}

static const struct en_owner rig_owner = {
    .gone = rig_gone, .each = rig_each, .catch_up = rig_catch_up};

static void rig_on_clock(struct lp_op *op, int result)
{
    (void)op;
    (void)result;
    lp_stop(rig.lp);
}

/* Lets the loop turn for so long. */
static void rig_turn(unsigned ms)
{
    lp_timer(rig.lp, &rig.clock, ms);
    CU_ASSERT_EQUAL_FATAL(lp_run(rig.lp), 0);
}

/* Until so much was told, or much too long; then a little longer, for what should not come. */
static void rig_turn_until(unsigned told)
{
    for (int i = 0; rig.told < told && i < 1000; i++)
        rig_turn(10);
    rig_turn(20);
}

static void rig_begin(void)
{
    struct lp_loop *lp = NULL;

    CU_ASSERT_EQUAL_FATAL(lp_open(&lp, 64), 0);
    rig = (struct rig){.lp = lp, .clock.done = rig_on_clock};
    CU_ASSERT_EQUAL_FATAL(en_open(&rig.ends, lp, &rig_owner), 0);
    rig.own = rig.ends->ears[0].netns;
}

static void rig_end(void)
{
    en_close(rig.ends);
    lp_close(rig.lp);
}

static struct kept *rig_add(uint64_t cookie, uint64_t netns)
{
    struct kept *k = &rig.kept[rig.n++];

    CU_ASSERT_FATAL(rig.n <= KEPT_MAX);
    *k = (struct kept){.cookie = cookie, .netns = netns};
    return k;
}

/* Keeps the connection of fd, as control does. */
static struct kept *rig_keep(int fd)
{
    uint64_t netns = 0;

    CU_ASSERT_EQUAL(ns_cookie(fd, &netns), 0);
    CU_ASSERT_EQUAL(en_watch(rig.ends, netns, fd), 0);
    return rig_add(sf_cookie(fd), netns);
}

/* In the network namespace of the thread, to the ear `r` and to all in its groups. */
static int forge(const struct ear *r, uint64_t cookie)
{
    struct event forged = {.head = {.nlmsg_len = sizeof(forged), .nlmsg_type = SOCK_DIAG_BY_FAMILY},
                           .what.id.idiag_cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)}};
    struct sockaddr_nl to = {.nl_family = AF_NETLINK,
                             .nl_groups = 1 << (SKNLGRP_INET_TCP_DESTROY - 1)};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), sent = 0;

    for (int i = 0; i < 2; i++) {
        if (sendto(fd, &forged, sizeof(forged), 0, (struct sockaddr *)&to, sizeof(to)) > 0)
            sent++;
        to.nl_groups = 0;
        to.nl_pid = nl_socket_get_local_port(r->events);
    }
    close(fd);
    return sent;
}

/* --- ways to an end: each takes a pair, kills pair[0]'s connection, and may leave pair[0] open --
 */

static void die_closed(int pair[2])
{
    close(pair[0]);
    pair[0] = -1;
}

static void die_closed_second(int pair[2])
{
    close(pair[1]);
    die_closed(pair);
}

static void die_unread(int pair[2])
{
    CU_ASSERT_EQUAL(send(pair[1], "x", 1, 0), 1);
    usleep(1000);
    die_closed(pair);
}

static void die_reset(int pair[2])
{
    const struct linger now = {1, 0};

    CU_ASSERT_EQUAL(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(pair[1]);
}

static void die_shut(int pair[2])
{
    shutdown(pair[0], SHUT_WR);
    usleep(1000);
    CU_ASSERT_EQUAL(send(pair[1], "tail", 4, 0), 4);
    close(pair[1]);
}

static void die_shut_second(int pair[2])
{
    close(pair[1]);
    usleep(1000);
    shutdown(pair[0], SHUT_WR);
}

static void die_duplicated(int pair[2])
{
    int copy = dup(pair[0]);

    close(pair[0]);
    pair[0] = copy;
}

/* As `ss -K` does; not in every kernel, only for root, and here only for IPv4. */
static void die_destroyed(int pair[2])
{
    uint64_t cookie = sf_cookie(pair[0]);
    struct sockaddr_in a, b;
    socklen_t n = sizeof(a), m = sizeof(b);
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 what;
    } q = {.head = {sizeof(q), SOCK_DESTROY, NLM_F_REQUEST, 0, 0},
           .what = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u}};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    getsockname(pair[0], (struct sockaddr *)&a, &n);
    getpeername(pair[0], (struct sockaddr *)&b, &m);
    q.what.id =
        (struct inet_diag_sockid){.idiag_sport = a.sin_port,
                                  .idiag_dport = b.sin_port,
                                  .idiag_src = {a.sin_addr.s_addr},
                                  .idiag_dst = {b.sin_addr.s_addr},
                                  .idiag_cookie = {(uint32_t)cookie, (uint32_t)(cookie >> 32)}};
    CU_ASSERT_EQUAL(send(fd, &q, sizeof(q), 0), (ssize_t)sizeof(q));
    close(fd);
}

/* With the ULP, where the kernel has it. */
static void die_with_ulp(int pair[2])
{
    (void)setsockopt(pair[0], IPPROTO_TCP, TCP_ULP, "tls", 3);
    die_closed(pair);
}

#endif
