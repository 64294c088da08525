/* Gives each kernel connection its slot. */
#include "keep.h"

#include <string.h>

#include "line.h"
#include "lock.h"
#include "sys.h"

#define FETCH_MS 100 /* a daemon that is slower is asked again at the next upgrade */

/* A slot was given in a pool that was not mapped then: the first one, to an upgrade that could not
 * wait, or htlsd has made a new one. Under the lock. */
static bool wanted;

static void take_pool(const struct ln_answer *a)
{
    struct lk_saved saved;

    lk_take(&saved);
    if (!sh_mapped(a->facts.pool))
        (void)sh_map(a->facts.pool, a->fd);
    wanted = wanted && !sh_mapped(a->facts.pool);
    lk_give(&saved);
}

static void fetch(const char *daemon)
{
    struct ln_request q = {.type = W_SHARE, .fd = -1};
    struct ln_answer a;

    if (ln_ask(daemon, &q, FETCH_MS, false, &a) < 0 || a.fd < 0)
        return;
    take_pool(&a);
    sy.close(a.fd);
}

uint32_t kp_prepare(const char *daemon)
{
    struct lk_saved saved;
    bool now;

    lk_take(&saved);
    now = wanted;
    lk_give(&saved);
    if (now)
        fetch(daemon);
    return W_CAP_SLOTS;
}

void kp_learn(const struct facts *f, const char *daemon)
{
    struct lk_saved saved;
    bool known;

    if (!f->pool)
        return;
    lk_take(&saved);
    known = sh_mapped(f->pool);
    lk_give(&saved);
    if (!known)
        fetch(daemon);
}

void kp_begin(struct rr_state *s, const struct facts *f, const char *daemon)
{
    bool can = f->version == 0x0304 && (f->caps & W_CAP_CONTROL) && (f->caps & W_CAP_REKEY);

    rr_init(s, f->version);
    wanted = wanted || (f->pool && !sh_mapped(f->pool));
    strncpy(s->daemon, daemon, sizeof(s->daemon) - 1);
    s->slot = sh_claim(f->pool, f->slot);
    if (!s->slot)
        return;
    s->controls = (f->caps & W_CAP_CONTROL) != 0;
    s->follows_rx = can && f->mode_rx == W_MODE_KERNEL; /* no card takes a second key */
    s->follows_tx = can && f->mode_tx == W_MODE_KERNEL;
    s->slot->records_max = f->records_max < UINT32_MAX ? (uint32_t)f->records_max : UINT32_MAX;
    sh_publish(s->slot, f->cookie);
}

bool kp_end(struct rr_state *s)
{
    return !s->slot || sh_drop(s->slot);
}

void kp_free(struct rr_state *s)
{
    if (atomic_exchange(&s->told, false))
        ln_settle();
    if (s->slot)
        sh_free(s->slot);
}
