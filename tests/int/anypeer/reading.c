/* Commands that read, or run a connection on their own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interleave.h"
#include "peer.h"
#include "schedule.h"

/* What the client did about KeyUpdates since the counts in `before`. */
static void say_updates(const struct peer *p, const struct la_conn *before)
{
    const struct la_conn *c = &p->c;

    pe_ok("updates=%u asks=%u owed=%d late=%u records=%llu", c->updates_in - before->updates_in,
          c->asks_in - before->asks_in, c->owed, c->late,
          (unsigned long long)(c->records_in - before->records_in));
}

/* Reads the next n bytes of data. Answers only where that fails. */
static bool read_data(struct peer *p, uint64_t n,
                      bool (*matches)(const void *what, uint64_t at, const uint8_t *p, size_t n),
                      const void *what)
{
    struct la_record r;

    for (uint64_t at = 0; at < n;) {
        int k = la_next(&p->c, &r);

        if (k <= 0) {
            pe_no_record(p, k);
            return false;
        }
        if (r.type == RC_ALERT && r.p[0] == 1 && r.p[1] != 0) {
            p->c.warned = r.p[1];
            continue;
        }
        if (r.type == RC_HANDSHAKE)
            continue;
        if (r.type != RC_DATA || r.n > n - at) {
            pe_fail("after %llu bytes a record of type %u, %zu bytes", (unsigned long long)at,
                    r.type, r.n);
            return false;
        }
        if (!matches(what, at, r.p, r.n)) {
            pe_fail("the data after %llu bytes is not what it should be", (unsigned long long)at);
            return false;
        }
        at += r.n;
    }
    return true;
}

static bool is_stream(const void *what, uint64_t at, const uint8_t *p, size_t n)
{
    uint64_t wrong;

    return sc_same(*(const uint64_t *)what, at, p, n, &wrong);
}

static bool is_text(const void *what, uint64_t at, const uint8_t *p, size_t n)
{
    return memcmp((const uint8_t *)what + at, p, n) == 0;
}

/* expect-data N SEED: the client sends these, and KeyUpdates as it likes */
static void run_expect_data(struct peer *p, char **args)
{
    uint64_t seed = pe_number(args[1], 0);
    struct la_conn before = p->c;

    if (read_data(p, pe_number(args[0], 0), is_stream, &seed))
        say_updates(p, &before);
}

/* expect HEX */
static void run_expect(struct peer *p, char **args)
{
    uint8_t text[RC_PLAIN_MAX];
    int n = pe_hex(args[0], text, sizeof(text));
    struct la_conn before = p->c;

    if (n < 0)
        pe_fail("no hexadecimal");
    else if (read_data(p, (uint64_t)n, is_text, text))
        say_updates(p, &before);
}

/* due: what the client writes from now on, it writes after it has read all that was sent */
static void run_due(struct peer *p, char **args)
{
    (void)args;
    la_due(&p->c, p->c.asks_out, p->c.data_in);
    pe_ok("owed=%d", p->c.owed);
}

/* read: the next record */
static void run_read(struct peer *p, char **args)
{
    char hex[33] = "-";
    struct la_record r;
    int k = la_next(&p->c, &r);

    (void)args;
    if (k <= 0) {
        pe_no_record(p, k);
        return;
    }
    for (size_t i = 0; i < r.n && i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", r.p[i]);
    pe_ok("type=%u n=%zu hex=%s", r.type, r.n, hex);
}

/* close-state: reads to the end of TCP, and says how the client ended */
static void run_close_state(struct peer *p, char **args)
{
    int alert = p->c.warned ? p->c.warned : -1, k;
    struct la_record r;
    uint64_t data = 0;

    (void)args;
    while ((k = la_next(&p->c, &r)) == 1) {
        if (r.type == RC_ALERT && r.p[1] != 0)
            alert = r.p[1];
        data += r.type == RC_DATA ? r.n : 0;
    }
    if (k < 0)
        pe_no_record(p, k);
    else
        pe_ok("close_notify=%u alert=%d tcp=%s data=%llu", p->c.close_notifies, alert,
              p->c.w.error ? strerrorname_np(p->c.w.error) : "FIN", (unsigned long long)data);
}

static void run_stats(struct peer *p, char **args)
{
    const struct la_conn *c = &p->c;

    (void)args;
    if (c->violation[0])
        pe_fail("violation: %s", c->violation);
    else
        pe_ok("in=%llu out=%llu updates-in=%u updates-out=%u asks-in=%u asks-out=%u owed=%d "
              "close_notify=%u",
              (unsigned long long)c->data_in, (unsigned long long)c->data_out, c->updates_in,
              c->updates_out, c->asks_in, c->asks_out, c->owed, c->close_notifies);
}

/* --- both directions ----------------------------------------------------------------- */

/* Compares what is here; waits for it only when `wait`. Returns 0 or -errno. */
static int absorb(struct la_conn *c, uint64_t seed, uint64_t *got, bool wait)
{
    struct la_record r;
    bool must = wait;
    uint64_t wrong;
    int k;

    while (wait || wi_ready(&c->w)) {
        wait = false;
        k = la_next(c, &r);
        if (k == 0 && c->close_notifies && !must)
            return 0;
        if (k <= 0)
            return k < 0 ? k : -ECONNRESET;
        must = false;
        if (r.type == RC_DATA) {
            if (!sc_same(seed, *got, r.p, r.n, &wrong))
                return -EILSEQ;
            *got += r.n;
        } else if (r.type == RC_ALERT && r.p[1] != 0) {
            return -EPROTO; /* close_notify is no fault: it may have said all before we have */
        }
    }
    return 0;
}

/* Our next piece, and a KeyUpdate where one is due. */
static int emit(struct la_conn *c, uint64_t stream, uint64_t *sent, uint64_t n, uint64_t every)
{
    uint64_t room = every - *sent % every, left = n - *sent;
    size_t step = (size_t)(left < room ? left : room);
    uint8_t block[RC_PLAIN_MAX];
    int k;

    step = step < sizeof(block) ? step : sizeof(block);
    sc_fill(stream, *sent, block, step);
    k = la_send(c, RC_DATA, block, step);
    *sent += step;
    if (k < 0 || *sent % every != 0)
        return k;
    return la_update(c, *sent / every % 2, LA_NEXT_KEY);
}

/* duplex N EVERY SEED: N bytes out and N bytes in at once, a KeyUpdate after each EVERY of ours,
 * every other one asks for the other end's */
static void run_duplex(struct peer *p, char **args)
{
    uint64_t n = pe_number(args[0], 0), every = pe_number(args[1], 65536), sent = 0, got = 0;
    uint64_t out = sc_stream(pe_number(args[2], 0), p->c.client ? SC_PROGRAM : SC_PEER);
    uint64_t in = sc_stream(pe_number(args[2], 0), p->c.client ? SC_PEER : SC_PROGRAM);
    struct la_conn *c = &p->c, before = p->c;
    int k = every > 0 ? 0 : -EINVAL;

    while (k == 0 && (sent < n || got < n)) {
        if (sent < n)
            k = emit(c, out, &sent, n, every);
        if (k == 0)
            k = absorb(c, in, &got, sent == n && got < n);
    }
    if (k == -EILSEQ)
        pe_fail("the data after %llu bytes is not what it should be", (unsigned long long)got);
    else if (k < 0)
        pe_no_record(p, k);
    else
        say_updates(p, &before);
}

static void say_run(struct la_conn *c, int k, uint64_t sequences, const char *why)
{
    if (k < 0)
        pe_fail("%s", why);
    else
        pe_ok("sequences=%llu updates-in=%u updates-out=%u asks-in=%u asks-out=%u",
              (unsigned long long)sequences, c->updates_in, c->updates_out, c->asks_in,
              c->asks_out);
}

/* interleave: batches of random sequences, to the client's close_notify */
static void run_interleave(struct peer *p, char **args)
{
    char why[256] = "";
    uint64_t sequences;
    int k = il_run(&p->c, p->session, &sequences, why, sizeof(why));

    (void)args;
    say_run(&p->c, k, sequences, why);
}

/* --- many connections ---------------------------------------------------------------- */

/* One connection in a process of its own; its line goes up the pipe. */
static void serve_one(struct peer *p, int up)
{
    char why[256] = "";
    uint64_t sequences = 0;
    int k = tl_handshake(&p->session, p->tls, &p->c, TL_SERVER);

    (void)dup2(up, STDOUT_FILENO);
    if (k == 0)
        k = il_run(&p->c, p->session, &sequences, why, sizeof(why));
    say_run(&p->c, k, sequences, why[0] ? why : "no handshake");
    fflush(stdout);
    _exit(0);
}

/* Adds up the lines of all; the first that failed is the answer. */
static void sum_up(FILE *lines, uint64_t connections)
{
    static const char format[] =
        "ok sequences=%llu updates-in=%llu updates-out=%llu asks-in=%llu asks-out=%llu";
    unsigned long long n = 0, total[5] = {0}, one[5];
    char line[512], failure[512] = "";

    while (fgets(line, sizeof(line), lines)) {
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, format, &one[0], &one[1], &one[2], &one[3], &one[4]) != 5) {
            if (!failure[0])
                memcpy(failure, line, sizeof(failure));
            continue;
        }
        n++;
        for (int i = 0; i < 5; i++)
            total[i] += one[i];
    }
    if (failure[0])
        pe_fail("%llu of %llu connections were in order; the first that was not: %s", n,
                (unsigned long long)connections, failure);
    else
        pe_ok("connections=%llu sequences=%llu updates-in=%llu updates-out=%llu asks-in=%llu "
              "asks-out=%llu",
              n, total[0], total[1], total[2], total[3], total[4]);
}

/* serve N: N connections, each as by interleave, side by side */
static void run_serve(struct peer *p, char **args)
{
    uint64_t n = pe_number(args[0], 1);
    int pipe_fds[2], k = pipe(pipe_fds) < 0 ? -errno : 0;
    FILE *lines;

    for (uint64_t i = 0; i < n && k == 0; i++) {
        pid_t child;

        k = wi_accept(&p->c.w, p->listener);
        if (k < 0)
            break;
        child = fork();
        if (child == 0)
            serve_one(p, pipe_fds[1]);
        la_end(&p->c);
        k = child < 0 ? -errno : 0;
    }
    close(pipe_fds[1]);
    if (k < 0) {
        pe_fail("accept: %s", strerror(-k));
        close(pipe_fds[0]);
        return;
    }
    lines = fdopen(pipe_fds[0], "r");
    sum_up(lines, n);
    fclose(lines);
    while (wait(NULL) > 0)
        ;
}

const struct pe_command pe_reading[] = {
    {"expect-data", 2, 2, run_expect_data, 1},
    {"expect", 1, 1, run_expect, 1},
    {"due", 0, 0, run_due, 1},
    {"read", 0, 0, run_read, 1},
    {"close-state", 0, 0, run_close_state, 1},
    {"stats", 0, 0, run_stats, 1},
    {"duplex", 3, 3, run_duplex, 1},
    {"interleave", 0, 0, run_interleave, 1},
    {"serve", 1, 1, run_serve, 0},
    {NULL, 0, 0, NULL, 0},
};
