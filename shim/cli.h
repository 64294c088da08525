/* The parts of the command-line tool `htls` and what they share: a daemon's report. */
#ifndef HTLS_CLI_H
#define HTLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "../proto/wire.h"

/* Exit codes of every subcommand. */
enum cl_exit { CL_OK = 0, CL_PARTLY = 1, CL_FAILED = 2 };

#define CL_WHY_MAX (W_TEXT_MAX + 256)

/* What a daemon says of itself. */
struct cl_report {
    char agent[256]; /* its name and version, "" when it says none */
    pid_t pid;       /* who opened the socket: the daemon, or systemd for it */
    uid_t uid;
    char text[W_MESSAGE_MAX]; /* lines "key value\n", made safe for a terminal */
};

/* Asks the daemon at `path` and waits 5 seconds at most for each answer. Returns 0, or -errno with
 * cause and remedy in `why` and *out untouched. */
int cl_ask(const char *path, struct cl_report *out, char why[CL_WHY_MAX]);

/* One line of a report, pointing into its text. */
struct cl_line {
    const char *key, *value;
    int key_len, value_len;
};

/* Walks a text: start with *p at its first byte. Returns false at the end. Empty lines are left
 * out. */
bool cl_next(const char **p, struct cl_line *line);

/* Finds the first line with this key. */
bool cl_find(const char *text, const char *key, struct cl_line *line);

/* The subcommands. `raw` is --raw. They return an exit code. */
int cl_status(const char *path, bool raw);
int cl_doctor(const char *path, bool raw);

/* What cl_doctor() has to say of a report, on `out`; apart from it for the tests. */
int cl_explain(const struct cl_report *r, FILE *out);

#endif
