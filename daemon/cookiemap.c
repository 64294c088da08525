/* A hash table with linear probing and no tombstones. */
#include "cookiemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 64u

/* Cookies are counted up by the kernel; the multiplication spreads neighbours (Fibonacci hashing).
 */
static size_t home(const struct cookiemap *m, uint64_t cookie)
{
    return (size_t)((cookie * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (m->cap - 1);
}

/* Its place, or the free one where it belongs. */
static struct cm_place *find(const struct cookiemap *m, uint64_t cookie)
{
    size_t i = home(m, cookie);

    while (m->places[i].cookie != 0 && m->places[i].cookie != cookie)
        i = (i + 1) & (m->cap - 1);
    return &m->places[i];
}

static int resize(struct cookiemap *m, size_t cap)
{
    struct cookiemap bigger = {.cap = cap, .n = m->n};

    bigger.places = calloc(cap, sizeof(*bigger.places));
    if (!bigger.places)
        return -ENOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->places[i].cookie)
            *find(&bigger, m->places[i].cookie) = m->places[i];
    free(m->places);
    *m = bigger;
    return 0;
}

int cm_set(struct cookiemap *m, uint64_t cookie, uint64_t value)
{
    struct cm_place *p;

    if (cookie == 0)
        return -EINVAL;
    if (m->n + 1 > m->cap - m->cap / 4) {
        int r = resize(m, m->cap ? m->cap * 2 : FIRST);

        if (r < 0)
            return r;
    }
    p = find(m, cookie);
    m->n += p->cookie == 0;
    *p = (struct cm_place){cookie, value};
    return 0;
}

uint64_t *cm_get(const struct cookiemap *m, uint64_t cookie)
{
    struct cm_place *p = m->cap && cookie ? find(m, cookie) : NULL;

    return p && p->cookie ? &p->value : NULL;
}

/* What follows in the run moves up into the gap, unless that lies before its home. */
static void close_gap(struct cookiemap *m, size_t gap)
{
    for (size_t i = (gap + 1) & (m->cap - 1); m->places[i].cookie; i = (i + 1) & (m->cap - 1)) {
        size_t way = (i - home(m, m->places[i].cookie)) & (m->cap - 1);

        if (way < ((i - gap) & (m->cap - 1)))
            continue;
        m->places[gap] = m->places[i];
        gap = i;
    }
    m->places[gap].cookie = 0;
}

void cm_drop(struct cookiemap *m, uint64_t cookie)
{
    uint64_t *value = cm_get(m, cookie);

    if (!value)
        return;
    close_gap(
        m, (size_t)((struct cm_place *)(void *)((char *)value - offsetof(struct cm_place, value)) -
                    m->places));
    m->n--;
    /* A burst's memory goes back when it is over; kept as it is where there is none for less. */
    if (m->cap > FIRST && m->n < m->cap / 8)
        (void)resize(m, m->cap / 2);
}

int cm_next(const struct cookiemap *m, size_t *at, uint64_t *cookie, uint64_t *value)
{
    for (; *at < m->cap; (*at)++) {
        if (m->places[*at].cookie == 0)
            continue;
        *cookie = m->places[*at].cookie;
        *value = m->places[*at].value;
        (*at)++;
        return 1;
    }
    return 0;
}

void cm_free(struct cookiemap *m)
{
    free(m->places);
    memset(m, 0, sizeof(*m));
}
