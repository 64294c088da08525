/* One connection's states, from a plain socket to keys in the kernel or in the relay.
 *
 *   WAITING -> CONNECTING -> HANDSHAKING -> COMMITTING -> UP
 *        \__________\____________\_____________\______-> FAILED
 *
 * cn_goto() is the one door between them. The object owns the TCP socket, the gate, the handshake
 * until UP or FAILED; then it only waits for its own operations to end. In COMMITTING a key may be
 * in the kernel: what fails there kills the connection, it never turns into another path. */
#include "conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/secret.h"
#include "dispose.h"
#include "ktls.h"
#include "log.h"
#include "relay_ends.h"
#include "sockfd.h"

enum state { WAITING, CONNECTING, HANDSHAKING, COMMITTING, UP, FAILED, STATES };

static const struct {
    const char *name;
    unsigned next; /* bit per state */
} states[STATES] = {
    [WAITING] = {"waiting", 1u << CONNECTING | 1u << FAILED},
    [CONNECTING] = {"connecting", 1u << HANDSHAKING | 1u << FAILED},
    [HANDSHAKING] = {"handshaking", 1u << COMMITTING | 1u << FAILED},
    [COMMITTING] = {"committing", 1u << UP | 1u << FAILED},
    [UP] = {"up", 0},
    [FAILED] = {"failed", 0},
};

struct conn {
    struct worker *w;
    struct cn_owner owner; /* .owner NULL = cancelled */
    struct in_peer peer;
    enum state state;
    int tcp, gate;
    struct request *q;
    X509_STORE *store;
    struct hs *hs;
    struct lp_op io, timer;
    struct relay *relay; /* runs by itself; kept to disown it */
    struct turn turn;
    struct failure f;
    char name[W_NAME_MAX + 1];
    char remote[64]; /* address:port for the log */
    uint64_t began;  /* CLOCK_MONOTONIC, milliseconds */
    uint64_t cookie;
};

static void cn_goto(struct conn *c, enum state to)
{
    if (!(states[c->state].next & 1u << to)) {
        lg_error("bug: connection goes from %s to %s", states[c->state].name, states[to].name);
        abort();
    }
    lg_debug("%s %s: %s -> %s", c->remote, c->name, states[c->state].name, states[to].name);
    c->state = to;
}

static bool ended(const struct conn *c)
{
    return states[c->state].next == 0;
}

/* --- the end ------------------------------------------------------------------------- */

static void release(struct conn *c)
{
    if (c->io.busy || c->timer.busy || c->relay || c->owner.owner)
        return;
    free(c);
}

/* Frees what only a running handshake needs. */
static void drop_parts(struct conn *c)
{
    hs_free(c->hs);
    c->hs = NULL;
    rq_free(c->q);
    c->q = NULL;
    X509_STORE_free(c->store);
    c->store = NULL;
    di_drop(&c->tcp);
    if (c->gate >= 0)
        di_close_unix(fd_steal(&c->gate));
    lp_cancel(c->w->lp, &c->io);
    lp_cancel(c->w->lp, &c->timer);
}

static void leave_running(struct conn *c, enum state was)
{
    if (was == WAITING) {
        tn_leave(&c->w->turns, &c->turn);
        st_sub(&c->w->stats->waiting, 1);
    } else {
        tn_done(&c->w->turns, &c->turn);
        c->w->since_trim++;
        st_sub(&c->w->stats->handshakes, 1);
    }
}

/* The end without TLS. The socket is shut down whoever else holds it: after TLS was asked for,
 * nothing may follow on it in the clear. The reason must be in c->f. */
static void fail(struct conn *c)
{
    enum state was = c->state;
    struct cn_owner owner = c->owner;

    cn_goto(c, FAILED);
    leave_running(c, was);
    shutdown(c->tcp, SHUT_RDWR);
    st_add(&c->w->stats->failed, 1);
    lg_info("failed name=%s peer=%s uid=%u pid=%d code=%s %llu ms: %s", c->name, c->remote,
            c->peer.uid, c->peer.pid, w_code_name(c->f.code),
            (unsigned long long)(lp_now_ms() - c->began), c->f.text);
    c->owner.owner = NULL;
    if (owner.owner)
        owner.down(owner.owner, &c->f);
    drop_parts(c);
    cn_start_waiting(c->w);
    wk_trim(c->w);
    release(c);
}

void cn_cancel(struct conn *c)
{
    c->owner.owner = NULL;
    if (c->relay)
        return; /* goes on for the program; on_relay_ended() releases us */
    if (ended(c)) {
        release(c);
        return;
    }
    fl_set(&c->f, W_CODE_CANCELLED, ECANCELED, "the client went away or cancelled");
    fail(c);
}

/* --- up ------------------------------------------------------------------------------ */

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
    release(c);
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
    leave_running(c, COMMITTING);
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
    drop_parts(c);
    cn_start_waiting(c->w);
    wk_trim(c->w);
    release(c);
}

static void go_relay(struct conn *c, const struct ks_dir *rx, const struct ks_dir *tx)
{
    struct cn_result result = {.tx = W_MODE_RELAY, .rx = W_MODE_RELAY, .fd = -1};
    uint32_t fill = c->q->gate_fill;
    _cleanup_fd_ int local = -1, far = -1;
    int r, ours;

    if (st_get(&c->w->stats->relays) >= c->w->options->relays) {
        fl_set(&c->f, W_CODE_LIMIT, EUSERS, "%u connections are relayed already (limits: relays)",
               c->w->options->relays);
        fail(c);
        return;
    }
    if (re_make(c->tcp, c->gate, &local, &far, &c->f) < 0) {
        fail(c);
        return;
    }
    c->gate = -1; /* if there was one, it is local now */
    r = rl_start(&c->relay, c->w->relays, c->tcp, local, rx, tx, on_relay_ended, c);
    if (r < 0) {
        fl_set(&c->f, W_CODE_INTERNAL_ERROR, -r, "the relay could not begin: %s", strerror(-r));
        fail(c);
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
        fail(c);
        return;
    }
    of_confirm(c->w->diag, c->tcp, &result.tx, &result.rx);
    sf_linger_off(c->tcp);
    if (c->gate >= 0)
        result.fd = c->tcp; /* comes back in the gate's place */
    else
        fd_close(
            &c->tcp); /* before the answer: what the client then sets on its socket stays set */
    finish(c, &result);
}

/* The handshake is over: drain, derive, decide, install. */
static void commit(struct conn *c)
{
    struct ks_dir rx, tx;
    SECRET_WIPE(rx);
    SECRET_WIPE(tx);

    cn_goto(c, COMMITTING);
    if (re_check_gate(c->gate, c->q->gate_fill, &c->f) < 0 || hs_drain(c->hs, &c->f) < 0 ||
        hs_keys(c->hs, &rx, &tx, &c->f) < 0) {
        fail(c);
        return;
    }
    if (c->q->kernel && !pr_takes(c->w->caps, rx.suite) &&
        rq_no_kernel(c->q, "the kernel does not take the suite that the peer chose", &c->f) < 0) {
        fail(c);
        return;
    }
    if (c->q->kernel)
        go_kernel(c, &rx, &tx);
    else
        go_relay(c, &rx, &tx);
}

/* --- on the way ---------------------------------------------------------------------- */

static void step(struct conn *c)
{
    switch (hs_step(c->hs, &c->f)) {
    case HS_DONE:
        commit(c);
        break;
    case HS_WANT_READ:
        lp_poll(c->w->lp, &c->io, c->tcp, POLLIN);
        break;
    case HS_WANT_WRITE:
        lp_poll(c->w->lp, &c->io, c->tcp, POLLOUT);
        break;
    case HS_FAILED:
        fail(c);
        break;
    }
}

/* TCP is established: the ULP goes on now, for it cannot once the peer has closed its half; then
 * TLS. */
static void begin_tls(struct conn *c)
{
    int r;

    if (c->q->kernel) {
        r = kt_attach(c->tcp);
        if (r < 0) {
            char why[96];

            snprintf(why, sizeof(why), "TCP_ULP was refused: %s", strerror(-r));
            if (rq_no_kernel(c->q, why, &c->f) < 0) {
                fail(c);
                return;
            }
        }
    }
    c->q->setup.store = c->store;
    r = hs_new_client(&c->hs, c->w->hs_ctx, c->tcp, &c->q->setup, &c->f);
    if (r < 0) {
        fail(c);
        return;
    }
    cn_goto(c, HANDSHAKING);
    step(c);
}

static void connected(struct conn *c)
{
    int err = 0;
    socklen_t n = sizeof(err);

    if (sf_connecting(c->tcp)) {
        lp_poll(c->w->lp, &c->io, c->tcp, POLLOUT);
        return;
    }
    if (getsockopt(c->tcp, SOL_SOCKET, SO_ERROR, &err, &n) == 0 && err) {
        fl_set(&c->f, err == ECONNREFUSED ? W_CODE_REFUSED : W_CODE_RESET, err, "connect: %s",
               strerror(err));
        fail(c);
        return;
    }
    sf_peer_name(c->tcp, c->remote, sizeof(c->remote));
    begin_tls(c);
}

static void on_io(struct lp_op *op, int result)
{
    struct conn *c = LP_OWNER(op, struct conn, io);

    if (ended(c)) {
        release(c);
    } else if (result < 0) {
        fl_set(&c->f, W_CODE_INTERNAL_ERROR, -result, "poll: %s", strerror(-result));
        fail(c);
    } else if (c->state == CONNECTING) {
        connected(c);
    } else {
        step(c);
    }
}

static void on_timer(struct lp_op *op, int result)
{
    struct conn *c = LP_OWNER(op, struct conn, timer);

    (void)result;
    if (ended(c)) {
        release(c);
        return;
    }
    fl_set(&c->f, W_CODE_TIMEOUT, ETIMEDOUT, "%s did not finish the handshake within %u ms%s",
           c->name, c->q->timeout_ms,
           c->state == WAITING ? " (it waited for its turn all the time: limits: handshakes)" : "");
    fail(c);
}

void cn_start_waiting(struct worker *w)
{
    struct turn *turn;

    if (w->starting) /* one that failed at once called us: the loop below goes on for it */
        return;
    w->starting = true;
    while ((turn = tn_next(&w->turns))) {
        struct conn *c = LP_OWNER(turn, struct conn, turn);

        st_sub(&w->stats->waiting, 1);
        st_add(&w->stats->handshakes, 1);
        cn_goto(c, CONNECTING);
        connected(c);
    }
    w->starting = false;
}

int cn_open(struct conn **out, struct worker *w, const struct cn_owner *owner, int tcp, int gate,
            struct request *q, X509_STORE *store, const struct in_peer *peer, struct failure *f)
{
    struct conn *c = NULL;
    int r = sf_check(tcp, gate, f);

    if (r == 0)
        c = calloc(1, sizeof(*c));
    if (r == 0 && !c)
        r = fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for a connection");
    if (!c) {
        di_drop(&tcp);
        di_drop(&gate);
        rq_free(q);
        X509_STORE_free(store);
        return r;
    }
    *c = (struct conn){.w = w, .owner = *owner, .peer = *peer, .tcp = tcp, .gate = gate, .q = q};
    c->store = store;
    c->f.alert = -1;
    c->io.done = on_io;
    c->timer.done = on_timer;
    c->began = lp_now_ms();
    c->cookie = sf_cookie(tcp);
    sf_linger_off(tcp);
    memcpy(c->name, q->setup.name, sizeof(c->name));
    sf_peer_name(tcp, c->remote, sizeof(c->remote));
    lp_timer(w->lp, &c->timer, q->timeout_ms);
    tn_wait(&w->turns, &c->turn, peer->uid);
    st_add(&w->stats->waiting, 1);
    *out = c;
    return 0;
}
