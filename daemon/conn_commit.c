/* From a finished handshake to TLS that is up: keys into the kernel, or into the relay.
 *
 * In COMMITTING a key may be in the kernel: what fails there kills the connection, it never turns
 * into another path. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/secret.h"
#include "aftercare.h"
#include "conn_inside.h"
#include "ktls.h"
#include "log.h"
#include "relay_ends.h"
#include "sockfd.h"
#include "tickets.h"

static void on_relay_ended(void *owner, const struct failure *f)
{
    struct conn *c = owner;
    struct cn_owner o = c->owner;

    c->relay = NULL;
    c->owner.owner = NULL;
    if (f->code)
        lg_info("relay ended name=%s peer=%s: %s", c->name, c->remote, f->text);
    if (o.owner)
        o.relay_ended(o.owner, f);
    cn_release(c);
}

static void on_relay_tickets(void *owner, const uint8_t *plain, size_t n)
{
    struct conn *c = owner;

    (void)tk_feed(c->w->tickets, c->cookie, plain, n); /* mostly nobody waits for one */
}

/* TLS is up, and its end cannot be handed to anybody. */
static void lose(struct conn *c, const struct cn_owner *owner, int err)
{
    if (c->relay)
        rl_end(c->relay);
    else
        shutdown(c->tcp, SHUT_RDWR);
    c->relay = NULL;
    c->owner.owner = NULL;
    fl_set(&c->f, W_CODE_LIMIT, err, "TLS was up, but its socket could not be handed over: %s",
           strerror(err));
    lg_warning("lost name=%s peer=%s uid=%u: %s", c->name, c->remote, c->peer.uid, c->f.text);
    owner->down(owner->owner, &c->f);
}

/* TLS is up and nothing can fail any more, but to tell of it. */
static void finish(struct conn *c, struct cn_result *result)
{
    struct st_worker *st = c->w->stats;
    struct cn_owner owner = c->owner;
    int r = 0;

    cn_goto(c, UP);
    cn_leave_running(c, COMMITTING);
    result->why = c->q->why;
    result->cookie = c->cookie;
    hs_facts(c->hs, &result->facts);
    st_add(&st->done, 1);
    st_add(result->tx == W_MODE_RELAY ? &st->relay
           : result->tx == W_MODE_NIC ? &st->nic
                                      : &st->kernel,
           1);
    lg_info("up name=%s peer=%s uid=%u pid=%d %s %s alpn=%.*s tx=%s rx=%s %llu ms%s%s", c->name,
            c->remote, c->peer.uid, c->peer.pid,
            result->facts.suite->version == KS_TLS13 ? "TLSv1.3" : "TLSv1.2",
            result->facts.suite->name, (int)result->facts.alpn_len, result->facts.alpn,
            w_mode_name(result->tx), w_mode_name(result->rx),
            (unsigned long long)(lp_now_ms() - c->began), *c->q->why ? " " : "", c->q->why);
    if (!c->relay) /* the owner hears nothing more of us */
        c->owner.owner = NULL;
    if (owner.owner)
        r = owner.up(owner.owner, result);
    if (r < 0)
        lose(c, &owner, -r);
    tk_keep(c->w->tickets, c->cookie, c->hs);
    c->hs = NULL;
    cn_drop_parts(c);
    cn_start_waiting(c->w);
    wk_trim(c->w);
    cn_release(c);
}

static void go_relay(struct conn *c, const struct ks_dir *rx, const struct ks_dir *tx)
{
    struct cn_result result = {.tx = W_MODE_RELAY, .rx = W_MODE_RELAY, .fd = -1};
    const struct rl_owner owner = {on_relay_ended, on_relay_tickets, c};
    uint32_t fill = c->q->gate_fill;
    _cleanup_fd_ int local = -1, far = -1;
    int r, ours;

    if (st_get(&c->w->stats->relays) >= c->w->options->relays) {
        fl_set(&c->f, W_CODE_LIMIT, EUSERS, "%u connections are relayed already (limits: relays)",
               c->w->options->relays);
        cn_fail(c);
        return;
    }
    if (re_make(c->tcp, c->gate, &local, &far, &c->f) < 0) {
        cn_fail(c);
        return;
    }
    c->gate = -1; /* if there was one, it is local now */
    r = rl_start(&c->relay, c->w->relays, c->tcp, local, rx, tx, &owner);
    if (r < 0) {
        fl_set(&c->f, W_CODE_INTERNAL_ERROR, -r, "the relay could not begin: %s", strerror(-r));
        cn_fail(c);
        return;
    }
    c->tcp = -1;
    ours = fd_steal(&local); /* both are the relay's now */
    result.fd = far;
    finish(c, &result);
    re_open_gate(ours, fill);
}

static void go_kernel(struct conn *c, const struct ks_dir *rx, const struct ks_dir *tx)
{
    struct cn_result result = {.fd = -1};
    int installed = 0;
    int r = kt_install(c->tcp, rx, tx, &installed);

    if (r < 0 && installed == 0 && rq_no_kernel(c->q, "the kernel refused the keys", &c->f) == 0) {
        go_relay(c, rx, tx); /* no key is in: the streams can still go on elsewhere */
        return;
    }
    if (r < 0) {
        fl_set(&c->f, W_CODE_INTERNAL_ERROR, -r,
               "the kernel took one direction's keys and refused the other's (%s): the connection "
               "is lost",
               strerror(-r));
        cn_fail(c);
        return;
    }
    of_confirm(c->w->diag, c->tcp, &result.tx, &result.rx);
    sf_linger_off(c->tcp);
    hs_facts(c->hs, &result.facts);
    ac_keep(c->w, c->tcp, &c->peer, c->name, &result, rx, tx);
    if (c->gate >= 0)
        result.fd = c->tcp; /* comes back in the gate's place */
    else
        fd_close(
            &c->tcp); /* before the answer: what the client then sets on its socket stays set */
    finish(c, &result);
}

void cn_commit(struct conn *c)
{
    struct ks_dir rx, tx;
    SECRET_WIPE(rx);
    SECRET_WIPE(tx);

    cn_goto(c, COMMITTING);
    if (re_check_gate(c->gate, c->q->gate_fill, &c->f) < 0 || tk_drain(c->hs, &c->f) < 0 ||
        hs_keys(c->hs, &rx, &tx, &c->f) < 0) {
        cn_fail(c);
        return;
    }
    if (c->q->kernel && !pr_takes(c->w->caps, rx.suite) &&
        rq_no_kernel(c->q, "the kernel does not take the suite that the peer chose", &c->f) < 0) {
        cn_fail(c);
        return;
    }
    if (c->q->kernel && !ac_has_room(c->w) &&
        rq_no_kernel(c->q, "as many kernel connections as may be are kept (limits: connections)",
                     &c->f) < 0) {
        cn_fail(c);
        return;
    }
    if (c->q->kernel)
        go_kernel(c, &rx, &tx);
    else
        go_relay(c, &rx, &tx);
}
