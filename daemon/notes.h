/* What workers tell control: who left, what is kept, what another one should answer. */
#ifndef HTLS_NOTES_H
#define HTLS_NOTES_H

#include <stdbool.h>

#include "census.h"
#include "ends.h"
#include "internal.h"
#include "loop.h"
#include "outbox.h"
#include "owners.h"
#include "stats.h"

/* The longest note. */
#define NO_MAX sizeof(struct in_serve)

/* Control's books, and the way back to the workers. Zero but for census, send, drain, owner. */
struct notes {
    struct census *census;
    struct owners owners;
    struct ends *ends; /* may be NULL: then nothing is heard of sockets that are gone */
    struct lp_loop *lp;
    struct lp_op flush; /* deferred questions and outboxes, at the end of a turn */
    struct lp_op audit;
    struct outbox boxes[ST_WORKERS_MAX];
    bool unwatched; /* it has been said that some ends are not heard of */
    /* Sends to a worker; 0 or -errno, -EAGAIN when its queue is full. */
    int (*send)(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                unsigned nfds);
    /* Takes every note that waits, of all workers: what is asked may be answered by one of them. */
    void (*drain)(void *owner);
    void *owner;
    struct no_deferred *deferred; /* questions whose keeper may not have been heard yet */
};

/* Acts on one note, which it may change. The descriptors are used up. False: it is none, its sender
 * must die. */
bool no_take(struct notes *n, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds);

/* Before the first note. */
void no_open(struct notes *n, struct lp_loop *lp);

/* Hears of the ends of what is kept from now on. restored: some of it is of an earlier run, whose
 * sockets may be gone already; when the workers have announced it, it is compared with what is
 * there. Returns 0 or -ENOMEM. */
int no_listen(struct notes *n, bool restored);

void no_free(struct notes *n);

#endif
