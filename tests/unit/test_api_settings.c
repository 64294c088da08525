/* Tests of shim/api_settings.c: what an object is told before its handshake. */
#include "../../shim/api_settings.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_settings(void)
{
    static const uint16_t suites[33];
    struct htls *h = htls_new();
    char path[108];

    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    memset(path, 'x', sizeof(path) - 1);
    path[107] = '\0';
    CU_ASSERT_EQUAL(htls_set_daemon(h, path), 0);
    CU_ASSERT_EQUAL(
        htls_set_daemon(h, "0123456789012345678901234567890123456789012345678901234567890123"
                           "01234567890123456789012345678901234567890123456789"),
        -ENAMETOOLONG);
    CU_ASSERT_EQUAL(htls_set_alpn(h, "h2,http/1.1"), 0);
    CU_ASSERT_EQUAL(htls_set_alpn(h, "h2,,"), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_alpn(h, NULL), 0);
    CU_ASSERT_EQUAL(htls_set_versions(h, 0x0303, 0x0304), 0);
    CU_ASSERT_EQUAL(htls_set_versions(h, 0x0304, 0x0303), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_versions(h, 0x0302, 0x0303), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_versions(h, 0x0304, 0x0305), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_suites(h, suites, 32), 0);
    CU_ASSERT_EQUAL(htls_set_suites(h, suites, 33), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_suites(h, NULL, 0), 0);
    CU_ASSERT_EQUAL(htls_set_ca(h, "", W_TRUST_MAX + 1), -EFBIG);
    CU_ASSERT_EQUAL(htls_set_ca(h, NULL, 0), 0);
    CU_ASSERT_EQUAL(htls_set_path(h, HTLS_PATH_RELAY), 0);
    CU_ASSERT_EQUAL(htls_set_path(h, 3), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_path(h, -1), -EINVAL);
    CU_ASSERT_EQUAL(htls_set_verify(h, 0), 0);
    CU_ASSERT_EQUAL(htls_set_truncation_ok(h, 2), 0);
    CU_ASSERT_TRUE(atomic_load(&h->rr.eof_ok));
    CU_ASSERT_EQUAL(htls_set_truncation_ok(h, 0), 0);
    CU_ASSERT_FALSE(atomic_load(&h->rr.eof_ok));
    htls_free(h);
}

void suite_api_settings(void)
{
    CU_pSuite suite = CU_add_suite("api_settings", NULL, NULL);

    CU_add_test(suite, "settings", test_settings);
}
