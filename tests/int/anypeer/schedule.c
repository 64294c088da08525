/* What both ends of a test know without telling each other. */
#include "schedule.h"

#include <string.h>

#define BLOCK 4096u

/* splitmix64: any number gives an unrelated one, so any place of a stream can be begun at. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void sc_fill(uint64_t seed, uint64_t at, uint8_t *p, size_t n)
{
    uint64_t key = mix(seed);

    while (n > 0) {
        uint64_t word = mix(key ^ (at / 8));
        size_t from = at % 8, step = n < 8 - from ? n : 8 - from;

        memcpy(p, (const uint8_t *)&word + from, step);
        p += step;
        at += step;
        n -= step;
    }
}

bool sc_same(uint64_t seed, uint64_t at, const uint8_t *p, size_t n, uint64_t *wrong)
{
    uint8_t block[BLOCK];

    while (n > 0) {
        size_t step = n < sizeof(block) ? n : sizeof(block);

        sc_fill(seed, at, block, step);
        for (size_t i = 0; i < step && memcmp(block, p, step) != 0; i++) {
            *wrong = at + i;
            if (p[i] != block[i])
                return false;
        }
        p += step;
        at += step;
        n -= step;
    }
    return true;
}

uint64_t sc_stream(uint64_t seed, enum sc_side side)
{
    return mix(seed + side + 1);
}

/* The next number below `below` of a generator. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state += 0x9e3779b97f4a7c15u;
    return (uint32_t)(mix(*state) % below);
}

/* Mostly small, for that is where the edges are; sometimes more than one record. */
static uint32_t draw_size(uint64_t *state)
{
    switch (draw(state, 8)) {
    case 0:
        return 1;
    case 1:
        return 16384;
    case 2:
        return 1 + draw(state, 20000);
    default:
        return 1 + draw(state, 500);
    }
}

static struct sc_step draw_step(uint64_t *state, unsigned flags)
{
    struct sc_step step = {.side = draw(state, 2) ? SC_PROGRAM : SC_PEER};
    bool updates = flags & (step.side == SC_PEER ? SC_UPDATES : SC_PROGRAM_UPDATES);
    uint32_t what = draw(state, step.side == SC_PEER ? 10 : 7);

    if (what < 2 && updates) {
        step.kind = SC_UPDATE;
        step.n = what;
    } else if (what < 4) {
        step.kind = SC_BYTES;
        step.n = 1 + draw(state, 8);
    } else if (what < 7) {
        step.kind = SC_DATA;
        step.n = draw_size(state);
    } else if (what == 7) {
        step.kind = SC_EMPTY;
    } else if (what == 8 && (flags & SC_RECORDS_13)) {
        step.kind = SC_TICKET;
    } else {
        step.kind = flags & SC_RECORDS_13 ? SC_PADDED : SC_DATA;
        step.n = 1 + draw(state, 8000);
    }
    return step;
}

uint64_t sc_bytes(const struct sc_step *step)
{
    return step->kind == SC_DATA || step->kind == SC_BYTES || step->kind == SC_PADDED ? step->n : 0;
}

void sc_make(struct sc_sequence *s, uint64_t seed, uint64_t index, unsigned flags)
{
    uint64_t state = mix(seed) ^ mix(~index);

    memset(s, 0, sizeof(*s));
    s->lockstep = draw(&state, 2);
    s->count = 3 + draw(&state, SC_STEPS_MAX - 2);
    for (unsigned i = 0; i < s->count; i++) {
        s->steps[i] = draw_step(&state, flags);
        s->bytes[s->steps[i].side] += sc_bytes(&s->steps[i]);
    }
}
