/* The bucket of KeyUpdates. */
#include "updates.h"

#include <errno.h>

/* A KeyUpdate has so many parts that a millisecond and a byte are whole numbers of them. */
#define ONE (1000ull * UD_BYTES)
#define PER_MS (ONE / 1000)
#define PER_BYTE (ONE / UD_BYTES)

/* n parts of `each`, but never over the brim: n may be anything. */
static void pour(struct ud_bucket *b, unsigned most, uint64_t n, uint64_t each)
{
    uint64_t room = most * ONE - b->level;

    b->level += n > room / each ? room : n * each;
}

void ud_open(struct ud_bucket *b, unsigned most, uint64_t now_ms)
{
    b->level = most * ONE;
    b->since_ms = now_ms;
}

void ud_moved(struct ud_bucket *b, unsigned most, uint64_t bytes)
{
    pour(b, most, bytes, PER_BYTE);
}

int ud_take(struct ud_bucket *b, unsigned most, uint64_t now_ms)
{
    if (now_ms > b->since_ms) {
        pour(b, most, now_ms - b->since_ms, PER_MS);
        b->since_ms = now_ms;
    }
    if (b->level < ONE)
        return -EDQUOT;
    b->level -= ONE;
    return 0;
}
