/* The rows of the option table, for the files that read, print or check a configuration. */
#ifndef HTLS_OPTIONS_TABLE_H
#define HTLS_OPTIONS_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "options.h"

#define OP_WHY_MAX 192

enum op_kind { OP_TEXT, OP_COUNT, OP_MODE, OP_DURATION, OP_BOOL, OP_WORD, OP_INDEX, OP_USERS };

/* One option: `name` is its key in the file and, behind "--", on the command line. */
struct op_row {
    const char *section;
    const char *name;
    enum op_kind kind;
    size_t offset, size;    /* of the field in struct options */
    unsigned long min, max; /* of the number, in its own unit; of a text's length */
    const char *fallback;   /* the default, as it is written in the file */
    const char *value;      /* what --help calls the value; for OP_WORD and OP_INDEX the choices */
    const char *help;       /* a line for people, without the default */
};

/* All rows, those of one section together; *n is their number. */
const struct op_row *op_rows(size_t *n);

/* Every field to its default, everything else to zero. */
void op_defaults(struct options *o);

/* Sets the field of a row from a text. Returns 0, or -EINVAL with the field untouched and the
 * cause, a half sentence, in `why`. */
int op_set(struct options *o, const struct op_row *row, const char *text, char why[OP_WHY_MAX]);

/* Writes the field of a row as op_set() reads it. */
void op_get(const struct options *o, const struct op_row *row, char *out, size_t cap);

/* The first error is said as "htlsd: WHERE: cause" by whoever found it; this is how. */
void op_say(const char *where, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads an INI file on top of *o. `name` stands in the errors, all of which are said. Returns 0 or
 * -EINVAL, then with *o half changed: the caller throws it away. f stays the caller's. */
int op_read(struct options *o, FILE *f, const char *name);

/* op_print() to any stream. */
void op_write(const struct options *o, FILE *f);

/* --check-config: what the parser cannot see, such as files and users. Says every error. Returns 0
 * or -EINVAL. */
int op_check(const struct options *o);

#endif
