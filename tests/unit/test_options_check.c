/* Tests of daemon/options_check.c: what --check-config finds. */
#include "../../daemon/options_check.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct options opts;
static char said[4096];
static char dir[] = "/tmp/htls-check-XXXXXX";
static char good[64], empty[64];

static int put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    return !f || fputs(text, f) < 0 || fclose(f) != 0;
}

static int setup(void)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(good, sizeof(good), "%s/good.pem", dir);
    snprintf(empty, sizeof(empty), "%s/empty.pem", dir);
    return put_file(good, "text before\n-----BEGIN CERTIFICATE-----\nAA==\n") ||
           put_file(empty, "-----BEGIN PRIVATE KEY-----\n");
}

static int teardown(void)
{
    return unlink(good) || unlink(empty) || rmdir(dir);
}

static int check(void)
{
    struct capture c = capture_begin(2);
    int rc = op_check(&opts);

    capture_end(c, said, sizeof(said));
    return rc;
}

static void start(void)
{
    op_defaults(&opts);
    strcpy(opts.user, "daemon");
}

static void test_good(void)
{
    start();
    CU_ASSERT_EQUAL(check(), 0);
    strcpy(opts.trust_file, good);
    snprintf(opts.key_log, sizeof(opts.key_log), "%s/new", dir);
    opts.n_stores = 1;
    strcpy(opts.stores[0].name, "corp");
    strcpy(opts.stores[0].file, good);
    opts.allow_insecure = true;
    CU_ASSERT_EQUAL(check(), 0);
    CU_ASSERT_STRING_EQUAL(said, "");
    strcpy(opts.key_log, "relative");
    CU_ASSERT_EQUAL(check(), 0);
    strcpy(opts.key_log, "/root-file");
    CU_ASSERT_EQUAL(check(), 0);
}

static void test_files(void)
{
    start();
    strcpy(opts.trust_file, empty);
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "htlsd: trust-file: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "holds no \"BEGIN CERTIFICATE\""));
    strcpy(opts.trust_file, "/nonexistent");
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "/nonexistent: No such file"));
    strcpy(opts.trust_file, dir);
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "is not a regular file"));
    start();
    opts.n_stores = 1;
    strcpy(opts.stores[0].name, "corp");
    strcpy(opts.stores[0].file, empty);
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "htlsd: [trust corp] file: "));
}

static void test_rest(void)
{
    start();
    strcpy(opts.user, "no-such-user-here");
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "htlsd: user: no-such-user-here: no such user"));
    strcpy(opts.user, "root");
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "must not be root"));
    strcpy(opts.key_log, "/nonexistent/folder/log");
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "no such folder: /nonexistent/folder\n"));
    /* Both are said, not only the first. */
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "must not be root"));
    start();
    strcpy(opts.key_log, dir);
    CU_ASSERT_EQUAL(check(), -EINVAL);
    start();
    opts.allow_insecure = true;
    opts.insecure_users[0] = '\0';
    CU_ASSERT_EQUAL(check(), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "insecure-users names nobody"));
}

void suite_options_check(void)
{
    CU_pSuite s = CU_add_suite("options_check", setup, teardown);

    CU_add_test(s, "a good configuration", test_good);
    CU_add_test(s, "certificate files", test_files);
    CU_add_test(s, "users and key log", test_rest);
}
