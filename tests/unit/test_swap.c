/* Tests of shim/swap.c: numbers get another file, epoll sets follow. */
#include "../../shim/swap.c"

#include "../../shim/lock.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/socket.h>

static int a[2], b[2]; /* the file that goes, the one that comes */
static struct lk_saved saved;

static struct fs_state *begin(void)
{
    struct fs_state *s;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    lk_take(&saved);
    s = fs_new(FS_GATE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_EQUAL(fs_attach(a[0], s), 0);
    lk_give(&saved);
    return s;
}

static void detach(int fd, struct fs_state *s, void *arg)
{
    (void)s;
    (void)arg;
    (void)fs_detach(fd);
}

static void finish(struct fs_state *s)
{
    lk_take(&saved);
    fs_each(0, FS_CHUNK, detach, NULL);
    fs_put(s);
    lk_give(&saved);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
}

static bool same(int x, int y)
{
    struct stat p, q;

    return fstat(x, &p) == 0 && fstat(y, &q) == 0 && p.st_ino == q.st_ino;
}

static void test_aliases(void)
{
    struct fs_state *s = begin();
    int list[SW_NUMBERS_MAX], one, two;

    (void)sw_aliases(a[0], list, SW_NUMBERS_MAX); /* the first looks for what was inherited */
    atomic_store(&sw_dups, false);
    one = dup(a[0]);
    CU_ASSERT_EQUAL(sw_aliases(a[0], list, SW_NUMBERS_MAX), 1); /* nobody has seen a dup */
    CU_ASSERT_EQUAL(list[0], a[0]);
    atomic_store(&sw_dups, true);
    two = dup2(a[0], 500);
    CU_ASSERT_EQUAL(sw_aliases(a[0], list, SW_NUMBERS_MAX), 3);
    CU_ASSERT_EQUAL(list[0], a[0]);
    CU_ASSERT((list[1] == one && list[2] == two) || (list[1] == two && list[2] == one));
    CU_ASSERT_EQUAL(sw_aliases(a[0], list, 2), 2); /* no more than there is room for */
    CU_ASSERT_EQUAL(sw_aliases(a[1], list, SW_NUMBERS_MAX), 1);
    CU_ASSERT_EQUAL(sw_aliases(-1, list, SW_NUMBERS_MAX), 1);
    close(one);
    close(two);
    finish(s);
}

/* Two numbers of one socket that nobody saw being made: they came with the program. */
static void test_inherited(void)
{
    struct fs_state *s = begin();
    int other;

    atomic_store(&sw_dups, false);
    look_for_inherited();
    CU_ASSERT_FALSE(atomic_load(&sw_dups));
    other = dup(a[0]);
    look_for_inherited();
    CU_ASSERT_TRUE(atomic_load(&sw_dups));
    atomic_store(&sw_dups, false);
    close(other);
    finish(s);
}

static void test_replace(void)
{
    struct fs_state *s = begin();
    int other = dup(a[0]), stranger = dup(a[0]), flags;

    lk_take(&saved);
    CU_ASSERT_EQUAL(fs_attach(other, s), 0);
    CU_ASSERT_EQUAL(sw_replace(s, NULL, 0, b[0]), 0);
    lk_give(&saved);
    CU_ASSERT(same(a[0], b[0]) && same(other, b[0]) && !same(stranger, b[0]));
    flags = fcntl(a[0], F_GETFD);
    CU_ASSERT_EQUAL(flags, FD_CLOEXEC);
    CU_ASSERT_EQUAL(fcntl(other, F_GETFD), 0); /* each number as it was */
    finish(s);
    close(other);
    close(stranger);
}

/* The events that a set gives for one registration. */
static unsigned events_of(int epfd, uint64_t data)
{
    struct epoll_event e[8];
    int n = epoll_wait(epfd, e, 8, 0);

    for (int i = 0; i < n; i++)
        if (e[i].data.u64 == data)
            return e[i].events;
    return 0;
}

/* Level, edge, oneshot; each must watch the new file, with its own data, and forget the old one. */
static void test_registrations(void)
{
    static const unsigned kinds[] = {0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT};
    struct fs_reg regs[FS_REGS_MAX];

    for (unsigned i = 0; i < 4; i++) {
        struct fs_state *s = begin();
        struct epoll_event e = {.events = EPOLLIN | kinds[i], .data.u64 = 0x1234567890abcdef + i};
        struct epoll_event other = {.events = EPOLLIN, .data.u64 = 5};
        int epfd = epoll_create1(EPOLL_CLOEXEC);

        sw_new_set(epfd);
        CU_ASSERT_EQUAL(epoll_ctl(epfd, EPOLL_CTL_ADD, a[0], &e), 0);
        CU_ASSERT_EQUAL(epoll_ctl(epfd, EPOLL_CTL_ADD, a[1], &other), 0);
        lk_take(&saved);
        CU_ASSERT_EQUAL_FATAL(sw_find_regs(s, regs, FS_REGS_MAX), 1);
        CU_ASSERT(regs[0].epfd == epfd && regs[0].fd == a[0]);
        CU_ASSERT_EQUAL(regs[0].event.data.u64, e.data.u64);
        CU_ASSERT_EQUAL(regs[0].event.events & (EPOLLIN | kinds[i]), EPOLLIN | kinds[i]);
        CU_ASSERT_EQUAL(sw_find_regs(s, regs, 0), 0);
        CU_ASSERT_EQUAL(sw_replace(s, regs, 1, b[0]), 0);
        lk_give(&saved);
        CU_ASSERT_EQUAL(events_of(epfd, e.data.u64), 0);
        CU_ASSERT_EQUAL(send(b[1], "x", 1, 0), 1);
        CU_ASSERT_EQUAL(events_of(epfd, e.data.u64), EPOLLIN);
        CU_ASSERT_EQUAL(events_of(epfd, e.data.u64), kinds[i] ? 0 : EPOLLIN);
        CU_ASSERT_EQUAL(epoll_ctl(epfd, EPOLL_CTL_DEL, a[0], NULL), 0);
        CU_ASSERT_EQUAL(epoll_ctl(epfd, EPOLL_CTL_DEL, a[1], NULL), 0); /* was left alone */
        close(epfd);
        finish(s);
    }
}

/* More sets than are kept count of: none is overlooked. */
static void test_many_sets(void)
{
    struct fs_reg regs[FS_REGS_MAX];
    struct fs_state *s = begin();
    int sets_of_ours[SETS_MAX + 20];
    struct epoll_event e = {.events = EPOLLIN};

    for (int i = 0; i < SETS_MAX + 20; i++) {
        sets_of_ours[i] = epoll_create1(EPOLL_CLOEXEC);
        sw_new_set(sets_of_ours[i]);
    }
    CU_ASSERT_EQUAL(epoll_ctl(sets_of_ours[SETS_MAX + 19], EPOLL_CTL_ADD, a[0], &e), 0);
    CU_ASSERT_EQUAL(sw_find_regs(s, regs, FS_REGS_MAX), 1);
    CU_ASSERT_EQUAL(regs[0].epfd, sets_of_ours[SETS_MAX + 19]);
    for (int i = 0; i < SETS_MAX + 20; i++)
        close(sets_of_ours[i]);
    sw_new_set(-1);
    finish(s);
}

/* Only what moved after the caller looked is void. */
static void test_moved(void)
{
    struct fs_state *s = begin();
    struct fs_reg reg = {.epfd = -1};
    unsigned before = atomic_load(&fs_settled);

    s->regs[0] = (struct fs_reg){7, a[0], {.events = EPOLLIN, .data.u64 = 99}};
    s->n_regs = 1;
    CU_ASSERT_FALSE(sw_moved(7, 99, before, &reg)); /* still a gate */
    lk_take(&saved);
    fs_set_kind(s, FS_KERNEL);
    lk_give(&saved);
    CU_ASSERT_TRUE(sw_moved(7, 99, before, &reg));
    CU_ASSERT(reg.epfd == 7 && reg.fd == a[0]);
    CU_ASSERT_FALSE(sw_moved(8, 99, before, &reg));
    CU_ASSERT_FALSE(sw_moved(7, 98, before, &reg));
    CU_ASSERT_FALSE(sw_moved(7, 99, atomic_load(&fs_settled), &reg));
    finish(s);
}

void suite_swap(void)
{
    CU_pSuite suite = CU_add_suite("swap", NULL, NULL);

    CU_add_test(suite, "aliases", test_aliases);
    CU_add_test(suite, "aliases that were inherited", test_inherited);
    CU_add_test(suite, "another file under the numbers", test_replace);
    CU_add_test(suite, "registrations follow", test_registrations);
    CU_add_test(suite, "many epoll sets", test_many_sets);
    CU_add_test(suite, "what has moved", test_moved);
}
