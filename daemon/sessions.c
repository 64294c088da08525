/* The session cache: places in shared memory under one lock.
 *
 * A key's first bytes choose a set of some 64 places; all the rest is a look at that set, so the
 * lock is held for the time of a few copies. A user's share holds in each set, and thereby in the
 * whole, without any count of users.
 *
 * A worker may die while it holds the lock. Whoever comes next is told, and cannot know what is
 * half written: everything is wiped. For that a place says that it holds bytes before it does, and
 * until they are wiped. Sizes live outside of the shared memory, where no other process writes. */
#include "sessions.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../proto/secret.h"

#define WAYS 64u        /* places of a set, when there is more than one set */
#define LOCK_NS 5000000 /* a worker's loop waits no longer for another */

struct place {
    uint8_t key[SE_KEY];
    uint64_t until, proven;
    uint64_t used; /* the shared clock when it came, or was last taken */
    uint32_t n;    /* bytes that it holds; 0 = free */
    uint32_t uid;
    uint32_t once;
};

struct shared {
    pthread_mutex_t lock;
    uint64_t clock;
    atomic_uint_fast64_t count;
    struct place places[];
};

struct se_cache {
    struct shared *shared;
    uint8_t *bytes; /* SE_BYTES_MAX for each place */
    size_t size;    /* of the mapping, which begins at shared */
    unsigned sets, ways, share;
    uint32_t nobody; /* the overflow uid */
};

static uint32_t overflow_uid(void)
{
    unsigned uid = 65534;
    FILE *f = fopen("/proc/sys/kernel/overflowuid", "re");
    char line[16];

    if (!f)
        return uid;
    if (fgets(line, sizeof(line), f))
        uid = (unsigned)strtoul(line, NULL, 10);
    fclose(f);
    return uid;
}

static int make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t a;
    int r = pthread_mutexattr_init(&a);

    if (r != 0)
        return -r;
    r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    if (r == 0)
        r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    if (r == 0)
        r = pthread_mutex_init(lock, &a);
    pthread_mutexattr_destroy(&a);
    return -r;
}

int se_new(struct se_cache **out, unsigned places, unsigned share)
{
    struct se_cache *c = calloc(1, sizeof(*c));
    size_t head;
    int r;

    if (!c)
        return -ENOMEM;
    c->sets = places < WAYS ? 1 : places / WAYS;
    c->ways = places / c->sets;
    c->share = c->ways * share / 100;
    if (c->share == 0)
        c->share = 1;
    c->nobody = overflow_uid();
    head = sizeof(struct shared) + (size_t)c->sets * c->ways * sizeof(struct place);
    head = (head + SE_BYTES_MAX - 1) / SE_BYTES_MAX * SE_BYTES_MAX;
    c->size = head + (size_t)c->sets * c->ways * SE_BYTES_MAX;
    c->shared = mmap(NULL, c->size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    r = c->shared == MAP_FAILED ? -errno : 0;
    if (r == 0) {
        c->bytes = (uint8_t *)c->shared + head;
        if (madvise(c->shared, c->size, MADV_DONTDUMP) < 0)
            r = -errno;
        if (r == 0)
            r = make_lock(&c->shared->lock);
        if (r < 0)
            munmap(c->shared, c->size);
    }
    if (r < 0) {
        free(c);
        return r;
    }
    *out = c;
    return 0;
}

void se_free(struct se_cache *c)
{
    if (!c)
        return;
    munmap(c->shared, c->size);
    free(c);
}

bool se_serves(const struct se_cache *c, uint32_t uid)
{
    return uid != c->nobody;
}

/* --- places, with the lock held ------------------------------------------------------ */

static uint8_t *bytes_of(const struct se_cache *c, const struct place *p)
{
    return c->bytes + (size_t)(p - c->shared->places) * SE_BYTES_MAX;
}

/* What another process says of a length is not believed. */
static uint32_t length_of(const struct place *p)
{
    return p->n < SE_BYTES_MAX ? p->n : SE_BYTES_MAX;
}

static void clear(struct se_cache *c, struct place *p)
{
    secret_wipe(bytes_of(c, p), length_of(p));
    atomic_signal_fence(memory_order_seq_cst); /* wiped before it is called free */
    if (p->n)
        atomic_fetch_sub_explicit(&c->shared->count, 1, memory_order_relaxed);
    memset(p, 0, sizeof(*p));
}

static void fill(struct se_cache *c, struct place *p, const uint8_t key[SE_KEY],
                 const struct se_session *s)
{
    p->n = (uint32_t)s->n;
    atomic_signal_fence(memory_order_seq_cst); /* called full before a byte is there */
    memcpy(bytes_of(c, p), s->bytes, s->n);
    memcpy(p->key, key, SE_KEY);
    p->until = s->until;
    p->proven = s->proven;
    p->uid = s->uid;
    p->once = s->once;
    p->used = ++c->shared->clock;
    atomic_fetch_add_explicit(&c->shared->count, 1, memory_order_relaxed);
}

static struct place *set_of(const struct se_cache *c, const uint8_t key[SE_KEY])
{
    uint32_t first;

    memcpy(&first, key, sizeof(first));
    return &c->shared->places[(size_t)(first % c->sets) * c->ways];
}

static bool has_key(const struct place *p, const uint8_t key[SE_KEY])
{
    return p->n && memcmp(p->key, key, SE_KEY) == 0;
}

/* The longest unused place of those that a put counted. */
struct oldest {
    unsigned n;
    struct place *p;
};

static void consider(struct oldest *o, struct place *p)
{
    o->n++;
    if (!o->p || p->used < o->p->used)
        o->p = p;
}

/* Where a session may go: a free place, or one that must make way. */
static struct place *choose(struct se_cache *c, const uint8_t key[SE_KEY],
                            const struct se_session *s, uint64_t now)
{
    struct place *set = set_of(c, key), *free_one = NULL;
    struct oldest alike = {0, NULL}, mine = {0, NULL}, all = {0, NULL};

    for (struct place *p = set; p < set + c->ways; p++) {
        if (p->n && p->until <= now)
            clear(c, p);
        if (!p->n) {
            free_one = p;
            continue;
        }
        if (has_key(p, key) && (p->once != 0) == s->once)
            consider(&alike, p);
        if (p->uid == s->uid)
            consider(&mine, p);
        consider(&all, p);
    }
    if (alike.n >= (s->once ? SE_PER_KEY : 1))
        return alike.p;
    if (mine.n >= c->share)
        return mine.p;
    return free_one ? free_one : all.p;
}

/* --- the lock ------------------------------------------------------------------------ */

static void wipe_all(struct se_cache *c)
{
    for (size_t i = 0; i < (size_t)c->sets * c->ways; i++)
        clear(c, &c->shared->places[i]);
    atomic_store_explicit(&c->shared->count, 0, memory_order_relaxed);
}

static int lock(struct se_cache *c)
{
    struct timespec t;
    int r = pthread_mutex_trylock(&c->shared->lock);

    if (r == EBUSY) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += LOCK_NS;
        if (t.tv_nsec >= 1000000000) {
            t.tv_sec++;
            t.tv_nsec -= 1000000000;
        }
        r = pthread_mutex_clocklock(&c->shared->lock, CLOCK_MONOTONIC, &t);
    }
    if (r == EOWNERDEAD) {
        wipe_all(c);
        r = pthread_mutex_consistent(&c->shared->lock);
    }
    return r == 0 ? 0 : -EBUSY;
}

static void unlock(struct se_cache *c)
{
    pthread_mutex_unlock(&c->shared->lock);
}

/* --- what workers do ----------------------------------------------------------------- */

int se_put(struct se_cache *c, const uint8_t key[SE_KEY], const struct se_session *s, uint64_t now)
{
    struct place *p;

    if (s->n == 0 || s->n > SE_BYTES_MAX)
        return -EMSGSIZE;
    if (s->until <= now)
        return -ETIME;
    if (lock(c) < 0)
        return -EBUSY;
    p = choose(c, key, s, now);
    if (p->n)
        clear(c, p);
    fill(c, p, key, s);
    unlock(c);
    return 0;
}

int se_take(struct se_cache *c, const uint8_t key[SE_KEY], uint64_t now, struct se_session *s)
{
    struct place *set = set_of(c, key), *best = NULL;

    if (lock(c) < 0)
        return -EBUSY;
    for (struct place *p = set; p < set + c->ways; p++) {
        if (p->n && p->until <= now)
            clear(c, p);
        if (has_key(p, key) && (!best || p->used > best->used))
            best = p;
    }
    if (best) {
        s->uid = best->uid;
        s->once = best->once != 0;
        s->until = best->until;
        s->proven = best->proven;
        s->n = length_of(best);
        memcpy(s->bytes, bytes_of(c, best), s->n);
        best->used = ++c->shared->clock;
        if (best->once)
            clear(c, best);
    }
    unlock(c);
    return best ? 0 : -ENOENT;
}

void se_drop(struct se_cache *c, const uint8_t key[SE_KEY])
{
    struct place *set = set_of(c, key);

    if (lock(c) < 0)
        return;
    for (struct place *p = set; p < set + c->ways; p++)
        if (has_key(p, key))
            clear(c, p);
    unlock(c);
}

void se_sweep(struct se_cache *c, unsigned part, unsigned parts, uint64_t now)
{
    for (unsigned set = part; set < c->sets; set += parts) {
        struct place *first = &c->shared->places[(size_t)set * c->ways];

        if (se_count(c) == 0 || lock(c) < 0)
            return;
        for (struct place *p = first; p < first + c->ways; p++)
            if (p->n && p->until <= now)
                clear(c, p);
        unlock(c);
    }
}

uint64_t se_count(const struct se_cache *c)
{
    return atomic_load_explicit(&c->shared->count, memory_order_relaxed);
}
