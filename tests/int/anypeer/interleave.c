/* The peer's side of random interleavings. The program's side is tests/int/seqprog.c. */
#include "interleave.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schedule.h"

struct run {
    struct la_conn *c;
    struct tl_session *t;
    struct la_record record; /* the one that is being taken from */
    uint64_t taken, sent;    /* bytes of the two streams */
    struct sc_batch batch;
    uint64_t index;
    char *why;
    size_t room;
};

static int give_up(struct run *r, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int give_up(struct run *r, int error, const char *format, ...)
{
    va_list args;
    int n =
        snprintf(r->why, r->room, "seed %llu, sequence %llu: ", (unsigned long long)r->batch.seed,
                 (unsigned long long)r->index);

    va_start(args, format);
    if (n > 0 && (size_t)n < r->room)
        vsnprintf(r->why + n, r->room - (size_t)n, format, args);
    va_end(args);
    return error < 0 ? error : -EPROTO;
}

/* The next n bytes of data. Returns 1, 0 at close_notify before the first of them, or -errno. */
static int take(struct run *r, uint8_t *p, size_t n)
{
    for (size_t have = 0; have < n;) {
        size_t step = n - have < r->record.n ? n - have : r->record.n;
        int k;

        if (step > 0) {
            memcpy(p + have, r->record.p, step);
            r->record.p += step;
            r->record.n -= step;
            have += step;
            continue;
        }
        do
            k = la_next(r->c, &r->record);
        while (k == 1 && r->record.type == RC_HANDSHAKE);
        if (k == 1 && r->record.type == RC_ALERT && r->c->close_notifies == 1 && have == 0)
            return 0;
        if (k < 0)
            return give_up(r, k, "%s", r->c->violation[0] ? r->c->violation : strerror(-k));
        if (k == 0 || r->record.type != RC_DATA)
            return give_up(r, 0, "%s instead of data", k == 0 ? "the end of TCP" : "an alert");
    }
    return 1;
}

/* Where the client's stream of data stands for us, as the record layer counts it. */
static uint64_t position(const struct run *r)
{
    return r->c->data_in - r->record.n;
}

static int take_and_compare(struct run *r, uint64_t n)
{
    uint64_t stream = sc_stream(r->batch.seed, SC_PROGRAM), wrong;
    uint8_t block[16384];

    while (n > 0) {
        size_t step = n < sizeof(block) ? (size_t)n : sizeof(block);
        int k = take(r, block, step);

        if (k <= 0)
            return k < 0 ? k : give_up(r, 0, "close_notify instead of data");
        if (!sc_same(stream, r->taken, block, step, &wrong))
            return give_up(r, 0, "byte %llu of the program's stream is wrong",
                           (unsigned long long)wrong);
        r->taken += step;
        n -= step;
    }
    return 0;
}

static int send_data(struct run *r, uint32_t n, uint32_t part, bool padded)
{
    uint64_t stream = sc_stream(r->batch.seed, SC_PEER);
    uint8_t block[RC_PLAIN_MAX];
    int k = 0;

    while (n > 0 && k == 0) {
        uint32_t step = n < part ? n : part;

        sc_fill(stream, r->sent, block, step);
        k = padded ? la_send_padded(r->c, block, step, step) : la_send(r->c, RC_DATA, block, step);
        r->sent += step;
        n -= step;
    }
    return k;
}

static int send_ticket(struct run *r)
{
    uint8_t message[4096];
    size_t n = sizeof(message);
    int k = tl_ticket(r->t, message, &n);

    return k < 0 ? k : la_send(r->c, RC_HANDSHAKE, message, n);
}

static int do_step(struct run *r, const struct sc_step *s)
{
    switch (s->kind) {
    case SC_DATA:
        return send_data(r, s->n, RC_PLAIN_MAX, false);
    case SC_BYTES:
        return send_data(r, s->n, 1, false);
    case SC_PADDED:
        return send_data(r, s->n, RC_PLAIN_MAX, true);
    case SC_UPDATE:
        return la_update(r->c, s->n, LA_NEXT_KEY);
    case SC_TICKET:
        return send_ticket(r);
    case SC_EMPTY:
        return la_send(r->c, RC_DATA, "", 0);
    }
    return -EINVAL;
}

static int run_sequence(struct run *r, const struct sc_sequence *s)
{
    unsigned asked = 0; /* the last request that stands before data of ours */
    int k = 0;

    for (unsigned i = 0; i < s->count && k == 0; i++) {
        const struct sc_step *step = &s->steps[i];

        if (step->side == SC_PEER) {
            k = do_step(r, step);
            if (k < 0)
                return give_up(r, k, "step %u: %s", i, strerror(-k));
            if (sc_bytes(step) > 0)
                asked = r->c->asks_out;
        } else if (s->lockstep) {
            la_due(r->c, asked, position(r));
            k = take_and_compare(r, sc_bytes(step));
        }
    }
    if (k == 0 && !s->lockstep)
        k = take_and_compare(r, s->bytes[SC_PROGRAM]);
    /* The program begins the next sequence when it has all data of this one. */
    la_due(r->c, asked, position(r));
    return k;
}

static int say_goodbye(struct run *r)
{
    static const uint8_t close_notify[2] = {1, 0};
    int k = la_send(r->c, RC_ALERT, close_notify, sizeof(close_notify));

    if (k == 0)
        k = wi_fin(&r->c->w);
    if (k == 0)
        k = la_next(r->c, &r->record);
    if (k == 0 && r->c->w.error == 0)
        return 0;
    if (r->c->violation[0])
        return give_up(r, k, "%s", r->c->violation);
    return give_up(r, k, "after close_notify: %s", strerror(k < 0 ? -k : r->c->w.error));
}

int il_run(struct la_conn *c, struct tl_session *t, uint64_t *sequences, char *why, size_t room)
{
    struct run r = {.c = c, .t = t, .why = why, .room = room};
    struct sc_sequence s;
    int k;

    *sequences = 0;
    while ((k = take(&r, (uint8_t *)&r.batch, sizeof(r.batch))) == 1) {
        for (uint64_t i = 0; i < r.batch.count; i++) {
            r.index = r.batch.first + i;
            sc_make(&s, r.batch.seed, r.index, r.batch.flags);
            k = run_sequence(&r, &s);
            if (k < 0)
                return k;
            (*sequences)++;
        }
    }
    return k < 0 ? k : say_goodbye(&r);
}
