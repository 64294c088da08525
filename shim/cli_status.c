/* `htls status`: a daemon's report as a table. */
#include "cli.h"

#include <stdlib.h>

#define KEY_MIN 12
#define KEY_MAX 40 /* a longer key pushes its own value aside, not everybody's */

static void print_table(const char *text, FILE *out)
{
    struct cl_line l;
    int width = KEY_MIN;

    for (const char *p = text; cl_next(&p, &l);) {
        if (l.key_len > width && l.key_len <= KEY_MAX)
            width = l.key_len;
    }
    for (const char *p = text; cl_next(&p, &l);)
        fprintf(out, "%-*.*s  %.*s\n", width, l.key_len, l.key, l.value_len, l.value);
}

int cl_status(const char *path, bool raw)
{
    struct cl_report *r = malloc(sizeof(*r));
    char why[CL_WHY_MAX] = "not enough memory";

    if (!r || cl_ask(path, r, why) < 0) {
        fprintf(stderr, "htls: %s\n", why);
        free(r);
        return CL_FAILED;
    }
    if (raw)
        fputs(r->text, stdout);
    else
        print_table(r->text, stdout);
    free(r);
    return CL_OK;
}
