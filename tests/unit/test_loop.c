/* Tests of daemon/loop.c on a real ring. */
#include "../../daemon/loop.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static struct lp_loop *lp;

/* An operation that remembers how it ended and stops the loop after `stop_at` calls of any. */
struct note {
    struct lp_op op;
    int calls, result;
    void (*then)(struct note *n);
};
static int all_calls, stop_at;

static void on_done(struct lp_op *op, int result)
{
    struct note *n = LP_OWNER(op, struct note, op);

    n->calls++;
    n->result = result;
    if (n->then)
        n->then(n);
    if (++all_calls >= stop_at)
        lp_stop(lp);
}

static void turn(int until)
{
    all_calls = 0;
    stop_at = until;
    CU_ASSERT_EQUAL(lp_run(lp), 0);
}

/* Lets everything come that is on its way. */
static void settle(void)
{
    struct note end = {.op.done = on_done};

    lp_timer(lp, &end.op, 5);
    all_calls = 0;
    stop_at = 1 << 30;
    while (end.op.busy) {
        stop_at = all_calls + 1;
        CU_ASSERT_EQUAL_FATAL(lp_run(lp), 0);
    }
}

static int init(void)
{
    return lp_open(&lp, 8) < 0;
}

static int clean(void)
{
    lp_close(lp);
    lp_close(NULL);
    lp_forget(NULL);
    return 0;
}

static void test_poll(void)
{
    struct note in = {.op.done = on_done}, out = {.op.done = on_done}, bad = {.op.done = on_done};
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    lp_poll(lp, &in.op, fds[0], POLLIN);
    lp_poll(lp, &out.op, fds[0], POLLOUT);
    CU_ASSERT(in.op.busy && out.op.busy);
    turn(1);
    CU_ASSERT(out.calls == 1 && out.result == POLLOUT && !out.op.busy);
    CU_ASSERT(in.calls == 0 && in.op.busy);
    CU_ASSERT_EQUAL(send(fds[1], "x", 1, 0), 1);
    turn(1);
    CU_ASSERT(in.calls == 1 && in.result == POLLIN && !in.op.busy);
    close(fds[1]);
    lp_poll(lp, &in.op, fds[0], POLLOUT);
    turn(1);
    CU_ASSERT(in.calls == 2 && (in.result & POLLHUP));
    close(fds[0]);
    lp_poll(lp, &bad.op, fds[0], POLLIN);
    turn(1);
    CU_ASSERT(bad.result == -EBADF && !bad.op.busy);
}

static void test_timer(void)
{
    struct note late = {.op.done = on_done}, soon = {.op.done = on_done},
                now = {.op.done = on_done};
    struct timespec a, b;
    long ms;

    clock_gettime(CLOCK_MONOTONIC, &a);
    lp_timer(lp, &late.op, 60000);
    lp_timer(lp, &soon.op, 30);
    lp_timer(lp, &now.op, 0);
    turn(1);
    CU_ASSERT(now.result == -ETIME && soon.calls == 0);
    turn(1);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    CU_ASSERT(soon.result == -ETIME && ms >= 29 && ms < 5000);
    lp_cancel(lp, &late.op);
    turn(1);
    CU_ASSERT(late.calls == 1 && late.result == -ECANCELED && !late.op.busy);
}

static void test_cancel(void)
{
    struct note n = {.op.done = on_done};
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    lp_cancel(lp, &n.op); /* not busy */
    lp_poll(lp, &n.op, fds[0], POLLIN);
    lp_cancel(lp, &n.op);
    lp_cancel(lp, &n.op); /* twice is once */
    turn(1);
    CU_ASSERT(n.calls == 1 && n.result == -ECANCELED);
    settle();
    CU_ASSERT_EQUAL(n.calls, 1);
    /* the real end was faster: done() runs once, with it */
    lp_poll(lp, &n.op, fds[0], POLLOUT);
    io_uring_submit(&lp->ring);
    io_uring_get_events(&lp->ring);
    lp_cancel(lp, &n.op);
    settle();
    CU_ASSERT(n.calls == 2 && (n.result == POLLOUT || n.result == -ECANCELED) && !n.op.busy);
    close(fds[0]);
    close(fds[1]);
}

/* A half-closed socket is told once and not for ever; the end of both halves again. */
static void test_watch_end(void)
{
    struct note n = {.op.done = on_done};
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    lp_watch_end(lp, &n.op, fds[0]);
    CU_ASSERT_EQUAL(send(fds[1], "data", 4, 0), 4);
    settle();
    for (int i = 0; i < n.calls; i++)
        CU_ASSERT_FALSE(n.result & (POLLHUP | POLLRDHUP));
    shutdown(fds[1], SHUT_WR);
    settle();
    CU_ASSERT(n.op.busy && n.calls >= 1 && n.calls <= 3);
    CU_ASSERT((n.result & POLLRDHUP) && !(n.result & POLLHUP));
    n.calls = 0;
    settle();
    CU_ASSERT_EQUAL(n.calls, 0);
    close(fds[1]);
    settle();
    CU_ASSERT(n.calls >= 1 && (n.result & POLLHUP));
    if (n.op.busy) {
        lp_cancel(lp, &n.op);
        settle();
    }
    CU_ASSERT_FALSE(n.op.busy);
    close(fds[0]);
}

static void again(struct note *n)
{
    if (n->calls < 3)
        lp_timer(lp, &n->op, 0);
}

/* Far more operations than the ring (8 entries, 64 completions) has places, some of which start new
 * ones from their done(). */
static void test_many(void)
{
    enum { MANY = 500 };
    static struct note notes[MANY];

    for (int i = 0; i < MANY; i++) {
        notes[i] = (struct note){.op.done = on_done, .then = i % 2 ? again : NULL};
        lp_timer(lp, &notes[i].op, (unsigned)(i % 4));
    }
    turn(MANY * 2);
    for (int i = 0; i < MANY; i++)
        CU_ASSERT(!notes[i].op.busy && notes[i].calls == (i % 2 ? 3 : 1));
    for (int i = 0; i < MANY; i++)
        lp_timer(lp, &notes[i].op, 60000);
    for (int i = 0; i < MANY; i++)
        lp_cancel(lp, &notes[i].op);
    for (int i = 0; i < MANY; i++)
        notes[i].then = NULL;
    turn(MANY);
    for (int i = 0; i < MANY; i++)
        CU_ASSERT(!notes[i].op.busy && notes[i].result == -ECANCELED);
}

/* True when memory of a ring is mapped. */
static bool ring_mapped(void)
{
    char line[512];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "r");

    while (f && fgets(line, sizeof(line), f))
        found |= strstr(line, "io_uring") != NULL;
    fclose(f);
    return found;
}

/* A child forgets the ring that it inherited, makes one of its own, and the parent's goes on. */
static void test_fork(void)
{
    struct note n = {.op.done = on_done};
    int status = -1;
    pid_t pid;

    lp_timer(lp, &n.op, 20);
    pid = fork();
    if (pid == 0) {
        int fd = lp->ring.ring_fd;

        if (ring_mapped())
            _exit(3);
        lp_forget(lp);
        if (write(fd, "", 0) == 0 || errno != EBADF || lp_open(&lp, 8) < 0)
            _exit(1);
        n = (struct note){.op.done = on_done};
        lp_timer(lp, &n.op, 1);
        stop_at = 1;
        all_calls = 0;
        if (lp_run(lp) < 0 || n.result != -ETIME)
            _exit(2);
        lp_close(lp);
        _exit(0);
    }
    CU_ASSERT_FATAL(pid > 0);
    CU_ASSERT(ring_mapped());
    turn(1);
    CU_ASSERT_EQUAL(n.result, -ETIME);
    CU_ASSERT(waitpid(pid, &status, 0) == pid && status == 0);
}

void suite_loop(void)
{
    CU_pSuite s = CU_add_suite("loop", init, clean);

    CU_add_test(s, "poll", test_poll);
    CU_add_test(s, "timer", test_timer);
    CU_add_test(s, "cancel", test_cancel);
    CU_add_test(s, "watch the end", test_watch_end);
    CU_add_test(s, "many", test_many);
    CU_add_test(s, "fork", test_fork);
}
