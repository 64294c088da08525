/* Tests of daemon/updates.c: storms end, honest use never meets the cap. */
#include "../../daemon/updates.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>

/* How many more may come at that moment. Takes them. */
static unsigned left(struct ud_bucket *b, unsigned most, uint64_t now)
{
    unsigned n = 0;

    while (ud_take(b, most, now) == 0)
        n++;
    return n;
}

static void test_burst(void)
{
    static const unsigned sizes[] = {1, 2, 64, 65536};

    for (int i = 0; i < 4; i++) {
        struct ud_bucket b;

        ud_open(&b, sizes[i], 1000000);
        CU_ASSERT_EQUAL(left(&b, sizes[i], 1000000), sizes[i]);
        CU_ASSERT_EQUAL(ud_take(&b, sizes[i], 1000000), -EDQUOT);
    }
    CU_ASSERT(sizeof(struct ud_bucket) <= 24);
}

static void test_time(void)
{
    struct ud_bucket b;

    ud_open(&b, 3, 500);
    CU_ASSERT_EQUAL(left(&b, 3, 500), 3);
    CU_ASSERT_EQUAL(left(&b, 3, 1499), 0);
    CU_ASSERT_EQUAL(left(&b, 3, 1500), 1); /* what was looked at on the way is not lost */
    CU_ASSERT_EQUAL(left(&b, 3, 3500), 2);
    CU_ASSERT_EQUAL(left(&b, 3, UINT64_MAX), 3); /* never over the brim */
    CU_ASSERT_EQUAL(left(&b, 3, 0), 0);          /* a clock that goes back gives nothing ... */
    CU_ASSERT_EQUAL(left(&b, 3, UINT64_MAX), 0); /* ... twice */
}

static void test_bytes(void)
{
    struct ud_bucket b;

    ud_open(&b, 3, 0);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 3);
    for (unsigned i = 0; i < UD_BYTES - 1; i++)
        ud_moved(&b, 3, 1);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 0);
    ud_moved(&b, 3, 1);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 1);
    ud_moved(&b, 3, 2 * UD_BYTES + 5);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 2);
    ud_moved(&b, 3, UINT64_MAX);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 3);
    ud_moved(&b, 3, 0);
    CU_ASSERT_EQUAL(left(&b, 3, 0), 0);
}

/* 1 GiB, a KeyUpdate of each side for every 64 KiB, with no time passing at all: the bucket of
 * either side is full again before each. */
static void test_bulk(void)
{
    struct ud_bucket b;
    bool full = true;

    ud_open(&b, 64, 0);
    for (uint64_t sent = 0; sent < 1ull << 30; sent += 65536) {
        full &= b.level == 64 * ONE;
        CU_ASSERT_EQUAL_FATAL(ud_take(&b, 64, 0), 0);
        ud_moved(&b, 64, 65536);
    }
    CU_ASSERT(full);
}

/* A byte and a KeyUpdate, back and forth as a person types: ten a second for a few seconds, one a
 * second for a day. */
static void test_typing(void)
{
    struct ud_bucket b;
    uint64_t now = 0;

    ud_open(&b, 64, now);
    for (int i = 0; i < 60; i++, now += 100) {
        ud_moved(&b, 64, 2);
        CU_ASSERT_EQUAL_FATAL(ud_take(&b, 64, now), 0);
    }
    for (int i = 0; i < 86400; i++, now += 1000) {
        ud_moved(&b, 64, 2);
        CU_ASSERT_EQUAL_FATAL(ud_take(&b, 64, now), 0);
    }
}

/* A storm ends at once, and a slow one too: a hundred a second, with the bytes of an empty hand. */
static void test_storm(void)
{
    struct ud_bucket b;
    uint64_t n = 0;

    ud_open(&b, 64, 0);
    while (ud_take(&b, 64, n * 10) == 0)
        n++;
    CU_ASSERT(n >= 64 && n <= 65);
}

void suite_updates(void)
{
    CU_pSuite s = CU_add_suite("updates", NULL, NULL);

    CU_add_test(s, "burst", test_burst);
    CU_add_test(s, "time", test_time);
    CU_add_test(s, "bytes", test_bytes);
    CU_add_test(s, "bulk", test_bulk);
    CU_add_test(s, "typing", test_typing);
    CU_add_test(s, "storm", test_storm);
}
