/* Takes the one lock of this folder in a way that signals and fork cannot deadlock. */
#include "lock.h"

#include <stddef.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lk_saved across_fork;
static const struct lk_hook *hooks[LK_HOOKS_MAX];

/* Held over fork, so that a child never inherits a lock whose owner does not exist in it. */
static void fork_prepare(void)
{
    struct lk_saved saved;

    lk_take(&saved);
    across_fork = saved;
    for (unsigned i = 0; i < LK_HOOKS_MAX && hooks[i]; i++)
        if (hooks[i]->before)
            hooks[i]->before();
}

static void fork_done(bool child)
{
    struct lk_saved saved = across_fork;

    for (unsigned i = 0; i < LK_HOOKS_MAX && hooks[i]; i++)
        if (hooks[i]->after)
            hooks[i]->after(child);
    lk_give(&saved);
}

static void in_parent(void)
{
    fork_done(false);
}

static void in_child(void)
{
    fork_done(true);
}

static void hook_fork(void)
{
    (void)pthread_atfork(fork_prepare, in_parent, in_child);
}

void lk_on_fork(const struct lk_hook *hook)
{
    unsigned i = 0;

    (void)pthread_once(&once, hook_fork);
    while (hooks[i])
        i++;
    hooks[i] = hook;
}

void lk_calm(struct lk_saved *saved)
{
    sigset_t all;

    sigfillset(&all);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &saved->cancel);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved->mask);
}

void lk_resume(const struct lk_saved *saved)
{
    (void)pthread_sigmask(SIG_SETMASK, &saved->mask, NULL);
    (void)pthread_setcancelstate(saved->cancel, NULL);
}

void lk_enter(pthread_mutex_t *m, struct lk_saved *saved)
{
    lk_calm(saved);
    (void)pthread_mutex_lock(m);
}

void lk_leave(pthread_mutex_t *m, const struct lk_saved *saved)
{
    (void)pthread_mutex_unlock(m);
    lk_resume(saved);
}

void lk_take(struct lk_saved *saved)
{
    (void)pthread_once(&once, hook_fork);
    lk_enter(&mutex, saved);
}

void lk_give(const struct lk_saved *saved)
{
    lk_leave(&mutex, saved);
}
