/* Tests of daemon/census.c: the counts are those of a plain table. */
#include "../../daemon/census.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_counts(void)
{
    struct census c;

    CU_ASSERT_EQUAL_FATAL(ce_open(&c, 3), 0);
    CU_ASSERT(ce_uid(&c, 0) == 0 && ce_worker(&c, 0) == 0 && ce_worker(&c, 99) == 0);
    CU_ASSERT_EQUAL(ce_enter(&c, 0, 1000), 0);
    CU_ASSERT_EQUAL(ce_enter(&c, 0, 1000), 0);
    CU_ASSERT_EQUAL(ce_enter(&c, 2, 1000), 0);
    CU_ASSERT_EQUAL(ce_enter(&c, 2, 0), 0);
    CU_ASSERT(ce_uid(&c, 1000) == 3 && ce_uid(&c, 0) == 1 && ce_uid(&c, 1) == 0);
    CU_ASSERT(ce_worker(&c, 0) == 2 && ce_worker(&c, 1) == 0 && ce_worker(&c, 2) == 2);
    ce_leave(&c, 1, 1000); /* never came there */
    ce_leave(&c, 0, 7);
    CU_ASSERT(ce_uid(&c, 1000) == 3 && ce_worker(&c, 1) == 0);
    ce_leave(&c, 0, 1000);
    ce_leave(&c, 0, 1000);
    ce_leave(&c, 0, 1000); /* more often than it came */
    CU_ASSERT(ce_uid(&c, 1000) == 1 && ce_worker(&c, 0) == 0);
    ce_drop_worker(&c, 2);
    CU_ASSERT(ce_uid(&c, 1000) == 0 && ce_uid(&c, 0) == 0 && ce_worker(&c, 2) == 0);
    CU_ASSERT_EQUAL(c.n, 0);
    ce_free(&c);
}

/* Against a table that cannot be wrong, with more uids than the rows began with. */
static void test_against_table(void)
{
    enum { UIDS = 60, WORKERS = 4 };
    static unsigned table[WORKERS][UIDS];
    struct census c;
    uint32_t seed = 1;

    CU_ASSERT_EQUAL_FATAL(ce_open(&c, WORKERS), 0);
    for (int turn = 0; turn < 20000; turn++) {
        unsigned worker, uid, uids = 0, clients = 0;

        seed = seed * 1103515245 + 12345;
        worker = (seed >> 16) % WORKERS;
        uid = (seed >> 8) % UIDS;
        if (turn % 5000 == 4999) {
            ce_drop_worker(&c, worker);
            memset(table[worker], 0, sizeof(table[worker]));
        } else if ((seed >> 24) % 2) {
            CU_ASSERT_EQUAL(ce_enter(&c, worker, uid), 0);
            table[worker][uid]++;
        } else {
            ce_leave(&c, worker, uid);
            table[worker][uid] -= table[worker][uid] > 0;
        }
        for (unsigned i = 0; i < WORKERS; i++)
            uids += table[i][uid];
        for (unsigned i = 0; i < UIDS; i++)
            clients += table[worker][i];
        CU_ASSERT_EQUAL_FATAL(ce_uid(&c, uid), uids);
        CU_ASSERT_EQUAL_FATAL(ce_worker(&c, worker), clients);
    }
    ce_free(&c);
}

void suite_census(void)
{
    CU_pSuite s = CU_add_suite("census", NULL, NULL);

    CU_add_test(s, "counts", test_counts);
    CU_add_test(s, "against a table", test_against_table);
}
