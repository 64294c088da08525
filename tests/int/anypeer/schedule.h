/* What both ends of a test know without telling each other: bytes and steps that follow from a
 * seed.
 *
 * Used by the peer and by the programs that it talks to. */
#ifndef ANYPEER_SCHEDULE_H
#define ANYPEER_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes number at, at + 1, … of a stream. */
void sc_fill(uint64_t seed, uint64_t at, uint8_t *p, size_t n);
/* True when p holds just these; *wrong is the number of the first that differs. */
bool sc_same(uint64_t seed, uint64_t at, const uint8_t *p, size_t n, uint64_t *wrong);

/* A sequence of steps, some of each end, in the order in which they stand. */
#define SC_STEPS_MAX 16u

enum sc_side { SC_PEER, SC_PROGRAM };
enum sc_kind {
    SC_DATA,   /* n bytes in one call */
    SC_BYTES,  /* n bytes one by one */
    SC_UPDATE, /* KeyUpdate; n = 1: the other end is asked for one */
    /* the peer alone: */
    SC_TICKET,
    SC_EMPTY,  /* an empty record of data */
    SC_PADDED, /* n bytes, and as much padding */
};

struct sc_step {
    enum sc_side side;
    enum sc_kind kind;
    uint32_t n;
};

struct sc_sequence {
    /* true: an end begins a step only when it has all bytes of the other's steps before it. false:
     * each end does all its steps, then reads: they race. */
    bool lockstep;
    unsigned count;
    struct sc_step steps[SC_STEPS_MAX];
    uint64_t bytes[2]; /* of application data, by the side that sends */
};

enum sc_flags { SC_UPDATES = 1, SC_PROGRAM_UPDATES = 2, SC_RECORDS_13 = 4 };

/* Sequence number `index` of a seed. flags: which kinds may be in it: KeyUpdates of the peer, of
 * the program; tickets and padding. */
void sc_make(struct sc_sequence *s, uint64_t seed, uint64_t index, unsigned flags);

/* Bytes of data that a step sends. */
uint64_t sc_bytes(const struct sc_step *step);

/* What the program says first on a connection, then again for more: how many sequences follow, of
 * which seed. The stream of each side goes on from batch to batch. */
struct sc_batch {
    uint64_t seed, first, count;
    uint32_t flags, zero;
};

/* The seed of the stream of one side. */
uint64_t sc_stream(uint64_t seed, enum sc_side side);

#endif
