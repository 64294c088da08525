/* The configuration as an INI file: read it, write it.
 *
 * inih parses. It is fed line by line from here, because it tells nobody the number of a line,
 * takes an indented line for more of the value above it, and cuts off in silence what is too long.
 */
#include "options_table.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#define TRUST "trust "
#define SECTION_MAX 49 /* inih keeps no more of a section's or key's name */

struct reader {
    struct options *o;
    FILE *f;
    const char *name;
    int line;
    int rc;
    bool skip; /* in a section that was already refused */
    char *buf; /* getline's; freed by op_read */
    size_t cap;
};

static void fail(struct reader *r, const char *cause)
{
    op_say(r->name, r->line, "%s", cause);
    r->rc = -EINVAL;
}

static bool known_section(const char *name)
{
    size_t n;
    const struct op_row *rows = op_rows(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].section, name) == 0)
            return true;
    }
    return false;
}

static struct op_store *find_store(struct options *o, const char *name)
{
    for (unsigned i = 0; i < o->n_stores; i++) {
        if (strcmp(o->stores[i].name, name) == 0)
            return &o->stores[i];
    }
    return NULL;
}

/* A store begins to exist with its section, so that one without a file is seen at the end. */
static void open_store(struct reader *r, const char *name)
{
    size_t n = strlen(name);

    if (n == 0 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n) {
        fail(r, "the name of a trust store must be 1 to 43 of A-Z a-z 0-9 . _ -");
        r->skip = true;
        return;
    }
    if (find_store(r->o, name))
        return;
    if (r->o->n_stores == OP_STORES_MAX) {
        fail(r, "too many trust stores: 32 at most");
        r->skip = true;
        return;
    }
    snprintf(r->o->stores[r->o->n_stores++].name, sizeof(r->o->stores[0].name), "%s", name);
}

/* `line` begins with '['. What has no end is left to inih, which calls it a syntax error. */
static void open_section(struct reader *r, const char *line)
{
    const char *end = strchr(line, ']');
    char name[SECTION_MAX + 1];

    if (!end)
        return;
    r->skip = false;
    if (end - line - 1 > SECTION_MAX) {
        fail(r, "the name of this section is too long");
        r->skip = true;
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
    if (strncmp(name, TRUST, strlen(TRUST)) == 0) {
        open_store(r, name + strlen(TRUST));
    } else if (!known_section(name)) {
        op_say(r->name, r->line,
               "no such section: [%s]; there are [daemon], [limits], [tls] and [trust NAME]", name);
        r->rc = -EINVAL;
        r->skip = true;
    }
}

/* inih's source of lines, called as fgets. A line that was refused becomes an empty one. */
static char *next_line(char *out, int room, void *stream)
{
    struct reader *r = stream;
    ssize_t n = getline(&r->buf, &r->cap, r->f);
    char *p = r->buf;

    if (n < 0)
        return NULL;
    r->line++;
    if (strlen(p) != (size_t)n) {
        fail(r, "a NUL byte in a text file");
        p[0] = '\0';
    }
    p += strspn(p, " \t");
    p[strcspn(p, "\r\n")] = '\0';
    if (strlen(p) + 3 > (size_t)room) {
        op_say(r->name, r->line, "this line is too long, %d bytes are the most", room - 3);
        r->rc = -EINVAL;
        p[0] = '\0';
    }
    if (p[0] == '[')
        open_section(r, p);
    snprintf(out, (size_t)room, "%s\n", p);
    return out;
}

static void set_store(struct reader *r, const char *store, const char *key, const char *value)
{
    struct op_store *s = find_store(r->o, store);
    struct op_row row = {.kind = OP_TEXT, .min = 1, .max = sizeof(s->file) - 1};
    char why[OP_WHY_MAX];

    if (!s)
        return;
    if (strcmp(key, "file") != 0) {
        op_say(r->name, r->line, "no such key in [trust %s]: %s; there is file", store, key);
        r->rc = -EINVAL;
        return;
    }
    row.offset = (size_t)((char *)s->file - (char *)r->o);
    if (op_set(r->o, &row, value, why) < 0) {
        op_say(r->name, r->line, "file: %s", why);
        r->rc = -EINVAL;
    }
}

/* inih's handler. Always "fine" (1): our errors are said here, what inih returns is its own. */
static int on_pair(void *user, const char *section, const char *key, const char *value)
{
    struct reader *r = user;
    char why[OP_WHY_MAX];
    size_t n;
    const struct op_row *rows = op_rows(&n);

    if (r->skip)
        return 1;
    if (strncmp(section, TRUST, strlen(TRUST)) == 0) {
        set_store(r, section + strlen(TRUST), key, value);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].section, section) != 0 || strcmp(rows[i].name, key) != 0)
            continue;
        if (op_set(r->o, &rows[i], value, why) < 0) {
            op_say(r->name, r->line, "%s = %.64s: %s", key, value, why);
            r->rc = -EINVAL;
        }
        return 1;
    }
    if (*section)
        op_say(r->name, r->line, "no such key in [%s]: %s", section, key);
    else
        op_say(r->name, r->line, "%s stands before the first [section]", key);
    r->rc = -EINVAL;
    return 1;
}

int op_read(struct options *o, FILE *f, const char *name)
{
    struct reader r = {.o = o, .f = f, .name = name};
    int syntax = ini_parse_stream(next_line, &r, on_pair, &r);

    free(r.buf);
    if (ferror(f)) {
        op_say(name, 0, "cannot be read: is it a file?");
        return -EINVAL;
    }
    if (syntax != 0) {
        op_say(name, syntax, "neither [section] nor key = value nor a comment");
        return -EINVAL;
    }
    for (unsigned i = 0; i < o->n_stores && r.rc == 0; i++) {
        if (!*o->stores[i].file) {
            op_say(name, 0, "[trust %s] has no file = PATH", o->stores[i].name);
            return -EINVAL;
        }
    }
    return r.rc;
}

void op_write(const struct options *o, FILE *f)
{
    const char *section = "";
    char text[PATH_MAX];
    size_t n;
    const struct op_row *rows = op_rows(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(section, rows[i].section) != 0)
            fprintf(f, "%s[%s]\n", *section ? "\n" : "", rows[i].section);
        section = rows[i].section;
        op_get(o, &rows[i], text, sizeof(text));
        fprintf(f, "%s =%s%s\n", rows[i].name, *text ? " " : "", text);
    }
    for (unsigned i = 0; i < o->n_stores; i++)
        fprintf(f, "\n[" TRUST "%s]\nfile = %s\n", o->stores[i].name, o->stores[i].file);
}
