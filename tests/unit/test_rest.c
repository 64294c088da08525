/* Tests of daemon/rest.c: order kept, nothing lost, nothing kept longer than needed. */
#include "../../daemon/rest.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <unistd.h>

static void pair(int fds[2])
{
    int small = 4608;

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void unpair(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void test_straight_through(void)
{
    struct rest q = {0};
    uint8_t got[8];
    int fds[2];

    pair(fds);
    CU_ASSERT_EQUAL(rs_pass(&q, fds[0], (const uint8_t *)"abc", 3), 1);
    CU_ASSERT(q.p == NULL && q.n == 0);
    CU_ASSERT_EQUAL(rs_pass(&q, fds[0], NULL, 0), 1);
    CU_ASSERT_EQUAL(rs_flush(&q, fds[0]), 1);
    CU_ASSERT(recv(fds[1], got, sizeof(got), MSG_DONTWAIT) == 3 && memcmp(got, "abc", 3) == 0);
    unpair(fds);
}

/* A stream of counted bytes in pieces of odd sizes through a socket that is full most of the time.
 */
static void test_order(void)
{
    static uint8_t piece[7000], got[3000];
    struct rest q = {0};
    uint32_t in = 0, out = 0, waited = 0;
    int fds[2], r;

    pair(fds);
    for (int turn = 0; turn < 400; turn++) {
        size_t n = (size_t)(turn * 37 % 7000);
        ssize_t k;

        if (turn < 200) {
            for (size_t i = 0; i < n; i++)
                piece[i] = (uint8_t)(in++ * 31 >> 3);
            r = rs_pass(&q, fds[0], piece, n);
        } else {
            r = rs_flush(&q, fds[0]);
        }
        CU_ASSERT_EQUAL(r, q.n == 0);
        CU_ASSERT_EQUAL(q.p == NULL, q.n == 0);
        waited += r == 0;
        while ((k = recv(fds[1], got, sizeof(got), MSG_DONTWAIT)) > 0) {
            for (ssize_t i = 0; i < k; i++, out++)
                CU_ASSERT_EQUAL_FATAL(got[i], (uint8_t)(out * 31 >> 3));
            if (turn % 3)
                break;
        }
    }
    CU_ASSERT(q.n == 0 && out == in && waited > 20);
    unpair(fds);
}

static void test_errors(void)
{
    struct rest q = {0};
    int fds[2];

    pair(fds);
    CU_ASSERT_EQUAL(rs_add(&q, (const uint8_t *)"xyz", 3), 0);
    CU_ASSERT_EQUAL(rs_add(&q, NULL, 0), 0);
    close(fds[1]);
    CU_ASSERT_EQUAL(rs_flush(&q, fds[0]), -EPIPE);
    CU_ASSERT_EQUAL(q.n, 3);
    CU_ASSERT_EQUAL(rs_pass(&q, fds[0], (const uint8_t *)"abc", 3), 0); /* behind what waits */
    CU_ASSERT(q.n == 6 && memcmp(q.p + q.at, "xyzabc", 6) == 0);
    rs_free(&q);
    CU_ASSERT(q.p == NULL && q.n == 0 && q.at == 0);
    CU_ASSERT_EQUAL(rs_pass(&q, fds[0], (const uint8_t *)"abc", 3), -EPIPE);
    CU_ASSERT(q.p == NULL);
    rs_free(&q);
    close(fds[0]);
}

void suite_rest(void)
{
    CU_pSuite s = CU_add_suite("rest", NULL, NULL);

    CU_add_test(s, "straight through", test_straight_through);
    CU_add_test(s, "order", test_order);
    CU_add_test(s, "errors", test_errors);
}
