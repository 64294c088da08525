/* Tests of shim/fdstate.c: the table of descriptor numbers, the pool of states, fork. */
#include "../../shim/fdstate.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD 700 /* numbers far above those the test program has open */

static void give_back(struct fs_state *s)
{
    fs_put(s);
}

static void test_unknown(void)
{
    CU_ASSERT_PTR_NULL(fs_find(-1));
    CU_ASSERT_PTR_NULL(fs_find(FD));
    CU_ASSERT_PTR_NULL(fs_find(FS_CHUNK * FS_CHUNKS - 1));
    CU_ASSERT_PTR_NULL(fs_find(FS_CHUNK * FS_CHUNKS));
    CU_ASSERT_PTR_NULL(fs_find(0x7fffffff));
    CU_ASSERT_FALSE(fs_detach(FD));
}

static void test_fresh(void)
{
    struct fs_state *s = fs_new(FS_CONFIG);

    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_EQUAL(fs_kind(s), FS_CONFIG);
    CU_ASSERT_EQUAL(s->shadow, -1);
    CU_ASSERT_EQUAL(s->sock, -1);
    CU_ASSERT_EQUAL(s->facts.alert, -1);
    CU_ASSERT_EQUAL(s->numbers, 0);
    CU_ASSERT_STRING_EQUAL(s->name, "");
    give_back(s);
}

/* Numbers share a state; the last one to go says so. */
static void test_numbers(void)
{
    struct fs_state *s = fs_new(FS_KERNEL);

    CU_ASSERT_EQUAL(fs_attach(FD, s), 0);
    CU_ASSERT_EQUAL(fs_attach(FD + 5000, s), 0); /* in another chunk */
    CU_ASSERT_PTR_EQUAL(fs_find(FD), s);
    CU_ASSERT_PTR_EQUAL(fs_find(FD + 5000), s);
    CU_ASSERT_PTR_NULL(fs_find(FD + 1));
    CU_ASSERT_FALSE(fs_detach(FD));
    CU_ASSERT_PTR_NULL(fs_find(FD));
    CU_ASSERT_TRUE(fs_detach(FD + 5000));
    give_back(s);
    CU_ASSERT_EQUAL(fs_kind(s), FS_FREE);
}

static void test_out_of_range(void)
{
    struct fs_state *s = fs_new(FS_KERNEL);

    CU_ASSERT_EQUAL(fs_attach(FS_CHUNK * FS_CHUNKS, s), -EMFILE);
    CU_ASSERT_EQUAL(s->numbers, 0);
    CU_ASSERT_EQUAL(fs_attach(FS_CHUNK * FS_CHUNKS - 1, s), 0);
    CU_ASSERT_PTR_EQUAL(fs_find(FS_CHUNK * FS_CHUNKS - 1), s);
    CU_ASSERT_TRUE(fs_detach(FS_CHUNK * FS_CHUNKS - 1));
    give_back(s);
}

/* A state that comes back from the pool remembers nothing of the connection before. */
static void test_reuse(void)
{
    struct fs_state *s = fs_new(FS_KERNEL), *again;

    memcpy(s->name, "secret", 7);
    atomic_store(&s->rr.error, 5);
    atomic_store(&s->left, true);
    s->no_verify = true;
    give_back(s);
    again = fs_new(FS_CONFIG);
    CU_ASSERT_STRING_EQUAL(again->name, "");
    CU_ASSERT_EQUAL(atomic_load(&again->rr.error), 0);
    CU_ASSERT_EQUAL(atomic_load(&again->rr.alert), -1);
    CU_ASSERT_FALSE(atomic_load(&again->left));
    CU_ASSERT_FALSE(again->no_verify);
    give_back(again);
}

/* A thread still waits in a call on it: what it learns there is of the old connection. */
static void test_held(void)
{
    struct fs_state *s = fs_new(FS_KERNEL), *other, *later;

    CU_ASSERT_FALSE(fs_hold(s, FD));
    fs_attach(FD, s);
    CU_ASSERT_TRUE(fs_hold(s, FD));
    CU_ASSERT_TRUE(fs_detach(FD));
    give_back(s);
    other = fs_new(FS_KERNEL);
    CU_ASSERT_PTR_NOT_EQUAL(other, s);
    fs_release(s);
    later = fs_new(FS_KERNEL);
    CU_ASSERT_PTR_EQUAL(later, s);
    give_back(other);
    give_back(later);
}

static void test_gates(void)
{
    struct fs_state *a = fs_new(FS_GATE), *b = fs_new(FS_BUSY);

    CU_ASSERT_EQUAL(atomic_load(&fs_gates), 1);
    fs_set_kind(b, FS_GATE);
    CU_ASSERT_EQUAL(atomic_load(&fs_gates), 2);
    fs_set_kind(b, FS_GATE);
    CU_ASSERT_EQUAL(atomic_load(&fs_gates), 2);
    fs_set_kind(a, FS_KERNEL);
    CU_ASSERT_EQUAL(atomic_load(&fs_gates), 1);
    give_back(b); /* closed in mid-handshake */
    CU_ASSERT_EQUAL(atomic_load(&fs_gates), 0);
    give_back(a);
}

static int seen[8], n_seen;

static void note(int fd, struct fs_state *s, void *arg)
{
    CU_ASSERT_PTR_EQUAL(s, arg);
    if (n_seen < 8)
        seen[n_seen++] = fd;
}

static void test_each(void)
{
    struct fs_state *s = fs_new(FS_KERNEL);

    fs_attach(FD, s);
    fs_attach(FD + 1, s);
    fs_attach(FD + 3 * FS_CHUNK, s);
    n_seen = 0;
    fs_each(0, 0x7fffffff, note, s);
    CU_ASSERT_EQUAL_FATAL(n_seen, 3);
    CU_ASSERT_EQUAL(seen[0], FD);
    CU_ASSERT_EQUAL(seen[2], FD + 3 * FS_CHUNK);
    n_seen = 0;
    fs_each(FD + 1, FD + 1, note, s);
    CU_ASSERT_EQUAL(n_seen, 1);
    n_seen = 0;
    fs_each(FD + 2, FD + 3 * FS_CHUNK - 1, note, s);
    CU_ASSERT_EQUAL(n_seen, 0);
    fs_detach(FD);
    fs_detach(FD + 1);
    CU_ASSERT_TRUE(fs_detach(FD + 3 * FS_CHUNK));
    give_back(s);
}

static struct fs_state *up(void)
{
    struct fs_state *s = fs_new(FS_KERNEL);

    kp_begin(&s->rr, &(struct facts){.version = 0x0304, .cookie = 1}, "/nowhere");
    fs_attach(FD, s);
    fs_attach(FD + 1, s); /* two numbers are no two holders */
    return s;
}

static void down(struct fs_state *s)
{
    fs_detach(FD);
    fs_detach(FD + 1);
    fs_put(s);
}

static int holders(const struct fs_state *s)
{
    return (int)atomic_load(&s->rr.slot->holders);
}

/* Each process of a fork is a holder; the last to leave says the end. */
static void test_fork(void)
{
    struct fs_state *s = up();
    int status = -1;
    pid_t child;

    CU_ASSERT_EQUAL(holders(s), 1);
    child = fork();
    if (child == 0)
        _exit(fs_find(FD) == s && holders(s) == 2 && !fs_leave(s) ? 0 : 1);
    CU_ASSERT_FATAL(child > 0);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(holders(s), 1);
    CU_ASSERT_TRUE(fs_leave(s));
    CU_ASSERT_FALSE(fs_leave(s));
    down(s);
}

/* The parent is gone first: it was the child's to say. */
static void test_fork_child_last(void)
{
    struct fs_state *s = up();
    int status = -1, go[2];
    pid_t child;
    char c;

    CU_ASSERT_EQUAL_FATAL(pipe(go), 0);
    child = fork();
    if (child == 0)
        _exit(read(go[0], &c, 1) == 1 && fs_leave(s) ? 0 : 1);
    CU_ASSERT_FALSE(fs_leave(s));
    CU_ASSERT_EQUAL(write(go[1], "x", 1), 1);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    close(go[0]);
    close(go[1]);
    down(s);
}

static void test_fork_failed(void)
{
    struct fs_state *s = up();
    struct lk_saved saved;

    lk_take(&saved);
    before_fork();
    lk_give(&saved);
    CU_ASSERT_EQUAL(holders(s), 2);
    fs_fork_failed();
    CU_ASSERT_EQUAL(holders(s), 1);
    fs_fork_failed(); /* of a fork before which it was not counted */
    CU_ASSERT_EQUAL(holders(s), 1);
    down(s);
}

void suite_fdstate(void)
{
    CU_pSuite suite = CU_add_suite("fdstate", NULL, NULL);

    CU_add_test(suite, "numbers that are not ours", test_unknown);
    CU_add_test(suite, "a fresh state", test_fresh);
    CU_add_test(suite, "several numbers", test_numbers);
    CU_add_test(suite, "numbers out of range", test_out_of_range);
    CU_add_test(suite, "nothing is left of the last user", test_reuse);
    CU_add_test(suite, "a state in use", test_held);
    CU_add_test(suite, "the count of gates", test_gates);
    CU_add_test(suite, "walking the table", test_each);
    CU_add_test(suite, "fork", test_fork);
    CU_add_test(suite, "the child holds it last", test_fork_child_last);
    CU_add_test(suite, "no fork after all", test_fork_failed);
}
