/* The one lock of this folder, safe against signal handlers, cancellation, fork. */
#ifndef HTLS_LOCK_H
#define HTLS_LOCK_H

#include <signal.h>

/* What the thread had before it took the lock; lives on its stack. */
struct lk_saved {
    sigset_t mask;
    int cancel;
};

/* Takes the lock. Until lk_give() no signal handler runs in this thread and it cannot be cancelled:
 * a handler that reads one of our descriptors would else wait for the thread it interrupted. Held
 * for transitions only, never while anything waits, never on the path of plain data. */
void lk_take(struct lk_saved *saved);
void lk_give(const struct lk_saved *saved);

#endif
