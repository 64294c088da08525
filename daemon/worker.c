/* A worker process, from the fork to its end.
 *
 * It builds what needs files (trust stores), gives up every right, then serves the clients that
 * control hands it. It ends when control's end of the socket closes, so it can not outlive the
 * daemon. */
#include "worker.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "aftercare.h"
#include "dispose.h"
#include "internal.h"
#include "isolate.h"
#include "log.h"
#include "peer.h"
#include "resume.h"
#include "sockfd.h"

#define RING_ENTRIES 1024
#define NOTES_PER_TURN 64
#define BURST 100      /* handshakes after which a pause is worth giving memory back in */
#define SWEEP_MS 60000 /* how long a session that is over may lie in memory */

static bool on_client(struct worker *w, const struct in_client *m, size_t len, int fds[2])
{
    if (len != sizeof(*m) || fds[0] < 0 || (m->pool != 0) != (fds[1] >= 0))
        return false;
    if (m->pool && po_keep(&w->pools, m->who.uid, m->pool, fd_steal(&fds[1])) < 0)
        lg_warning("no memory for the slots of uid %u", m->who.uid);
    if (pe_open(w, fd_steal(&fds[0]), &m->who) < 0)
        lg_warning("no memory for a new client");
    return true;
}

static bool on_message(struct worker *w, size_t len, int fds[2])
{
    uint32_t type = 0;

    if (len >= sizeof(type))
        memcpy(&type, w->note, sizeof(type));
    switch (type) {
    case IN_CLIENT:
        return on_client(w, (const void *)w->note, len, fds);
    case IN_SERVE:
        return ac_serve(w, w->note, len, fds);
    case IN_ENDED:
        return ac_ended(w, w->note, len);
    default:
        return false;
    }
}

static void on_control(struct lp_op *op, int result)
{
    struct worker *w = LP_OWNER(op, struct worker, control_in);

    (void)result;
    for (int i = 0; i < NOTES_PER_TURN; i++) {
        int fds[FM_FDS_MAX] = {-1, -1};
        unsigned nfds = 0;
        int n = fm_recv(w->control, w->note, sizeof(w->note), fds, &nfds, MSG_DONTWAIT);

        if (n == -EAGAIN)
            break;
        if (n == -EMSGSIZE) { /* no descriptor left for the client: it sees its connection close */
            lg_warning("no descriptor left for a new client: raise LimitNOFILE");
            continue;
        }
        if (n <= 0 || !on_message(w, (size_t)n, fds)) {
            if (n != 0)
                lg_error("control sent something unexpected; ending");
            lp_stop(w->lp);
            return;
        }
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

/* What was kept by the worker before this one goes on under it. */
static int open_table(struct worker *w, int table_fd)
{
    _cleanup_fd_ int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = tb_open(&w->table, table_fd, w->options->connections);

    if (r < 0) {
        lg_error("the table of kernel connections cannot be mapped: %s", strerror(-r));
        return r;
    }
    w->netns = probe >= 0 ? sf_netns(probe) : 0;
    st_add(&w->stats->kept, tb_count(w->table));
    return 0;
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
    return r < 0 ? r : rl_shared_new(&w->relays, w->lp, w->stats, w->options);
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
    tb_close(w->table);
    po_free(&w->pools);
    se_free(w->sessions);
    free(w);
}

void wk_trim(struct worker *w)
{
    if (w->turns.running > 0 || w->turns.first || w->since_trim < BURST)
        return;
    w->since_trim = 0;
    malloc_trim(0);
}

int wk_main(const struct wk_inherited *in)
{
    struct worker *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return EXIT_FAILURE;
    own_signals();
    fm_discard = di_close; /* before the first message of a stranger */
    w->index = in->index;
    w->control = in->control;
    w->options = in->options;
    w->caps = in->caps;
    w->shared = in->shared;
    w->stats = &in->shared->worker[in->index];
    w->sessions = in->sessions;
    w->control_in.done = on_control;
    w->untold.done = ac_on_untold;
    w->sweep.done = on_sweep;
    r = tn_open(&w->turns, in->options->handshakes);
    if (r == 0)
        r = open_table(w, in->table_fd);
    if (r == 0)
        r = build(w, in->key_log_fd);
    if (r == 0) {
        ac_announce(w);
        lp_poll(w->lp, &w->control_in, w->control, POLLIN);
        if (w->sessions)
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
