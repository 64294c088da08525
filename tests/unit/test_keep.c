/* Tests of shim/keep.c: where the slot of a connection comes from, and where it goes. */
#include "../../shim/keep.c"

#include "keyrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct keyrig r;
static struct rr_state s;

static void start(struct facts *f)
{
    struct lk_saved saved;

    lk_take(&saved);
    kp_begin(&s, f, "/nowhere");
    lk_give(&saved);
}

static void test_follows(void)
{
    enum { BOTH = W_CAP_CONTROL | W_CAP_REKEY };
    static const struct {
        uint16_t version;
        uint32_t caps;
        uint8_t tx, rx;
        bool follows_tx, follows_rx, controls;
    } rows[] = {
        {0x0304, BOTH, W_MODE_KERNEL, W_MODE_KERNEL, true, true, true},
        {0x0304, BOTH, W_MODE_NIC, W_MODE_KERNEL, false, true, true},
        {0x0304, BOTH, W_MODE_KERNEL, W_MODE_NIC, true, false, true},
        {0x0304, W_CAP_CONTROL, W_MODE_KERNEL, W_MODE_KERNEL, false, false, true},
        {0x0304, W_CAP_REKEY, W_MODE_KERNEL, W_MODE_KERNEL, false, false, false},
        {0x0303, BOTH, W_MODE_KERNEL, W_MODE_KERNEL, false, false, true},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        start(&(struct facts){.version = rows[i].version,
                              .caps = rows[i].caps,
                              .cookie = 5,
                              .mode_tx = rows[i].tx,
                              .mode_rx = rows[i].rx,
                              .records_max = UINT64_C(1) << 40});
        CU_ASSERT_EQUAL(s.follows_tx, rows[i].follows_tx);
        CU_ASSERT_EQUAL(s.follows_rx, rows[i].follows_rx);
        CU_ASSERT_EQUAL(s.controls, rows[i].controls);
        CU_ASSERT_EQUAL(s.version, rows[i].version);
        CU_ASSERT_STRING_EQUAL(s.daemon, "/nowhere");
        CU_ASSERT_EQUAL(s.slot->records_max, UINT32_MAX);
        CU_ASSERT_EQUAL(atomic_load(&s.slot->cookie), 5);
        CU_ASSERT_TRUE(kp_end(&s));
        kp_free(&s);
        CU_ASSERT_EQUAL(atomic_load(&s.slot->cookie), 0);
    }
}

/* What the program chose before the upgrade is not forgotten by it. */
static void test_choice(void)
{
    rr_init(&s, 0);
    atomic_store(&s.eof_ok, true);
    start(&(struct facts){.version = 0x0304, .cookie = 5});
    CU_ASSERT_TRUE(atomic_load(&s.eof_ok));
    kp_end(&s);
    kp_free(&s);
    atomic_store(&s.eof_ok, false);
}

/* Who is relayed, or whose daemon gives no slots, asks nobody; one that refuses is no harm. */
static void test_no_memory_of_slots(void)
{
    keyrig_start(&r);
    CU_ASSERT_EQUAL(kp_prepare(r.d.path), W_CAP_SLOTS);
    kp_learn(&(struct facts){.version = 0x0304, .cookie = 5}, r.d.path);
    CU_ASSERT_EQUAL(atomic_load(&r.shares), 0);
    kp_learn(&(struct facts){.version = 0x0304, .pool = 99, .cookie = 5}, r.d.path);
    CU_ASSERT_EQUAL(atomic_load(&r.shares), 1);
    keyrig_stop(&r);
    kp_learn(&(struct facts){.version = 0x0304, .pool = 99, .cookie = 5}, "/nowhere/sock");
}

/* Asked for once in a process; again when a connection's slot lies elsewhere. */
static void test_pool(void)
{
    struct rr_state other;
    struct lk_saved saved;

    keyrig_start(&r);
    r.pool = 4711;
    for (int i = 0; i < 2; i++)
        kp_learn(&(struct facts){.version = 0x0304, .pool = 4711, .cookie = 98}, r.d.path);
    CU_ASSERT_EQUAL(kp_prepare(r.d.path), W_CAP_SLOTS);
    CU_ASSERT_EQUAL(atomic_load(&r.shares), 1);
    start(&(struct facts){.version = 0x0304, .pool = 4711, .slot = 7, .cookie = 99});
    lk_take(&saved);
    other.slot = sh_join(4711, 7, 99); /* as another process would find it */
    lk_give(&saved);
    CU_ASSERT_PTR_EQUAL(other.slot, s.slot);
    CU_ASSERT_FALSE(kp_end(&other));
    CU_ASSERT_TRUE(kp_end(&s));
    kp_free(&s);
    r.pool = 4712; /* htlsd has lost the old one */
    start(&(struct facts){.version = 0x0304, .pool = 4712, .slot = 7, .cookie = 99});
    CU_ASSERT_PTR_NOT_NULL(s.slot);
    CU_ASSERT_TRUE(kp_end(&s));
    kp_free(&s);
    CU_ASSERT_EQUAL(kp_prepare(r.d.path), W_CAP_SLOTS);
    CU_ASSERT_EQUAL(atomic_load(&r.shares), 2);
    start(&(struct facts){.version = 0x0304, .pool = 4712, .slot = 7, .cookie = 100});
    lk_take(&saved);
    CU_ASSERT_PTR_EQUAL(sh_join(4712, 7, 100), s.slot);
    lk_give(&saved);
    CU_ASSERT_FALSE(kp_end(&s));
    CU_ASSERT_TRUE(kp_end(&s));
    keyrig_stop(&r);
}

void suite_keep(void)
{
    CU_pSuite suite = CU_add_suite("keep", NULL, NULL);

    CU_add_test(suite, "whose keys can be followed", test_follows);
    CU_add_test(suite, "a choice made before", test_choice);
    CU_add_test(suite, "no memory of slots", test_no_memory_of_slots);
    CU_add_test(suite, "a pool", test_pool);
}
