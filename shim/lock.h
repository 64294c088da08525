/* The one lock of this folder, safe against signal handlers, cancellation, fork. */
#ifndef HTLS_LOCK_H
#define HTLS_LOCK_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

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

/* Until lk_resume() no signal handler runs in this thread and it cannot be cancelled. */
void lk_calm(struct lk_saved *saved);
void lk_resume(const struct lk_saved *saved);

/* The same around a mutex of another file, under which its owner may wait. Never taken under the
 * lock. */
void lk_enter(pthread_mutex_t *mutex, struct lk_saved *saved);
void lk_leave(pthread_mutex_t *mutex, const struct lk_saved *saved);

/* For files that have something to do when the process forks: before it does, then in both
 * processes, all under the lock. NULL: nothing. Under the lock; once for each file. */
#define LK_HOOKS_MAX 4
struct lk_hook {
    void (*before)(void);
    void (*after)(bool child);
};
void lk_on_fork(const struct lk_hook *hook);

#endif
