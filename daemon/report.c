/* The text of a REPORT. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct text {
    char *p;
    size_t cap, n;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(t->p + t->n, t->cap - t->n, format, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < t->cap - t->n)
        t->n += (size_t)n;
}

static uint64_t sum(const struct st_shared *s, size_t offset)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < s->workers; i++)
        total += st_get(
            (const atomic_uint_fast64_t *)(const void *)((const char *)&s->worker[i] + offset));
    return total;
}

static const struct {
    const char *key;
    size_t offset;
} rows[] = {
    {"handshakes.done", offsetof(struct st_worker, done)},
    {"handshakes.failed", offsetof(struct st_worker, failed)},
    {"handshakes.running", offsetof(struct st_worker, handshakes)},
    {"handshakes.waiting", offsetof(struct st_worker, waiting)},
    {"connections.kernel", offsetof(struct st_worker, kernel)},
    {"connections.nic", offsetof(struct st_worker, nic)},
    {"connections.relay", offsetof(struct st_worker, relay)},
    {"relays.open", offsetof(struct st_worker, relays)},
    {"relays.bytes-out", offsetof(struct st_worker, relay_tx)},
    {"relays.bytes-in", offsetof(struct st_worker, relay_rx)},
    {"clients.open", offsetof(struct st_worker, peers)},
    {"requests.refused", offsetof(struct st_worker, refused)},
    {"kept.open", offsetof(struct st_worker, kept)},
    {"kept.updates-received", offsetof(struct st_worker, updates_received)},
    {"kept.updates-sent", offsetof(struct st_worker, updates_sent)},
    {"sessions.hits", offsetof(struct st_worker, sessions_hits)},
    {"sessions.misses", offsetof(struct st_worker, sessions_misses)},
    {"sessions.stored", offsetof(struct st_worker, sessions_stored)},
    {"sessions.refused", offsetof(struct st_worker, sessions_refused)},
};

size_t re_write(char *out, size_t cap, const struct worker *w)
{
    const struct st_shared *s = w->shared;
    struct text t = {out, cap, 0};

    add(&t, "version " HTLS_VERSION "\n");
    add(&t, "pid %d\n", (int)getppid());
    add(&t, "uptime-seconds %llu\n", (unsigned long long)((uint64_t)time(NULL) - s->started));
    add(&t, "workers %u\n", s->workers);
    add(&t, "workers.restarted %llu\n", (unsigned long long)st_get(&s->restarts));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        add(&t, "%s %llu\n", rows[i].key, (unsigned long long)sum(s, rows[i].offset));
    add(&t, "sessions.kept %llu\n", w->sessions ? (unsigned long long)se_count(w->sessions) : 0ull);
    add(&t, "path %s\n", w->options->path);
    t.n += pr_report(w->caps, t.p + t.n, t.cap - t.n);
    return t.n;
}
