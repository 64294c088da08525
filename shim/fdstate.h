/* What the shim knows of a descriptor number: nothing, or a connection. */
#ifndef HTLS_FDSTATE_H
#define HTLS_FDSTATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "facts.h"
#include "records.h"

enum fs_kind {
    FS_FREE = 0, /* in the pool */
    FS_CONFIG,   /* options were set, TLS was not asked for: I/O passes through */
    FS_BUSY,     /* a blocking upgrade runs in some thread */
    FS_GATE,     /* a non-blocking upgrade runs: the number holds a gate (gate.h) */
    FS_KERNEL,   /* TLS is up, the number is the TCP socket with keys */
    FS_RELAY,    /* TLS is up, the number is the relay's end */
    FS_FAILED,   /* TLS was asked for and failed: nothing is sent, nothing is read */
    FS_HIDDEN    /* fs_hidden alone: the number is none of the program's (hidden.h) */
};

#define FS_REGS_MAX 8

/* A place where an epoll set watches one of the numbers. */
struct fs_reg {
    int epfd, fd;
    struct epoll_event event;
};

/* One connection, shared by all numbers that name it. Never freed, only reused: a thread that still
 * looks at a state whose number another thread closes meets old data, not freed memory. Changes of
 * kind, numbers, descriptors happen under the lock (lock.h). */
struct fs_state {
    atomic_int kind;
    int numbers; /* descriptor numbers that name it */
    struct rr_state rr;
    int shadow;          /* GATE, RELAY, FAILED: hidden duplicate of the TCP socket; -1 */
    int sock;            /* BUSY, GATE: the daemon's answer comes here; RELAY: its last word; -1 */
    uint64_t deadline;   /* GATE */
    atomic_bool left;    /* KERNEL: this process is no holder of it any more */
    unsigned counted_at; /* KERNEL: the fork before which its holders became one more */
    atomic_int error;    /* FAILED, or a relay that broke: positive errno for every call */
    atomic_int so_error; /* what SO_ERROR gives, once */
    struct facts facts;
    char name[W_NAME_MAX + 1];
    char alpn[512], trust_store[64]; /* CONFIG: for the upgrade */
    bool no_verify;
    struct fs_reg regs[FS_REGS_MAX]; /* GATE */
    unsigned n_regs;
    unsigned moved_at;     /* KERNEL: fs_settled when regs moved from the gate to the TCP socket */
    struct fs_state *next; /* in the pool */
    atomic_int users;      /* threads inside a call that may wait; outlives the state's reuse */
};

#define FS_CHUNK 1024
#define FS_CHUNKS 1024 /* descriptors above FS_CHUNK * FS_CHUNKS cannot be upgraded */

extern _Atomic(_Atomic(struct fs_state *) *) fs_chunks[FS_CHUNKS];

/* What every hidden number names. To all but what ends and replaces numbers it is as unknown. */
extern struct fs_state fs_hidden;

/* The number of gates in this process: the only thing that waiting calls look at when it is 0. */
extern atomic_int fs_gates;

/* Counts the gates that have ended. Who slept while it changed looks again at what woke him. */
extern atomic_uint fs_settled;

/* The state of a number, NULL for all that is not ours: two loads. */
static inline struct fs_state *fs_find(int fd)
{
    _Atomic(struct fs_state *) *chunk;

    if ((unsigned)fd >= FS_CHUNK * FS_CHUNKS)
        return NULL;
    chunk = atomic_load_explicit(&fs_chunks[(unsigned)fd / FS_CHUNK], memory_order_acquire);
    return chunk ? atomic_load_explicit(&chunk[(unsigned)fd % FS_CHUNK], memory_order_acquire)
                 : NULL;
}

static inline enum fs_kind fs_kind(const struct fs_state *s)
{
    return (enum fs_kind)atomic_load_explicit(&s->kind, memory_order_acquire);
}

/* Changes the kind, and fs_gates with it. Under the lock. */
void fs_set_kind(struct fs_state *s, enum fs_kind kind);

/* True in a child that shares our memory (vfork), or whose fork went past us: what such a process
 * does to its descriptors is no concern of this table. */
bool fs_foreign(void);

/* For rr_state.names. */
bool fs_names(int fd, const struct rr_state *rr);

/* For a call that may wait: until fs_release() the state is given to no other connection, whoever
 * closes its numbers. False: fd does not name s any more. */
bool fs_hold(struct fs_state *s, int fd);
void fs_release(struct fs_state *s);

/* fork(2) has failed: there is no child that holds anything. */
void fs_fork_failed(void);

/* KERNEL: this process holds it no longer. Returns true to the last holder of all, who says the
 * end, then calls kp_free(); false also where it was called before. */
bool fs_leave(struct fs_state *s);

/* All under the lock. fs_new: a state of that kind with no number, or NULL. fs_attach: the number
 * names s from now on; 0, -ENOMEM or -EMFILE. fs_detach: it names nothing; returns true when s has
 * no number left. fs_put: closes its hidden descriptors and returns it to the pool. */
struct fs_state *fs_new(enum fs_kind kind);
int fs_attach(int fd, struct fs_state *s);
bool fs_detach(int fd);
void fs_put(struct fs_state *s);

/* Calls fn for every number from first to last that names a state. Under the lock. */
void fs_each(int first, int last, void (*fn)(int fd, struct fs_state *s, void *arg), void *arg);

#endif
