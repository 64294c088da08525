/* Tests of shim/wait.c: what poll, select and epoll say while upgrades run. */
#include "../../shim/wait.c"

#include "../../proto/secret.h"
#include "../../shim/life.h"
#include "shimrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct rig r;
static int epfd;

/* TLS is up in the kernel: the TCP socket comes back, the gate gets HUP. */
static void act_kernel(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    fake_result(d, sock, W_MODE_KERNEL, d->fds[0], NULL, 0);
    fd_close(&d->fds[1]);
}

static void act_relay(struct fake *d, int sock)
{
    char buf[4096];

    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    fake_result(d, sock, W_MODE_RELAY, -1, NULL, 0);
    while (recv(d->fds[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
    sem_wait(&rig_of(d)->go);
}

static void act_silent(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
}

static void begin(void (*act)(struct fake *d, int sock))
{
    rig_start(&r, act);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    sw_new_set(epfd);
    CU_ASSERT(fcntl(r.tcp[0], F_SETFL, O_NONBLOCK) >= 0);
}

static struct fs_state *upgrade(void)
{
    CU_ASSERT_EQUAL_FATAL(up_client(r.tcp[0], "host.test", 9), 0);
    CU_ASSERT_TRUE(wa_needed());
    return fs_find(r.tcp[0]);
}

static void finish(void)
{
    close(epfd);
    rig_stop(&r, li_closing);
    CU_ASSERT_FALSE(wa_needed());
}

static int add(unsigned events, uint64_t data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};

    return wa_epoll_ctl(epfd, EPOLL_CTL_ADD, r.tcp[0], &e);
}

static const struct timespec at_once = {0, 0}, a_moment = {0, 30000000}, long_enough = {5, 0};

static void test_poll(void)
{
    struct pollfd p;

    for (int row = 0; row < 2; row++) {
        begin(row ? act_relay : act_kernel);
        upgrade();
        p = (struct pollfd){.fd = r.tcp[0], .events = POLLIN | POLLOUT};
        CU_ASSERT_EQUAL(wa_poll(&p, 1, &at_once, NULL), 0);
        CU_ASSERT_EQUAL(wa_poll(&p, 1, &a_moment, NULL), 0);
        rig_go(&r);
        CU_ASSERT_EQUAL(wa_poll(&p, 1, &long_enough, NULL), 1);
        CU_ASSERT_EQUAL(p.revents, POLLOUT); /* the gate's HUP is not the connection's */
        CU_ASSERT_EQUAL(fs_kind(fs_find(r.tcp[0])), row ? FS_RELAY : FS_KERNEL);
        finish();
    }
}

static void test_select(void)
{
    fd_set in, out;

    for (int row = 0; row < 2; row++) {
        begin(row ? act_relay : act_kernel);
        upgrade();
        for (int round = 0; round < 2; round++) {
            FD_ZERO(&in);
            FD_ZERO(&out);
            FD_SET(r.tcp[0], &in);
            FD_SET(r.tcp[0], &out);
            CU_ASSERT_EQUAL(
                wa_select(r.tcp[0] + 1, &in, &out, NULL, round ? &long_enough : &a_moment, NULL),
                round);
            CU_ASSERT_FALSE(FD_ISSET(r.tcp[0], &in));
            CU_ASSERT_EQUAL(FD_ISSET(r.tcp[0], &out) != 0, round);
            rig_go(&r);
        }
        finish();
    }
}

/* Registered before and after the upgrade began; level, edge, oneshot. */
static void test_epoll(void)
{
    static const unsigned kinds[] = {0, EPOLLET, EPOLLONESHOT};
    struct epoll_event e[4];

    for (int row = 0; row < 12; row++) {
        unsigned kind = kinds[row % 3];
        bool early = row / 3 % 2, kernel = row < 6;

        begin(kernel ? act_kernel : act_relay);
        if (early) {
            CU_ASSERT_EQUAL(add(EPOLLIN | EPOLLOUT | kind, 42), 0);
            CU_ASSERT_EQUAL(epoll_wait(epfd, e, 4, 0), 1); /* TCP's own readiness, taken */
        }
        upgrade();
        if (!early || kind == EPOLLONESHOT) {
            struct epoll_event again = {.events = EPOLLIN | EPOLLOUT | kind, .data.u64 = 42};

            CU_ASSERT_EQUAL(
                wa_epoll_ctl(epfd, early ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, r.tcp[0], &again), 0);
        }
        CU_ASSERT_EQUAL(wa_epoll(epfd, e, 4, &a_moment, NULL), 0);
        rig_go(&r);
        CU_ASSERT_EQUAL(wa_epoll(epfd, e, 4, &long_enough, NULL), 1);
        CU_ASSERT(e[0].events == EPOLLOUT && e[0].data.u64 == 42);
        if (kind != EPOLLET) /* each as it was asked for; more room may be another edge */
            CU_ASSERT_EQUAL(epoll_wait(epfd, e, 4, 0), kind ? 0 : 1);
        finish();
    }
}

/* Another thread has settled it since the events were taken. */
static void test_stale_events(void)
{
    struct epoll_event e[3] = {{.events = EPOLLIN, .data.u64 = 1},
                               {.events = EPOLLIN | EPOLLOUT | EPOLLHUP, .data.u64 = 42},
                               {.events = EPOLLHUP, .data.u64 = 2}};
    unsigned seen;

    begin(act_kernel);
    upgrade();
    CU_ASSERT_EQUAL(add(EPOLLOUT | EPOLLET, 42), 0);
    seen = wa_seen();
    CU_ASSERT_EQUAL(wa_epoll_answer(epfd, e, 3, seen), 3); /* nothing has happened */
    rig_go(&r);
    up_wait(fs_find(r.tcp[0]), r.tcp[0]);
    CU_ASSERT_TRUE(wa_settled(seen));
    CU_ASSERT_EQUAL(wa_epoll_answer(epfd, e, 3, seen), 2);
    CU_ASSERT(e[0].data.u64 == 1 && e[1].data.u64 == 2);
    CU_ASSERT_EQUAL(epoll_wait(epfd, e, 3, 0), 1); /* and it tells again what it had to tell */
    CU_ASSERT(e[0].events == EPOLLOUT && e[0].data.u64 == 42);
    CU_ASSERT_EQUAL(wa_epoll_answer(epfd, e, 0, seen), 0);
    CU_ASSERT_EQUAL(wa_epoll_answer(epfd, e, -1, seen), -1);
    finish();
}

static void test_registrations(void)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = 1};
    int sets[FS_REGS_MAX + 1];
    struct fs_state *s;

    begin(act_silent);
    s = upgrade();
    CU_ASSERT_EQUAL(wa_epoll_ctl(epfd, EPOLL_CTL_DEL, r.tcp[0], NULL), -1);
    CU_ASSERT_EQUAL(errno, ENOENT);
    CU_ASSERT_EQUAL(wa_epoll_ctl(epfd, EPOLL_CTL_MOD, r.tcp[0], &e), -1);
    CU_ASSERT_EQUAL(s->n_regs, 0);
    CU_ASSERT_EQUAL(add(EPOLLIN, 1), 0);
    CU_ASSERT_EQUAL(add(EPOLLIN, 1), -1);
    CU_ASSERT_EQUAL(errno, EEXIST);
    CU_ASSERT_EQUAL(s->n_regs, 1);
    e.data.u64 = 2;
    CU_ASSERT_EQUAL(wa_epoll_ctl(epfd, EPOLL_CTL_MOD, r.tcp[0], &e), 0);
    CU_ASSERT_EQUAL(s->regs[0].event.data.u64, 2);
    CU_ASSERT_EQUAL(wa_epoll_ctl(epfd, EPOLL_CTL_DEL, r.tcp[0], NULL), 0);
    CU_ASSERT_EQUAL(s->n_regs, 0);
    for (int i = 0; i <= FS_REGS_MAX; i++) { /* one too many is refused, not lost */
        sets[i] = epoll_create1(EPOLL_CLOEXEC);
        CU_ASSERT_EQUAL(wa_epoll_ctl(sets[i], EPOLL_CTL_ADD, r.tcp[0], &e),
                        i < FS_REGS_MAX ? 0 : -1);
    }
    CU_ASSERT_EQUAL(errno, ENOSPC);
    for (int i = 0; i <= FS_REGS_MAX; i++)
        close(sets[i]);
    finish();
}

/* A wait for ever ends although the daemon says nothing for ever. */
static void test_silence(void)
{
    struct pollfd p;

    begin(act_silent);
    upgrade()->deadline = cl_now();
    p = (struct pollfd){.fd = r.tcp[0], .events = POLLOUT};
    CU_ASSERT_EQUAL(wa_poll(&p, 1, NULL, NULL), 1);
    CU_ASSERT(p.revents & POLLHUP);
    CU_ASSERT_EQUAL(atomic_load(&fs_find(r.tcp[0])->error), ETIMEDOUT);
    finish();
}

static void test_limits(void)
{
    struct timespec out, half = {0, 500000000}, two = {2, 999999999}, none = {0, 0};
    struct limit l = limit_of(NULL);
    bool last;

    CU_ASSERT(left(&l, &out, &last) == &out && out.tv_sec == PIECE_S && !last);
    l = limit_of(&half);
    CU_ASSERT(left(&l, &out, &last) == &out && out.tv_sec == 0 && out.tv_nsec <= 500000000 && last);
    l = limit_of(&two);
    CU_ASSERT(left(&l, &out, &last) == &out && out.tv_sec == PIECE_S && out.tv_nsec == 0 && !last);
    l = limit_of(&none);
    (void)left(&l, &out, &last);
    CU_ASSERT(out.tv_sec == 0 && out.tv_nsec == 0 && last);
}

void suite_wait(void)
{
    CU_pSuite suite = CU_add_suite("wait", NULL, NULL);

    CU_add_test(suite, "poll", test_poll);
    CU_add_test(suite, "select", test_select);
    CU_add_test(suite, "epoll", test_epoll);
    CU_add_test(suite, "events that are void", test_stale_events);
    CU_add_test(suite, "registrations on a gate", test_registrations);
    CU_add_test(suite, "a silent daemon", test_silence);
    CU_add_test(suite, "time limits", test_limits);
}
