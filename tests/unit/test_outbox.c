/* Tests of daemon/outbox.c. */
#include "../../daemon/outbox.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static struct {
    unsigned calls, room; /* messages that the worker's queue takes */
    uint64_t sum, n;
} sent;

static int on_send(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                   unsigned nfds)
{
    const struct in_ended *m = p;

    CU_ASSERT(owner == &sent && worker == 3 && fds == NULL && nfds == 0);
    CU_ASSERT(m->type == IN_ENDED && m->n > 0 &&
              n == offsetof(struct in_ended, cookies) + m->n * sizeof(m->cookies[0]));
    if (sent.room == 0)
        return -EAGAIN;
    sent.room--;
    sent.calls++;
    sent.n += m->n;
    for (uint32_t i = 0; i < m->n; i++)
        sent.sum += m->cookies[i];
    return 0;
}

static void test_batches(void)
{
    struct outbox b = {0};

    memset(&sent, 0, sizeof(sent));
    CU_ASSERT_EQUAL(ob_flush(&b, 3, on_send, &sent), 0);
    for (uint64_t i = 1; i <= 2000; i++)
        CU_ASSERT_EQUAL(ob_add(&b, i), 0);
    CU_ASSERT_EQUAL(ob_flush(&b, 3, on_send, &sent), -EAGAIN);
    CU_ASSERT_EQUAL(b.n, 2000);
    sent.room = 2;
    CU_ASSERT_EQUAL(ob_flush(&b, 3, on_send, &sent), -EAGAIN);
    CU_ASSERT_EQUAL(b.n, 2000 - 2 * IN_ENDED_MAX);
    CU_ASSERT_EQUAL(ob_add(&b, 2001), 0);
    sent.room = 100;
    CU_ASSERT_EQUAL(ob_flush(&b, 3, on_send, &sent), 0);
    CU_ASSERT(sent.n == 2001 && sent.sum == 2001 * 2002 / 2 && sent.calls == 4);
    CU_ASSERT(b.cookies == NULL);
}

void suite_outbox(void)
{
    CU_pSuite s = CU_add_suite("outbox", NULL, NULL);

    CU_add_test(s, "in batches, each once", test_batches);
}
