/* Counters of every worker in memory that all processes of the daemon share. */
#ifndef HTLS_STATS_H
#define HTLS_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define ST_WORKERS_MAX 256

/* One worker's, written by it alone. Gauges go back to zero when its process is replaced. */
struct st_worker {
    _Alignas(64) atomic_uint_fast64_t done;   /* handshakes that succeeded */
    atomic_uint_fast64_t failed;              /* ... and that did not */
    atomic_uint_fast64_t kernel, nic, relay;  /* of those that succeeded: who encrypts (TX) */
    atomic_uint_fast64_t peers;               /* gauge: client connections */
    atomic_uint_fast64_t handshakes, waiting; /* gauges: running, queued behind the cap */
    atomic_uint_fast64_t relays;              /* gauge: relayed connections */
    atomic_uint_fast64_t relay_tx, relay_rx;  /* bytes of application data */
    atomic_uint_fast64_t refused;             /* requests refused before a handshake */
    atomic_uint_fast64_t kept;                /* gauge: kernel connections with state */
    atomic_uint_fast64_t updates_received, updates_sent; /* KeyUpdates of kernel connections */
    /* Handshakes that resumed a session and that might have, but for one that fits; sessions that
     * were kept, and that were not worth it. */
    atomic_uint_fast64_t sessions_hits, sessions_misses, sessions_stored, sessions_refused;
};

struct st_shared {
    unsigned workers;
    uint64_t started; /* CLOCK_REALTIME, seconds */
    atomic_uint_fast64_t restarts;
    struct st_worker worker[];
};

static inline void st_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void st_sub(atomic_uint_fast64_t *gauge, uint64_t n)
{
    atomic_fetch_sub_explicit(gauge, n, memory_order_relaxed);
}

static inline uint64_t st_get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
