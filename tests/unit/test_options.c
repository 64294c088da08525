/* Tests of daemon/options.c: the command line, alone and on top of a file. */
#include "../../daemon/options.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>

#define ARGS_MAX 8

static struct options opts;
static char said[8192], printed[8192];
static char conf[] = "/tmp/htls-options-XXXXXX";

static int setup(void)
{
    int fd = mkstemp(conf);

    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int teardown(void)
{
    return unlink(conf);
}

static void write_conf(const char *text)
{
    FILE *f = fopen(conf, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}

/* op_parse() with --config (a machine may have a real one in /etc) and these arguments. */
static int parse(const char *a, const char *b, const char *c)
{
    const char *in[] = {"htlsd", "--config", conf, a, b, c};
    char *argv[ARGS_MAX] = {NULL};
    struct capture err, out;
    int argc = 0, rc;

    while (argc < 6 && in[argc]) {
        argv[argc] = strdup(in[argc]);
        argc++;
    }
    err = capture_begin(2);
    out = capture_begin(1);
    rc = op_parse(&opts, argc, argv);
    capture_end(out, printed, sizeof(printed));
    capture_end(err, said, sizeof(said));
    while (argc > 0)
        free(argv[--argc]);
    return rc;
}

static void test_order(void)
{
    write_conf("[daemon]\nworkers = 3\n[tls]\nallow-insecure = yes\n");
    CU_ASSERT_EQUAL(parse(NULL, NULL, NULL), 0);
    CU_ASSERT_EQUAL(opts.workers, 3);
    CU_ASSERT_EQUAL(opts.handshakes, 1024);
    CU_ASSERT_STRING_EQUAL(opts.config, conf);
    CU_ASSERT_TRUE(opts.config_given);
    CU_ASSERT_EQUAL(parse("--workers", "5", "--allow-insecure=no"), 0);
    CU_ASSERT_EQUAL(opts.workers, 5);
    CU_ASSERT_FALSE(opts.allow_insecure);
    CU_ASSERT_EQUAL(parse("--workers=5", "--workers=6", NULL), 0);
    CU_ASSERT_EQUAL(opts.workers, 6);
    write_conf("");
    CU_ASSERT_EQUAL(parse("--allow-insecure", NULL, NULL), 0);
    CU_ASSERT_TRUE(opts.allow_insecure);
    CU_ASSERT_EQUAL(parse("--config=/nonexistent/a", NULL, NULL), -EINVAL);
    CU_ASSERT_STRING_EQUAL(said, "htlsd: /nonexistent/a: cannot open the configuration: "
                                 "No such file or directory\n");
}

static const struct {
    const char *a, *b, *error;
} bad[] = {
    {"--nonsense", NULL, "htlsd: --nonsense: no such option"},
    {"-x", NULL, "htlsd: -x: no such option"},
    {"--workers", NULL, "htlsd: --workers: needs a value"},
    {"--help=1", NULL, "htlsd: --help=1: takes no value"},
    {"--workers", "no", "htlsd: --workers: \"no\": must be a number"},
    {"--client-ca", "no", "htlsd: no: unexpected argument; a switch takes its value as"},
    {"stray", NULL, "htlsd: stray: unexpected argument"},
    {"--config=", NULL, "htlsd: --config: must be 1 to"},
    {"--path=fast", NULL, "htlsd: --path: \"fast\": must be one of auto|kernel|relay"},
};

static void test_bad(void)
{
    struct options before;

    write_conf("");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(&opts, 0x5a, sizeof(opts));
        before = opts;
        CU_ASSERT_EQUAL(parse(bad[i].a, bad[i].b, NULL), -EINVAL);
        CU_ASSERT_EQUAL(memcmp(&opts, &before, sizeof(opts)), 0);
        CU_ASSERT_EQUAL(strncmp(said, bad[i].error, strlen(bad[i].error)), 0);
        if (strncmp(said, bad[i].error, strlen(bad[i].error)) != 0)
            printf("\n  %s\n  %s", bad[i].error, said);
    }
    write_conf("[daemon]\nworkers = x\n");
    CU_ASSERT_EQUAL(parse(NULL, NULL, NULL), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, ":2: workers = x: must be"));
    /* The command line does not heal a file. */
    CU_ASSERT_EQUAL(parse("--workers=1", NULL, NULL), -EINVAL);
}

static void test_done(void)
{
    write_conf("");
    CU_ASSERT_EQUAL(parse("--version", NULL, NULL), 1);
    CU_ASSERT_STRING_EQUAL(printed, "htlsd " HTLS_VERSION "\n");
    CU_ASSERT_EQUAL(parse("--print-config", "--workers=9", NULL), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(printed, "[daemon]\nsocket = /run/htls/htls.sock\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(printed, "\nworkers = 9\n"));
    CU_ASSERT_EQUAL(parse("--check-config", "--user=root", NULL), -EINVAL);
    CU_ASSERT_STRING_EQUAL(printed, "");
    CU_ASSERT_EQUAL(parse("--check-config", "--user=daemon", NULL), 1);
    CU_ASSERT_STRING_EQUAL(printed, "htlsd: configuration ok\n");
    CU_ASSERT_STRING_EQUAL(said, "");
}

static void test_help(void)
{
    size_t n;
    const struct op_row *rows = op_rows(&n);
    char *rest = printed, *line;

    CU_ASSERT_EQUAL(parse("--help", NULL, NULL), 1);
    for (size_t i = 0; i < n; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(printed, rows[i].name));
        CU_ASSERT_PTR_NOT_NULL(strstr(printed, rows[i].help));
        CU_ASSERT_PTR_NOT_NULL(strstr(printed, rows[i].fallback));
    }
    while ((line = strsep(&rest, "\n")))
        CU_ASSERT(strlen(line) <= 80);
}

static void test_insecure(void)
{
    op_defaults(&opts);
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 0));
    opts.allow_insecure = true;
    CU_ASSERT_TRUE(op_insecure_allowed(&opts, 0));
    CU_ASSERT_TRUE(op_insecure_allowed(&opts, 65534));
    strcpy(opts.insecure_users, "10,1000,65534");
    CU_ASSERT_TRUE(op_insecure_allowed(&opts, 10));
    CU_ASSERT_TRUE(op_insecure_allowed(&opts, 1000));
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 0));
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 1));
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 100));
    /* Strangers of other user namespaces all have this one. */
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 65534));
    opts.insecure_users[0] = '\0';
    CU_ASSERT_FALSE(op_insecure_allowed(&opts, 0));
}

static void test_store_file(void)
{
    op_defaults(&opts);
    CU_ASSERT_PTR_NULL(op_store_file(&opts, (const uint8_t *)"", 0));
    opts.n_stores = 2;
    strcpy(opts.stores[0].name, "corp");
    strcpy(opts.stores[0].file, "/a");
    strcpy(opts.stores[1].name, "corporate");
    strcpy(opts.stores[1].file, "/b");
    CU_ASSERT_STRING_EQUAL(op_store_file(&opts, (const uint8_t *)"corporateX", 9), "/b");
    CU_ASSERT_STRING_EQUAL(op_store_file(&opts, (const uint8_t *)"corp", 4), "/a");
    CU_ASSERT_PTR_NULL(op_store_file(&opts, (const uint8_t *)"cor", 3));
    CU_ASSERT_PTR_NULL(op_store_file(&opts, (const uint8_t *)"corp\0", 5));
}

void suite_options(void)
{
    CU_pSuite s = CU_add_suite("options", setup, teardown);

    CU_add_test(s, "defaults, file, command line", test_order);
    CU_add_test(s, "errors name the option", test_bad);
    CU_add_test(s, "options that end the program", test_done);
    CU_add_test(s, "help names every option in 80 columns", test_help);
    CU_add_test(s, "who may do without verification", test_insecure);
    CU_add_test(s, "trust stores by name", test_store_file);
}
