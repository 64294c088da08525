/* A relayed connection's life: what it waits for, how it ends.
 *
 * While a pump has something left over it does not read: that is the back-pressure. EOF of the
 * program becomes close_notify, close_notify of the peer becomes EOF; either way the other
 * direction goes on.
 *
 * Who may keep it waiting. A program that holds its end may be as slow as it likes, also when the
 * connection has failed and what was opened before still lies there for it: that costs it a
 * descriptor of its own, and us no more than a batch. A program that is gone cannot: what it left
 * has a deadline (limits: relay-linger), which begins anew whenever the peer takes something. */
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../proto/secret.h"
#include "dispose.h"
#include "relay_pump.h"
#include "sockfd.h"

int rl_shared_new(struct rl_shared **out, struct lp_loop *lp, struct st_worker *stats,
                  const struct options *options)
{
    struct rl_shared *s = malloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->lp = lp;
    s->stats = stats;
    s->options = options;
    *out = s;
    return 0;
}

void rl_shared_free(struct rl_shared *s)
{
    if (!s)
        return;
    secret_wipe(s, sizeof(*s));
    free(s);
}

static void release(struct relay *r)
{
    if (r->local_in.busy || r->local_out.busy || r->local_end.busy || r->tcp_in.busy ||
        r->tcp_out.busy || r->linger.busy || r->reap.busy)
        return;
    di_close_unix(r->local);
    di_close(r->tcp);
    rc_free(r->open);
    rc_free(r->seal);
    rs_free(&r->to_tcp);
    rs_free(&r->to_local);
    rs_free(&r->cut);
    st_sub(&r->s->stats->relays, 1);
    secret_wipe(r, sizeof(*r));
    free(r);
}

/* The owner hears of the end before the program can see it: a client that meets EOF asks the daemon
 * why, and the answer must already be there. */
static void stop(struct relay *r)
{
    r->stopping = true;
    if (r->owner.ended)
        r->owner.ended(r->owner.owner, &r->f);
    shutdown(r->tcp, SHUT_RDWR);
    shutdown(r->local, SHUT_RDWR);
    lp_cancel(r->s->lp, &r->local_in);
    lp_cancel(r->s->lp, &r->local_out);
    lp_cancel(r->s->lp, &r->local_end);
    lp_cancel(r->s->lp, &r->tcp_in);
    lp_cancel(r->s->lp, &r->tcp_out);
    lp_cancel(r->s->lp, &r->linger);
    lp_timer(r->s->lp, &r->reap, 0); /* freed from the loop, never under a caller's feet */
}

void rl_disown(struct relay *r)
{
    r->owner = (struct rl_owner){.owner = NULL};
}

void rl_end(struct relay *r)
{
    rl_disown(r);
    stop(r);
}

/* Draws the consequences of what the pumps found. True when the connection is over. */
static bool over(struct relay *r)
{
    if (r->f.code)
        return r->to_local.n == 0;
    if (r->up_eof && !r->up_done && r->to_tcp.n == 0) {
        shutdown(r->tcp, SHUT_WR);
        r->up_done = true;
    }
    if (r->down_eof && !r->down_done && r->to_local.n == 0) {
        shutdown(r->local, SHUT_WR);
        r->down_done = true;
    }
    return r->up_done && r->down_done;
}

static void want(struct relay *r, struct lp_op *op, int fd, unsigned mask)
{
    if (!op->busy)
        lp_poll(r->s->lp, op, fd, mask);
}

static void watch(struct relay *r, struct lp_op *op, int fd)
{
    if (!op->busy)
        lp_watch_end(r->s->lp, op, fd);
}

/* The one place that decides what a relayed connection waits for next. */
static void settle(struct relay *r)
{
    if (over(r)) {
        stop(r);
        return;
    }
    if (r->to_local.n)
        want(r, &r->local_out, r->local, POLLOUT);
    if (r->to_tcp.n && !r->f.code)
        want(r, &r->tcp_out, r->tcp, POLLOUT);
    if (!r->up_eof && r->to_tcp.n == 0)
        want(r, &r->local_in, r->local, POLLIN);
    else if (!r->local_gone)
        watch(r, &r->local_end, r->local);
    if (!r->down_eof && r->to_local.n == 0)
        want(r, &r->tcp_in, r->tcp, POLLIN);
    else if (r->down_done && !r->up_done)
        watch(r, &r->tcp_in, r->tcp);
    if (r->local_gone && !r->linger.busy) {
        r->moved_ms = lp_now_ms();
        lp_timer(r->s->lp, &r->linger, r->s->options->relay_linger_ms);
    }
}

static void on_local_in(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, local_in);

    if (r->stopping) {
        release(r);
        return;
    }
    (void)result;
    if (!r->up_eof && r->to_tcp.n == 0)
        rl_up(r);
    settle(r);
}

static void on_local_end(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, local_end);

    if (r->stopping) {
        release(r);
        return;
    }
    if (result > 0 && (result & POLLHUP)) {
        r->local_gone = true;
        rl_down_refused(r);
    }
    settle(r);
}

static void on_tcp_in(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, tcp_in);

    if (r->stopping) {
        release(r);
        return;
    }
    if (r->down_done && result > 0 && (result & (POLLERR | POLLHUP)))
        rl_fail(r, W_CODE_RESET, ECONNRESET, -1, "the peer reset the connection");
    else if (!r->down_eof && r->to_local.n == 0)
        rl_down(r);
    settle(r);
}

static void on_tcp_out(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, tcp_out);
    size_t had = r->to_tcp.n;
    int k;

    (void)result;
    if (r->stopping) {
        release(r);
        return;
    }
    k = rs_flush(&r->to_tcp, r->tcp);
    if (r->to_tcp.n < had)
        r->moved_ms = lp_now_ms();
    if (k < 0)
        rl_fail(r, W_CODE_RESET, -k, -1, "the peer reset the connection");
    settle(r);
}

static void on_local_out(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, local_out);

    (void)result;
    if (r->stopping) {
        release(r);
        return;
    }
    if (rs_flush(&r->to_local, r->local) < 0)
        rl_down_refused(r);
    settle(r);
}

static void on_linger(struct lp_op *op, int result)
{
    struct relay *r = LP_OWNER(op, struct relay, linger);
    const unsigned most = r->s->options->relay_linger_ms;
    uint64_t idle;

    (void)result;
    if (r->stopping) {
        release(r);
        return;
    }
    idle = lp_now_ms() - r->moved_ms;
    if (idle < most) {
        lp_timer(r->s->lp, &r->linger, (unsigned)(most - idle));
        return;
    }
    rl_fail(
        r, W_CODE_TIMEOUT, ETIMEDOUT, -1,
        "the program is gone and the peer takes nothing of what it left (limits: relay-linger)");
    sf_abort(r->tcp);
    settle(r);
}

static void on_reap(struct lp_op *op, int result)
{
    (void)result;
    release(LP_OWNER(op, struct relay, reap));
}

int rl_start(struct relay **out, struct rl_shared *s, int tcp, int local, const struct ks_dir *rx,
             const struct ks_dir *tx, const struct rl_owner *owner)
{
    struct relay *r = calloc(1, sizeof(*r));
    int k;

    if (!r)
        return -ENOMEM;
    k = rc_new(&r->open, rx, 0);
    if (k == 0)
        k = rc_new(&r->seal, tx, 1);
    if (k < 0) {
        rc_free(r->open);
        free(r);
        return k;
    }
    r->s = s;
    r->rx = *rx;
    r->tx = *tx;
    r->tcp = tcp;
    r->local = local;
    r->owner = *owner;
    r->f.alert = -1;
    ud_open(&r->updates, s->options->key_updates, lp_now_ms());
    r->local_in.done = on_local_in;
    r->local_out.done = on_local_out;
    r->local_end.done = on_local_end;
    r->tcp_in.done = on_tcp_in;
    r->tcp_out.done = on_tcp_out;
    r->linger.done = on_linger;
    r->reap.done = on_reap;
    st_add(&s->stats->relays, 1);
    settle(r);
    *out = r;
    return 0;
}
