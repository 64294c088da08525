/* The relay: TLS records on one side, a socketpair on the other, our own record layer between. */
#ifndef HTLS_RELAY_H
#define HTLS_RELAY_H

#include <stdint.h>

#include "failure.h"
#include "keysched.h"
#include "loop.h"
#include "options.h"
#include "stats.h"

struct relay;
struct rl_shared; /* a worker's scratch buffers: idle connections own none */

int rl_shared_new(struct rl_shared **out, struct lp_loop *lp, struct st_worker *stats,
                  const struct options *options);
void rl_shared_free(struct rl_shared *s);

/* Begins to relay between tcp, whose streams of records go on with rx and tx (copied), and local.
 * Owns both descriptors from here; on failure they stay the caller's. `ended` is called once, when
 * the relay has stopped in any way but rl_end(), before the program can see it: f->code is 0 after
 * close_notify both ways or a close by the program. The relay frees itself. */
int rl_start(struct relay **out, struct rl_shared *s, int tcp, int local, const struct ks_dir *rx,
             const struct ks_dir *tx, void (*ended)(void *owner, const struct failure *f),
             void *owner);

/* Ends it at once, whatever still lies in it; `ended` is not called. */
void rl_end(struct relay *r);

/* Forgets the owner: `ended` will not be called. */
void rl_disown(struct relay *r);

#endif
