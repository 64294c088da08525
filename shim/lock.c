/* Takes the one lock of this folder in a way that signals and fork cannot deadlock. */
#include "lock.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lk_saved across_fork;

/* Held over fork, so that a child never inherits a lock whose owner does not exist in it. */
static void fork_prepare(void)
{
    struct lk_saved saved;

    lk_take(&saved);
    across_fork = saved;
}

static void fork_done(void)
{
    struct lk_saved saved = across_fork;

    lk_give(&saved);
}

static void hook_fork(void)
{
    (void)pthread_atfork(fork_prepare, fork_done, fork_done);
}

void lk_take(struct lk_saved *saved)
{
    sigset_t all;

    (void)pthread_once(&once, hook_fork);
    sigfillset(&all);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &saved->cancel);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved->mask);
    (void)pthread_mutex_lock(&mutex);
}

void lk_give(const struct lk_saved *saved)
{
    (void)pthread_mutex_unlock(&mutex);
    (void)pthread_sigmask(SIG_SETMASK, &saved->mask, NULL);
    (void)pthread_setcancelstate(saved->cancel, NULL);
}
