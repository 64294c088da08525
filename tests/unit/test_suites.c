/* Tests of shim/suites.c: names of suites and versions. */
#include "../../shim/suites.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <string.h>

static void test_names(void)
{
    CU_ASSERT_STRING_EQUAL(su_name(0), "");
    CU_ASSERT_STRING_EQUAL(su_name(0x1301), "TLS_AES_128_GCM_SHA256");
    CU_ASSERT_STRING_EQUAL(su_name(0xcca9), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    CU_ASSERT_STRING_EQUAL(su_name(0x0005), "unknown");
    CU_ASSERT_STRING_EQUAL(su_name(0xffff), "unknown");
    CU_ASSERT_STRING_EQUAL(su_version(0x0303), "TLSv1.2");
    CU_ASSERT_STRING_EQUAL(su_version(0x0304), "TLSv1.3");
    CU_ASSERT_STRING_EQUAL(su_version(0), "");
    CU_ASSERT_STRING_EQUAL(su_version(0x0302), "");
}

static void test_table(void)
{
    size_t n = sizeof(suites) / sizeof(suites[0]);

    for (size_t i = 0; i < n; i++) {
        bool tls13 = suites[i].number >> 8 == 0x13;

        CU_ASSERT_EQUAL(strncmp(suites[i].name, tls13 ? "TLS_" : "TLS_ECDHE_", tls13 ? 4 : 10), 0);
        for (size_t k = 0; k < i; k++) {
            CU_ASSERT_NOT_EQUAL(suites[k].number, suites[i].number);
            CU_ASSERT_STRING_NOT_EQUAL(suites[k].name, suites[i].name);
        }
    }
}

void suite_suites(void)
{
    CU_pSuite suite = CU_add_suite("suites", NULL, NULL);

    CU_add_test(suite, "names", test_names);
    CU_add_test(suite, "the table", test_table);
}
