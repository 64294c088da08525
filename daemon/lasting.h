/* Memory that outlives processes of the daemon: a worker's table, a uid's slots. Control makes it,
 * and asks the service manager to keep it over a restart. */
#ifndef HTLS_LASTING_H
#define HTLS_LASTING_H

#include "options.h"
#include "passed.h"
#include "pools.h"

struct lasting {
    int *tables; /* memfd of each worker's table */
    unsigned n;
    uint32_t slots; /* in each pool */
    struct pools pools;
    bool restored; /* some of it is of an earlier run */
};

/* For n workers. Takes what fits out of `passed`; what does not (another number of workers, another
 * limit of connections) is let go, logged: its connections live on, but cannot change keys. Returns
 * 0 or -errno; la_free() either way. */
int la_open(struct lasting *l, const struct options *o, unsigned n, struct passed *passed);

/* That uid's slots, as po_make(). */
const struct pool *la_pool(struct lasting *l, uint32_t uid);

/* Fills `out`, whose memories are not set, for ps_pass_on(); the caller frees out->memories.
 * Returns 0 or -ENOMEM. */
int la_pass_on(const struct lasting *l, struct passed *out);

void la_free(struct lasting *l);

#endif
