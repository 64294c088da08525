/* Maps pools, gives out slots, takes their locks.
 *
 * A slot's mutexes are made once and never again, for a thread of another process may be inside one
 * still, about to leave it, when the slot's connection is long gone. Who claims a slot takes both;
 * where that fails another slot is used. */
#include "share.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define POOLS_MAX                                                                                  \
    8 /* htlsd makes a new one when it has lost the old: a restart without its store */
#define PRIVATE 512 /* private slots of one mapping */

struct pool {
    uint64_t id; /* 0 = a private mapping, shared with the children of this process alone */
    struct sh_slot *slots;
    size_t n, hint;
    struct pool *next;
};

static struct pool *pools;

static struct pool *find_pool(uint64_t id)
{
    struct pool *p = pools;

    while (p && p->id != id)
        p = p->next;
    return p;
}

static int add_pool(uint64_t id, void *memory, size_t bytes)
{
    struct pool *p = malloc(sizeof(*p));

    if (!p) {
        (void)munmap(memory, bytes);
        return -ENOMEM;
    }
    *p = (struct pool){.id = id, .slots = memory, .n = bytes / sizeof(struct sh_slot)};
    p->next = pools;
    pools = p;
    return 0;
}

bool sh_mapped(uint64_t pool)
{
    for (const struct pool *p = pools; p; p = p->next)
        if (p->id && (p->id == pool || pool == 0))
            return true;
    return false;
}

int sh_map(uint64_t pool, int memory)
{
    unsigned n = 0;
    struct stat st;
    void *at;

    for (const struct pool *p = pools; p; p = p->next)
        n += p->id != 0;
    if (n >= POOLS_MAX)
        return -ENOSPC;
    if (pool == 0 || find_pool(pool))
        return -EEXIST;
    if (fstat(memory, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)sizeof(struct sh_slot))
        return -EINVAL;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (at == MAP_FAILED)
        return -errno;
    return add_pool(pool, at, (size_t)st.st_size);
}

/* Robust: the kernel tells who comes next when the owner died. Checking: a signal handler that
 * comes back to its own thread's lock is told, and does not wait for itself. */
static int make_mutexes(struct sh_slot *s)
{
    pthread_mutexattr_t a;
    int r = pthread_mutexattr_init(&a);

    if (r)
        return -r;
    (void)pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
    r = pthread_mutex_init(&s->tx, &a);
    if (r == 0)
        r = pthread_mutex_init(&s->rx, &a);
    (void)pthread_mutexattr_destroy(&a);
    if (r == 0)
        atomic_store(&s->flags, SH_READY);
    return -r;
}

static int claim(struct sh_slot *s)
{
    if (!(sh_flags(s) & SH_READY) && make_mutexes(s) < 0)
        return -ENOLCK;
    if (sh_lock(s, &s->tx, 0) < 0)
        return -EBUSY;
    if (sh_lock(s, &s->rx, 0) < 0) {
        sh_unlock(&s->tx);
        return -EBUSY;
    }
    atomic_store(&s->messages, 0);
    atomic_store(&s->moved, 0);
    atomic_store(&s->flags, SH_READY);
    atomic_store(&s->holders, 1);
    atomic_store(&s->rx_generation, 0);
    atomic_store(&s->tx_generation, 0);
    atomic_store(&s->sent, 0);
    s->records_max = 0;
    sh_unlock(&s->rx);
    sh_unlock(&s->tx);
    return 0;
}

/* The children of this process, and theirs, take from the same mapping: what is free is decided by
 * an exchange. */
static struct sh_slot *take_private(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct sh_slot *s = &p->slots[(p->hint + i) % p->n];
        uint64_t nobody = 0;

        if (!atomic_compare_exchange_strong(&s->cookie, &nobody, UINT64_MAX))
            continue;
        if (claim(s) < 0)
            continue; /* a thread is inside it for ever: it stays out of use */
        p->hint = (p->hint + i + 1) % p->n;
        return s;
    }
    return NULL;
}

static struct sh_slot *claim_private(void)
{
    size_t bytes = PRIVATE * sizeof(struct sh_slot);
    struct sh_slot *s;
    void *at;

    for (struct pool *p = pools; p; p = p->next) {
        s = p->id ? NULL : take_private(p);
        if (s)
            return s;
    }
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || add_pool(0, at, bytes) < 0)
        return NULL;
    return take_private(pools);
}

struct sh_slot *sh_claim(uint64_t pool, uint32_t number)
{
    const struct pool *p = pool ? find_pool(pool) : NULL;

    if (p && number < p->n) {
        atomic_store(&p->slots[number].cookie, 0);
        if (claim(&p->slots[number]) == 0)
            return &p->slots[number];
    }
    return claim_private();
}

void sh_publish(struct sh_slot *s, uint64_t cookie)
{
    atomic_store_explicit(&s->cookie, cookie ? cookie : UINT64_MAX, memory_order_release);
}

struct sh_slot *sh_join(uint64_t pool, uint32_t number, uint64_t cookie)
{
    const struct pool *p = pool ? find_pool(pool) : NULL;
    struct sh_slot *s = p && number < p->n ? &p->slots[number] : NULL;

    if (!s || cookie == 0 || atomic_load_explicit(&s->cookie, memory_order_acquire) != cookie)
        return NULL;
    sh_hold(s);
    return s;
}

void sh_hold(struct sh_slot *s)
{
    atomic_fetch_add(&s->holders, 1);
}

bool sh_drop(struct sh_slot *s)
{
    uint32_t was = atomic_load(&s->holders);

    while (was > 0 && !atomic_compare_exchange_weak(&s->holders, &was, was - 1))
        ;
    return was == 1;
}

void sh_free(struct sh_slot *s)
{
    atomic_store(&s->cookie, 0);
}

void sh_fail(struct sh_slot *s, int error)
{
    uint32_t was = sh_flags(s);

    while (was >> SH_ERROR_SHIFT == 0 &&
           !atomic_compare_exchange_weak(&s->flags, &was, was | (uint32_t)error << SH_ERROR_SHIFT))
        ;
}

/* Between a KeyUpdate on the wire and its key no record may go out, and nobody knows any more how
 * far the dead one came. */
static int inherit(struct sh_slot *s, pthread_mutex_t *m)
{
    if (pthread_mutex_consistent(m))
        return -ENOLCK;
    if (m == &s->tx && (atomic_fetch_and(&s->flags, ~(uint32_t)SH_PAYING) & SH_PAYING))
        sh_fail(s, EKEYEXPIRED);
    return 0;
}

int sh_lock(struct sh_slot *s, pthread_mutex_t *m, int wait_ms)
{
    int r = pthread_mutex_trylock(m);
    struct timespec until;

    if (r == EBUSY && wait_ms > 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += wait_ms / 1000;
        until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        r = pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &until);
    } else if (r == EBUSY && wait_ms < 0) {
        r = pthread_mutex_lock(m);
    }
    switch (r) {
    case 0:
        return 0;
    case EOWNERDEAD:
        return inherit(s, m);
    case EDEADLK:
        return -EDEADLK;
    case EBUSY:
    case ETIMEDOUT:
        return -ETIMEDOUT;
    default:
        return -ENOLCK;
    }
}

void sh_unlock(pthread_mutex_t *m)
{
    (void)pthread_mutex_unlock(m);
}
