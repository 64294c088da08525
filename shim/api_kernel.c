/* libhtls: connections in the kernel: who holds them, their keys, their end. */
#include <errno.h>
#include <fcntl.h>

#include "api.h"
#include "goodbye.h"
#include "keep.h"
#include "lock.h"
#include "sys.h"
#include "turn.h"

#define EXIT_WAIT_MS 300 /* for room for close_notify, for all that exit() leaves open */

/* All objects whose connection is up in the kernel. Under the lock. */
static struct htls *all;

/* The child will be a holder: counted before there is one, for its parent may be gone, and have
 * said the end, before it can count itself. Where fork fails the count stays too high, and nobody
 * says the end but htls_shutdown(). */
static void before_fork(void)
{
    for (struct htls *h = all; h; h = h->next)
        if (h->rr.slot)
            sh_hold(h->rr.slot);
}

void ap_join(struct htls *h, const char *daemon)
{
    static const struct lk_hook hook = {.before = before_fork};
    static bool hooked;
    struct lk_saved saved;

    lk_take(&saved);
    if (!hooked)
        lk_on_fork(&hook);
    hooked = true;
    kp_begin(&h->rr, &h->facts, daemon);
    h->next = all;
    all = h;
    h->joined = true;
    lk_give(&saved);
}

bool ap_leave(struct htls *h)
{
    struct htls **at = &all;
    struct lk_saved saved;
    bool last = false;

    lk_take(&saved);
    if (h->joined) {
        while (*at != h)
            at = &(*at)->next;
        *at = h->next;
        h->joined = false;
        last = kp_end(&h->rr);
    }
    lk_give(&saved);
    return last;
}

static struct htls *first(void)
{
    struct lk_saved saved;
    struct htls *h;

    lk_take(&saved);
    h = all;
    lk_give(&saved);
    return h;
}

/* exit(3): what the program has not closed ends here. */
__attribute__((destructor)) static void on_exit_(void)
{
    uint64_t deadline = cl_now() + EXIT_WAIT_MS;

    for (struct htls *h = first(); h; h = first()) {
        uint64_t now = cl_now();

        if (!ap_leave(h))
            continue;
        if (!atomic_load(&h->rr.error)) {
            (void)gb_close_notify(h->fd, &h->rr, now < deadline ? (int)(deadline - now) : 0);
            rr_clear(h->fd, &h->rr);
        }
        kp_free(&h->rr);
    }
}

EXPORT int htls_update_keys(struct htls *h, int ask_peer)
{
    if (!h->up)
        return -ENOTCONN;
    return h->joined ? tn_update(h->fd, &h->rr, ask_peer != 0) : -EOPNOTSUPP;
}
