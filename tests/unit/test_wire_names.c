/* Tests of the names of errors and modes, and of messages. */
#include "../../proto/wire_names.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static void test_names(void)
{
    CU_ASSERT_STRING_EQUAL(w_type_name(W_CONNECT), "CONNECT");
    CU_ASSERT_STRING_EQUAL(w_type_name(W_REPORT), "REPORT");
    CU_ASSERT_STRING_EQUAL(w_code_name(W_CODE_OK), "ok");
    CU_ASSERT_STRING_EQUAL(w_code_name(W_CODE_UNSUPPORTED), "unsupported");
    CU_ASSERT_STRING_EQUAL(w_code_text(W_CODE_TIMEOUT), "the handshake took too long");
    CU_ASSERT_STRING_EQUAL(w_mode_name(W_MODE_RELAY), "relay");
    CU_ASSERT_STRING_EQUAL(w_mode_name(W_MODE_NIC), "nic");
    for (unsigned i = 0; i < W_CODE_END; i++)
        CU_ASSERT(w_code_name(i) && w_code_name(i)[0] && w_code_text(i) && w_code_text(i)[0]);
    for (unsigned i = W_CODE_END; i < 1000; i += 333) {
        CU_ASSERT_STRING_EQUAL(w_type_name(i), "unknown");
        CU_ASSERT_STRING_EQUAL(w_code_name(i), "unknown");
        CU_ASSERT_STRING_EQUAL(w_mode_name(i), "unknown");
        CU_ASSERT(w_code_text(i) != NULL);
    }
    CU_ASSERT_STRING_EQUAL(w_type_name(0), "unknown");
    CU_ASSERT_STRING_EQUAL(w_mode_name(0), "unknown");
}

void suite_wire_names(void)
{
    CU_pSuite s = CU_add_suite("wire_names", NULL, NULL);

    CU_add_test(s, "names", test_names);
}
