/* Tests of daemon/options_file.c: good files, bad files, the example file. */
#include "../../daemon/options_file.c"

#include "capture.h"
#include "suites.h"
#include "tree.h"

#include <CUnit/CUnit.h>

static struct options opts;
static char said[4096];

/* Reads `text` as the file "t.conf" on top of the defaults; what was said is in said[]. */
static int read_n(const char *text, size_t n)
{
    FILE *f = fmemopen((void *)(uintptr_t)text, n, "r");
    struct capture c = capture_begin(2);
    int rc;

    if (!f)
        abort();
    op_defaults(&opts);
    rc = op_read(&opts, f, "t.conf");
    capture_end(c, said, sizeof(said));
    fclose(f);
    return rc;
}

static int read_text(const char *text)
{
    return read_n(text, strlen(text));
}

static void test_good(void)
{
    CU_ASSERT_EQUAL(read_text("# comment\n; another\n\n[daemon]\nworkers = 3\n"
                              "  user: alice ; who\r\n\tsocket=/tmp/a=b\n[limits]\nrelays=5\n"
                              "[daemon]\nworkers = 4\n[tls]\nkey-log =\npath = relay"),
                    0);
    CU_ASSERT_STRING_EQUAL(said, "");
    CU_ASSERT_EQUAL(opts.workers, 4);
    CU_ASSERT_STRING_EQUAL(opts.user, "alice");
    CU_ASSERT_STRING_EQUAL(opts.socket, "/tmp/a=b");
    CU_ASSERT_EQUAL(opts.relays, 5);
    CU_ASSERT_STRING_EQUAL(opts.path, "relay");
    CU_ASSERT_EQUAL(read_text("\n"), 0);
    CU_ASSERT_EQUAL(read_text("\xef\xbb\xbf[daemon]\nworkers = 2\n"), 0);
    CU_ASSERT_EQUAL(opts.workers, 2);
}

static void test_stores(void)
{
    CU_ASSERT_EQUAL(read_text("[trust a]\nfile = /a\n[trust b.c-D_9]\nfile=/b\n[trust a]\n"
                              "file = /a2\n"),
                    0);
    CU_ASSERT_EQUAL(opts.n_stores, 2);
    CU_ASSERT_STRING_EQUAL(opts.stores[0].name, "a");
    CU_ASSERT_STRING_EQUAL(opts.stores[0].file, "/a2");
    CU_ASSERT_STRING_EQUAL(opts.stores[1].name, "b.c-D_9");
    CU_ASSERT_STRING_EQUAL(opts.stores[1].file, "/b");
}

/* Each error names file and line and says which word is wrong. */
static const struct {
    const char *text, *error;
} bad[] = {
    {"[daemon]\nworkerz = 1\n", "htlsd: t.conf:2: no such key in [daemon]: workerz\n"},
    {"[daemon]\nrelays = 1\n", "htlsd: t.conf:2: no such key in [daemon]: relays\n"},
    {"[demon]\nworkers = 1\n", "htlsd: t.conf:1: no such section: [demon];"},
    {"[]\n", "htlsd: t.conf:1: no such section: [];"},
    {"\n\nworkers = 1\n", "htlsd: t.conf:3: workers stands before the first [section]\n"},
    {"[daemon]\nworkers = many\n", "htlsd: t.conf:2: workers = many: must be a number from 0"},
    {"[daemon]\n\n# x\nworkers\n", "htlsd: t.conf:4: neither [section] nor key = value"},
    {"[daemon\n", "htlsd: t.conf:1: neither [section] nor"},
    {"[trust]\nfile = /a\n", "htlsd: t.conf:1: no such section: [trust];"},
    {"[trust a b]\nfile = /a\n", "htlsd: t.conf:1: the name of a trust store must be"},
    {"[trust ]\nfile = /a\n", "htlsd: t.conf:1: the name of a trust store must be"},
    {"[trust a]\nfiles = /a\n", "htlsd: t.conf:2: no such key in [trust a]: files; there is file"},
    {"[trust a]\nfile =\n", "htlsd: t.conf:2: file: must be 1 to 4095 bytes"},
    {"[trust a]\n", "htlsd: t.conf: [trust a] has no file = PATH\n"},
    {"[daemon]\nuser = a\tb\n", "htlsd: t.conf:2: user = a\tb: must not hold control"},
    {"[tls]\ninsecure-users = no-such\n", "t.conf:2: insecure-users = no-such: no such user"},
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_EQUAL(read_text(bad[i].text), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, bad[i].error));
        if (!strstr(said, bad[i].error))
            printf("\n  %s  %s", bad[i].error, said);
        /* One mistake, one line. */
        CU_ASSERT_EQUAL(strchr(said, '\n') - said + 1, (long)strlen(said));
    }
    /* Several mistakes are said together, those of a refused section count once. */
    CU_ASSERT_EQUAL(read_text("[x]\na = 1\nb = 2\n[daemon]\nworkers = x\nuser =\n"), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:1: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:5: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:6: "));
    CU_ASSERT_PTR_NULL(strstr(said, "t.conf:2: "));
}

static void test_limits(void)
{
    char text[8192] = "[daemon]\nsocket = /";
    size_t n = strlen(text);
    FILE *f;

    /* inih would keep the first 43 bytes and say nothing. */
    CU_ASSERT_EQUAL(read_text("[trust 1234567890123456789012345678901234567890123]\nfile=/a\n"), 0);
    CU_ASSERT_EQUAL(strlen(opts.stores[0].name), 43);
    CU_ASSERT_EQUAL(read_text("[trust 12345678901234567890123456789012345678901234]\nfile=/a\n"),
                    -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:1: "));

    memset(text + n, 'a', 300);
    text[n + 300] = '\0';
    CU_ASSERT_EQUAL(read_text(text), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:2: this line is too long"));
    CU_ASSERT_EQUAL(read_n("[daemon]\nworkers = 1\0 2\n", 24), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:2: a NUL byte"));

    n = 0;
    for (unsigned i = 0; i < OP_STORES_MAX; i++)
        n += (size_t)sprintf(text + n, "[trust s%u]\nfile = /a\n", i);
    CU_ASSERT_EQUAL(read_text(text), 0);
    CU_ASSERT_EQUAL(opts.n_stores, 32);
    sprintf(text + n, "[trust more]\nfile = /a\n");
    CU_ASSERT_EQUAL(read_text(text), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "t.conf:65: too many trust stores"));

    f = fopen("/", "r");
    if (f) {
        struct capture c = capture_begin(2);

        CU_ASSERT_EQUAL(op_read(&opts, f, "/"), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(
            strstr(capture_end(c, said, sizeof(said)), "htlsd: /: cannot be read"));
        fclose(f);
    }
}

static char *written(const struct options *o)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    if (!f)
        abort();
    op_write(o, f);
    fclose(f);
    return text;
}

static void test_round_trip(void)
{
    static const char *const values[] = {
        "/tmp/a b;c", "0640",         "bin",    "7",      "debug", "2500ms", "9",  "10",
        "0",          "77",           "88",     "1500ms", "3",     "/ca",    "no", "yes",
        "0,33",       "/var/key log", "kernel", "0",      "90s",   "7"};
    size_t n;
    const struct op_row *rows = op_rows(&n);
    struct options before;
    char why[OP_WHY_MAX];
    char *text;

    CU_ASSERT_EQUAL_FATAL(n, sizeof(values) / sizeof(values[0]));
    op_defaults(&opts);
    for (size_t i = 0; i < n; i++)
        CU_ASSERT_EQUAL(op_set(&opts, &rows[i], values[i], why), 0);
    opts.n_stores = 2;
    strcpy(opts.stores[0].name, "one");
    strcpy(opts.stores[0].file, "/x/one.pem");
    strcpy(opts.stores[1].name, "two");
    strcpy(opts.stores[1].file, "/x/two.pem");
    before = opts;
    text = written(&opts);
    CU_ASSERT_EQUAL(read_text(text), 0);
    CU_ASSERT_EQUAL(memcmp(&opts, &before, sizeof(opts)), 0);
    free(text);
}

/* htls.conf with its "#key = value" lines taken out of their comments is what --print-config
 * prints, apart from comments. */
static void test_example(void)
{
    char *file = tree_slurp("daemon/htls.conf"), *want, *got = calloc(1, strlen(file) + 1);
    char *rest = file, *line;

    op_defaults(&opts);
    want = written(&opts);
    while ((line = strsep(&rest, "\n"))) {
        if (line[0] == '#' && line[1] > ' ')
            line++;
        if (line[0] == '#' || !line[0])
            continue;
        if (line[0] == '[' && *got)
            strcat(got, "\n");
        strcat(strcat(got, line), "\n");
    }
    CU_ASSERT_STRING_EQUAL(got, want);
    free(file);
    free(want);
    free(got);
}

void suite_options_file(void)
{
    CU_pSuite s = CU_add_suite("options_file", NULL, NULL);

    CU_add_test(s, "good files", test_good);
    CU_add_test(s, "trust stores", test_stores);
    CU_add_test(s, "errors name file and line", test_bad);
    CU_add_test(s, "what inih would cut off", test_limits);
    CU_add_test(s, "what is written is read back", test_round_trip);
    CU_add_test(s, "htls.conf shows the defaults", test_example);
}
