/* Tests of shim/share.c: pools, slots, the locks that outlive their owners. */
#include "../../shim/share.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define COOKIE UINT64_C(0x1122334455667788)

static int memory_of(size_t slots)
{
    int fd = memfd_create("pool", MFD_CLOEXEC);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)(slots * sizeof(struct sh_slot))), 0);
    return fd;
}

static bool leave(struct sh_slot *s)
{
    bool last = sh_drop(s);

    if (last)
        sh_free(s);
    return last;
}

/* What another process does to a slot; returns its exit status. */
static int in_child(int (*act)(struct sh_slot *s), struct sh_slot *s)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0)
        _exit(act(s));
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_map(void)
{
    int memory = memory_of(4), empty = memory_of(0);

    CU_ASSERT_FALSE(sh_mapped(71));
    CU_ASSERT_EQUAL(sh_map(0, memory), -EEXIST);
    CU_ASSERT_EQUAL(sh_map(71, empty), -EINVAL);
    CU_ASSERT_EQUAL(sh_map(71, -1), -EBADF);
    CU_ASSERT_EQUAL(sh_map(71, memory), 0);
    CU_ASSERT_EQUAL(sh_map(71, memory), -EEXIST);
    CU_ASSERT(sh_mapped(71) && sh_mapped(0) && !sh_mapped(72));
    close(memory);
    close(empty);
}

static void test_too_many_pools(void)
{
    int memory = memory_of(1);
    unsigned made = 0;
    int r;

    for (uint64_t id = 9000; (r = sh_map(id, memory)) == 0; id++)
        made++;
    CU_ASSERT_EQUAL(r, -ENOSPC);
    CU_ASSERT(made > 0 && made < POOLS_MAX);
    close(memory);
}

/* A slot of a pool is seen by whoever maps the pool, once it is published. */
static void test_claim(void)
{
    int memory = memory_of(4);
    struct sh_slot *s, *other;

    CU_ASSERT_EQUAL(sh_map(81, memory), 0);
    s = sh_claim(81, 3);
    CU_ASSERT_PTR_EQUAL_FATAL(s, find_pool(81)->slots + 3);
    CU_ASSERT_EQUAL(atomic_load(&s->holders), 1);
    CU_ASSERT_PTR_NULL(sh_join(81, 3, COOKIE));
    sh_publish(s, COOKIE);
    CU_ASSERT_PTR_EQUAL(sh_join(81, 3, COOKIE), s);
    CU_ASSERT_EQUAL(atomic_load(&s->holders), 2);
    CU_ASSERT_PTR_NULL(sh_join(81, 3, COOKIE + 1));
    CU_ASSERT_PTR_NULL(sh_join(81, 2, 0));
    CU_ASSERT_PTR_NULL(sh_join(81, 4, COOKIE));
    CU_ASSERT_PTR_NULL(sh_join(82, 3, COOKIE));
    atomic_store(&s->rx_generation, 5);
    sh_fail(s, EBADMSG);
    other = sh_claim(81, 3); /* htlsd gives it to another connection */
    CU_ASSERT_PTR_EQUAL(other, s);
    CU_ASSERT_EQUAL(atomic_load(&s->cookie), 0);
    CU_ASSERT_EQUAL(atomic_load(&s->rx_generation), 0);
    CU_ASSERT_EQUAL(sh_error(s), 0);
    other = sh_claim(81, 4); /* what cannot be is answered with a private one */
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_PTR_NULL(sh_join(81, 4, COOKIE));
    CU_ASSERT_TRUE(leave(other));
    close(memory);
}

/* A thread is still inside the last connection's call. */
static void test_claim_busy(void)
{
    int memory = memory_of(1);
    struct sh_slot *s, *other;

    CU_ASSERT_EQUAL(sh_map(83, memory), 0);
    s = sh_claim(83, 0);
    for (int i = 0; i < 2; i++) {
        pthread_mutex_t *m = i ? &s->rx : &s->tx;

        CU_ASSERT_EQUAL(sh_lock(s, m, 0), 0);
        other = sh_claim(83, 0);
        CU_ASSERT_PTR_NOT_EQUAL(other, s);
        CU_ASSERT_TRUE(leave(other));
        sh_unlock(m);
    }
    CU_ASSERT_PTR_EQUAL(sh_claim(83, 0), s);
    close(memory);
}

static void test_private(void)
{
    struct sh_slot *s = sh_claim(0, 0), *t = sh_claim(0, 0), *again = NULL;

    CU_ASSERT_FATAL(s && t && s != t);
    sh_publish(s, COOKIE);
    sh_publish(t, 0);
    CU_ASSERT_FALSE(atomic_load(&t->cookie) == 0); /* a cookie that nobody knows is no free slot */
    CU_ASSERT_TRUE(leave(s));
    for (int i = 0; i < PRIVATE && again != s; i++) { /* used again, in its turn */
        again = sh_claim(0, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(again);
        CU_ASSERT_PTR_NOT_EQUAL(again, t);
        (void)leave(again);
    }
    CU_ASSERT_PTR_EQUAL(again, s);
    (void)leave(t);
}

static void test_many_private(void)
{
    static struct sh_slot *all[3 * PRIVATE];

    for (size_t i = 0; i < 3 * PRIVATE; i++) {
        all[i] = sh_claim(0, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(all[i]);
    }
    for (size_t i = 0; i < 3 * PRIVATE; i++)
        CU_ASSERT_TRUE(leave(all[i]));
}

static int child_changes(struct sh_slot *s)
{
    atomic_fetch_or(&s->flags, SH_OWED);
    return sh_drop(s);
}

static void test_holders(void)
{
    struct sh_slot *s = sh_claim(0, 0);

    sh_hold(s);
    CU_ASSERT_EQUAL(in_child(child_changes, s), 0); /* not the last */
    CU_ASSERT_TRUE(sh_flags(s) & SH_OWED);
    CU_ASSERT_TRUE(leave(s));
    CU_ASSERT_FALSE(sh_drop(s));
}

static int die_inside(struct sh_slot *s)
{
    return sh_lock(s, &s->tx, 0) || sh_lock(s, &s->rx, 0);
}

static int die_paying(struct sh_slot *s)
{
    atomic_fetch_or(&s->flags, SH_PAYING);
    return sh_lock(s, &s->tx, 0);
}

static int try_it(struct sh_slot *s)
{
    return -sh_lock(s, &s->tx, 0);
}

static void test_owner_dies(void)
{
    struct sh_slot *s = sh_claim(0, 0);

    CU_ASSERT_EQUAL(in_child(die_inside, s), 0);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 0), 0);
    CU_ASSERT_EQUAL(sh_lock(s, &s->rx, 0), 0);
    CU_ASSERT_EQUAL(sh_error(s), 0);
    CU_ASSERT_EQUAL(in_child(try_it, s), ETIMEDOUT);
    sh_unlock(&s->rx);
    sh_unlock(&s->tx);
    CU_ASSERT_EQUAL(in_child(die_paying, s), 0);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, -1), 0);
    CU_ASSERT_EQUAL(sh_error(s), EKEYEXPIRED);
    CU_ASSERT_FALSE(sh_flags(s) & SH_PAYING);
    sh_unlock(&s->tx);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 10), 0); /* and it is a lock as before */
    sh_unlock(&s->tx);
    (void)leave(s);
}

static struct sh_slot *in_handler;
static volatile int from_handler;

static void on_signal(int number)
{
    (void)number;
    from_handler = sh_lock(in_handler, &in_handler->tx, -1);
}

static void test_signal_handler(void)
{
    struct sh_slot *s = in_handler = sh_claim(0, 0);

    signal(SIGUSR1, on_signal);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 0), 0);
    raise(SIGUSR1);
    CU_ASSERT_EQUAL(from_handler, -EDEADLK);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 10), -EDEADLK);
    sh_unlock(&s->tx);
    signal(SIGUSR1, SIG_DFL);
    (void)leave(s);
}

static void *hold_a_while(void *arg)
{
    struct sh_slot *s = arg;

    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, -1), 0);
    atomic_store(&s->moved, 1);
    usleep(30000);
    atomic_store(&s->moved, 2);
    sh_unlock(&s->tx);
    return NULL;
}

static void test_waiting(void)
{
    struct sh_slot *s = sh_claim(0, 0);
    pthread_t thread;

    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, hold_a_while, s), 0);
    while (atomic_load(&s->moved) == 0)
        usleep(100);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 0), -ETIMEDOUT);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 1), -ETIMEDOUT);
    CU_ASSERT_EQUAL(atomic_load(&s->moved), 1);
    CU_ASSERT_EQUAL(sh_lock(s, &s->rx, 0), 0); /* who reads does not wait for who writes */
    sh_unlock(&s->rx);
    CU_ASSERT_EQUAL(sh_lock(s, &s->tx, 5000), 0);
    CU_ASSERT_EQUAL(atomic_load(&s->moved), 2);
    sh_unlock(&s->tx);
    pthread_join(thread, NULL);
    (void)leave(s);
}

static void test_failure(void)
{
    struct sh_slot *s = sh_claim(0, 0);

    CU_ASSERT_EQUAL(sh_error(s), 0);
    sh_fail(s, EBADMSG);
    sh_fail(s, EPROTO);
    CU_ASSERT_EQUAL(sh_error(s), EBADMSG);
    CU_ASSERT_EQUAL(sh_flags(s) & 0xffff, SH_READY);
    (void)leave(s);
}

/* Other suites find the process without pools. */
static int forget_pools(void)
{
    while (pools) { /* the memory stays: other suites may have slots in it */
        struct pool *next = pools->next;

        free(pools);
        pools = next;
    }
    return 0;
}

void suite_share(void)
{
    CU_pSuite suite = CU_add_suite("share", NULL, forget_pools);

    CU_add_test(suite, "pools", test_map);
    CU_add_test(suite, "a slot of a pool", test_claim);
    CU_add_test(suite, "a slot with a thread inside", test_claim_busy);
    CU_add_test(suite, "private slots", test_private);
    CU_add_test(suite, "many private slots", test_many_private);
    CU_add_test(suite, "holders", test_holders);
    CU_add_test(suite, "an owner that dies", test_owner_dies);
    CU_add_test(suite, "a signal handler", test_signal_handler);
    CU_add_test(suite, "waiting", test_waiting);
    CU_add_test(suite, "the first failure stays", test_failure);
    CU_add_test(suite, "too many pools", test_too_many_pools);
}
