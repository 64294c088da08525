/* Tests of daemon/pools.c. */
#include "../../daemon/pools.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <sys/stat.h>

static void test_made_once(void)
{
    struct pools p = {0};
    const struct pool *a = po_make(&p, 1000, 64);
    uint64_t id;
    struct stat st;
    int fd;

    CU_ASSERT_FATAL(a != NULL && a->id != 0 && a->uid == 1000);
    id = a->id;
    fd = a->fd;
    CU_ASSERT(fstat(fd, &st) == 0 && st.st_size == (off_t)64 * W_SLOT_SIZE);
    a = po_make(&p, 1000, 64);
    CU_ASSERT(a->id == id && a->fd == fd && p.n == 1);
    a = po_make(&p, 0, 64);
    CU_ASSERT(a && a->id != id && a->fd != fd);
    CU_ASSERT(po_make(&p, OVERFLOW_UID, 64) == NULL && po_find(&p, OVERFLOW_UID) == NULL);
    po_free(&p);
    CU_ASSERT(fcntl(fd, F_GETFD) < 0);
}

/* Nobody can pull the memory away under the others. */
static void test_sealed(void)
{
    struct pools p = {0};
    const struct pool *a = po_make(&p, 1000, 64);

    CU_ASSERT(ftruncate(a->fd, 0) < 0 && errno == EPERM);
    CU_ASSERT(ftruncate(a->fd, 1 << 20) < 0 && errno == EPERM);
    CU_ASSERT(fcntl(a->fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    po_free(&p);
}

static void test_kept(void)
{
    struct pools p = {0};
    int first = memfd_create("a", MFD_CLOEXEC), second = memfd_create("b", MFD_CLOEXEC);

    CU_ASSERT_EQUAL(po_keep(&p, 7, 70, first), 0);
    CU_ASSERT_EQUAL(po_keep(&p, 7, 70, second), 0);
    CU_ASSERT(po_find(&p, 7)->fd == first && fcntl(second, F_GETFD) < 0);
    po_free(&p);
}

static void test_limit(void)
{
    struct pools p = {0};

    p.n = PO_UIDS_MAX;
    p.rows = calloc(p.n, sizeof(*p.rows));
    for (size_t i = 0; i < p.n; i++)
        p.rows[i] = (struct pool){.uid = (uint32_t)i, .id = 1, .fd = -1};
    CU_ASSERT(po_make(&p, PO_UIDS_MAX + 1, 64) == NULL && p.n == PO_UIDS_MAX);
    CU_ASSERT(po_make(&p, 5, 64) != NULL);
    po_free(&p);
}

void suite_pools(void)
{
    CU_pSuite s = CU_add_suite("pools", NULL, NULL);

    CU_add_test(s, "one for each uid", test_made_once);
    CU_add_test(s, "sealed", test_sealed);
    CU_add_test(s, "kept from control", test_kept);
    CU_add_test(s, "so many users", test_limit);
}
