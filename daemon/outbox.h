/* Sockets that are gone, until the worker that keeps their entries has been told. */
#ifndef HTLS_OUTBOX_H
#define HTLS_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

/* One worker's. Zero at the start; ob_free() at the end. */
struct outbox {
    uint64_t *cookies;
    size_t n, cap;
};

/* Returns 0 or -ENOMEM. */
int ob_add(struct outbox *b, uint64_t cookie);

/* Sends what waits in as few messages as it fits in (struct in_ended); send() as in notes.h. Stops
 * at the first that is refused. Returns 0 when nothing waits any more, else what send() returned.
 */
int ob_flush(struct outbox *b, unsigned worker,
             int (*send)(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                         unsigned nfds),
             void *owner);

void ob_free(struct outbox *b);

#endif
