/* Tests of daemon/table.c. */
#include "../../daemon/table.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <sys/wait.h>

#define ROOM 100u

static int make(uint32_t capacity)
{
    int fd = memfd_create("table", MFD_CLOEXEC);

    CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, (off_t)tb_size(capacity)) == 0);
    return fd;
}

static struct table *map(int fd, uint32_t capacity)
{
    struct table *t = NULL;

    CU_ASSERT_EQUAL_FATAL(tb_open(&t, fd, capacity), 0);
    return t;
}

static void test_full(void)
{
    int fd = make(ROOM);
    struct table *t = map(fd, ROOM);
    uint32_t at = 0, n = 0;

    CU_ASSERT(tb_add(t, 0) == NULL);
    for (uint64_t c = 1; c <= ROOM; c++) {
        CU_ASSERT(tb_has_room(t));
        CU_ASSERT(tb_add(t, c * 7) != NULL && tb_index(t, tb_find(t, c * 7)) == c - 1);
    }
    CU_ASSERT(!tb_has_room(t) && tb_add(t, 1) == NULL && tb_count(t) == ROOM);
    CU_ASSERT_EQUAL(tb_drop(t, 21), 1);
    CU_ASSERT_EQUAL(tb_drop(t, 21), 0);
    CU_ASSERT(tb_has_room(t) && tb_find(t, 21) == NULL);
    CU_ASSERT(tb_add(t, 1) != NULL && tb_index(t, tb_find(t, 1)) == 2);
    while (tb_next(t, &at))
        n++;
    CU_ASSERT_EQUAL(n, ROOM);
    tb_close(t);
    close(fd);
}

static bool all_zero(const void *p, size_t n)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        if (b[i])
            return false;
    return true;
}

/* No secret outlives its connection in the shared memory, and none shows in the next entry. */
static void test_wiped(void)
{
    int fd = make(ROOM);
    struct table *t = map(fd, ROOM);
    struct tb_entry *e = tb_add(t, 5), *again;

    memset(e->rx_secret, 0xaa, sizeof(e->rx_secret));
    memset(e->tx_secret, 0xbb, sizeof(e->tx_secret));
    CU_ASSERT_EQUAL(tb_drop(t, 5), 1);
    CU_ASSERT(all_zero(e->rx_secret, sizeof(*e) - offsetof(struct tb_entry, rx_secret)));
    tb_close(t);
    t = map(fd, ROOM);
    again = tb_add(t, 7);
    again->rx_generation = 9;
    again = tb_add(t, 7); /* the same cookie twice: the first was a mistake */
    CU_ASSERT(again && again->rx_generation == 0 && tb_count(t) == 1);
    tb_close(t);
    close(fd);
}

/* The worker dies; the next one finds what it kept, in the same places. */
static void test_replacement(void)
{
    int fd = make(ROOM);
    struct table *t;
    pid_t pid = fork();

    if (pid == 0) {
        t = map(fd, ROOM);
        for (uint64_t c = 1; c <= 50; c++)
            tb_add(t, c)->tx_generation = (uint32_t)c;
        for (uint64_t c = 2; c <= 50; c += 2)
            tb_drop(t, c);
        raise(SIGKILL);
    }
    CU_ASSERT(waitpid(pid, NULL, 0) == pid);
    t = map(fd, ROOM);
    CU_ASSERT_EQUAL(tb_count(t), 25);
    for (uint64_t c = 1; c <= 50; c++) {
        const struct tb_entry *e = tb_find(t, c);

        CU_ASSERT(c % 2 ? e && e->tx_generation == c && tb_index(t, e) == c - 1 : !e);
    }
    for (uint64_t c = 51; c <= 125; c++)
        CU_ASSERT(tb_add(t, c) != NULL);
    CU_ASSERT(!tb_has_room(t));
    tb_close(t);
    close(fd);
}

/* Memory that another version kept, or that is cut short, is not believed. */
static void test_foreign(void)
{
    int fd = make(ROOM);
    struct table *t = map(fd, ROOM);

    tb_close(t);
    CU_ASSERT_EQUAL(tb_open(&t, fd, ROOM - 1), -EPROTO);
    t = map(fd, ROOM);
    t->head->high = ROOM + 1;
    tb_close(t);
    CU_ASSERT_EQUAL(tb_open(&t, fd, ROOM), -EPROTO);
    CU_ASSERT_EQUAL(tb_open(&t, -1, ROOM), -EBADF);
    close(fd);
}

void suite_table(void)
{
    CU_pSuite s = CU_add_suite("table", NULL, NULL);

    CU_add_test(s, "full", test_full);
    CU_add_test(s, "wiped", test_wiped);
    CU_add_test(s, "found again by the next worker", test_replacement);
    CU_add_test(s, "foreign memory", test_foreign);
}
