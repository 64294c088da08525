/* Tests of daemon/cookiemap.c, against a plain array. */
#include "../../daemon/cookiemap.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_few(void)
{
    struct cookiemap m = {0};
    uint64_t cookie, value;
    size_t at = 0;

    CU_ASSERT(cm_get(&m, 1) == NULL);
    cm_drop(&m, 1);
    CU_ASSERT_EQUAL(cm_set(&m, 0, 5), -EINVAL);
    CU_ASSERT_EQUAL(cm_next(&m, &at, &cookie, &value), 0);
    CU_ASSERT_EQUAL(cm_set(&m, 1, 5), 0);
    CU_ASSERT_EQUAL(cm_set(&m, 1, 6), 0);
    CU_ASSERT_EQUAL(m.n, 1);
    CU_ASSERT(cm_get(&m, 1) && *cm_get(&m, 1) == 6);
    CU_ASSERT(cm_get(&m, 0) == NULL && cm_get(&m, 2) == NULL);
    at = 0;
    CU_ASSERT_EQUAL(cm_next(&m, &at, &cookie, &value), 1);
    CU_ASSERT(cookie == 1 && value == 6);
    CU_ASSERT_EQUAL(cm_next(&m, &at, &cookie, &value), 0);
    cm_drop(&m, 1);
    CU_ASSERT(cm_get(&m, 1) == NULL && m.n == 0);
    cm_free(&m);
}

#define COOKIES 4096u

/* Sets and drops at random; after each round every cookie is where the array says. */
static void test_model(void)
{
    static uint64_t model[COOKIES];
    struct cookiemap m = {0};
    uint64_t x = 88172645463325252U;
    size_t n = 0, most = 0;

    for (unsigned round = 0; round < 60000; round++) {
        unsigned k;

        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        k = 1 + (unsigned)(x >> 32) % (COOKIES - 1);
        if ((x & 7) < (round / 20000 == 1 ? 2 : 5)) {
            CU_ASSERT_EQUAL(cm_set(&m, k, x), 0);
            n += model[k] == 0;
            model[k] = x;
        } else {
            cm_drop(&m, k);
            n -= model[k] != 0;
            model[k] = 0;
        }
        most = m.cap > most ? m.cap : most;
        CU_ASSERT_EQUAL_FATAL(m.n, n);
    }
    for (unsigned k = 1; k < COOKIES; k++)
        CU_ASSERT(model[k] ? cm_get(&m, k) && *cm_get(&m, k) == model[k] : !cm_get(&m, k));
    for (unsigned k = 1; k < COOKIES; k++)
        cm_drop(&m, k);
    CU_ASSERT(m.n == 0 && m.cap < most); /* the memory goes back */
    cm_free(&m);
}

void suite_cookiemap(void)
{
    CU_pSuite s = CU_add_suite("cookiemap", NULL, NULL);

    CU_add_test(s, "few", test_few);
    CU_add_test(s, "as an array would have it", test_model);
}
