/* A count of clients. Rows exist only for uids that are connected: few, so they are simply walked.
 */
#include "census.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ce_uid {
    uint32_t uid;
    unsigned worker;
    unsigned clients;
};

int ce_open(struct census *c, unsigned workers)
{
    memset(c, 0, sizeof(*c));
    c->workers = calloc(workers, sizeof(*c->workers));
    if (!c->workers)
        return -ENOMEM;
    c->n_workers = workers;
    return 0;
}

void ce_free(struct census *c)
{
    free(c->rows);
    free(c->workers);
    memset(c, 0, sizeof(*c));
}

static struct ce_uid *find(const struct census *c, unsigned worker, uint32_t uid)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->rows[i].uid == uid && c->rows[i].worker == worker)
            return &c->rows[i];
    return NULL;
}

int ce_enter(struct census *c, unsigned worker, uint32_t uid)
{
    struct ce_uid *row = find(c, worker, uid);

    if (!row) {
        if (c->n == c->cap) {
            size_t cap = c->cap ? c->cap * 2 : 16;
            struct ce_uid *rows = realloc(c->rows, cap * sizeof(*rows));

            if (!rows)
                return -ENOMEM;
            c->rows = rows;
            c->cap = cap;
        }
        row = &c->rows[c->n++];
        *row = (struct ce_uid){.uid = uid, .worker = worker};
    }
    row->clients++;
    c->workers[worker]++;
    return 0;
}

static void remove_row(struct census *c, struct ce_uid *row)
{
    *row = c->rows[--c->n];
}

void ce_leave(struct census *c, unsigned worker, uint32_t uid)
{
    struct ce_uid *row = find(c, worker, uid);

    if (!row)
        return;
    c->workers[worker]--;
    if (--row->clients == 0)
        remove_row(c, row);
}

void ce_drop_worker(struct census *c, unsigned worker)
{
    for (size_t i = c->n; i-- > 0;)
        if (c->rows[i].worker == worker)
            remove_row(c, &c->rows[i]);
    c->workers[worker] = 0;
}

unsigned ce_uid(const struct census *c, uint32_t uid)
{
    unsigned n = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->rows[i].uid == uid)
            n += c->rows[i].clients;
    return n;
}

unsigned ce_worker(const struct census *c, unsigned worker)
{
    return worker < c->n_workers ? c->workers[worker] : 0;
}
