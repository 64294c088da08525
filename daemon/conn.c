/* One connection's states, from a plain socket to keys in the kernel or in the relay.
 *
 *   WAITING -> CONNECTING -> HANDSHAKING -> COMMITTING -> UP
 *        \__________\____________\_____________\______-> FAILED
 *
 * cn_goto() is the one door between them. The object owns the TCP socket, the gate, the handshake
 * until UP or FAILED; then it only waits for its own operations to end. In COMMITTING a key may be
 * in the kernel: what fails there kills the connection, it never turns into another path. */
#include "conn_inside.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/secret.h"
#include "aftercare.h"
#include "dispose.h"
#include "ktls.h"
#include "log.h"
#include "relay_ends.h"
#include "sockfd.h"
#include "tickets.h"

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

void cn_goto(struct conn *c, enum state to)
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

void cn_release(struct conn *c)
{
    if (c->io.busy || c->timer.busy || c->relay || c->owner.owner)
        return;
    free(c);
}

void cn_drop_parts(struct conn *c)
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

void cn_leave_running(struct conn *c, enum state was)
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

void cn_fail(struct conn *c)
{
    enum state was = c->state;
    struct cn_owner owner = c->owner;

    cn_goto(c, FAILED);
    cn_leave_running(c, was);
    shutdown(c->tcp, SHUT_RDWR);
    st_add(&c->w->stats->failed, 1);
    lg_info("failed name=%s peer=%s uid=%u pid=%d code=%s %llu ms: %s", c->name, c->remote,
            c->peer.uid, c->peer.pid, w_code_name(c->f.code),
            (unsigned long long)(lp_now_ms() - c->began), c->f.text);
    c->owner.owner = NULL;
    if (owner.owner)
        owner.down(owner.owner, &c->f);
    cn_drop_parts(c);
    cn_start_waiting(c->w);
    wk_trim(c->w);
    cn_release(c);
}

void cn_cancel(struct conn *c)
{
    c->owner.owner = NULL;
    if (c->relay)
        return; /* goes on for the program; on_relay_ended() releases us */
    if (ended(c)) {
        cn_release(c);
        return;
    }
    fl_set(&c->f, W_CODE_CANCELLED, ECANCELED, "the client went away or cancelled");
    cn_fail(c);
}

/* --- on the way ---------------------------------------------------------------------- */

static void step(struct conn *c)
{
    switch (hs_step(c->hs, &c->f)) {
    case HS_DONE:
        cn_commit(c);
        break;
    case HS_WANT_READ:
        lp_poll(c->w->lp, &c->io, c->tcp, POLLIN);
        break;
    case HS_WANT_WRITE:
        lp_poll(c->w->lp, &c->io, c->tcp, POLLOUT);
        break;
    case HS_FAILED:
        cn_fail(c);
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
                cn_fail(c);
                return;
            }
        }
    }
    c->q->setup.store = c->store;
    c->q->setup.port = sf_peer_port(c->tcp);
    r = hs_new_client(&c->hs, c->w->hs_ctx, c->tcp, &c->q->setup, &c->f);
    if (r < 0) {
        cn_fail(c);
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
        cn_fail(c);
        return;
    }
    sf_peer_name(c->tcp, c->remote, sizeof(c->remote));
    begin_tls(c);
}

static void on_io(struct lp_op *op, int result)
{
    struct conn *c = LP_OWNER(op, struct conn, io);

    if (ended(c)) {
        cn_release(c);
    } else if (result < 0) {
        fl_set(&c->f, W_CODE_INTERNAL_ERROR, -result, "poll: %s", strerror(-result));
        cn_fail(c);
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
        cn_release(c);
        return;
    }
    fl_set(&c->f, W_CODE_TIMEOUT, ETIMEDOUT, "%s did not finish the handshake within %u ms%s",
           c->name, c->q->timeout_ms,
           c->state == WAITING ? " (it waited for its turn all the time: limits: handshakes)" : "");
    cn_fail(c);
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
