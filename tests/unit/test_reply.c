/* Tests of daemon/reply.c: what it writes, the decoder reads. */
#include "../../daemon/reply.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static uint8_t out[W_MESSAGE_MAX];

static struct w_msg read_back(int n, unsigned nfds)
{
    struct w_msg m = {0};

    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, out, (size_t)n, nfds, W_TO_CLIENT), 0);
    return m;
}

static const struct ry_result least = {
    .version = 0x0304, .cipher = 0x1301, .tx = W_MODE_KERNEL, .rx = W_MODE_KERNEL, .cookie = 5};

static void test_least(void)
{
    struct w_msg m = read_back(ry_result(out, sizeof(out), 7, &least, 0), 0);

    CU_ASSERT(m.type == W_RESULT && m.id == 7 && w_num(&m, W_A_COOKIE, 0) == 5);
    CU_ASSERT(!w_has(&m, W_A_SLOT) && !w_has(&m, W_A_POOL) && !w_has(&m, W_A_KEY));
    CU_ASSERT(!w_has(&m, W_A_GENERATION) && !w_has(&m, W_A_OWED) && !w_has(&m, W_A_ALPN_SELECTED));
    CU_ASSERT(!w_has(&m, W_A_RECORDS_MAX) && !w_has(&m, W_A_WHY) && !w_has(&m, W_A_GROUP));
    (void)read_back(ry_result(out, sizeof(out), 7, &least, 1), 1);
}

static void test_all(void)
{
    struct ry_result r = least;
    struct w_msg m;

    r.alpn = (const uint8_t *)"h2";
    r.alpn_len = 2;
    r.why = "two\nlines";
    r.group = "x25519";
    r.resumed = true;
    r.pool = 9;
    r.slot = 0;
    r.key = (const uint8_t *)"keykeykey";
    r.key_len = 9;
    r.has_generation = true;
    r.owed = true;
    r.records_max = 100;
    m = read_back(ry_result(out, sizeof(out), 7, &r, 0), 0);
    CU_ASSERT(m.v[W_A_ALPN_SELECTED].n == 2 && m.v[W_A_KEY].n == 9);
    CU_ASSERT(m.v[W_A_WHY].n == 9 && memcmp(m.v[W_A_WHY].p, "two?lines", 9) == 0);
    CU_ASSERT(w_num(&m, W_A_POOL, 0) == 9 && w_num(&m, W_A_SLOT, 1) == 0);
    CU_ASSERT(w_num(&m, W_A_GENERATION, 1) == 0 && w_num(&m, W_A_OWED, 0) == 1);
    CU_ASSERT(w_num(&m, W_A_RECORDS_MAX, 0) == 100 && w_num(&m, W_A_RESUMED, 0) == 1);
}

static void test_error(void)
{
    struct failure f = {.code = W_CODE_RESET, .alert = -1};
    struct w_msg m = read_back(ry_error(out, sizeof(out), 8, &f), 0);

    CU_ASSERT(m.type == W_ERROR && w_num(&m, W_A_ERRNO, 0) == EIO && !w_has(&m, W_A_ALERT));
    CU_ASSERT(m.v[W_A_TEXT].n == strlen(w_code_text(W_CODE_RESET)));
    f = (struct failure){.code = W_CODE_RESET, .err = 5, .alert = 0, .alert_sent = true};
    f.verify = 10;
    memset(f.text, '\x01', sizeof(f.text) - 1);
    m = read_back(ry_error(out, sizeof(out), 8, &f), 0);
    CU_ASSERT(w_num(&m, W_A_ALERT, 1) == 0 && w_num(&m, W_A_ALERT_SENT, 0) == 1);
    CU_ASSERT(w_num(&m, W_A_VERIFY_CODE, 0) == 10 && m.v[W_A_TEXT].p[0] == '?');
    CU_ASSERT(ry_error(out, 20, 8, &f) < 0);
}

void suite_reply(void)
{
    CU_pSuite s = CU_add_suite("reply", NULL, NULL);

    CU_add_test(s, "the shortest result", test_least);
    CU_add_test(s, "the fullest result", test_all);
    CU_add_test(s, "error", test_error);
}
