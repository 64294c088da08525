/* Tests of shim/life.c: numbers through close, dup, ranges, and what happens behind our back. */
#include "../../shim/life.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
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
            atomic_store(&s->shared, true);
        if (row == 2)
            atomic_store(&s->rr.error, ECONNRESET);
        if (row == 3)
            atomic_store(&s->rr.shut_wr, true);
        li_closing(pair[0]);
        CU_ASSERT_EQUAL(goodbyes, 0);
        finish();
    }
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

        atomic_store(&s->shared, !last);
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

static void test_hidden(void)
{
    struct fs_state *s = begin(FS_RELAY);
    int shadow = s->shadow = fcntl(pair[1], F_DUPFD_CLOEXEC, 950);
    int sock = s->sock = fcntl(pair[1], F_DUPFD_CLOEXEC, 950);

    li_closing(pair[0]);
    CU_ASSERT(!is_open(shadow) && !is_open(sock));
    finish();

    s = begin(FS_RELAY);
    shadow = s->shadow = fcntl(pair[1], F_DUPFD_CLOEXEC, 950);
    sock = s->sock = fcntl(pair[1], F_DUPFD_CLOEXEC, 960);
    li_closing_range(940, 959); /* the program closes them, unknowing */
    CU_ASSERT(s->shadow == -1 && s->sock == sock);
    CU_ASSERT_PTR_EQUAL(fs_find(pair[0]), s);
    li_closing_range(0, 0x7fffffff);
    CU_ASSERT_PTR_NULL(fs_find(pair[0]));
    CU_ASSERT(is_open(shadow));
    close(shadow);
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
    struct fs_state *s = begin(FS_KERNEL);
    pid_t child = vfork();
    int status;

    if (child == 0) {
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
    CU_add_test(suite, "no ticket is left unread", test_clears);
    CU_add_test(suite, "duplicates", test_duplicates);
    CU_add_test(suite, "sockets that are duplicated", test_dup_is_noticed);
    CU_add_test(suite, "a number made again", test_made_again);
    CU_add_test(suite, "hidden descriptors", test_hidden);
    CU_add_test(suite, "closed in an upgrade", test_busy);
    CU_add_test(suite, "vfork", test_vfork);
}
