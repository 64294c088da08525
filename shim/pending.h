/* Which upgrades that run have their answer: asked by every waiting call, so it must not look at
 * each. */
#ifndef HTLS_PENDING_H
#define HTLS_PENDING_H

#include "fdstate.h"

/* All under the lock. Watches s->sock until pd_remove(), which comes before that descriptor is
 * closed or put to another use. When no set can be made every gate is looked at instead. */
void pd_add(struct fs_state *s);
void pd_remove(struct fs_state *s);

/* Where the number of the set itself is kept, -1 = there is none. Under the lock. */
int *pd_set(void);

/* Calls fn for each gate whose answer may be there, and once a second for all: their deadlines are
 * theirs. */
void pd_each_ready(void (*fn)(int fd, struct fs_state *s, void *arg), void *arg);

#endif
