/* A worker process, from the fork to its end.
 *
 * It builds what needs files (trust stores), gives up every right, then serves the clients that
 * control hands it. It ends when control's end of the socket closes, so it can not outlive the
 * daemon. */
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "dispose.h"
#include "internal.h"
#include "isolate.h"
#include "log.h"
#include "peer.h"
#include "resume.h"

#define RING_ENTRIES 1024
#define CLIENTS_PER_TURN 64
#define SWEEP_MS 60000 /* how long a session that is over may lie in memory */

static void on_control(struct lp_op *op, int result)
{
    struct worker *w = LP_OWNER(op, struct worker, control_in);

    (void)result;
    for (int i = 0; i < CLIENTS_PER_TURN; i++) {
        int fds[FM_FDS_MAX] = {-1, -1};
        unsigned nfds = 0;
        struct in_peer who;
        int n = fm_recv(w->control, &who, sizeof(who), fds, &nfds, MSG_DONTWAIT);

        if (n == -EAGAIN)
            break;
        if (n == -EMSGSIZE) { /* no descriptor left for the client: it sees its connection close */
            lg_warning("no descriptor left for a new client: raise LimitNOFILE");
            continue;
        }
        if (n != (int)sizeof(who) || nfds != 1) {
            if (n != 0)
                lg_error("control sent something unexpected; ending");
            lp_stop(w->lp);
            return;
        }
        if (pe_open(w, fds[0], &who) < 0)
            lg_warning("no memory for a new client");
    }
    lp_poll(w->lp, &w->control_in, w->control, POLLIN);
}

/* Each worker has its part of the cache, so that all of it is seen while any worker lives. */
static void on_sweep(struct lp_op *op, int result)
{
    struct worker *w = LP_OWNER(op, struct worker, sweep);

    (void)result;
    se_sweep(w->sessions, w->index, w->shared->workers, (uint64_t)time(NULL));
    lp_timer(w->lp, &w->sweep, SWEEP_MS);
}

/* Signals meant for the daemon reach the whole group; control alone acts on them. */
static void own_signals(void)
{
    sigset_t none;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int build(struct worker *w, int key_log_fd)
{
    const struct ru_ctx resume = {w->sessions, w->stats, w->options->session_ms / 1000};
    int r = tr_load(&w->trust, w->options);

    if (r < 0)
        return r;
    r = hs_ctx_new(&w->hs_ctx, key_log_fd);
    if (r < 0)
        return r;
    if (w->sessions)
        hs_ctx_resume(w->hs_ctx, &resume);
    if (of_open(&w->diag) < 0)
        lg_warning("no sock_diag: \"nic\" will be reported as \"kernel\"");
    r = iso_worker(w->options);
    if (r < 0) {
        lg_error("cannot give up rights (user %s): %s", w->options->user, strerror(-r));
        return r;
    }
    r = lp_open(&w->lp, RING_ENTRIES);
    if (r < 0) {
        lg_error("io_uring: %s%s", strerror(-r),
                 r == -EPERM ? " (kernel.io_uring_disabled must be 0)" : "");
        return r;
    }
    r = tk_open(&w->tickets, w->lp);
    return r < 0 ? r : rl_shared_new(&w->relays, w->lp, w->stats);
}

static void demolish(struct worker *w)
{
    rl_shared_free(w->relays);
    tk_close(w->tickets);
    lp_close(w->lp);
    of_close(w->diag);
    tn_close(&w->turns);
    hs_ctx_free(w->hs_ctx);
    tr_free(w->trust);
    se_free(w->sessions);
    free(w);
}

int wk_main(unsigned index, int control, int key_log_fd, const struct options *o,
            const struct pr_caps *caps, struct st_shared *shared, struct se_cache *sessions)
{
    struct worker *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return EXIT_FAILURE;
    own_signals();
    fm_discard = di_close; /* before the first message of a stranger */
    w->index = index;
    w->control = control;
    w->options = o;
    w->caps = caps;
    w->shared = shared;
    w->stats = &shared->worker[index];
    w->sessions = sessions;
    w->control_in.done = on_control;
    w->sweep.done = on_sweep;
    r = tn_open(&w->turns, o->handshakes);
    if (r == 0)
        r = build(w, key_log_fd);
    if (r == 0) {
        lp_poll(w->lp, &w->control_in, control, POLLIN);
        if (sessions)
            lp_timer(w->lp, &w->sweep, SWEEP_MS);
        r = lp_run(w->lp);
        if (r < 0)
            lg_error("io_uring: %s", strerror(-r));
    }
    if (st_get(&w->stats->peers) || st_get(&w->stats->relays))
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* the kernel takes back what still runs */
    demolish(w);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
