/* Tests of the man pages: do they know every option, function, number that the code knows? */
#include "../../daemon/options_table.h"
#include "../../shim/htls_sockopt.h"

#include "suites.h"
#include "tree.h"

#include <CUnit/CUnit.h>
#include <ctype.h>
#include <string.h>

/* Asserts that `text` has the line, and says which one it lacks. */
static void want(const char *name, const char *text, const char *line)
{
    bool has = strstr(text, line) != NULL;

    CU_ASSERT(has);
    if (!has)
        printf("\n  %s lacks: %s\n", name, line);
}

static void test_options(void)
{
    char *conf = tree_slurp("daemon/htls.conf.5"), *daemon = tree_slurp("daemon/htlsd.8");
    char *example = tree_slurp("daemon/htls.conf");
    char line[512];
    size_t n;
    const struct op_row *rows = op_rows(&n);

    for (size_t i = 0; i < n; i++) {
        snprintf(line, sizeof(line), "\n.It Cm %s\n", rows[i].name);
        want("htls.conf.5", conf, line);
        snprintf(line, sizeof(line), "\n.It Fl -%s ", rows[i].name);
        want("htlsd.8", daemon, line);
        snprintf(line, sizeof(line), "\n# %s", rows[i].help);
        want("htls.conf", example, line);
        if (!*rows[i].fallback)
            continue;
        snprintf(line, sizeof(line), "\n.It Cm %s\n", rows[i].name);
        if (strstr(conf, line)) {
            const char *entry = strstr(conf, line) + 1;
            const char *next = strstr(entry, "\n.It ");
            const char *said;

            snprintf(line, sizeof(line), "\n.Pq default: Ql %s\n", rows[i].fallback);
            said = strstr(entry, line);
            CU_ASSERT(said && (!next || said < next));
            if (!said || (next && said > next))
                printf("\n  htls.conf.5, %s, lacks:%s", rows[i].name, line);
        }
    }
    free(conf);
    free(daemon);
    free(example);
}

static void test_socket_options(void)
{
    char *text = tree_slurp("shim/htls-preload.7");
    char line[128];

#define ROW(name, number, access, value)                                                           \
    snprintf(line, sizeof(line), "\n.It Dv HTLS_SO_%s Ta %d Ta %s Ta %s", #name, number, access,   \
             strstr(value, "reserved") ? "reserved\n" : "");                                       \
    want("htls-preload.7", text, line);
    HTLS_SOCKOPTS(ROW)
#undef ROW
    free(text);
}

/* Every "htls_name(" of the header is a function, apart from those that its comments mention, which
 * are functions too. */
static void test_functions(void)
{
    char *header = tree_slurp("shim/htls.h"), *text = tree_slurp("shim/libhtls.3");
    unsigned seen = 0;

    for (const char *p = header; (p = strstr(p, "htls_")); p += 5) {
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz_");
        char line[128];

        if (p[n] != '(' || (p > header && isalnum((unsigned char)p[-1])))
            continue;
        seen++;
        snprintf(line, sizeof(line), "\n.Fn %.*s ", (int)n, p);
        want("libhtls.3", text, line);
    }
    CU_ASSERT(seen >= 30);
    free(header);
    free(text);
}

void suite_manuals(void)
{
    CU_pSuite s = CU_add_suite("manuals", NULL, NULL);

    CU_add_test(s, "every option of htlsd", test_options);
    CU_add_test(s, "every socket option", test_socket_options);
    CU_add_test(s, "every function of libhtls", test_functions);
}
