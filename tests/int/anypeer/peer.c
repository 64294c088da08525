/* The peer's command line: words to a command, its answer to standard output. */
#include "peer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(const char *word, const char *format, va_list args)
{
    printf("%s ", word);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
}

void pe_ok(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    answer("ok", format, args);
    va_end(args);
}

void pe_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    answer("fail", format, args);
    va_end(args);
}

void pe_done(const struct peer *p, int k)
{
    (void)p;
    if (k < 0)
        pe_fail("%s", strerror(-k));
    else
        pe_ok("sent");
}

void pe_no_record(const struct peer *p, int k)
{
    if (p->c.violation[0])
        pe_fail("violation: %s", p->c.violation);
    else if (k == 0)
        pe_fail("end %s", p->c.w.error ? strerrorname_np(p->c.w.error) : "FIN");
    else
        pe_fail("%s", k == -ETIMEDOUT ? "nothing comes" : strerror(-k));
}

int pe_hex(const char *text, uint8_t *out, size_t room)
{
    size_t n = strlen(text);

    if (strcmp(text, "-") == 0)
        return 0;
    if (n % 2 || n / 2 > room)
        return -1;
    for (size_t i = 0; i < n / 2; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], '\0'}, *end;

        out[i] = (uint8_t)strtoul(two, &end, 16);
        if (*end)
            return -1;
    }
    return (int)(n / 2);
}

uint64_t pe_number(const char *text, uint64_t otherwise)
{
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void hang_up(struct peer *p)
{
    tl_free(p->session);
    p->session = NULL;
    p->cut_n = 0;
    la_end(&p->c);
}

static void begin(struct peer *p, int k, enum tl_role role)
{
    char facts[256];

    if (k == 0)
        k = tl_handshake(&p->session, p->tls, &p->c, role);
    if (k < 0) {
        pe_fail("handshake: %s", strerror(-k));
        hang_up(p);
        return;
    }
    tl_describe(p->session, facts, sizeof(facts));
    pe_ok("%s", facts);
}

/* accept: ends the connection there is, waits for the next, does the handshake */
static void run_accept(struct peer *p, char **args)
{
    (void)args;
    hang_up(p);
    begin(p, wi_accept(&p->c.w, p->listener), TL_SERVER);
}

/* connect PORT: the same as a client, for what only another of its kind could send it */
static void run_connect(struct peer *p, char **args)
{
    hang_up(p);
    begin(p, wi_connect(&p->c.w, (uint16_t)pe_number(args[0], 0)), TL_CLIENT);
}

/* hangup: closes the connection as it is */
static void run_hangup(struct peer *p, char **args)
{
    (void)args;
    hang_up(p);
    pe_ok("closed");
}

static const struct pe_command beginnings[] = {
    {"accept", 0, 0, run_accept, 0},
    {"connect", 1, 1, run_connect, 0},
    {"hangup", 0, 0, run_hangup, 0},
    {NULL, 0, 0, NULL, 0},
};

static const struct pe_command *find(const char *name)
{
    const struct pe_command *const tables[] = {beginnings, pe_sending, pe_reading};

    for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++)
        for (const struct pe_command *c = tables[t]; c->name; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    return NULL;
}

void pe_command(struct peer *p, char *line)
{
    char *args[PE_ARGS + 1] = {NULL}, *name = strtok(line, " \n"), *word;
    const struct pe_command *c;
    int n = 0;

    if (!name)
        return;
    while ((word = strtok(NULL, " \n")) && n < PE_ARGS)
        args[n++] = word;
    c = find(name);
    if (!c)
        pe_fail("no such command: %s", name);
    else if (n < c->least || n > c->most)
        pe_fail("%s takes %d to %d arguments", name, c->least, c->most);
    else if (c->up && !p->session)
        pe_fail("no connection");
    else
        c->run(p, args);
}
