/* What workers tell control: who left, what is kept, what another one should answer. */
#ifndef HTLS_NOTES_H
#define HTLS_NOTES_H

#include <stdbool.h>

#include "census.h"
#include "internal.h"
#include "loop.h"
#include "owners.h"

/* The longest note. */
#define NO_MAX sizeof(struct in_serve)

/* Control's books, and the way back to the workers. */
struct notes {
    struct census *census;
    struct owners owners;
    /* Sends to a worker; 0 or -errno, -EAGAIN when its queue is full. */
    int (*send)(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                unsigned nfds);
    /* Takes every note that waits, of all workers: what is asked may be answered by one of them. */
    void (*drain)(void *owner);
    void *owner;
    bool draining;
};

/* Acts on one note, which it may change. The descriptors are used up. False: it is none, its sender
 * must die. */
bool no_take(struct notes *n, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds);

#endif
