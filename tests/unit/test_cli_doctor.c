/* Tests of shim/cli_doctor.c: what it makes of reports. */
#include "../../shim/cli_doctor.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct cl_report report;
static char out[8192];

/* A report with every cell "yes", but `wrong` with the value `value`. */
static void fill(const char *ulp, const char *wrong, const char *value)
{
    size_t n = 0;

    memset(&report, 0, sizeof(report));
    strcpy(report.agent, "htlsd 0.1.0");
    report.pid = 77;
    report.uid = 4000000000u;
    n += (size_t)sprintf(report.text + n, "peers 3\nktls.ulp %s\n", ulp);
    for (size_t i = 0; i < CIPHERS; i++) {
        for (size_t k = 0; k < COLUMNS; k++) {
            char key[64];

            snprintf(key, sizeof(key), "ktls.tls1%s.%s.%s", k < 2 ? "2" : "3", ciphers[i],
                     k % 2 ? "rx" : "tx");
            n += (size_t)sprintf(report.text + n, "%s %s\n", key,
                                 wrong && strstr(key, wrong) ? value : "yes");
        }
    }
    sprintf(report.text + n, "ktls.rekey no (EBUSY: kernel before 6.14)\n");
}

static int explained(void)
{
    FILE *f = fmemopen(out, sizeof(out), "w");
    int code;

    if (!f)
        abort();
    code = cl_explain(&report, f);
    fclose(f);
    return code;
}

static bool says(const char *text)
{
    return strstr(out, text) != NULL;
}

static void test_full(void)
{
    fill("yes", NULL, NULL);
    CU_ASSERT_EQUAL(explained(), CL_OK);
    CU_ASSERT(says("daemon:   htlsd 0.1.0 answers, process 77 of user 4000000000\n"));
    CU_ASSERT(says("can be attached"));
    CU_ASSERT(says("cannot change the keys of a TLS 1.3 connection: no (EBUSY: kernel before"));
    CU_ASSERT(says("\n  chacha20-poly1305   yes     yes         yes     yes\n"));
    CU_ASSERT(says("works fully"));
    CU_ASSERT(!says("modprobe"));
    report.pid = 1;
    CU_ASSERT_EQUAL(explained(), CL_OK);
    CU_ASSERT(says("socket by the service manager"));
}

static void test_partly(void)
{
    fill("yes", "tls13.chacha20-poly1305", "no (ENOENT: module missing)");
    CU_ASSERT_EQUAL(explained(), CL_PARTLY);
    CU_ASSERT(says("\n  chacha20-poly1305   yes     yes         no      no\n"));
    CU_ASSERT(says("\n  aes-128-gcm         yes     yes         yes     yes\n"));
    /* One reason for both directions. */
    CU_ASSERT(says("  ktls.tls13.chacha20-poly1305.tx: no (ENOENT: module missing)\n"));
    CU_ASSERT(!says("  ktls.tls13.chacha20-poly1305.rx:"));
    CU_ASSERT(says("works in part"));
    CU_ASSERT(says("modprobe -a tls "));
}

static void test_none(void)
{
    fill("no (ENOENT: module missing; modprobe tls)", "ktls", "no (ENOENT: no tls ULP)");
    CU_ASSERT_EQUAL(explained(), CL_PARTLY);
    CU_ASSERT(says("cannot be attached to sockets: no (ENOENT: module missing; modprobe tls)\n"));
    CU_ASSERT(says("There is no TLS in the kernel here"));
    CU_ASSERT(!says("rekey:") && !says("  ktls.tls12"));
    CU_ASSERT(says("modprobe -a tls "));
    /* A daemon that says nothing has shown nothing. */
    report.text[0] = '\0';
    CU_ASSERT_EQUAL(explained(), CL_PARTLY);
    CU_ASSERT(says("unknown"));
}

static void test_nobody(void)
{
    struct capture c = capture_begin(1);

    CU_ASSERT_EQUAL(cl_doctor("/nonexistent/sock", false), CL_FAILED);
    capture_end(c, out, sizeof(out));
    CU_ASSERT(says("daemon:   /nonexistent/sock: no htlsd there; start it"));
    CU_ASSERT(says("io_uring: "));
}

void suite_cli_doctor(void)
{
    CU_pSuite s = CU_add_suite("cli_doctor", NULL, NULL);

    CU_add_test(s, "everything works", test_full);
    CU_add_test(s, "something lacks", test_partly);
    CU_add_test(s, "nothing works", test_none);
    CU_add_test(s, "no daemon", test_nobody);
}
