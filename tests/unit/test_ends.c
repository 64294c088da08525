/* Tests of daemon/ends.c on the kernel's own events. */
#include "../../daemon/ends.c"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "capture.h"
#include "endsrig.h"
#include "ends_netns.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- events -------------------------------------------------------------------------- */

/* However a connection ends: nothing is said of it while somebody holds the socket, and once, at
 * once, when nobody does; nothing ever of the one beside it. TIME_WAIT is not waited for. */
static void test_ways(void)
{
    void (*const ways[])(int *) = {die_closed,     die_closed_second, die_unread,
                                   die_reset,      die_shut,          die_shut_second,
                                   die_duplicated, die_destroyed,     die_with_ulp};
    int beside[2];
    struct kept *other;

    tcp_pair(beside);
    other = rig_keep(beside[0]);
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        for (int six = 0; six < 2; six++) {
            int pair[2];
            struct kept *k;

            if (six)
                tcp_pair6(pair);
            else
                tcp_pair(pair);
            k = rig_keep(pair[0]);
            ways[i](pair);
            if (pair[0] >= 0) {
                rig_turn(30);
                CU_ASSERT(k->closed == 0 && k->missing == 0);
                close(pair[0]);
            }
            rig_turn_until(rig.told + 1);
            CU_ASSERT(k->closed == 1 && k->missing == 0);
            if (fcntl(pair[1], F_GETFD) >= 0)
                close(pair[1]);
        }
    CU_ASSERT(other->closed == 0 && other->missing == 0);
    tcp_pair_close(beside);
}

/* Closed by everybody, but TCP has still to send: the kernel needs its key, the end comes later. */
static void test_still_sending(void)
{
    static char bytes[65536];
    struct kept *k;
    int pair[2];

    tcp_pair(pair);
    k = rig_keep(pair[0]);
    while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    close(pair[0]);
    rig_turn(50);
    CU_ASSERT_EQUAL(k->closed, 0);
    while (recv(pair[1], bytes, sizeof(bytes), 0) > 0)
        ;
    rig_turn_until(1);
    CU_ASSERT_EQUAL(k->closed, 1);
    close(pair[1]);
}

/* A socket that lies in a message is held. */
static void test_in_flight(void)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec iov = {(char[]){'x'}, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    int pair[2], way[2];
    struct kept *k;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, way), 0);
    tcp_pair(pair);
    k = rig_keep(pair[0]);
    memcpy(CMSG_DATA(&control.head), &pair[0], sizeof(int));
    CU_ASSERT_EQUAL(sendmsg(way[0], &m, 0), 1);
    close(pair[0]);
    rig_turn(50);
    CU_ASSERT_EQUAL(k->closed, 0);
    close(way[0]);
    close(way[1]);
    rig_turn_until(1);
    CU_ASSERT_EQUAL(k->closed, 1);
    close(pair[1]);
}

static uint64_t announced;
static void announce(void)
{
    if (rig.n == 0 && announced)
        rig_add(announced, rig.own);
}

/* The end of a connection is in our buffer, its announcement still in a worker's: that is taken in
 * first. */
static void test_overtaken(void)
{
    int pair[2];

    tcp_pair(pair);
    announced = sf_cookie(pair[0]);
    tcp_pair_close(pair);
    rig.catch_up = announce;
    rig_turn_until(1);
    CU_ASSERT(rig.n == 1 && rig.kept[0].closed == 1);
}

static void test_forged(void)
{
    struct kept *k;
    int pair[2];

    tcp_pair(pair);
    k = rig_keep(pair[0]);
    if (forge(&rig.ends->ears[0], k->cookie) == 0)
        printf("\n    SKIP ends forged: only root can send to the group\n");
    rig_turn(30);
    CU_ASSERT_EQUAL(k->closed, 0);
    tcp_pair_close(pair);
}

/* --- lost events --------------------------------------------------------------------- */

/* Room for so many bytes, of which an event takes 1280; the kernel doubles it. */
static void shrink(struct ear *r, int size)
{
    CU_ASSERT_EQUAL(
        setsockopt(nl_socket_get_fd(r->events), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
}

/* Events come from a work queue of the kernel's own. */
static void wait_for_overflow(struct ear *r)
{
    struct pollfd p = {.fd = nl_socket_get_fd(r->events)};

    CU_ASSERT_EQUAL(poll(&p, 1, 10000), 1);
    CU_ASSERT(p.revents & POLLERR);
}

static bool all_told(void)
{
    for (unsigned i = 0; i < rig.n; i++)
        if (rig.kept[i].closed + rig.kept[i].missing == 0)
            return false;
    return true;
}

static void turn_until_all_told(void)
{
    char text[2048];
    struct capture c = capture_begin(2);

    for (int i = 0; !all_told() && i < 1000; i++)
        rig_turn(10);
    rig_turn(20);
    capture_end(c, text, sizeof(text));
    CU_ASSERT(all_told());
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "were lost"));
}

static void test_overflow(void)
{
    enum { PAIRS = 100 };
    int pairs[PAIRS][2], beside[2];
    struct kept *other;

    for (int i = 0; i < PAIRS; i++) {
        tcp_pair(pairs[i]);
        rig_keep(pairs[i][0]);
        rig_keep(pairs[i][1]);
    }
    tcp_pair(beside);
    other = rig_keep(beside[0]);
    other->closed = 1; /* not waited for */
    shrink(&rig.ends->ears[0], 1);
    for (int i = 0; i < PAIRS; i++)
        tcp_pair_close(pairs[i]);
    wait_for_overflow(&rig.ends->ears[0]);
    turn_until_all_told();
    for (unsigned i = 0; i < rig.n; i++)
        CU_ASSERT(rig.kept[i].closed <= 1 && rig.kept[i].missing <= 1);
    CU_ASSERT(other->closed == 1 && other->missing == 0);
    tcp_pair_close(beside);
}

/* Once it has said ENOBUFS the kernel loses events without a word until its buffer is empty. An
 * audit that began before that would find this one alive, and nothing would ever tell its end. */
static void test_silent_loss(void)
{
    struct ear *r = &rig.ends->ears[0];
    int pair[2];

    tcp_pair(pair);
    rig_keep(pair[0]);
    rig_turn(20);
    shrink(r, 200000);
    for (int i = 0; i < 1000; i++)
        close(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    wait_for_overflow(r);
    r->hear.done(&r->hear, POLLIN); /* one turn, which does not empty it */
    CU_ASSERT(r->lost && !rig.ends->audited);
    usleep(20000); /* for an audit, if one runs */
    tcp_pair_close(pair);
    usleep(50000); /* for the event, which is lost */
    turn_until_all_told();
    CU_ASSERT_FALSE(r->lost);
}

/* --- audits -------------------------------------------------------------------------- */

/* Over for TCP and still held: an audit may say so, the end follows. */
static void test_dead_but_held(void)
{
    struct kept *k, *other;
    int pair[2], beside[2];

    tcp_pair(pair);
    tcp_pair(beside);
    k = rig_keep(pair[0]);
    other = rig_keep(beside[0]);
    die_reset(pair);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    rig_turn_until(1);
    CU_ASSERT(k->closed == 0 && k->missing == 1 && other->missing == 0);
    close(pair[0]);
    rig_turn_until(2);
    CU_ASSERT(k->closed == 1 && k->missing == 1);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own + 1), -ENOENT);
    tcp_pair_close(beside);
}

/* What is kept only after an audit has begun is not in it: its socket may be younger than what the
 * audit saw. NO_SOCKET stands for one that a dump was too early for. */
static void test_race(void)
{
    struct kept *before, *after;

    before = rig_add(NO_SOCKET, rig.own);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    after = rig_add(NO_SOCKET + 1, rig.own);
    rig_turn_until(1);
    CU_ASSERT(before->missing == 1 && after->missing == 0);
    /* Asked for while another runs, one more is done, behind the pause. */
    before->dropped = true;
    rig.ends->ears[0].audit_ms = 0;
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    CU_ASSERT_EQUAL(rig.rounds, 2);
    rig_turn_until(2);
    CU_ASSERT(rig.rounds == 2 && after->missing == 1);
    CU_ASSERT(rig.ends->tick.busy && rig.ends->ears[0].audit_ms > lp_now_ms());
    rig.ends->ears[0].audit_ms = 0;
    on_tick(&rig.ends->tick, -ETIME);
    rig_turn_until(3);
    CU_ASSERT(rig.rounds == 3 && after->missing == 2);
}

/* The longer an audit takes, the longer is the pause. */
static void test_pause(void)
{
    struct ear *r = &rig.ends->ears[0];
    uint64_t now;

    rig_add(NO_SOCKET, rig.own);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    r->audit_ms -= 2000; /* as if it had begun then */
    rig_turn_until(1);
    now = lp_now_ms();
    CU_ASSERT(r->audit_ms > now + 2000 * AUDIT_REST && r->audit_ms < now + 10000 * AUDIT_REST);
}

static void announce_none(void)
{
    if (rig.n == 0)
        rig_add(NO_SOCKET, rig.own);
}

/* A connection whose announcement is not read yet when its event was lost. */
static void test_announced_late(void)
{
    rig.catch_up = announce_none;
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    rig_turn_until(1);
    CU_ASSERT_EQUAL(rig.kept[0].missing, 1);
}

/* Many are told in several turns; those of another namespace are none of this audit's. */
static void test_many(void)
{
    enum { MANY = 2 * TELL_PER_TURN + 1 };

    for (unsigned i = 0; i < MANY; i++)
        rig_add(NO_SOCKET + i, rig.own);
    rig_add(NO_SOCKET + MANY, rig.own + 1);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    rig_turn_until(MANY);
    CU_ASSERT_EQUAL(rig.told, MANY);
    for (unsigned i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(rig.kept[i].missing, 1);
    CU_ASSERT(!rig.ends->audited && rig.ends->audit.n == 0);
}

static void test_failed_audit(void)
{
    struct ear *r = &rig.ends->ears[0];
    struct nl_sock *good = r->dumps;
    struct capture c = capture_begin(2);
    char text[512];

    r->dumps = nl_socket_alloc(); /* of no protocol */
    rig_add(NO_SOCKET, rig.own);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    for (int i = 0; rig.ends->audited && i < 1000; i++)
        rig_turn(10);
    capture_end(c, text, sizeof(text));
    CU_ASSERT(rig.told == 0 && !rig.ends->audited && r->audit_wanted);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "could not be listed"));
    CU_ASSERT(r->audit_ms > lp_now_ms() + AUDIT_RETRY_MS / 2);
    nl_socket_free(r->dumps);
    r->dumps = good;
    on_tick(&rig.ends->tick, -ETIME);
    rig_turn(20);
    CU_ASSERT(rig.told == 0 && rig.ends->tick.busy);
    r->audit_ms = 0;
    rig_turn_until(1); /* by the tick itself */
    CU_ASSERT_EQUAL(rig.told, 1);
}

/* --- nothing to hear ----------------------------------------------------------------- */

/* Where nothing can be heard that is said once, and nothing is promised. */
static void test_deaf(void)
{
    struct capture c;
    struct rlimit files;
    rlim_t most;
    struct ends *e = NULL;
    char text[512];
    int r;

    getrlimit(RLIMIT_NOFILE, &files);
    most = files.rlim_cur;
    c = capture_begin(2);
    files.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &files);
    r = en_open(&e, rig.lp, &rig_owner);
    files.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &files);
    capture_end(c, text, sizeof(text));
    CU_ASSERT_EQUAL_FATAL(r, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "will not be noticed"));
    CU_ASSERT_EQUAL(en_watch(e, rig.own, -1), -EMFILE);
    CU_ASSERT_EQUAL(en_audit(e, rig.own), -ENOENT);
    en_unwatch(e, rig.own);
    en_close(e);
    en_close(NULL);
}

static void test_no_diag(void)
{
    int pair[2];
    uint64_t netns = 0;

    printf("\n    SKIP ends, all but this: this kernel has no tcp_diag\n");
    tcp_pair(pair);
    CU_ASSERT_EQUAL(ns_cookie(pair[0], &netns), 0);
    CU_ASSERT_EQUAL(en_watch(rig.ends, netns, pair[0]), -ENOENT);
    tcp_pair_close(pair);
}

static bool tcp_diag(void)
{
    struct nl_sock *sock;
    bool there = au_open_socket(&sock) == 0 && au_probe(sock) == 0;

    nl_socket_free(sock);
    return there;
}

void suite_ends(void)
{
    CU_pSuite s = CU_add_suite_with_setup_and_teardown("ends", NULL, NULL, rig_begin, rig_end);

    CU_add_test(s, "deaf", test_deaf);
    if (!tcp_diag()) {
        CU_add_test(s, "no diag", test_no_diag);
        return;
    }
    CU_add_test(s, "ways", test_ways);
    CU_add_test(s, "still sending", test_still_sending);
    CU_add_test(s, "in flight", test_in_flight);
    CU_add_test(s, "overtaken", test_overtaken);
    CU_add_test(s, "forged", test_forged);
    CU_add_test(s, "overflow", test_overflow);
    CU_add_test(s, "silent loss", test_silent_loss);
    CU_add_test(s, "dead but held", test_dead_but_held);
    CU_add_test(s, "race", test_race);
    CU_add_test(s, "pause", test_pause);
    CU_add_test(s, "announced late", test_announced_late);
    CU_add_test(s, "many", test_many);
    CU_add_test(s, "failed audit", test_failed_audit);
    CU_add_test(s, "foreign", test_foreign);
    CU_add_test(s, "leave", test_leave);
    CU_add_test(s, "refused", test_refused);
    CU_add_test(s, "forged there", test_forged_there);
    CU_add_test(s, "no right", test_no_right);
    CU_add_test(s, "fork", test_fork);
}
