/* How many client connections each uid has, and each worker serves. */
#ifndef HTLS_CENSUS_H
#define HTLS_CENSUS_H

#include <stddef.h>
#include <stdint.h>

struct ce_uid; /* one uid at one worker */

struct census {
    struct ce_uid *rows;
    size_t n, cap;
    unsigned *workers; /* clients per worker */
    unsigned n_workers;
};

int ce_open(struct census *c, unsigned workers);
void ce_free(struct census *c);

/* A client of uid comes to a worker. Returns 0 or -ENOMEM. */
int ce_enter(struct census *c, unsigned worker, uint32_t uid);
/* ... and leaves. One that never came is ignored. */
void ce_leave(struct census *c, unsigned worker, uint32_t uid);
/* A worker died, its clients with it. */
void ce_drop_worker(struct census *c, unsigned worker);

unsigned ce_uid(const struct census *c, uint32_t uid);
unsigned ce_worker(const struct census *c, unsigned worker);

#endif
