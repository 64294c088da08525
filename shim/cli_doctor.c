/* `htls doctor`: says in words what this machine can do for TLS in the kernel.
 *
 * What the kernel takes is the daemon's finding, made by trial on a real connection; here it is
 * only read from the report's keys "ktls.*" (daemon/probe.c) and explained. */
#include "cli.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "crypto-chacha20" is an alias: the module's own name differs between kernels. */
#define MODPROBE "modprobe -a tls gcm ccm ctr chacha20poly1305 crypto-chacha20"

/* The rows and columns of the table. Keys: ktls.VERSION.CIPHER.DIRECTION. */
static const char *const ciphers[] = {"aes-128-gcm", "aes-256-gcm", "chacha20-poly1305",
                                      "aes-128-ccm"};
static const char *const columns[] = {"tls12.*.tx", "tls12.*.rx", "tls13.*.tx", "tls13.*.rx"};
#define CIPHERS (sizeof(ciphers) / sizeof(ciphers[0]))
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static bool is_yes(const struct cl_line *l)
{
    return l->value_len == 3 && memcmp(l->value, "yes", 3) == 0;
}

/* One cell: the column's pattern with the cipher for its '*'. */
static bool find_cell(const char *text, const char *cipher, const char *column, struct cl_line *l)
{
    char key[64];
    int head = (int)strcspn(column, "*");

    snprintf(key, sizeof(key), "ktls.%.*s%s%s", head, column, cipher, column + head + 1);
    return cl_find(text, key, l);
}

/* Prints the table. Returns how many cells are not "yes". */
static unsigned print_table(const char *text, FILE *out)
{
    unsigned lacking = 0;
    struct cl_line l;

    fprintf(out, "\n  %-20s%-20s%s\n", "", "TLS 1.2", "TLS 1.3");
    fprintf(out, "  %-20s%-8s%-12s%-8s%s\n", "cipher", "send", "receive", "send", "receive");
    for (size_t i = 0; i < CIPHERS; i++) {
        fprintf(out, "  %-20s", ciphers[i]);
        for (size_t k = 0; k < COLUMNS; k++) {
            bool said = find_cell(text, ciphers[i], columns[k], &l);
            bool yes = said && is_yes(&l);

            lacking += !yes;
            fprintf(out,
                    k == COLUMNS - 1 ? "%s"
                    : k % 2          ? "%-12s"
                                     : "%-8s",
                    yes    ? "yes"
                    : said ? "no"
                           : "unknown");
        }
        fprintf(out, "\n");
    }
    fprintf(out, "\n");
    return lacking;
}

/* Each different reason once, with the first key that has it. */
static void print_reasons(const char *text, FILE *out)
{
    struct cl_line l, before;

    for (const char *p = text; cl_next(&p, &l);) {
        const char *q = text;
        bool seen = false;

        if (strncmp(l.key, "ktls.tls", 8) != 0 || is_yes(&l))
            continue;
        while (!seen && cl_next(&q, &before) && before.key < l.key)
            seen = strncmp(before.key, "ktls.tls", 8) == 0 && before.value_len == l.value_len &&
                   memcmp(before.value, l.value, (size_t)l.value_len) == 0;
        if (!seen)
            fprintf(out, "  %.*s: %.*s\n", l.key_len, l.key, l.value_len, l.value);
    }
}

static void print_rekey(const char *text, FILE *out)
{
    struct cl_line l;

    if (!cl_find(text, "ktls.rekey", &l))
        return;
    fprintf(out, "rekey:    the kernel can%s change the keys of a TLS 1.3 connection",
            is_yes(&l) ? "" : "not");
    if (is_yes(&l))
        fprintf(out, "\n");
    else
        fprintf(out, ": %.*s\n", l.value_len, l.value);
}

/* io_uring is what the daemon's workers run on. */
static void print_io_uring(FILE *out)
{
    FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    int c = f ? fgetc(f) : '0'; /* the switch is younger than io_uring: kernels before 6.6 */

    if (f)
        fclose(f);
    if (c == '0')
        fprintf(out, "io_uring: enabled\n");
    else
        fprintf(out,
                "io_uring: %s; htlsd cannot work without it\n"
                "          to do: sysctl kernel.io_uring_disabled=0\n",
                c == '1' ? "only for members of kernel.io_uring_group" : "disabled");
}

static void print_daemon(const struct cl_report *r, FILE *out)
{
    char buf[4096];
    struct passwd pw, *found = NULL;

    fprintf(out, "daemon:   %s answers", *r->agent ? r->agent : "htlsd");
    /* With socket activation the kernel names the one who made the socket. */
    if (r->pid == 1)
        fprintf(out, ", socket by the service manager\n");
    else if (getpwuid_r(r->uid, &pw, buf, sizeof(buf), &found) == 0 && found)
        fprintf(out, ", process %d of user %s\n", (int)r->pid, pw.pw_name);
    else
        fprintf(out, ", process %d of user %u\n", (int)r->pid, (unsigned)r->uid);
}

static int verdict(unsigned lacking, FILE *out)
{
    unsigned cells = CIPHERS * COLUMNS;

    if (lacking == 0) {
        fprintf(out, "\nTLS in the kernel works fully.\n");
        return CL_OK;
    }
    if (lacking < cells)
        fprintf(out, "\nTLS in the kernel works in part. Connections with what is marked \"no\" go "
                     "through\nthe daemon's relay: just as secure, but slower.\n");
    else
        fprintf(out,
                "\nThere is no TLS in the kernel here. All connections go through the daemon's "
                "relay:\njust as secure, but slower.\n");
    fprintf(out, "To do, as root: " MODPROBE "\n"
                 "then: systemctl restart htlsd. A kernel without these modules needs another "
                 "one with\nCONFIG_TLS and the ciphers.\n");
    return CL_PARTLY;
}

int cl_explain(const struct cl_report *r, FILE *out)
{
    struct cl_line l;
    unsigned lacking;
    bool said = cl_find(r->text, "ktls.ulp", &l), ulp = said && is_yes(&l);

    print_daemon(r, out);
    print_io_uring(out);
    if (ulp)
        fprintf(out, "kernel:   TLS can be attached to sockets (ULP \"tls\")\n");
    else if (said)
        fprintf(out, "kernel:   TLS cannot be attached to sockets: %.*s\n", l.value_len, l.value);
    else
        fprintf(out, "kernel:   the daemon does not say; is it of our version?\n");
    if (ulp)
        print_rekey(r->text, out);
    lacking = print_table(r->text, out);
    /* Without the ULP all that follows has that one reason. */
    if (ulp)
        print_reasons(r->text, out);
    return verdict(lacking, out);
}

int cl_doctor(const char *path, bool raw)
{
    struct cl_report *r = malloc(sizeof(*r));
    char why[CL_WHY_MAX] = "not enough memory";
    int code = CL_FAILED;

    (void)raw;
    if (r && cl_ask(path, r, why) == 0) {
        code = cl_explain(r, stdout);
    } else {
        printf("daemon:   %s\n", why);
        print_io_uring(stdout);
        printf(
            "\nWithout the daemon there is no TLS from htls: connections that ask for it fail.\n");
    }
    free(r);
    return code;
}
