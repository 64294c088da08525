/* Gives each kernel connection its slot. */
#include "keep.h"

#include <string.h>

#include "line.h"
#include "lock.h"
#include "sys.h"

#define PREPARE_MS 100 /* a daemon that is slower is asked again at the next upgrade */

/* A slot was given in a pool that we do not know: the daemon has made a new one. Under the lock. */
static bool stale;

static bool is_known(void)
{
    struct lk_saved saved;
    bool known;

    lk_take(&saved);
    known = sh_mapped(0) && !stale;
    lk_give(&saved);
    return known;
}

static bool take_pool(const struct ln_answer *a)
{
    struct lk_saved saved;
    bool known;

    lk_take(&saved);
    if (!sh_mapped(a->facts.pool))
        (void)sh_map(a->facts.pool, a->fd);
    known = sh_mapped(a->facts.pool);
    stale = stale && !known;
    lk_give(&saved);
    return known;
}

uint32_t kp_prepare(const char *daemon)
{
    struct ln_request q = {.type = W_SHARE, .fd = -1};
    struct ln_answer a;
    bool known;

    if (is_known())
        return W_CAP_SLOTS;
    if (!(ln_caps(daemon, PREPARE_MS) & W_CAP_CONTROL))
        return 0;
    if (ln_ask(daemon, &q, PREPARE_MS, false, &a) < 0 || a.fd < 0)
        return 0;
    known = take_pool(&a);
    sy.close(a.fd);
    return known ? W_CAP_SLOTS : 0;
}

void kp_begin(struct rr_state *s, const struct facts *f, const char *daemon)
{
    bool can = f->version == 0x0304 && (f->caps & W_CAP_CONTROL) && (f->caps & W_CAP_REKEY);

    rr_init(s, f->version);
    stale = stale || (f->pool && !sh_mapped(f->pool));
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
    if (s->slot)
        sh_free(s->slot);
}
