/* Tests of daemon/owners.c. */
#include "../../daemon/owners.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_rows(void)
{
    struct owners o = {0};
    struct ow_row row = {3, 77};
    uint64_t cookie, sum = 0;
    size_t at = 0;

    CU_ASSERT_EQUAL(ow_get(&o, 5, &row), 0);
    CU_ASSERT(row.worker == 3 && row.netns == 77); /* untouched */
    CU_ASSERT_EQUAL(ow_set(&o, 0, &row), -EINVAL);
    for (unsigned i = 1; i <= 1000; i++) {
        row = (struct ow_row){i % 4, i % 2 ? UINT64_C(1) << 60 : i % 3};
        CU_ASSERT_EQUAL(ow_set(&o, i, &row), 0);
    }
    CU_ASSERT_EQUAL(o.n_netns, 4);
    for (unsigned i = 1; i <= 1000; i++)
        CU_ASSERT(ow_get(&o, i, &row) == 1 && row.worker == i % 4 &&
                  row.netns == (i % 2 ? UINT64_C(1) << 60 : i % 3));
    ow_drop(&o, 9);
    CU_ASSERT_EQUAL(ow_get(&o, 9, &row), 0);
    while (ow_next(&o, &at, &cookie, &row))
        sum += cookie;
    CU_ASSERT_EQUAL(sum, 500500 - 9);
    ow_free(&o);
}

static void test_namespaces(void)
{
    struct owners o = {0};

    for (unsigned i = 0; i < OW_NETNS_MAX; i++)
        CU_ASSERT_EQUAL(ow_set(&o, i + 1, &(struct ow_row){0, i}), 0);
    CU_ASSERT_EQUAL(ow_set(&o, 9999, &(struct ow_row){0, 9999}), -EMFILE);
    CU_ASSERT_EQUAL(ow_set(&o, 9999, &(struct ow_row){0, 5}), 0);
    ow_free(&o);
}

void suite_owners(void)
{
    CU_pSuite s = CU_add_suite("owners", NULL, NULL);

    CU_add_test(s, "rows", test_rows);
    CU_add_test(s, "namespaces", test_namespaces);
}
