/* The command line of htlsd, with the order in which defaults, file and arguments apply. */
#include "options_table.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#ifndef HTLS_VERSION
#define HTLS_VERSION "0.1.0"
#endif

#define UID_OVERFLOW 65534u /* what the kernel shows for a uid that has no number here */
#define ROWS_MAX 64
#define HELP_COLUMN 29 /* where the explanations of --help begin */
#define HELP_WIDTH 80

/* Options that are about the command line itself, so that no file can hold them. */
enum flag { F_CONFIG, F_CHECK, F_PRINT, F_HELP, F_VERSION, FLAGS };

static const struct {
    const char *name, *value, *help;
} flags[FLAGS] = {
    [F_CONFIG] = {"config", "FILE", "read this file (default: " OP_CONFIG_DEFAULT ")"},
    [F_CHECK] = {"check-config", NULL, "look for errors in the configuration, then exit"},
    [F_PRINT] = {"print-config", NULL, "print the configuration as a file, then exit"},
    [F_HELP] = {"help", NULL, "print this text, then exit"},
    [F_VERSION] = {"version", NULL, "print the version, then exit"},
};

/* --- help ---------------------------------------------------------------------------- */

static void help_line(FILE *f, const char *name, const char *value, bool optional, const char *help,
                      const char *fallback)
{
    char left[80];
    int n = snprintf(left, sizeof(left), "  --%s%s%s%s", name,
                     !value     ? ""
                     : optional ? "[="
                                : " ",
                     value ? value : "", value && optional ? "]" : "");

    /* An explanation that stands beside its option when it fits, else below it. */
    if (n >= HELP_COLUMN - 1)
        fprintf(f, "%s\n%*s", left, HELP_COLUMN, "");
    else
        fprintf(f, "%-*s", HELP_COLUMN, left);
    if (!fallback)
        fprintf(f, "%s\n", help);
    else if (strlen(help) + strlen(" (default: )") + strlen(fallback) <= HELP_WIDTH - HELP_COLUMN)
        fprintf(f, "%s (default: %s)\n", help, fallback);
    else
        fprintf(f, "%s\n%*s(default: %s)\n", help, HELP_COLUMN, "", fallback);
}

static void print_help(FILE *f)
{
    const char *section = "";
    size_t n;
    const struct op_row *rows = op_rows(&n);

    fprintf(f,
            "usage: htlsd [OPTION]...\n\n"
            "Does TLS handshakes for the sockets of other programs; the kernel gets the keys.\n\n");
    for (size_t i = 0; i < FLAGS; i++)
        help_line(f, flags[i].name, flags[i].value, false, flags[i].help, NULL);
    for (size_t i = 0; i < n; i++) {
        const struct op_row *r = &rows[i];

        if (strcmp(section, r->section) != 0)
            fprintf(f, "\n[%s]\n", r->section);
        section = r->section;
        help_line(f, r->name, r->value, r->kind == OP_BOOL, r->help,
                  *r->fallback ? r->fallback : NULL);
    }
    fprintf(f, "\nA section's options can also stand in the file, without the dashes: see\n"
               "htls.conf(5). The command line wins. Trust stores stand in the file only.\n");
}

/* --- argv ---------------------------------------------------------------------------- */

/* getopt's view of the tables: val is the row's index, behind it those of the flags. */
static void long_options(struct option out[ROWS_MAX])
{
    size_t n, at = 0;
    const struct op_row *rows = op_rows(&n);

    for (size_t i = 0; i < n; i++, at++) {
        int arg = rows[i].kind == OP_BOOL ? optional_argument : required_argument;

        out[at] = (struct option){rows[i].name, arg, NULL, 256 + (int)at};
    }
    for (size_t i = 0; i < FLAGS; i++, at++) {
        int arg = flags[i].value ? required_argument : no_argument;

        out[at] = (struct option){flags[i].name, arg, NULL, 256 + (int)at};
    }
    out[at] = (struct option){0};
}

/* What getopt refused: c is '?' or ':'. */
static int refuse(int c, char **argv)
{
    if (c == '?' && optopt > 0 && optopt < 256)
        fprintf(stderr, "htlsd: -%c: no such option; htlsd --help lists them\n", optopt);
    else if (c == '?' && optopt)
        op_say(argv[optind - 1], 0, "takes no value");
    else if (c == '?')
        op_say(argv[optind - 1], 0, "no such option, or not a whole one; htlsd --help lists them");
    else
        op_say(argv[optind - 1], 0, "needs a value");
    return -EINVAL;
}

static int take_flag(struct options *o, enum flag flag)
{
    char why[OP_WHY_MAX];
    struct op_row row = {.kind = OP_TEXT, .min = 1, .max = sizeof(o->config) - 1};

    switch (flag) {
    case F_CONFIG:
        row.offset = offsetof(struct options, config);
        if (op_set(o, &row, optarg, why) < 0) {
            op_say("--config", 0, "%s", why);
            return -EINVAL;
        }
        o->config_given = true;
        return 0;
    case F_CHECK:
        o->check_config = true;
        return 0;
    case F_PRINT:
        o->print_config = true;
        return 0;
    case F_HELP:
        print_help(stdout);
        return 1;
    case F_VERSION:
    case FLAGS:
    default:
        printf("htlsd " HTLS_VERSION "\n");
        return 1;
    }
}

static int take_row(struct options *o, const struct op_row *row)
{
    char why[OP_WHY_MAX], name[64];
    /* A switch without a value is one that is switched on. */
    const char *text = optarg ? optarg : "yes";

    if (op_set(o, row, text, why) == 0)
        return 0;
    snprintf(name, sizeof(name), "--%s", row->name);
    op_say(name, 0, "\"%.64s\": %s", text, why);
    return -EINVAL;
}

/* argv is walked twice, since the file named in it must be read before its other options count:
 * first for the flags, then for the rows. */
static int walk(struct options *o, int argc, char **argv, bool want_flags)
{
    struct option list[ROWS_MAX];
    size_t n;
    const struct op_row *rows = op_rows(&n);
    int c;

    long_options(list);
    optind = 0; /* glibc: start anew */
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:", list, NULL)) != -1) {
        size_t at = (size_t)(c - 256);
        int rc = 0;

        if (c == '?' || c == ':')
            return refuse(c, argv);
        if (at >= n && want_flags)
            rc = take_flag(o, (enum flag)(at - n));
        else if (at < n && !want_flags)
            rc = take_row(o, &rows[at]);
        if (rc != 0)
            return rc;
    }
    if (optind < argc) {
        op_say(argv[optind], 0, "unexpected argument; a switch takes its value as --NAME=no");
        return -EINVAL;
    }
    return 0;
}

/* --- all together -------------------------------------------------------------------- */

static int read_config(struct options *o)
{
    const char *name = o->config_given ? o->config : OP_CONFIG_DEFAULT;
    FILE *f = fopen(name, "re");
    int rc;

    /* Without a file the defaults are good: only one that was asked for must be there. */
    if (!f && errno == ENOENT && !o->config_given)
        return 0;
    if (!f) {
        op_say(name, 0, "cannot open the configuration: %s", strerror(errno));
        return -EINVAL;
    }
    rc = op_read(o, f, name);
    fclose(f);
    return rc;
}

static int finish(const struct options *o)
{
    int rc = 0;

    if (o->check_config)
        rc = op_check(o);
    if (rc < 0)
        return rc;
    if (o->print_config)
        op_print(o);
    else if (o->check_config)
        printf("htlsd: configuration ok\n");
    return o->check_config || o->print_config;
}

int op_parse(struct options *o, int argc, char **argv)
{
    struct options *work = malloc(sizeof(*work));
    int rc;

    if (!work)
        return -ENOMEM;
    op_defaults(work);
    snprintf(work->config, sizeof(work->config), "%s", OP_CONFIG_DEFAULT);
    rc = walk(work, argc, argv, true);
    if (rc == 0)
        rc = read_config(work);
    if (rc == 0)
        rc = walk(work, argc, argv, false);
    if (rc == 0)
        rc = finish(work);
    if (rc >= 0)
        *o = *work;
    free(work);
    return rc;
}

void op_print(const struct options *o)
{
    op_write(o, stdout);
}

bool op_insecure_allowed(const struct options *o, uid_t uid)
{
    const char *p = o->insecure_users;

    if (!o->allow_insecure)
        return false;
    if (strcmp(p, "*") == 0)
        return true;
    /* Behind this uid may stand anybody of another user namespace, so it is no name to trust. */
    if (uid == UID_OVERFLOW)
        return false;
    while (*p) {
        char *end;

        if (strtoul(p, &end, 10) == uid)
            return true;
        p = *end == ',' ? end + 1 : "";
    }
    return false;
}

const char *op_store_file(const struct options *o, const uint8_t *name, size_t n)
{
    for (unsigned i = 0; i < o->n_stores; i++) {
        const struct op_store *store = &o->stores[i];

        if (strlen(store->name) == n && memcmp(store->name, name, n) == 0)
            return store->file;
    }
    return NULL;
}
