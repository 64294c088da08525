/* From one generation of traffic secrets to the next (RFC 8446 section 7.2). */
#include "rekey.h"

#include <errno.h>
#include <string.h>

#include "../proto/secret.h"

static int no_key(struct failure *f)
{
    return fl_set(f, W_CODE_INTERNAL_ERROR, EIO, "the next key could not be derived");
}

/* The direction's keys `steps` generations behind this secret. */
static int derive(const struct tb_entry *e, const uint8_t *secret, int steps, struct ks_dir *d)
{
    const struct ks_suite *suite = ks_find(e->suite);
    int r = suite ? ks_tls13(d, suite, secret, suite->secret_len) : -EINVAL;

    if (r == 0 && steps)
        r = ks_next(d);
    return r;
}

static int give(const struct ks_dir *d, uint32_t generation, struct rk_key *key)
{
    int n = kt_block(d, key->block);

    if (n < 0)
        return n;
    key->n = n;
    key->generation = generation;
    return 0;
}

/* Goes on one generation: the secret first, then the number that makes it the valid one. */
static void commit(uint8_t secrets[2][KS_SECRET_MAX], uint32_t *generation, const struct ks_dir *d)
{
    uint32_t next = *generation + 1;

    memcpy(secrets[next % 2], d->secret, KS_SECRET_MAX);
    __atomic_store_n(generation, next, __ATOMIC_RELEASE);
    secret_wipe(secrets[(next + 1) % 2], KS_SECRET_MAX);
}

static int check(const struct tb_entry *e, struct failure *f)
{
    const struct ks_suite *suite = ks_find(e->suite);

    if (suite && suite->version == KS_TLS13)
        return 0;
    f->alert = 10; /* unexpected_message */
    f->alert_sent = true;
    return fl_set(f, W_CODE_PROTOCOL_VIOLATION, EPROTO, "there is no KeyUpdate in TLS 1.2");
}

int rk_received(struct tb_entry *e, const uint32_t *generation, bool asked, struct rk_key *key,
                struct failure *f)
{
    uint32_t now = e->rx_generation;
    bool again = generation && *generation + 1 == now;
    struct ks_dir d;
    SECRET_WIPE(d);
    int r = check(e, f);

    if (r < 0)
        return r;
    if (generation && *generation > now)
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL, "a receiving generation that never was");
    if (generation && *generation < now && !again) {
        key->n = 0;
        key->generation = now;
        return 0;
    }
    r = derive(e, e->rx_secret[now % 2], !again, &d);
    if (r == 0)
        r = give(&d, again ? now : now + 1, key);
    if (r < 0)
        return no_key(f);
    if (!again) {
        commit(e->rx_secret, &e->rx_generation, &d);
        e->owed |= asked;
    }
    return 0;
}

int rk_sending(struct tb_entry *e, uint32_t generation, struct rk_key *key, struct failure *f)
{
    struct ks_dir d;
    SECRET_WIPE(d);
    int r = check(e, f);

    if (r < 0)
        return r;
    if (generation != e->tx_generation && generation != e->tx_generation + 1)
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL, "a sending generation that is not in use");
    r = derive(e, e->tx_secret[e->tx_generation % 2], generation != e->tx_generation, &d);
    if (r == 0 && generation != e->tx_generation)
        commit(e->tx_secret, &e->tx_generation, &d);
    if (r == 0)
        r = ks_next(&d);
    if (r == 0)
        r = give(&d, generation + 1, key);
    if (r < 0)
        return no_key(f);
    e->owed = 0;
    return 0;
}
