/* Tests of daemon/options_table.c: each kind of option with good, bad and boundary values. */
#include "../../daemon/options_table.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static struct options opts;

static const struct op_row *row_of(const char *name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    }
    abort();
}

static void test_rows(void)
{
    CU_ASSERT(ROWS < 50);
    for (size_t i = 0; i < ROWS; i++) {
        char why[OP_WHY_MAX] = "", text[PATH_MAX];

        CU_ASSERT_EQUAL(op_set(&opts, &rows[i], rows[i].fallback, why), 0);
        CU_ASSERT_STRING_EQUAL(why, "");
        op_get(&opts, &rows[i], text, sizeof(text));
        CU_ASSERT_STRING_EQUAL(text, rows[i].fallback);
        /* inih cuts names off at 49 bytes; a wider field than max says would go unused. */
        CU_ASSERT(strlen(rows[i].name) < 50 && strlen(rows[i].section) < 50);
        if (rows[i].kind == OP_TEXT || rows[i].kind == OP_USERS)
            CU_ASSERT_EQUAL(rows[i].size, rows[i].max + 1);
        for (size_t k = 0; k < i; k++)
            CU_ASSERT(strcmp(rows[i].name, rows[k].name) != 0);
    }
}

static void test_defaults(void)
{
    memset(&opts, 0xa5, sizeof(opts));
    op_defaults(&opts);
    CU_ASSERT_STRING_EQUAL(opts.socket, "/run/htls/htls.sock");
    CU_ASSERT_EQUAL(opts.socket_mode, 0666);
    CU_ASSERT_EQUAL(opts.workers, 0);
    CU_ASSERT_EQUAL(opts.handshake_ms, 10000);
    CU_ASSERT_EQUAL(opts.handshakes, 1024);
    CU_ASSERT_EQUAL(opts.peers_per_uid, 8192);
    CU_ASSERT_EQUAL(opts.relays, 16384);
    CU_ASSERT_EQUAL(opts.connections, 65536);
    CU_ASSERT_EQUAL(opts.records_per_key, 0);
    CU_ASSERT_FALSE(opts.allow_insecure);
    CU_ASSERT_TRUE(opts.client_ca);
    CU_ASSERT_STRING_EQUAL(opts.trust_file, "");
    CU_ASSERT_STRING_EQUAL(opts.key_log, "");
    CU_ASSERT_STRING_EQUAL(opts.user, "nobody");
    CU_ASSERT_STRING_EQUAL(opts.path, "auto");
    CU_ASSERT_EQUAL(opts.session_cache, 4096);
    CU_ASSERT_EQUAL(opts.session_ms, 7200000);
    CU_ASSERT_EQUAL(opts.session_share, 25);
    CU_ASSERT_EQUAL(opts.log_level, 2);
    CU_ASSERT_EQUAL(opts.n_stores, 0);
    CU_ASSERT_FALSE(opts.config_given || opts.check_config || opts.print_config);
}

/* got = what is printed back, NULL = refused. */
static const struct {
    const char *name, *text, *got;
} cases[] = {
    {"workers", "0", "0"},
    {"workers", "256", "256"},
    {"workers", "257", NULL},
    {"workers", "007", "7"},
    {"workers", "", NULL},
    {"workers", "-1", NULL},
    {"workers", "+1", NULL},
    {"workers", " 1", NULL},
    {"workers", "1 ", NULL},
    {"workers", "1x", NULL},
    {"workers", "0x1", NULL},
    {"workers", "4294967296", NULL},
    {"workers", "18446744073709551617", NULL},
    {"handshakes", "0", NULL},
    {"handshakes", "1", "1"},
    {"handshakes", "65536", "65536"},
    {"handshakes", "65537", NULL},
    {"relays", "0", "0"},
    {"socket-mode", "0", "0000"},
    {"socket-mode", "600", "0600"},
    {"socket-mode", "0777", "0777"},
    {"socket-mode", "1000", NULL},
    {"socket-mode", "8", NULL},
    {"socket-mode", "0o600", NULL},
    {"socket-mode", "-6", NULL},
    {"handshake-timeout", "100", "100ms"},
    {"handshake-timeout", "99", NULL},
    {"handshake-timeout", "100ms", "100ms"},
    {"handshake-timeout", "1s", "1s"},
    {"handshake-timeout", "1500ms", "1500ms"},
    {"handshake-timeout", "0s", NULL},
    {"handshake-timeout", "3600s", "3600s"},
    {"handshake-timeout", "3600001", NULL},
    {"handshake-timeout", "3601s", NULL},
    {"handshake-timeout", "4294968s", NULL}, /* times 1000 is 704 in 32 bits */
    {"handshake-timeout", "10 s", NULL},
    {"handshake-timeout", "10m", NULL},
    {"handshake-timeout", "1.5s", NULL},
    {"handshake-timeout", "s", NULL},
    {"session-cache", "0", "0"},
    {"session-cache", "262144", "262144"},
    {"session-cache", "262145", NULL},
    {"session-lifetime", "999ms", NULL},
    {"session-lifetime", "1s", "1s"},
    {"session-lifetime", "604800s", "604800s"},
    {"session-lifetime", "604801s", NULL},
    {"session-share", "0", NULL},
    {"session-share", "100", "100"},
    {"session-share", "101", NULL},
    {"client-ca", "yes", "yes"},
    {"client-ca", "no", "no"},
    {"client-ca", "Yes", NULL},
    {"client-ca", "1", NULL},
    {"client-ca", "", NULL},
    {"path", "auto", "auto"},
    {"path", "kernel", "kernel"},
    {"path", "relay", "relay"},
    {"path", "rela", NULL},
    {"path", "relays", NULL},
    {"path", "auto|kernel", NULL},
    {"path", "", NULL},
    {"log-level", "error", "error"},
    {"log-level", "debug", "debug"},
    {"log-level", "warn", NULL},
    {"log-level", "4", NULL},
    {"user", "htls", "htls"},
    {"user", "", NULL},
    {"key-log", "", ""},
    {"key-log", "/a b", "/a b"},
    {"key-log", "/a;b", "/a;b"},
    {"key-log", "/a ;b", NULL},
    {"key-log", ";b", NULL},
    {"key-log", " /a", NULL},
    {"key-log", "/a ", NULL},
    {"key-log", "/a\nworkers=1", NULL},
    {"key-log", "/a\x7f", NULL},
    {"key-log", "/\xc3\xa4", "/\xc3\xa4"},
    {"insecure-users", "*", "*"},
    {"insecure-users", "", ""},
    {"insecure-users", "root", "0"},
    {"insecure-users", "root, 1000 ,4294967294", "0,1000,4294967294"},
    {"insecure-users", "4294967295", NULL}, /* (uid_t)-1 is nobody */
    {"insecure-users", "root,", NULL},
    {"insecure-users", ",", NULL},
    {"insecure-users", "root,*", NULL},
    {"insecure-users", "no-such-user-here", NULL},
};

static void test_values(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct op_row *r = row_of(cases[i].name);
        char why[OP_WHY_MAX] = "", text[PATH_MAX];
        struct options before;
        int rc;

        op_defaults(&opts);
        before = opts;
        rc = op_set(&opts, r, cases[i].text, why);
        CU_ASSERT_EQUAL(rc, cases[i].got ? 0 : -EINVAL);
        if ((rc == 0) != (cases[i].got != NULL))
            printf("\n  %s = %s\n", cases[i].name, cases[i].text);
        op_get(&opts, r, text, sizeof(text));
        if (cases[i].got) {
            CU_ASSERT_STRING_EQUAL(text, cases[i].got);
        } else {
            CU_ASSERT(*why != '\0');
            CU_ASSERT_EQUAL(memcmp(&opts, &before, sizeof(opts)), 0);
        }
    }
}

static void test_lengths(void)
{
    char text[PATH_MAX + 1], why[OP_WHY_MAX];
    static const struct {
        const char *name;
        size_t max;
    } fields[] = {{"socket", 107}, {"user", 63}, {"key-log", PATH_MAX - 1}};

    for (size_t i = 0; i < 3; i++) {
        memset(text, 'a', sizeof(text));
        text[fields[i].max] = '\0';
        CU_ASSERT_EQUAL(op_set(&opts, row_of(fields[i].name), text, why), 0);
        text[fields[i].max] = 'a';
        text[fields[i].max + 1] = '\0';
        CU_ASSERT_EQUAL(op_set(&opts, row_of(fields[i].name), text, why), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(why, "bytes long"));
    }
}

/* Names are shorter than the numbers they become. */
static void test_users_overflow(void)
{
    char text[600] = "", why[OP_WHY_MAX];

    for (int i = 0; i < 100; i++)
        strcat(text, i ? ",root" : "root");
    CU_ASSERT_EQUAL(op_set(&opts, row_of("insecure-users"), text, why), 0);
    strcat(text, ",root,root,root");
    CU_ASSERT_EQUAL(op_set(&opts, row_of("insecure-users"), text, why), -EINVAL);
    text[0] = '\0';
    for (int i = 0; i < 52; i++)
        strcat(text, i ? ",nobody" : "nobody");
    CU_ASSERT_EQUAL(op_set(&opts, row_of("insecure-users"), text, why), 0);
    text[0] = '\0';
    for (int i = 0; i < 46; i++)
        strcat(text, i ? ",4294967294" : "4294967294");
    CU_ASSERT_EQUAL(op_set(&opts, row_of("insecure-users"), text, why), 0);
    CU_ASSERT_EQUAL(strlen(opts.insecure_users), 505);
}

void suite_options_table(void)
{
    CU_pSuite s = CU_add_suite("options_table", NULL, NULL);

    CU_add_test(s, "rows are sound", test_rows);
    CU_add_test(s, "defaults", test_defaults);
    CU_add_test(s, "values of every kind", test_values);
    CU_add_test(s, "longest texts", test_lengths);
    CU_add_test(s, "longest lists of users", test_users_overflow);
}
