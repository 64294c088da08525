/* Entries in shared memory, an index of them in ours. */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../proto/secret.h"
#include "cookiemap.h"

/* The first page's worth of the memfd. `high` places were ever used: beyond it all is zero, and no
 * page is there yet. */
struct head {
    uint32_t magic, version, capacity, high;
};
#define MAGIC 0x6274736cu
#define VERSION 1u
#define HEAD_SIZE 64u

_Static_assert(sizeof(struct tb_entry) <= 800, "an established connection costs under 1 KiB");
_Static_assert(sizeof(struct head) <= HEAD_SIZE, "the entries begin behind the head");

struct table {
    struct head *head;
    struct tb_entry *entries;
    size_t size;
    uint32_t free; /* first of the free places below high, index + 1 */
    struct cookiemap index;
};

size_t tb_size(uint32_t capacity)
{
    return HEAD_SIZE + (size_t)capacity * sizeof(struct tb_entry);
}

static void free_place(struct table *t, struct tb_entry *e)
{
    secret_wipe(e, sizeof(*e));
    e->next = t->free;
    t->free = tb_index(t, e) + 1;
}

/* A worker that died while it filled an entry in left it without its cookie. */
static int make_index(struct table *t)
{
    for (uint32_t i = 0; i < t->head->high; i++) {
        struct tb_entry *e = &t->entries[i];

        e->told = 0; /* control may be a new one */
        if (e->cookie == 0)
            free_place(t, e);
        else if (cm_set(&t->index, e->cookie, i) < 0)
            return -ENOMEM;
    }
    return 0;
}

int tb_open(struct table **out, int memfd, uint32_t capacity)
{
    struct table *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return -ENOMEM;
    t->size = tb_size(capacity);
    t->head = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (t->head == MAP_FAILED) {
        r = -errno;
        free(t);
        return r;
    }
    (void)madvise(t->head, t->size, MADV_DONTDUMP);
    t->entries = (struct tb_entry *)(void *)((char *)t->head + HEAD_SIZE);
    if (t->head->magic == 0)
        *t->head = (struct head){MAGIC, VERSION, capacity, 0};
    r = -EPROTO; /* kept by another version, with another size */
    if (t->head->magic == MAGIC && t->head->version == VERSION && t->head->capacity == capacity &&
        t->head->high <= capacity)
        r = make_index(t);
    if (r < 0) {
        tb_close(t);
        return r;
    }
    *out = t;
    return 0;
}

void tb_close(struct table *t)
{
    if (!t)
        return;
    munmap(t->head, t->size);
    cm_free(&t->index);
    free(t);
}

uint32_t tb_count(const struct table *t)
{
    return (uint32_t)t->index.n;
}

int tb_has_room(const struct table *t)
{
    return t->free || t->head->high < t->head->capacity;
}

static struct tb_entry *take_place(struct table *t)
{
    struct tb_entry *e;

    if (t->free) {
        e = &t->entries[t->free - 1];
        t->free = e->next;
        e->next = 0;
        return e;
    }
    return t->head->high < t->head->capacity ? &t->entries[t->head->high++] : NULL;
}

struct tb_entry *tb_add(struct table *t, uint64_t cookie)
{
    struct tb_entry *e;

    if (cookie == 0)
        return NULL;
    (void)tb_drop(t, cookie);
    e = take_place(t);
    if (!e)
        return NULL;
    if (cm_set(&t->index, cookie, tb_index(t, e)) < 0) {
        free_place(t, e);
        return NULL;
    }
    e->cookie = cookie;
    return e;
}

struct tb_entry *tb_find(const struct table *t, uint64_t cookie)
{
    const uint64_t *i = cm_get(&t->index, cookie);

    return i ? &t->entries[*i] : NULL;
}

uint32_t tb_index(const struct table *t, const struct tb_entry *e)
{
    return (uint32_t)(e - t->entries);
}

int tb_drop(struct table *t, uint64_t cookie)
{
    struct tb_entry *e = tb_find(t, cookie);

    if (!e)
        return 0;
    cm_drop(&t->index, cookie);
    free_place(t, e);
    return 1;
}

struct tb_entry *tb_next(const struct table *t, uint32_t *at)
{
    while (*at < t->head->high) {
        struct tb_entry *e = &t->entries[(*at)++];

        if (e->cookie)
            return e;
    }
    return NULL;
}
