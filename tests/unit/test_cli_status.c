/* Tests of shim/cli_status.c: the table. */
#include "../../shim/cli_status.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <string.h>

static const char *table(const char *text)
{
    static char out[4096];
    FILE *f = fmemopen(out, sizeof(out), "w");

    if (!f)
        abort();
    print_table(text, f);
    fclose(f);
    return out;
}

static void test_table(void)
{
    CU_ASSERT_STRING_EQUAL(table("a 1\nlong.key.of.daemon two words\nb\n"),
                           "a                   1\n"
                           "long.key.of.daemon  two words\n"
                           "b                   \n");
    CU_ASSERT_STRING_EQUAL(table("a 1\n"), "a             1\n");
    CU_ASSERT_STRING_EQUAL(table("a 1\n12345678901234567890123456789012345678901 2\n"),
                           "a             1\n12345678901234567890123456789012345678901  2\n");
}

static void test_nobody(void)
{
    struct capture c = capture_begin(2);
    char said[4096];

    CU_ASSERT_EQUAL(cl_status("/nonexistent/sock", false), CL_FAILED);
    capture_end(c, said, sizeof(said));
    CU_ASSERT_EQUAL(strncmp(said, "htls: /nonexistent/sock: no htlsd there;", 40), 0);
}

void suite_cli_status(void)
{
    CU_pSuite s = CU_add_suite("cli_status", NULL, NULL);

    CU_add_test(s, "columns", test_table);
    CU_add_test(s, "no daemon", test_nobody);
}
