/* The control process.
 *
 * It takes a client's credentials from the kernel at accept, looks up what the configuration lets
 * that uid do, and hands the connection with that decision to the least busy worker, once; from
 * then on client and worker talk directly. It reads no byte of a client and touches no TLS. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "../proto/wire.h"
#include "census.h"
#include "dispose.h"
#include "herd.h"
#include "internal.h"
#include "lasting.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "notes.h"
#include "notify.h"
#include "passed.h"
#include "stats.h"

#define ACCEPTS_PER_TURN 64

struct control {
    const struct options *o;
    const struct pr_caps *caps;
    struct st_shared *shared;
    struct se_cache *sessions; /* made here, the workers' alone: sessions.h */
    struct census census;
    struct notes notes;
    struct lasting lasting;
    struct lp_loop *lp;
    struct herd *herd;
    unsigned n; /* workers */
    int listener, signals, key_log;
    int held; /* a client for whom its worker has no room yet, -1 = none */
    bool own_path, ending, failed, again;
    struct lp_op accept, accept_pause, signal;
};

static void end_all(struct control *ct, bool failed)
{
    if (ct->ending)
        return;
    ct->ending = true;
    ct->failed = failed;
    nt_notify("STOPPING=1");
    lp_stop(ct->lp);
}

/* --- what the herd asks of us -------------------------------------------------------- */

static void in_child(void *owner)
{
    struct control *ct = owner;

    lp_forget(ct->lp);
    fd_close(&ct->listener);
    fd_close(&ct->signals);
    fd_close(&ct->held);
    ce_free(&ct->census);
    en_forget(ct->notes.ends);
    no_free(&ct->notes);
    la_free(&ct->lasting);
}

static bool on_note(void *owner, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds)
{
    struct control *ct = owner;

    return no_take(&ct->notes, worker, p, len, fds, nfds);
}

static int send_to_worker(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                          unsigned nfds)
{
    struct control *ct = owner;

    return hd_send(ct->herd, worker, p, n, fds, nfds);
}

static void drain_workers(void *owner)
{
    struct control *ct = owner;

    hd_drain(ct->herd);
}

static void gave_up(void *owner)
{
    end_all(owner, true);
}

/* Workers end, with their handshakes and relays; what is kept of kernel connections goes on. */
static void restart(struct control *ct)
{
    lg_info("restarting in place");
    ct->again = true;
    lp_stop(ct->lp);
}

static void on_signal(struct lp_op *op, int result)
{
    struct control *ct = LP_OWNER(op, struct control, signal);
    struct signalfd_siginfo info;

    (void)result;
    while (!ct->again && read(ct->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            hd_reap(ct->herd);
        else if (info.ssi_signo == SIGHUP)
            lg_info("SIGHUP: nothing to reload; SIGUSR2 restarts in place");
        else if (info.ssi_signo == SIGUSR2)
            restart(ct);
        else
            end_all(ct, false);
    }
    if (!ct->ending && !ct->again)
        lp_poll(ct->lp, &ct->signal, ct->signals, POLLIN);
}

/* --- clients ------------------------------------------------------------------------- */

/* A client that cannot be served is told why, the answer fits into its empty queue, and closed. */
static void turn_away(int fd, const char *text)
{
    uint8_t out[512];
    struct w_buf b;
    int len;

    w_begin(&b, out, sizeof(out), W_ERROR, 0, 0);
    w_put_num(&b, W_A_CODE, W_CODE_LIMIT);
    w_put_num(&b, W_A_ERRNO, EUSERS);
    w_put_text(&b, W_A_TEXT, text);
    len = w_end(&b);
    if (len > 0)
        (void)fm_send(fd, out, (size_t)len, NULL, 0, MSG_DONTWAIT);
    di_close_unix(fd);
}

/* Gives a client to a worker, or turns it away. Returns 0 with fd used up, or -EAGAIN with fd kept
 * when the worker's queue is full: *wait_for will be writable. */
static int hand_over(struct control *ct, int fd, int *wait_for)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);
    const struct pool *pool = NULL;
    struct in_peer who;
    int r;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0) {
        di_close_unix(fd);
        return 0;
    }
    who = (struct in_peer){.uid = cred.uid,
                           .gid = cred.gid,
                           .pid = cred.pid,
                           .insecure = op_insecure_allowed(ct->o, cred.uid)};
    if (cred.uid != 0 && ce_uid(&ct->census, cred.uid) >= ct->o->peers_per_uid) {
        lg_warning("uid %u has %u connections to htlsd: one more refused (limits: peers-per-uid)",
                   cred.uid, ct->o->peers_per_uid);
        turn_away(fd, "too many connections to htlsd by this user (limits: peers-per-uid)");
        return 0;
    }
    if (pr_any(ct->caps))
        pool = la_pool(&ct->lasting, cred.uid);
    r = hd_give(ct->herd, fd, &who, pool, wait_for);
    if (r == -EAGAIN)
        return r;
    if (r < 0)
        turn_away(fd, "htlsd has no worker free; try again");
    else
        close(fd); /* the worker has it: never the last */
    return 0;
}

/* One client more, or the one that is held. False when accepting must pause: an operation is
 * pending then. */
static bool serve_one(struct control *ct)
{
    int wait_for;
    int fd = fd_steal(&ct->held);

    if (fd < 0)
        fd = accept4(ct->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        if (hand_over(ct, fd, &wait_for) == 0)
            return true;
        ct->held = fd; /* whoever comes after waits in the backlog */
        lp_poll(ct->lp, &ct->accept, wait_for, POLLOUT);
        return false;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        lg_warning("accept: %s; pausing", strerror(errno));
        lp_timer(ct->lp, &ct->accept_pause, 100);
        return false;
    }
    if (errno != EAGAIN)
        return true;
    lp_poll(ct->lp, &ct->accept, ct->listener, POLLIN);
    return false;
}

static void on_accept(struct lp_op *op, int result)
{
    struct control *ct = LP_OWNER(op, struct control, accept);

    (void)result;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++)
        if (!serve_one(ct))
            return;
    lp_poll(ct->lp, &ct->accept, ct->listener, POLLIN);
}

static void on_accept_pause(struct lp_op *op, int result)
{
    struct control *ct = LP_OWNER(op, struct control, accept_pause);

    (void)result;
    lp_poll(ct->lp, &ct->accept, ct->listener, POLLIN);
}

/* --- the whole ----------------------------------------------------------------------- */

static unsigned count_workers(const struct options *o)
{
    cpu_set_t set;
    unsigned n = o->workers;

    if (n == 0 && sched_getaffinity(0, sizeof(set), &set) == 0)
        n = (unsigned)CPU_COUNT(&set);
    return n < 1 ? 1 : n > ST_WORKERS_MAX ? ST_WORKERS_MAX : n;
}

/* What a worker is given by inheritance: counters, sessions, the key log. */
static int prepare(struct control *ct)
{
    const struct options *o = ct->o;
    size_t size = sizeof(*ct->shared) + ct->n * sizeof(ct->shared->worker[0]);

    ct->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ct->shared == MAP_FAILED)
        return -errno;
    ct->shared->workers = ct->n;
    ct->shared->started = (uint64_t)time(NULL);
    if (o->session_cache > 0) {
        int r = se_new(&ct->sessions, o->session_cache, o->session_share);

        if (r < 0) {
            lg_error("no memory for %u sessions (session-cache): %s", o->session_cache,
                     strerror(-r));
            return r;
        }
    }
    if (*o->key_log) {
        ct->key_log = open(o->key_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (ct->key_log < 0) {
            int r = -errno;

            lg_error("key-log %s: %s", o->key_log, strerror(-r));
            return r;
        }
        lg_warning("session secrets are written to %s", o->key_log);
    }
    return 0;
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGUSR2);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start(struct control *ct)
{
    struct hd_owner owner = {.options = ct->o,
                             .caps = ct->caps,
                             .shared = ct->shared,
                             .sessions = ct->sessions,
                             .census = &ct->census,
                             .key_log = ct->key_log,
                             .tables = ct->lasting.tables,
                             .note = on_note,
                             .in_child = in_child,
                             .gave_up = gave_up,
                             .owner = ct};
    int r = ce_open(&ct->census, ct->n);

    if (r < 0)
        return r;
    ct->signals = open_signals();
    if (ct->signals < 0)
        return ct->signals;
    r = lp_open(&ct->lp, 256);
    if (r < 0) {
        lg_error("io_uring: %s%s", strerror(-r),
                 r == -EPERM ? " (kernel.io_uring_disabled must be 0)" : "");
        return r;
    }
    owner.lp = ct->lp;
    ct->notes.census = &ct->census;
    ct->notes.send = send_to_worker;
    ct->notes.drain = drain_workers;
    ct->notes.owner = ct;
    no_open(&ct->notes, ct->lp);
    if (pr_any(ct->caps)) /* else nothing will be kept */
        r = no_listen(&ct->notes, ct->lasting.restored);
    if (r < 0)
        return r;
    return hd_start(&ct->herd, &owner, ct->n);
}

static int serve(struct control *ct)
{
    char status[160];
    int r;

    ct->accept.done = on_accept;
    ct->accept_pause.done = on_accept_pause;
    ct->signal.done = on_signal;
    lp_poll(ct->lp, &ct->accept, ct->listener, POLLIN);
    lp_poll(ct->lp, &ct->signal, ct->signals, POLLIN);
    snprintf(status, sizeof(status), "READY=1\nSTATUS=%u workers, %s", ct->n,
             pr_any(ct->caps) ? "kernel TLS" : "relay only");
    r = nt_notify(status);
    if (r < 0)
        lg_warning("the service manager could not be told: %s", strerror(-r));
    lg_info("ready on %s with %u worker%s", ct->own_path ? ct->o->socket : "systemd's socket",
            ct->n, ct->n == 1 ? "" : "s");
    r = lp_run(ct->lp);
    if (r < 0)
        lg_error("io_uring: %s", strerror(-r));
    return r;
}

/* Leaves to the program that this process becomes: the listener, what is kept. */
static int pass_on(struct control *ct)
{
    struct passed out = {.listener = ct->listener, .own_path = ct->own_path};
    int r = la_pass_on(&ct->lasting, &out);

    if (r == 0)
        r = ps_pass_on(&out);
    free(out.memories);
    if (r < 0)
        lg_error("cannot restart in place: %s", strerror(-r));
    return r;
}

static int open_all(struct control *ct)
{
    char why[PS_WHY_MAX];
    struct passed passed;
    int r = ps_take(&passed, why);

    if (r < 0) {
        lg_error("cannot start: %s", r == -EPROTO ? why : strerror(-r));
        return r;
    }
    ct->own_path = passed.own_path;
    ct->listener = ls_open(ct->o, passed.listener, &ct->own_path);
    r = ct->listener < 0 ? ct->listener : prepare(ct);
    if (r == 0) {
        r = la_open(&ct->lasting, ct->o, ct->n, &passed);
        if (r == 0)
            r = start(ct);
        if (r < 0)
            lg_error("cannot start: %s", strerror(-r));
    }
    ps_free(&passed);
    return r;
}

static void close_all(struct control *ct)
{
    hd_stop(ct->herd);
    fd_close(&ct->listener);
    fd_close(&ct->signals);
    fd_close(&ct->key_log);
    fd_close(&ct->held);
    lp_close(ct->lp);
    ce_free(&ct->census);
    en_close(ct->notes.ends);
    no_free(&ct->notes);
    la_free(&ct->lasting);
    se_free(ct->sessions);
}

int ct_run(const struct options *o, const struct pr_caps *caps)
{
    struct control ct = {.o = o, .caps = caps, .listener = -1, .signals = -1};
    int r;

    ct.key_log = ct.held = -1;
    fm_discard = di_close; /* before anything comes from outside */
    ct.n = count_workers(o);
    r = open_all(&ct);
    if (r == 0)
        r = serve(&ct);
    if (r == 0 && ct.again) {
        hd_stop(ct.herd);
        ct.herd = NULL;
        if (pass_on(&ct) == 0)
            return CT_AGAIN;
        r = -EIO;
    }
    if (ct.own_path)
        unlink(o->socket);
    close_all(&ct);
    if (r == 0)
        lg_info("ended");
    return r < 0 || ct.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
