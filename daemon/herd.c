/* The worker processes' lives.
 *
 * A worker that dies takes its own handshakes and relays with it, nothing else; it is replaced at
 * once, or after a pause when it did not live long. */
#include "herd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "log.h"
#include "notes.h"
#include "worker.h"

#define QUICK_DEATH_MS 1000 /* a worker that lived shorter is replaced after that pause */
#define STARTS_MAX 5        /* so many quick deaths in a row, and the daemon gives up */
#define END_MS 2000         /* for workers that were asked to end */
#define QUEUE (2 << 20)     /* bytes of messages that may wait in each direction */

struct slot {
    struct herd *herd;
    unsigned index;
    pid_t pid; /* 0 = none */
    int fd;    /* our end of its socket */
    struct lp_op in, pause;
    uint64_t born_ms;
    unsigned quick_deaths;
};

struct herd {
    struct hd_owner o;
    bool ending;
    unsigned n;
    _Alignas(8) uint8_t note[NO_MAX + 1]; /* one at a time */
    struct slot slots[];
};

/* In the child: drops what is control's, then is a worker until the end. */
static void __attribute__((noreturn)) be_worker(struct herd *h, unsigned index, int fd)
{
    const struct hd_owner o = h->o;
    int table = fcntl(o.tables[index], F_DUPFD_CLOEXEC, 0); /* the owner drops all of them */
    struct wk_inherited in;
    char name[24];

    snprintf(name, sizeof(name), "worker %u", index);
    lg_open((enum lg_level)o.options->log_level, strdup(name));
    for (unsigned i = 0; i < h->n; i++)
        fd_close(&h->slots[i].fd);
    free(h);
    o.in_child(o.owner);
    in.index = index;
    in.control = fd;
    in.table_fd = table;
    in.key_log_fd = o.key_log;
    in.options = o.options;
    in.caps = o.caps;
    in.shared = o.shared;
    in.sessions = o.sessions;
    exit(wk_main(&in));
}

/* Notes come in bursts: a thousand connections end at once. */
static void deepen(int fd)
{
    int size = QUEUE;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int start_worker(struct slot *s)
{
    struct herd *h = s->herd;
    struct st_worker *st = &h->o.shared->worker[s->index];
    int pair[2], r;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    deepen(pair[0]);
    deepen(pair[1]);
    st->peers = st->handshakes = st->waiting = st->relays = st->kept = 0;
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        r = -errno;
        close(pair[0]);
        close(pair[1]);
        return r;
    }
    if (pid == 0) {
        close(pair[0]);
        be_worker(h, s->index, pair[1]);
    }
    close(pair[1]);
    s->pid = pid;
    s->fd = pair[0];
    s->born_ms = lp_now_ms();
    if (!s->in.busy)
        lp_poll(h->o.lp, &s->in, s->fd, POLLIN);
    return 0;
}

static void on_pause(struct lp_op *op, int result)
{
    struct slot *s = LP_OWNER(op, struct slot, pause);
    int r;

    (void)result;
    if (s->herd->ending)
        return;
    r = start_worker(s);
    if (r < 0) {
        lg_error("worker %u cannot be started: %s; trying again", s->index, strerror(-r));
        lp_timer(s->herd->o.lp, &s->pause, QUICK_DEATH_MS);
    }
}

static void on_death(struct slot *s, int status)
{
    struct herd *h = s->herd;
    bool quick = lp_now_ms() - s->born_ms < QUICK_DEATH_MS;

    if (WIFSIGNALED(status))
        lg_error("worker %u was killed by signal %d (%s)", s->index, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        lg_error("worker %u ended with status %d", s->index, WEXITSTATUS(status));
    s->pid = 0;
    lp_cancel(h->o.lp, &s->in);
    fd_close(&s->fd);
    ce_drop_worker(h->o.census, s->index);
    st_add(&h->o.shared->restarts, 1);
    s->quick_deaths = quick ? s->quick_deaths + 1 : 0;
    if (s->quick_deaths >= STARTS_MAX) {
        lg_error("worker %u does not live: giving up", s->index);
        h->o.gave_up(h->o.owner);
        return;
    }
    lp_timer(h->o.lp, &s->pause, quick ? QUICK_DEATH_MS : 0);
}

/* One note of a worker. Returns false when its socket is dry, or it is not to be listened to any
 * more. */
static bool take_note(struct slot *s, bool *dead)
{
    struct herd *h = s->herd;
    int fds[FM_FDS_MAX] = {-1, -1};
    unsigned nfds = 0;
    int n = fm_recv(s->fd, h->note, sizeof(h->note), fds, &nfds, MSG_DONTWAIT);

    if (n == -EAGAIN)
        return false;
    if (n == -EMSGSIZE) { /* its descriptors were lost for want of room: the asker will ask again */
        lg_warning("no descriptor left for a worker's note: raise LimitNOFILE");
        return true;
    }
    if (n > 0 && h->o.note(h->o.owner, s->index, h->note, (size_t)n, fds, nfds))
        return true;
    if (n > 0)
        lg_error("worker %u sent something unexpected: killed", s->index);
    if (s->pid > 0)
        kill(s->pid, SIGKILL); /* a closed socket means that it is dying already */
    *dead = true;
    return false;
}

/* A worker says that a client has left. Its death shows as SIGCHLD, not here. */
static void on_worker(struct lp_op *op, int result)
{
    struct slot *s = LP_OWNER(op, struct slot, in);
    bool dead = false;

    if (s->fd < 0 || s->herd->ending)
        return;
    if (result != -ECANCELED) /* that is of the worker before; this one is new */
        while (take_note(s, &dead))
            ;
    if (!dead)
        lp_poll(s->herd->o.lp, &s->in, s->fd, POLLIN);
}

void hd_drain(struct herd *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        bool dead = false;

        while (h->slots[i].fd >= 0 && !dead && take_note(&h->slots[i], &dead))
            ;
    }
}

int hd_start(struct herd **out, const struct hd_owner *owner, unsigned n)
{
    struct herd *h = calloc(1, sizeof(*h) + n * sizeof(h->slots[0]));
    int r = 0;

    if (!h)
        return -ENOMEM;
    h->o = *owner;
    h->n = n;
    for (unsigned i = 0; i < n; i++) {
        h->slots[i] = (struct slot){.herd = h, .index = i, .fd = -1};
        h->slots[i].in.done = on_worker;
        h->slots[i].pause.done = on_pause;
    }
    *out = h;
    for (unsigned i = 0; i < n && r == 0; i++)
        r = start_worker(&h->slots[i]);
    return r;
}

void hd_reap(struct herd *h)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < h->n; i++)
            if (h->slots[i].pid == pid)
                on_death(&h->slots[i], status);
}

static struct slot *least_busy(struct herd *h)
{
    const struct census *c = h->o.census;
    struct slot *best = NULL;

    for (unsigned i = 0; i < h->n; i++) {
        struct slot *s = &h->slots[i];

        if (s->pid && (!best || ce_worker(c, i) < ce_worker(c, best->index)))
            best = s;
    }
    return best;
}

int hd_fd(const struct herd *h, unsigned worker)
{
    return worker < h->n && h->slots[worker].pid ? h->slots[worker].fd : -1;
}

int hd_send(struct herd *h, unsigned worker, const void *p, size_t n, const int *fds, unsigned nfds)
{
    int fd = hd_fd(h, worker);

    return fd < 0 ? -EAGAIN : fm_send(fd, p, n, fds, nfds, MSG_DONTWAIT);
}

int hd_give(struct herd *h, int fd, const struct in_peer *who, const struct pool *pool,
            int *wait_for)
{
    const struct in_client message = {.type = IN_CLIENT, .who = *who, .pool = pool ? pool->id : 0};
    const int fds[2] = {fd, pool ? pool->fd : -1};
    struct slot *s = least_busy(h);
    int r;

    if (!s)
        return -ENOENT;
    r = ce_enter(h->o.census, s->index, who->uid);
    if (r < 0)
        return r;
    r = fm_send(s->fd, &message, sizeof(message), fds, pool ? 2 : 1, MSG_DONTWAIT);
    if (r < 0)
        ce_leave(h->o.census, s->index, who->uid);
    if (r == -EAGAIN)
        *wait_for = s->fd;
    return r;
}

static void forget(struct herd *h, pid_t pid)
{
    for (unsigned i = 0; i < h->n; i++)
        if (h->slots[i].pid == pid)
            h->slots[i].pid = 0;
}

/* Closing a worker's socket ends it; one that does not end in time is killed. */
void hd_stop(struct herd *h)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    uint64_t deadline = lp_now_ms() + END_MS;
    unsigned left = 0;

    if (!h)
        return;
    h->ending = true;
    for (unsigned i = 0; i < h->n; i++) {
        /* The ring still polls it: closing alone would not let go of the socket. */
        if (h->slots[i].fd >= 0)
            shutdown(h->slots[i].fd, SHUT_RDWR);
        fd_close(&h->slots[i].fd);
        left += h->slots[i].pid > 0;
    }
    while (left > 0) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        if (pid < 0)
            break;
        if (pid > 0) {
            forget(h, pid);
            left--;
            continue;
        }
        for (unsigned i = 0; lp_now_ms() > deadline && i < h->n; i++)
            if (h->slots[i].pid > 0)
                kill(h->slots[i].pid, SIGKILL);
        nanosleep(&pause, NULL);
    }
    free(h);
}
