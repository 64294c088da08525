/* The command-line tool `htls`: its subcommands and their options. */
#include "cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "htls.h"

#ifndef HTLS_VERSION
#define HTLS_VERSION "0.1.0"
#endif

/* To add a subcommand: a function in a file of its own, a row here, a section in htls.1. */
static const struct {
    const char *name;
    int (*run)(const char *path, bool raw);
    bool takes_raw;
    const char *help;
} commands[] = {
    {"status", cl_status, true, "print what the daemon counts and knows"},
    {"doctor", cl_doctor, false, "explain what TLS in the kernel can do on this machine"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
    fprintf(f, "usage: htls [OPTION]... COMMAND\n\ncommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(f, "  %-16s%s\n", commands[i].name, commands[i].help);
    fprintf(f, "\noptions:\n"
               "  --socket PATH   the daemon's socket (default: HTLS_SOCKET of the environment,\n"
               "                  else " HTLS_SOCKET_DEFAULT ")\n"
               "  --raw           status: lines as they come, for scripts\n"
               "  --help          print this text\n"
               "  --version       print the version\n");
}

static int run(const char *name, const char *path, bool raw)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (raw && !commands[i].takes_raw) {
            fprintf(stderr, "htls: %s takes no --raw\n", name);
            return CL_FAILED;
        }
        return commands[i].run(path, raw);
    }
    fprintf(stderr, "htls: no such command: %s\n", name);
    usage(stderr);
    return CL_FAILED;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"socket", required_argument, NULL, 's'},
                                            {"raw", no_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    const char *path = secure_getenv("HTLS_SOCKET");
    bool raw = false;
    int c;

    if (!path || !*path)
        path = HTLS_SOCKET_DEFAULT;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's') {
            path = optarg;
        } else if (c == 'r') {
            raw = true;
        } else if (c == 'h') {
            usage(stdout);
            return CL_OK;
        } else if (c == 'v') {
            printf("htls " HTLS_VERSION "\n");
            return CL_OK;
        } else { /* getopt has said what is wrong */
            usage(stderr);
            return CL_FAILED;
        }
    }
    if (optind != argc - 1) {
        if (optind < argc)
            fprintf(stderr, "htls: unexpected argument: %s\n", argv[optind + 1]);
        usage(stderr);
        return CL_FAILED;
    }
    return run(argv[optind], path, raw);
}
