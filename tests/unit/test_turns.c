/* Tests of daemon/turns.c. */
#include "../../daemon/turns.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_order_and_cap(void)
{
    struct turn a, b, c;
    struct turns t;

    CU_ASSERT_EQUAL_FATAL(tn_open(&t, 2), 0);
    tn_wait(&t, &a, 1);
    tn_wait(&t, &b, 2);
    tn_wait(&t, &c, 1);
    CU_ASSERT(tn_next(&t) == &a && tn_next(&t) == &b && !tn_next(&t));
    tn_done(&t, &b);
    CU_ASSERT(tn_next(&t) == &c && !tn_next(&t) && !t.first && t.end == &t.first);
    tn_wait(&t, &b, 2);
    tn_done(&t, &a);
    CU_ASSERT(tn_next(&t) == &b);
    tn_close(&t);
}

static void test_share(void)
{
    struct turn many[8], other;
    struct turns t;

    CU_ASSERT_EQUAL_FATAL(tn_open(&t, 4), 0);
    for (int i = 0; i < 8; i++)
        tn_wait(&t, &many[i], 1000);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_PTR_EQUAL(tn_next(&t), &many[i]);
    CU_ASSERT_PTR_NULL(tn_next(&t)); /* the fourth place is somebody else's */
    tn_wait(&t, &other, 0);
    CU_ASSERT_PTR_EQUAL(tn_next(&t), &other);
    CU_ASSERT_PTR_NULL(tn_next(&t));
    tn_done(&t, &other);
    tn_done(&t, &many[0]);
    CU_ASSERT_PTR_EQUAL(tn_next(&t), &many[3]);
    CU_ASSERT_PTR_NULL(tn_next(&t));
    tn_close(&t);
}

static void test_leave(void)
{
    struct turn a, b, c;
    struct turns t;

    CU_ASSERT_EQUAL_FATAL(tn_open(&t, 8), 0);
    tn_wait(&t, &a, 1);
    tn_wait(&t, &b, 1);
    tn_wait(&t, &c, 1);
    tn_leave(&t, &c); /* the last */
    tn_leave(&t, &c); /* twice is nothing */
    tn_leave(&t, &a); /* the first */
    tn_wait(&t, &c, 1);
    CU_ASSERT(tn_next(&t) == &b && tn_next(&t) == &c && !tn_next(&t));
    tn_close(&t);
}

void suite_turns(void)
{
    CU_pSuite s = CU_add_suite("turns", NULL, NULL);

    CU_add_test(s, "order and cap", test_order_and_cap);
    CU_add_test(s, "one user's share", test_share);
    CU_add_test(s, "leaving the line", test_leave);
}
