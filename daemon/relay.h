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

/* Whom a relay tells what. `ended` is called once, when the relay has stopped, before the program
 * can see it: f->code is 0 after close_notify both ways or a close by the program. `tickets` is
 * called with the plaintext of each record of TLS 1.3 that holds session tickets or parts of them.
 */
struct rl_owner {
    void (*ended)(void *owner, const struct failure *f);
    void (*tickets)(void *owner, const uint8_t *plain, size_t n);
    void *owner;
};

/* Begins to relay between tcp, whose streams of records go on with rx and tx (copied), and local.
 * Owns both descriptors from here; on failure they stay the caller's. The relay frees itself. */
int rl_start(struct relay **out, struct rl_shared *s, int tcp, int local, const struct ks_dir *rx,
             const struct ks_dir *tx, const struct rl_owner *owner);

/* Ends it at once, whatever still lies in it; the owner is told nothing more. */
void rl_end(struct relay *r);

/* Forgets the owner, who is told nothing more. */
void rl_disown(struct relay *r);

#endif
