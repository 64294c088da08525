/* A TLS 1.3 connection with a daemon that keeps it: a thread, which derives the keys that the real
 * one would. Where the kernel has kTLS both ends are in it, else the sockets are plain ones and the
 * test's model of the kernel must stand in. */
#ifndef HTLS_TESTS_KEYRIG_H
#define HTLS_TESTS_KEYRIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "../../daemon/keysched.h"
#include "../../daemon/table.h"
#include "../../shim/records.h"
#include "fake_daemon.h"

struct keyrig {
    struct fake d;
    pthread_mutex_t mutex; /* around e */
    struct tb_entry e;     /* our side's view */
    bool kernel, rekeys;   /* both ends hold keys; and these can be changed */
    int tcp[2];            /* ours, the peer's */
    struct ks_dir peer_tx, peer_rx;
    struct rr_state s; /* of ours, with a slot */

    /* What the daemon was asked, and what it is to do. */
    atomic_int controls, updates, rekeyed, shares;
    atomic_int refuse; /* enum w_code: instead of the next keys */
    atomic_int delay_ms;
    uint32_t caps;
    uint64_t pool; /* answers SHARE with a pool of this number, 64 slots; 0 = refuses */
    uint64_t moved;
};

void keyrig_start(struct keyrig *r);
void keyrig_stop(struct keyrig *r);

/* The peer changes its key; reads one record of ours (its type into *type) and follows our key when
 * that is a KeyUpdate. */
void keyrig_peer_update(struct keyrig *r, bool ask);
ssize_t keyrig_peer_read(struct keyrig *r, void *buf, size_t n, int *type);

#endif
