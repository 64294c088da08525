/* The control process.
 *
 * It takes a client's credentials from the kernel at accept, looks up what the configuration lets
 * that uid do, and hands the connection with that decision to the least busy worker, once; from
 * then on client and worker talk directly. It reads no byte of a client and touches no TLS. A
 * worker that dies takes its own handshakes and relays with it, nothing else; it is replaced. */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "../proto/wire.h"
#include "census.h"
#include "internal.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "notify.h"
#include "stats.h"
#include "worker.h"

#define ACCEPTS_PER_TURN 64
#define QUICK_DEATH_MS 1000 /* a worker that lived shorter is replaced after that pause */
#define STARTS_MAX 5        /* so many quick deaths in a row, and the daemon gives up */

struct control;

struct slot {
    struct control *ct;
    unsigned index;
    pid_t pid; /* 0 = none */
    int fd;    /* our end of its socket */
    struct lp_op in, pause;
    uint64_t born_ms;
    unsigned quick_deaths;
};

struct control {
    const struct options *o;
    const struct pr_caps *caps;
    struct st_shared *shared;
    struct census census;
    struct lp_loop *lp;
    int listener, signals, key_log;
    int held; /* a client for whom its worker has no room yet, -1 = none */
    bool own_path, ending, failed;
    struct lp_op accept, accept_pause, signal;
    unsigned n;
    struct slot *slots;
};

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- workers ------------------------------------------------------------------------------------
 */

/* In the child: drops what is control's, then is a worker until the end. */
static void __attribute__((noreturn)) be_worker(struct control *ct, unsigned index, int fd)
{
    char name[24];
    int status;

    snprintf(name, sizeof(name), "worker %u", index);
    lg_open((enum lg_level)ct->o->log_level, strdup(name));
    lp_forget(ct->lp);
    close(ct->listener);
    close(ct->signals);
    fd_close(&ct->held);
    for (unsigned i = 0; i < ct->n; i++)
        fd_close(&ct->slots[i].fd);
    ce_free(&ct->census);
    free(ct->slots);
    status = wk_main(index, fd, ct->key_log, ct->o, ct->caps, ct->shared);
    exit(status);
}

static int start_worker(struct slot *s)
{
    struct control *ct = s->ct;
    struct st_worker *st = &ct->shared->worker[s->index];
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    st->peers = st->handshakes = st->waiting = st->relays = 0;
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        int r = -errno;

        close(pair[0]);
        close(pair[1]);
        return r;
    }
    if (pid == 0) {
        close(pair[0]);
        be_worker(ct, s->index, pair[1]);
    }
    close(pair[1]);
    s->pid = pid;
    s->fd = pair[0];
    s->born_ms = now_ms();
    if (!s->in.busy)
        lp_poll(ct->lp, &s->in, s->fd, POLLIN);
    return 0;
}

static void end_all(struct control *ct, bool failed)
{
    if (ct->ending)
        return;
    ct->ending = true;
    ct->failed = failed;
    nt_notify("STOPPING=1");
    lp_stop(ct->lp);
}

static void on_pause(struct lp_op *op, int result)
{
    struct slot *s = LP_OWNER(op, struct slot, pause);
    int r;

    (void)result;
    if (s->ct->ending)
        return;
    r = start_worker(s);
    if (r < 0) {
        lg_error("worker %u cannot be started: %s; trying again", s->index, strerror(-r));
        lp_timer(s->ct->lp, &s->pause, QUICK_DEATH_MS);
    }
}

static void on_death(struct slot *s, int status)
{
    struct control *ct = s->ct;
    bool quick = now_ms() - s->born_ms < QUICK_DEATH_MS;

    if (WIFSIGNALED(status))
        lg_error("worker %u was killed by signal %d (%s)", s->index, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        lg_error("worker %u ended with status %d", s->index, WEXITSTATUS(status));
    s->pid = 0;
    lp_cancel(ct->lp, &s->in);
    fd_close(&s->fd);
    ce_drop_worker(&ct->census, s->index);
    st_add(&ct->shared->restarts, 1);
    s->quick_deaths = quick ? s->quick_deaths + 1 : 0;
    if (s->quick_deaths >= STARTS_MAX) {
        lg_error("worker %u does not live: giving up", s->index);
        end_all(ct, true);
        return;
    }
    lp_timer(ct->lp, &s->pause, quick ? QUICK_DEATH_MS : 0);
}

/* A worker says that a client has left. Its death shows as SIGCHLD, not here. */
static void on_worker(struct lp_op *op, int result)
{
    struct slot *s = LP_OWNER(op, struct slot, in);
    struct control *ct = s->ct;

    if (s->fd < 0 || ct->ending)
        return;
    if (result == -ECANCELED) { /* of the worker before; this one is new */
        lp_poll(ct->lp, &s->in, s->fd, POLLIN);
        return;
    }
    for (;;) {
        int fds[FM_FDS_MAX] = {-1, -1};
        unsigned nfds = 0;
        struct in_gone gone;
        int n = fm_recv(s->fd, &gone, sizeof(gone), fds, &nfds, MSG_DONTWAIT);

        if (n == -EAGAIN)
            break;
        if (n != (int)sizeof(gone) || nfds != 0) {
            if (n > 0 || n == -EMSGSIZE)
                lg_error("worker %u sent something unexpected: killed", s->index);
            kill(s->pid, SIGKILL); /* a closed socket means that it is dying already */
            for (unsigned i = 0; i < FM_FDS_MAX; i++)
                fd_close(&fds[i]);
            return;
        }
        ce_leave(&ct->census, s->index, gone.uid);
    }
    lp_poll(ct->lp, &s->in, s->fd, POLLIN);
}

static void reap(struct control *ct)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < ct->n; i++)
            if (ct->slots[i].pid == pid)
                on_death(&ct->slots[i], status);
}

static void on_signal(struct lp_op *op, int result)
{
    struct control *ct = LP_OWNER(op, struct control, signal);
    struct signalfd_siginfo info;

    (void)result;
    while (read(ct->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(ct);
        else if (info.ssi_signo == SIGHUP)
            lg_info("SIGHUP: nothing to reload; restart to change the configuration");
        else
            end_all(ct, false);
    }
    if (!ct->ending)
        lp_poll(ct->lp, &ct->signal, ct->signals, POLLIN);
}

/* --- clients ------------------------------------------------------------------------------------
 */

/* A client that cannot be served is told why; the answer fits into its empty queue. */
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
}

static struct slot *least_busy(struct control *ct)
{
    struct slot *best = NULL;

    for (unsigned i = 0; i < ct->n; i++) {
        struct slot *s = &ct->slots[i];

        if (s->pid && (!best || ce_worker(&ct->census, i) < ce_worker(&ct->census, best->index)))
            best = s;
    }
    return best;
}

/* Gives a client to a worker, or turns it away. Returns 0 with fd used up, or -EAGAIN with fd kept
 * when the worker's queue is full: *busy is the one to wait for. */
static int hand_over(struct control *ct, int fd, struct slot **busy)
{
    struct slot *s = least_busy(ct);
    struct ucred cred;
    socklen_t n = sizeof(cred);
    struct in_peer who;
    int r = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0) {
        close(fd);
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
    } else if (!s || ce_enter(&ct->census, s->index, cred.uid) < 0) {
        turn_away(fd, "htlsd has no worker free; try again");
    } else {
        r = fm_send(s->fd, &who, sizeof(who), &fd, 1, MSG_DONTWAIT);
        if (r < 0)
            ce_leave(&ct->census, s->index, cred.uid);
        if (r == -EAGAIN) {
            *busy = s;
            return r;
        }
        if (r < 0)
            turn_away(fd, "htlsd is overloaded; try again");
    }
    close(fd);
    return 0;
}

/* One client more, or the one that is held. False when accepting must pause: an operation is
 * pending then. */
static bool serve_one(struct control *ct)
{
    struct slot *busy;
    int fd = fd_steal(&ct->held);

    if (fd < 0)
        fd = accept4(ct->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        if (hand_over(ct, fd, &busy) == 0)
            return true;
        ct->held = fd; /* whoever comes after waits in the backlog */
        lp_poll(ct->lp, &ct->accept, busy->fd, POLLOUT);
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

/* --- the whole ----------------------------------------------------------------------------------
 */

static unsigned count_workers(const struct options *o)
{
    cpu_set_t set;
    unsigned n = o->workers;

    if (n == 0 && sched_getaffinity(0, sizeof(set), &set) == 0)
        n = (unsigned)CPU_COUNT(&set);
    return n < 1 ? 1 : n > ST_WORKERS_MAX ? ST_WORKERS_MAX : n;
}

/* What a worker is given by inheritance: counters, the key log. */
static int prepare(struct control *ct)
{
    size_t size = sizeof(*ct->shared) + ct->n * sizeof(ct->shared->worker[0]);

    ct->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ct->shared == MAP_FAILED)
        return -errno;
    ct->shared->workers = ct->n;
    ct->shared->started = (uint64_t)time(NULL);
    if (*ct->o->key_log) {
        ct->key_log = open(ct->o->key_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (ct->key_log < 0) {
            int r = -errno;

            lg_error("key-log %s: %s", ct->o->key_log, strerror(-r));
            return r;
        }
        lg_warning("session secrets are written to %s", ct->o->key_log);
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
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start(struct control *ct)
{
    int r = ce_open(&ct->census, ct->n);

    if (r < 0)
        return r;
    ct->slots = calloc(ct->n, sizeof(*ct->slots));
    if (!ct->slots)
        return -ENOMEM;
    for (unsigned i = 0; i < ct->n; i++) {
        ct->slots[i] = (struct slot){.ct = ct, .index = i, .fd = -1};
        ct->slots[i].in.done = on_worker;
        ct->slots[i].pause.done = on_pause;
    }
    ct->signals = open_signals();
    if (ct->signals < 0)
        return ct->signals;
    r = lp_open(&ct->lp, 256);
    if (r < 0) {
        lg_error("io_uring: %s%s", strerror(-r),
                 r == -EPERM ? " (kernel.io_uring_disabled must be 0)" : "");
        return r;
    }
    for (unsigned i = 0; i < ct->n && r == 0; i++)
        r = start_worker(&ct->slots[i]);
    return r;
}

/* Closing a worker's socket ends it; one that does not end in time is killed. */
static void stop_workers(struct control *ct)
{
    uint64_t deadline = now_ms() + 2000;
    unsigned left = 0;

    for (unsigned i = 0; ct->slots && i < ct->n; i++) {
        /* The ring still polls it: closing alone would not let go of the socket. */
        if (ct->slots[i].fd >= 0)
            shutdown(ct->slots[i].fd, SHUT_RDWR);
        fd_close(&ct->slots[i].fd);
        left += ct->slots[i].pid > 0;
    }
    while (left > 0) {
        const struct timespec pause = {.tv_nsec = 5000000};
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        if (pid < 0)
            break;
        if (pid > 0) {
            left--;
            for (unsigned i = 0; i < ct->n; i++)
                if (ct->slots[i].pid == pid)
                    ct->slots[i].pid = 0;
            continue;
        }
        for (unsigned i = 0; now_ms() > deadline && i < ct->n; i++)
            if (ct->slots[i].pid > 0)
                kill(ct->slots[i].pid, SIGKILL);
        nanosleep(&pause, NULL);
    }
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

int ct_run(const struct options *o, const struct pr_caps *caps)
{
    struct control ct = {.o = o, .caps = caps, .listener = -1, .signals = -1};
    int r;

    ct.key_log = ct.held = -1;
    ct.n = count_workers(o);
    ct.listener = ls_open(o, &ct.own_path);
    r = ct.listener < 0 ? ct.listener : prepare(&ct);
    if (r == 0) {
        r = start(&ct);
        if (r < 0)
            lg_error("cannot start: %s", strerror(-r));
    }
    if (r == 0)
        r = serve(&ct);
    if (ct.own_path)
        unlink(o->socket);
    stop_workers(&ct);
    fd_close(&ct.listener);
    fd_close(&ct.signals);
    fd_close(&ct.key_log);
    fd_close(&ct.held);
    lp_close(ct.lp);
    ce_free(&ct.census);
    free(ct.slots);
    if (r == 0)
        lg_info("ended");
    return r < 0 || ct.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
