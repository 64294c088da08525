/* Whose handshake may run: a cap on how many do at once, and a line of those that wait. */
#ifndef HTLS_TURNS_H
#define HTLS_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "census.h"

/* Inside whatever wants its turn. */
struct turn {
    struct turn *next;
    uint32_t uid;
};

struct turns {
    struct turn *first, **end; /* in line, oldest first */
    unsigned most, running;
    struct census by_uid; /* of the running; its only "worker" is 0 */
};

/* At most `most` at once. Returns 0 or -ENOMEM. */
int tn_open(struct turns *t, unsigned most);
void tn_close(struct turns *t);

/* To the end of the line. */
void tn_wait(struct turns *t, struct turn *turn, uint32_t uid);
/* Out of the line, untaken. */
void tn_leave(struct turns *t, struct turn *turn);

/* The next that may run, out of the line and counted as running; NULL when there is none. A quarter
 * of the places is never one user's alone, whose silent peers would else keep everybody waiting. */
struct turn *tn_next(struct turns *t);
/* It ran. */
void tn_done(struct turns *t, const struct turn *turn);

#endif
