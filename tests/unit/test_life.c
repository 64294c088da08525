/* Tests of shim/life.c: numbers through close, dup, ranges, and what happens behind our back. */
#include "../../shim/life.c"

#include "../../proto/fdmsg.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int pair[2];
static unsigned goodbyes; /* close_notify records that went out */

static ssize_t count_alerts(int fd, const struct msghdr *m, int flags)
{
    (void)fd;
    (void)flags;
    goodbyes += m->msg_controllen > 0 && m->msg_iov->iov_len == 2;
    return 2;
}

static struct fs_state *begin(enum fs_kind kind)
{
    struct lk_saved saved;
    struct fs_state *s;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    lk_take(&saved);
    s = fs_new(kind);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_EQUAL(fs_attach(pair[0], s), 0);
    if (kind == FS_KERNEL) {
        kp_begin(&s->rr, &(struct facts){.version = 0x0304, .cookie = 1}, "/nowhere");
        s->rr.names = fs_names;
    }
    lk_give(&saved);
    goodbyes = 0;
    sy.sendmsg = count_alerts;
    return s;
}

static void finish(void)
{
    sy.sendmsg = sendmsg;
    close(pair[0]);
    close(pair[1]);
}

static void test_close(void)
{
    struct fs_state *s = begin(FS_KERNEL);

    li_closing(pair[1]); /* not ours */
    errno = 77;
    li_closing(pair[0]);
    CU_ASSERT_EQUAL(errno, 77);
    CU_ASSERT_EQUAL(goodbyes, 1);
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    CU_ASSERT_EQUAL(fs_kind(s), FS_FREE);
    li_closing(pair[0]);
    CU_ASSERT_EQUAL(goodbyes, 1);
    finish();
}

/* Who says goodbye: the last number, of a connection that nobody else may hold and that is whole.
 */
static void test_goodbye(void)
{
    struct fs_state *s;

    for (int row = 0; row < 4; row++) {
        s = begin(row == 0 ? FS_RELAY : FS_KERNEL);
        if (row == 1)
            sh_hold(s->rr.slot); /* a child of ours, say */
        if (row == 2)
            atomic_store(&s->rr.error, ECONNRESET);
        if (row == 3)
            atomic_store(&s->rr.shut_wr, true);
        li_closing(pair[0]);
        CU_ASSERT_EQUAL(goodbyes, 0);
        finish();
    }
}

/* exit(3): every connection that only this process holds, once, whatever numbers it has. */
static void test_exit(void)
{
    struct fs_state *s = begin(FS_KERNEL);

    li_duplicated(pair[0], pair[1]);
    li_exiting();
    CU_ASSERT_EQUAL(goodbyes, 1);
    li_exiting();
    CU_ASSERT_EQUAL(goodbyes, 1);
    CU_ASSERT_EQUAL(atomic_load(&s->users), 0);
    li_closing(pair[0]);
    li_closing(pair[1]);
    CU_ASSERT_EQUAL(goodbyes, 1);
    finish();
    s = begin(FS_KERNEL);
    sh_hold(s->rr.slot); /* another process has it */
    li_exiting();
    CU_ASSERT_EQUAL(goodbyes, 0);
    li_closing(pair[0]);
    finish();
}

static unsigned looks;

static ssize_t nothing(int fd, struct msghdr *m, int flags)
{
    (void)fd;
    (void)m;
    looks += flags == (MSG_PEEK | MSG_DONTWAIT);
    errno = EAGAIN;
    return -1;
}

/* Tickets that lie unread would make an RST of the end. */
static void test_clears(void)
{
    for (int last = 0; last < 2; last++) {
        struct fs_state *s = begin(FS_KERNEL);

        if (!last)
            sh_hold(s->rr.slot);
        looks = 0;
        sy.recvmsg = nothing;
        li_closing(pair[0]);
        sy.recvmsg = recvmsg;
        CU_ASSERT_EQUAL(looks, last);
        finish();
    }
}

static void test_duplicates(void)
{
    struct fs_state *s = begin(FS_KERNEL);
    int other = dup(pair[0]);

    li_duplicated(pair[0], other);
    CU_ASSERT_PTR_EQUAL(fs_find(other), s);
    li_closing(pair[0]);
    CU_ASSERT_EQUAL(goodbyes, 0);
    CU_ASSERT_EQUAL(fs_kind(s), FS_KERNEL);
    li_closing(other);
    CU_ASSERT_EQUAL(goodbyes, 1);
    close(other);
    finish();
}

static void test_dup_is_noticed(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    atomic_store(&sw_dups, false);
    li_duplicated(0, fd);
    CU_ASSERT_FALSE(atomic_load(&sw_dups)); /* of files nobody makes connections */
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    li_duplicated(0, fd);
    CU_ASSERT_TRUE(atomic_load(&sw_dups));
    atomic_store(&sw_dups, false);
    close(fd);
}

/* Passes fd through a socketpair; the number that comes out, with what li_received() saw. */
static int pass(int fd)
{
    struct fm_io io;
    int p[2], fds[FM_FDS_MAX] = {-1};
    unsigned n;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
    CU_ASSERT_EQUAL(fm_send(p[0], "x", 1, &fd, fd >= 0, 0), 0);
    fm_prepare_recv(&io, &(char){0}, 1);
    CU_ASSERT_EQUAL(recvmsg(p[1], &io.msg, MSG_CMSG_CLOEXEC), 1);
    li_received(&io.msg);
    CU_ASSERT_EQUAL(fm_take_fds(&io, fds, &n), 0);
    close(p[0]);
    close(p[1]);
    return fds[0];
}

static void test_received_is_noticed(void)
{
    struct fs_state *s = begin(FS_KERNEL);
    int fd;

    atomic_store(&sw_dups, false);
    pass(-1);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(pass(fd));
    CU_ASSERT_FALSE(atomic_load(&sw_dups));
    close(fd);
    fd = pass(pair[1]);
    CU_ASSERT_TRUE(atomic_load(&sw_dups));
    close(fd);
    atomic_store(&sw_dups, false);
    CU_ASSERT_EQUAL(fs_attach(fd, s), 0); /* closed past us: what comes next is new */
    CU_ASSERT_EQUAL(pass(pair[1]), fd);
    CU_ASSERT_PTR_NULL(fs_find(fd));
    close(fd);
    atomic_store(&sw_dups, false);
    li_closing(pair[0]);
    finish();
}

/* A number that was closed past us and comes back is not what it was; nothing is sent on it. */
static void test_made_again(void)
{
    struct fs_state *s = begin(FS_KERNEL);

    li_made(pair[1]);
    li_made(-1);
    CU_ASSERT_PTR_EQUAL(fs_find(pair[0]), s);
    li_made(pair[0]);
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    CU_ASSERT_EQUAL(goodbyes, 0);
    finish();
    begin(FS_KERNEL);
    li_duplicated(pair[1], pair[0]); /* the same, where dup has made it */
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    atomic_store(&sw_dups, false);
    finish();
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A relay with both its hidden descriptors. */
static struct fs_state *begin_hidden(enum fs_kind kind)
{
    struct fs_state *s = begin(kind);
    struct lk_saved saved;

    lk_take(&saved);
    s->shadow = hd_dup(pair[1]);
    s->sock = hd_dup(pair[1]);
    lk_give(&saved);
    CU_ASSERT(s->shadow >= 900 && s->sock > s->shadow);
    return s;
}

static void test_hidden(void)
{
    struct fs_state *s = begin_hidden(FS_RELAY);
    int shadow = s->shadow, sock = s->sock;
    unsigned found = 0;

    errno = 77;
    CU_ASSERT_EQUAL(li_closing(shadow), -EBADF); /* what was never opened cannot be closed */
    CU_ASSERT_EQUAL(errno, 77);
    CU_ASSERT(is_open(shadow) && s->shadow == shadow);
    CU_ASSERT_TRUE(li_hidden_in((unsigned)shadow, UINT_MAX, &found) && found == (unsigned)shadow);
    CU_ASSERT_TRUE(li_hidden_in(found + 1, UINT_MAX, &found) && found == (unsigned)sock);
    CU_ASSERT_FALSE(li_hidden_in(found + 1, UINT_MAX, &found));
    CU_ASSERT_FALSE(li_hidden_in(0, 899, &found));
    li_duplicated(shadow, pair[1]); /* who duplicates one gets a file, no connection */
    CU_ASSERT_PTR_NULL(fs_find(pair[1]));
    li_closing_range(900, UINT_MAX); /* of connections there are none */
    CU_ASSERT(is_open(shadow) && is_open(sock));
    li_closing_range(0, UINT_MAX);
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    CU_ASSERT(!is_open(shadow) && !is_open(sock));
    CU_ASSERT(!fs_find(shadow) && !fs_find(sock));
    atomic_store(&sw_dups, false);
    finish();
}

static void test_makes_room(void)
{
    struct fs_state *s = begin_hidden(FS_RELAY);
    int shadow = s->shadow, sock = s->sock;

    CU_ASSERT_EQUAL(li_replacing(shadow), 0);
    CU_ASSERT(s->shadow > sock && is_open(s->shadow) && !is_open(shadow));
    CU_ASSERT(!fs_find(shadow) && fs_find(s->shadow) == &fs_hidden);
    CU_ASSERT_EQUAL(li_replacing(pair[1]), 0); /* any other number */
    li_closing(pair[0]);
    finish();

    s = begin_hidden(FS_BUSY); /* a thread waits on the number itself */
    CU_ASSERT_EQUAL(li_replacing(s->sock), -EBUSY);
    CU_ASSERT(is_open(s->sock));
    fs_detach(pair[0]);
    fs_put(s);
    finish();
}

/* An upgrade goes on: what tells of its end is watched under the new number. */
static void test_makes_room_in_handshake(void)
{
    struct fs_state *s = begin_hidden(FS_GATE);
    struct epoll_event e = {.events = 0};
    struct lk_saved saved;
    int sock = s->sock, set;

    lk_take(&saved);
    pd_add(s);
    lk_give(&saved);
    set = *pd_set();
    CU_ASSERT_EQUAL(li_closing(set), -EBADF);
    CU_ASSERT_EQUAL(li_replacing(set), 0);
    CU_ASSERT(*pd_set() != set && !is_open(set));
    CU_ASSERT_EQUAL(li_replacing(sock), 0);
    CU_ASSERT(s->sock != sock && !is_open(sock));
    CU_ASSERT_EQUAL(write(pair[0], "x", 1), 1);
    CU_ASSERT_EQUAL(epoll_wait(*pd_set(), &e, 1, 0), 1);
    CU_ASSERT_PTR_EQUAL(e.data.ptr, s);
    li_closing(pair[0]);
    finish();
}

/* A raw system call has closed one, and the program was given the number. */
static void test_lost(void)
{
    struct fs_state *s = begin_hidden(FS_RELAY);
    int shadow = s->shadow, sock = s->sock, null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CU_ASSERT(dup2(null, shadow) == shadow && dup2(null, sock) == sock);
    CU_ASSERT_EQUAL(li_closing(shadow), 0);
    CU_ASSERT(s->shadow == -1 && !fs_find(shadow));
    li_made(sock);
    CU_ASSERT(s->sock == -1 && !fs_find(sock));
    li_closing(pair[0]);
    CU_ASSERT(is_open(shadow) && is_open(sock));
    close(shadow);
    close(sock);
    close(null);
    finish();
}

/* While a thread waits for its upgrade the state is the thread's: it is told, and no more. */
static void test_busy(void)
{
    struct fs_state *s = begin(FS_BUSY);
    int sock[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
    s->sock = sock[0];
    li_closing(pair[0]);
    CU_ASSERT_EQUAL(fs_kind(s), FS_BUSY);
    CU_ASSERT_EQUAL(s->numbers, 0);
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    CU_ASSERT_EQUAL(recv(sock[0], &(char){0}, 1, 0), 0); /* whoever waits for it wakes */
    close(sock[1]);
    fs_put(s);
    finish();
}

/* What a vfork child does to its descriptors happens in our memory. */
static void test_vfork(void)
{
    struct fs_state *s = begin_hidden(FS_KERNEL);
    pid_t child = vfork();
    int status;

    if (child == 0) {
        if (li_closing(s->shadow) < 0 || li_replacing(s->sock) < 0)
            _exit(1);
        li_closing(pair[0]);
        li_closing_range(0, 0x7fffffff);
        li_duplicated(pair[0], pair[1]);
        li_made(pair[0]);
        _exit(0);
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(goodbyes, 0);
    CU_ASSERT_PTR_EQUAL(fs_find(pair[0]), s);
    CU_ASSERT_PTR_NULL(fs_find(pair[1]));
    CU_ASSERT_EQUAL(s->numbers, 1);
    li_closing(pair[0]);
    CU_ASSERT_EQUAL(goodbyes, 1);
    finish();
}

void suite_life(void)
{
    CU_pSuite suite = CU_add_suite("life", NULL, NULL);

    CU_add_test(suite, "close", test_close);
    CU_add_test(suite, "who says goodbye", test_goodbye);
    CU_add_test(suite, "exit", test_exit);
    CU_add_test(suite, "no ticket is left unread", test_clears);
    CU_add_test(suite, "duplicates", test_duplicates);
    CU_add_test(suite, "sockets that are duplicated", test_dup_is_noticed);
    CU_add_test(suite, "sockets that are received", test_received_is_noticed);
    CU_add_test(suite, "a number made again", test_made_again);
    CU_add_test(suite, "hidden descriptors", test_hidden);
    CU_add_test(suite, "hidden descriptors make room", test_makes_room);
    CU_add_test(suite, "the same in a handshake", test_makes_room_in_handshake);
    CU_add_test(suite, "hidden descriptors that were lost", test_lost);
    CU_add_test(suite, "closed in an upgrade", test_busy);
    CU_add_test(suite, "vfork", test_vfork);
}
