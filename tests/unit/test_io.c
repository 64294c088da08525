/* Tests of shim/io.c: what reads and writes become, by the kind of connection. */
#include "../../shim/io.c"

#include "../../shim/life.h"
#include "../../shim/lock.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <unistd.h>

static int end[2], control[2];
static struct fs_state *s;

static void begin(enum fs_kind kind)
{
    struct lk_saved saved;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    lk_take(&saved);
    s = fs_new(kind);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    s->sock = dup(control[0]);
    CU_ASSERT_EQUAL(fs_attach(end[0], s), 0);
    lk_give(&saved);
}

static void finish(void)
{
    li_closing(end[0]);
    close(end[0]);
    close(control[0]);
    if (end[1] >= 0)
        close(end[1]);
    if (control[1] >= 0)
        close(control[1]);
}

static void drop(int *fd)
{
    close(*fd);
    *fd = -1;
}

static ssize_t get(void)
{
    char c;

    return io_read(s, end[0], &c, 1, MSG_DONTWAIT);
}

static int ask(bool quiet)
{
    struct io_turn t;
    int r = io_begin(&t, s, end[0], MSG_DONTWAIT, quiet);

    if (r == 0)
        io_end(&t, 1, 16384, 1);
    CU_ASSERT_EQUAL(atomic_load(&s->users), 0);
    return r;
}

static void test_plain(void)
{
    for (enum fs_kind kind = FS_FREE; kind <= FS_FAILED; kind++) {
        struct fs_state state = {.kind = kind};

        CU_ASSERT_EQUAL(io_plain(&state), kind == FS_FREE || kind == FS_CONFIG);
    }
}

static void test_failed(void)
{
    begin(FS_FAILED);
    atomic_store(&s->error, EKEYREJECTED);
    atomic_store(&s->so_error, EKEYREJECTED);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(get(), -EKEYREJECTED);
        CU_ASSERT_EQUAL(ask(false), -EKEYREJECTED);
        CU_ASSERT_EQUAL(atomic_load(&s->so_error), 0); /* the call that met it has told of it */
    }
    CU_ASSERT_EQUAL(io_shutdown(s, end[0], SHUT_WR), -ENOTCONN);
    finish();
    begin(FS_BUSY);
    CU_ASSERT_EQUAL(get(), -EBUSY);
    CU_ASSERT_EQUAL(ask(false), -EBUSY);
    CU_ASSERT_EQUAL(io_shutdown(s, end[0], SHUT_WR), -EBUSY);
    finish();
}

static void test_relay(void)
{
    struct msghdr empty = {.msg_iovlen = 0};

    begin(FS_RELAY);
    CU_ASSERT_EQUAL(get(), -EAGAIN);
    CU_ASSERT_EQUAL(io_read(s, end[0], NULL, 0, 0), 0); /* would wait, and is no end */
    CU_ASSERT_EQUAL(io_recvmsg(s, end[0], &empty, 0), 0);
    CU_ASSERT_EQUAL(ask(false), 0);
    CU_ASSERT_EQUAL(write(end[1], "x", 1), 1);
    CU_ASSERT_EQUAL(get(), 1);
    CU_ASSERT_EQUAL(shutdown(end[1], SHUT_WR), 0);
    CU_ASSERT_EQUAL(get(), 0);
    CU_ASSERT_TRUE(atomic_load(&s->rr.eof));
    drop(&control[1]); /* it dies after an end in order: no matter */
    CU_ASSERT_EQUAL(get(), 0);
    CU_ASSERT_EQUAL(atomic_load(&s->error), 0);
    finish();
}

/* The stream goes first, then the connection to the daemon, without a word. */
static void test_relay_dies(void)
{
    begin(FS_RELAY);
    drop(&end[1]);
    CU_ASSERT_EQUAL(get(), -ECONNRESET);
    CU_ASSERT_EQUAL(get(), -ECONNRESET);
    CU_ASSERT_EQUAL(s->facts.code, W_CODE_NO_DAEMON);
    finish();
    begin(FS_RELAY); /* something of ours lay unread there: the kernel says ECONNRESET itself */
    CU_ASSERT_EQUAL(write(end[0], "x", 1), 1);
    drop(&control[1]);
    drop(&end[1]);
    CU_ASSERT_EQUAL(get(), -ECONNRESET);
    CU_ASSERT_EQUAL(get(), -ECONNRESET);
    finish();
    begin(FS_RELAY); /* the program ended reading itself */
    CU_ASSERT_EQUAL(io_shutdown(s, end[0], SHUT_RD), 0);
    CU_ASSERT_EQUAL(get(), 0);
    finish();
}

static ssize_t full(int fd, const struct msghdr *m, int flags)
{
    (void)fd;
    (void)m;
    (void)flags;
    errno = EAGAIN;
    return -1;
}

static volatile sig_atomic_t pipes;

static void on_pipe(int number)
{
    (void)number;
    pipes++;
}

/* Also where there was no room for close_notify: the kernel would take the bytes and lose them. */
static void test_shut(void)
{
    begin(FS_KERNEL);
    signal(SIGPIPE, on_pipe);
    CU_ASSERT_EQUAL(ask(false), 0);
    sy.sendmsg = full;
    CU_ASSERT_EQUAL(io_shutdown(s, end[0], SHUT_WR), 0);
    sy.sendmsg = sendmsg;
    CU_ASSERT_EQUAL(ask(true), -EPIPE);
    CU_ASSERT_EQUAL(pipes, 0);
    CU_ASSERT_EQUAL(ask(false), -EPIPE);
    CU_ASSERT_EQUAL(pipes, 1);
    signal(SIGPIPE, SIG_DFL);
    finish();
}

void suite_io(void)
{
    CU_pSuite suite = CU_add_suite("io", NULL, NULL);

    CU_add_test(suite, "what is plain", test_plain);
    CU_add_test(suite, "after a failure", test_failed);
    CU_add_test(suite, "a relay", test_relay);
    CU_add_test(suite, "a relay that dies", test_relay_dies);
    CU_add_test(suite, "after shutdown", test_shut);
}
