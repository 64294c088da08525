/* Tests of shim/env.c: the environment, files of certificates. */
#include "../../shim/env.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdio.h>

static char path[] = "/tmp/htls-unit-env-XXXXXX";

static void put(size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    CU_ASSERT_EQUAL(ftruncate(fd, (off_t)n), 0);
    close(fd);
}

static void test_load(void)
{
    char *pem = NULL;
    size_t n = 77;
    int fd = mkstemp(path);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), -ENODATA);
    CU_ASSERT_EQUAL(write(fd, "some text", 9), 9);
    close(fd);
    CU_ASSERT_PTR_NULL(pem);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), 0);
    CU_ASSERT_EQUAL(n, 9);
    CU_ASSERT_EQUAL(memcmp(pem, "some text", 9), 0);
    free(pem);
    pem = NULL;
    put(W_TRUST_MAX);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), 0);
    CU_ASSERT_EQUAL(n, W_TRUST_MAX);
    free(pem);
    pem = NULL;
    put(W_TRUST_MAX + 1);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), -EFBIG);
    CU_ASSERT_PTR_NULL(pem);
    unlink(path);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), -ENOENT);
}

/* What could keep a program waiting, or is no text. */
static void test_no_file(void)
{
    char *pem = NULL;
    size_t n;

    CU_ASSERT_EQUAL(en_load("/dev/zero", &pem, &n), -EINVAL);
    CU_ASSERT_EQUAL(en_load("/tmp", &pem, &n), -EINVAL);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
    CU_ASSERT_EQUAL(en_load(path, &pem, &n), -EINVAL);
    unlink(path);
    CU_ASSERT_PTR_NULL(pem);
}

static void test_copy(void)
{
    char out[PATH_MAX], *longer = malloc(PATH_MAX + 10);

    CU_ASSERT_PTR_NOT_NULL_FATAL(longer);
    memset(longer, 'x', PATH_MAX + 9);
    longer[PATH_MAX + 9] = '\0';
    unsetenv("HTLS_UNIT");
    copy(out, "HTLS_UNIT", "otherwise");
    CU_ASSERT_STRING_EQUAL(out, "otherwise");
    setenv("HTLS_UNIT", "", 1);
    copy(out, "HTLS_UNIT", "otherwise");
    CU_ASSERT_STRING_EQUAL(out, "otherwise");
    setenv("HTLS_UNIT", "this", 1);
    copy(out, "HTLS_UNIT", "otherwise");
    CU_ASSERT_STRING_EQUAL(out, "this");
    setenv("HTLS_UNIT", longer, 1);
    copy(out, "HTLS_UNIT", "otherwise");
    CU_ASSERT_EQUAL(strlen(out), PATH_MAX - 1);
    unsetenv("HTLS_UNIT");
    free(longer);
    CU_ASSERT_FALSE(en_secure());
    CU_ASSERT_PTR_NOT_NULL(en_socket());
}

void suite_env(void)
{
    CU_pSuite suite = CU_add_suite("env", NULL, NULL);

    CU_add_test(suite, "files of certificates", test_load);
    CU_add_test(suite, "what is no file", test_no_file);
    CU_add_test(suite, "variables", test_copy);
}
