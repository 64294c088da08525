/* Tests of shim/hidden.c: descriptors of ours among the program's. */
#include "../../shim/hidden.c"

#include "../../shim/lock.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/resource.h>

static struct lk_saved saved;

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_hides(void)
{
    int fd = open("/dev/null", O_RDONLY), high, gone;

    lk_take(&saved);
    high = hd_dup(fd);
    CU_ASSERT(high >= FIRST && is_open(fd));
    CU_ASSERT_EQUAL(fcntl(high, F_GETFD), FD_CLOEXEC);
    CU_ASSERT_PTR_EQUAL(fs_find(high), &fs_hidden);
    CU_ASSERT_PTR_NULL(fs_find(fd));
    gone = high;
    hd_close(&high);
    CU_ASSERT(high == -1 && !is_open(gone) && !fs_find(gone));
    hd_close(&high);
    gone = fd;
    fd = hd_move(fd);
    CU_ASSERT(fd >= FIRST && !is_open(gone) && fs_find(fd) == &fs_hidden);
    hd_lost(fd);
    CU_ASSERT(is_open(fd) && !fs_find(fd));
    hd_close(&fd);
    CU_ASSERT_EQUAL(hd_dup(-1), -EBADF);
    lk_give(&saved);
}

/* Where the limit leaves no high numbers, a low one is hidden too. */
static void test_low(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), other, kept = fd;
    struct rlimit limit, small;

    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    small = (struct rlimit){200, limit.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &small), 0);
    lk_take(&saved);
    other = hd_dup(fd);
    CU_ASSERT(other > fd && other < 200 && fs_find(other) == &fs_hidden);
    CU_ASSERT_EQUAL(fcntl(other, F_GETFD), FD_CLOEXEC);
    fd = hd_move(fd);
    CU_ASSERT(fd == kept && is_open(fd) && fs_find(fd) == &fs_hidden);
    hd_close(&other);
    hd_close(&fd);
    lk_give(&saved);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

void suite_hidden(void)
{
    CU_pSuite suite = CU_add_suite("hidden", NULL, NULL);

    CU_add_test(suite, "out of the way, and known", test_hides);
    CU_add_test(suite, "no high numbers", test_low);
}
