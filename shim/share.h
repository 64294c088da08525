/* What all holders of a kernel connection know of it together: its slot.
 *
 * Processes that share a socket (fork, exec, descriptors passed) share its keys, so they must agree
 * on them: whose turn it is to write, what is owed to the peer, whether the end was said. That lies
 * in a slot of a pool, memory that htlsd hands to every process of one uid. Where htlsd gives none
 * the slot is private: memory that threads and the children of fork share all the same. */
#ifndef HTLS_SHARE_H
#define HTLS_SHARE_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../proto/wire.h"

/* sh_slot.flags; above them, from SH_ERROR_SHIFT on, the errno of which the connection died. */
enum sh_flag {
    SH_READY = 0x1,    /* the mutexes are some: memory of a pool begins as zeroes */
    SH_OWED = 0x2,     /* the peer is owed a KeyUpdate before our next record */
    SH_PAYING = 0x4,   /* a KeyUpdate is on the wire, its key may not be in yet */
    SH_SHUT_WR = 0x8,  /* close_notify was sent: nothing may follow */
    SH_EOF = 0x10,     /* close_notify was read */
    SH_WORN = 0x20,    /* the key is used up and this kernel takes no other */
    SH_REFUSED = 0x40, /* a HelloRequest was refused; once is enough */
};
#define SH_ERROR_SHIFT 16

/* The same bytes in every process. Zero in a field that nobody has written. */
struct sh_slot {
    pthread_mutex_t tx;             /* who writes; held over the call that writes */
    pthread_mutex_t rx;             /* who changes the receiving key */
    _Atomic uint64_t cookie;        /* SO_COOKIE of the connection, 0 = nobody's */
    _Atomic uint64_t messages;      /* where the peer's handshake messages stand */
    _Atomic uint64_t moved;         /* bytes of data, both directions */
    _Atomic uint32_t flags;         /* enum sh_flag, errno */
    _Atomic uint32_t holders;       /* processes that have it open, as far as we know */
    _Atomic uint32_t rx_generation; /* written under rx */
    _Atomic uint32_t tx_generation; /* written under tx */
    _Atomic uint32_t sent;          /* records under the sending key, at most so many */
    uint32_t records_max;           /* 0 = no limit */
};
static_assert(sizeof(struct sh_slot) == W_SLOT_SIZE, "where a mutex is larger, so must slots be");

/* --- memory; all under the lock (lock.h) ------------------------------------------------ */

/* Maps a pool: memory, which stays the caller's, is the descriptor that came with its number.
 * Returns 0 or -errno. */
int sh_map(uint64_t pool, int memory);

/* Is that pool mapped? 0 asks for any. */
bool sh_mapped(uint64_t pool);

/* A slot for a new connection, with one holder: that of the pool, or, where the pool is not mapped
 * (0 = none was given) or the slot cannot be had, a private one. Published, when the caller has
 * nothing more to put into it, by sh_publish(). NULL: no memory. */
struct sh_slot *sh_claim(uint64_t pool, uint32_t number);
void sh_publish(struct sh_slot *s, uint64_t cookie);

/* The slot that another process keeps for the connection, with one holder more, or NULL. */
struct sh_slot *sh_join(uint64_t pool, uint32_t number, uint64_t cookie);

/* One holder more or less. sh_drop() returns true to the last: the end is his to say, and then the
 * slot his to free. */
void sh_hold(struct sh_slot *s);
bool sh_drop(struct sh_slot *s);
void sh_free(struct sh_slot *s);

/* --- the two locks ---------------------------------------------------------------------- */

/* Takes one, waiting up to wait_ms (0 = not at all, -1 = for ever). The owner may be any thread of
 * any process; where it died the lock passes on, and the connection dies if that was between a
 * KeyUpdate and its key. Uncontended there is no system call. Returns 0, or
 *   -EDEADLK    this thread has it: a signal handler interrupted the owner. Go on without
 *   -ETIMEDOUT  somebody else has it
 *   -ENOLCK     it is broken */
int sh_lock(struct sh_slot *s, pthread_mutex_t *m, int wait_ms);
void sh_unlock(pthread_mutex_t *m);

/* --- flags ------------------------------------------------------------------------------ */

static inline uint32_t sh_flags(const struct sh_slot *s)
{
    return atomic_load_explicit(&s->flags, memory_order_acquire);
}

/* The errno of which it died, 0 = it did not. */
static inline int sh_error(const struct sh_slot *s)
{
    return (int)(sh_flags(s) >> SH_ERROR_SHIFT);
}

/* For all holders it is dead from now on; the first cause stays. */
void sh_fail(struct sh_slot *s, int error);

#endif
