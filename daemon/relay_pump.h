/* The inside of a relayed connection, shared by relay.c and its pumps. */
#ifndef HTLS_RELAY_PUMP_H
#define HTLS_RELAY_PUMP_H

#include <stdbool.h>

#include "../proto/posths.h"
#include "record.h"
#include "relay.h"
#include "rest.h"
#include "updates.h"

#define RL_BATCH 131072u /* bytes per system call: the knee of the measured curve */
#define RL_TURNS 8       /* batches of one connection before the next gets its turn */

/* The scratch buffers of a worker: one pump works in them at a time and leaves nothing behind. */
struct rl_shared {
    struct lp_loop *lp;
    struct st_worker *stats;
    const struct options *options;
    uint8_t
        in[RC_HEADER + RC_BODY_MAX + RL_BATCH]; /* a record cut by the last batch, then a batch */
    uint8_t out[RL_BATCH + (RL_BATCH / RC_PLAIN_MAX + 2) * (RC_HEADER + RC_OVERHEAD)];
};

struct relay {
    struct rl_shared *s;
    struct rl_owner owner;
    int tcp, local;
    struct lp_op local_in, local_out, tcp_in, tcp_out, reap;
    struct lp_op local_end; /* watches for the program's leaving while nothing is read of it */
    struct lp_op linger;    /* the deadline of what a program that is gone has left */
    uint64_t moved_ms;      /* when the peer last took something of that */
    struct rc_ctx *open, *seal;
    struct ks_dir rx, tx;              /* for the next generation of keys */
    struct ph_stream messages;         /* of the peer, after the handshake */
    struct ud_bucket updates;          /* the KeyUpdates that it still may send */
    struct rest to_tcp, to_local, cut; /* cut: the head of a record whose end is still to come */
    bool owed;                         /* the peer waits for a KeyUpdate of ours */
    bool up_eof, up_done;     /* the program ended its direction; close_notify and FIN are out */
    bool down_eof, down_done; /* the peer did; the program was told */
    bool local_gone;          /* the program closed its end: nobody writes or reads there */
    bool stopping;            /* operations are being cancelled; freed after the last one */
    struct failure f; /* f.code != 0: failed; only what was already opened still goes down */
};

/* Move bytes until the source is dry, the sink is full, the stream ends or TURNS are over. */
void rl_up(struct relay *r);
void rl_down(struct relay *r);

/* The program takes nothing more; what it wrote before still goes out. */
void rl_down_refused(struct relay *r);

/* Remembers why the connection failed and ends both streams; alert >= 0 is sent to the peer. */
void rl_fail(struct relay *r, unsigned code, int err, int alert, const char *text);

#endif
