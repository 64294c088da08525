/* Control's half of the control path: it knows which worker keeps a connection, no more. */
#include "notes.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "../proto/wire.h"
#include "dispose.h"
#include "log.h"
#include "reply.h"

#define AUDIT_MS 1000 /* until workers have announced what an earlier run kept */
#define RETRY_MS 10   /* until a worker's queue is tried again */

static bool on_left(struct notes *n, unsigned worker, const void *p, size_t len)
{
    const struct in_left *note = p;

    if (len != sizeof(*note))
        return false;
    ce_leave(n->census, worker, note->uid);
    return true;
}

/* Its end would not be heard of: what is kept of it stays until the daemon ends. */
static void unwatched(struct notes *n, int err)
{
    if (!n->unwatched)
        lg_warning("ends of connections in some network namespace are not heard of: %s",
                   strerror(-err));
    n->unwatched = true;
}

/* A worker's replacement announces all that it finds, most of it for the second time. */
static bool on_kept(struct notes *n, unsigned worker, const void *p, size_t len, int fd)
{
    const struct in_kept *note = p;
    struct ow_row row, before;
    bool known;
    int r;

    if (len != sizeof(*note))
        return false;
    row = (struct ow_row){worker, note->netns};
    known = ow_get(&n->owners, note->cookie, &before);
    r = ow_set(&n->owners, note->cookie, &row);
    if (r < 0)
        lg_warning("a kernel connection of worker %u is not in the books: %s", worker,
                   strerror(-r));
    if (r == 0 && !known && n->ends) {
        r = en_watch(n->ends, note->netns, fd);
        if (r < 0)
            unwatched(n, r);
    }
    return true;
}

/* --- ends of sockets ----------------------------------------------------------------- */

/* Not closed, yet not to be found: its TCP has ended. Whoever still reads it needs no more keys
 * than it has. */
static void gone(void *notes, uint64_t cookie, bool closed)
{
    struct notes *n = notes;
    struct ow_row row;

    (void)closed;
    if (!ow_get(&n->owners, cookie, &row))
        return; /* most of them are strangers' */
    if (row.worker >= ST_WORKERS_MAX || ob_add(&n->boxes[row.worker], cookie) < 0) {
        lg_error("no memory to tell worker %u of a connection's end", row.worker);
        return;
    }
    ow_drop(&n->owners, cookie);
    en_unwatch(n->ends, row.netns);
    if (!n->flush.busy)
        lp_timer(n->lp, &n->flush, 0);
}

static bool each(void *notes, size_t *at, uint64_t *cookie, uint64_t *netns)
{
    struct notes *n = notes;
    struct ow_row row;

    if (!ow_next(&n->owners, at, cookie, &row))
        return false;
    *netns = row.netns;
    return true;
}

static void catch_up(void *notes)
{
    struct notes *n = notes;

    n->drain(n->owner);
}

static void on_audit(struct lp_op *op, int result)
{
    struct notes *n = LP_OWNER(op, struct notes, audit);

    for (size_t i = 0; result == -ETIME && i < n->owners.n_netns; i++)
        (void)en_audit(n->ends, n->owners.netns[i]);
}

/* --- questions about another worker's connection ------------------------------------- */

struct no_deferred {
    struct no_deferred *next;
    unsigned worker;
    int fds[2];
    size_t len;
    _Alignas(8) uint8_t note[];
};

#define HEAD offsetof(struct in_serve, message)

static void answer(int client, const void *message, size_t len, unsigned code, int err,
                   const char *text)
{
    struct failure f = {.alert = -1};
    uint8_t out[1024];
    struct w_msg m;
    int n;

    fl_set(&f, code, err, "%s", text);
    if (w_decode(&m, message, len, 1, W_TO_DAEMON) < 0)
        return;
    n = ry_error(out, sizeof(out), m.id, &f);
    if (n > 0)
        (void)fm_send(client, out, (size_t)n, NULL, 0, MSG_DONTWAIT);
}

static void no_state(const struct in_serve *note, size_t len, int client)
{
    answer(client, note->message, len - HEAD, W_CODE_NO_STATE, ENOKEY,
           "htlsd keeps no state of this connection");
}

/* Sends the question on. The descriptors stay the caller's. Returns -ENOENT when nobody has said
 * that he keeps it. */
static int route(struct notes *n, unsigned worker, struct in_serve *note, size_t len,
                 const int fds[2])
{
    struct ow_row row;
    int r;

    if (!ow_get(&n->owners, note->cookie, &row))
        return -ENOENT;
    if (row.worker == worker) { /* its keeper has forgotten it: no circle */
        no_state(note, len, fds[1]);
        return 0;
    }
    note->type = IN_SERVE;
    r = n->send(n->owner, row.worker, note, len, fds, 2);
    if (r < 0)
        answer(fds[1], note->message, len - HEAD, W_CODE_WOULD_BLOCK, EAGAIN,
               "the worker that keeps this connection is busy or being replaced; try again");
    return 0;
}

/* Who keeps it has said so before its client could know: it lies in a queue that was not read yet.
 * Not here: the note that we have in hand lies where the next one is read to. */
static int defer(struct notes *n, unsigned worker, const struct in_serve *note, size_t len,
                 int fds[2])
{
    struct no_deferred *d = malloc(sizeof(*d) + len);

    if (!d)
        return -ENOMEM;
    *d = (struct no_deferred){.next = n->deferred, .worker = worker, .len = len};
    memcpy(d->note, note, len);
    d->fds[0] = fd_steal(&fds[0]);
    d->fds[1] = fd_steal(&fds[1]);
    n->deferred = d;
    if (!n->flush.busy)
        lp_timer(n->lp, &n->flush, 0);
    return 0;
}

static void free_deferred(struct no_deferred *d)
{
    di_drop(&d->fds[0]);
    di_drop(&d->fds[1]);
    secret_wipe(d->note, d->len); /* a ticket */
    free(d);
}

static void answer_deferred(struct notes *n)
{
    struct no_deferred *d = n->deferred, *next;

    if (!d)
        return;
    n->deferred = NULL; /* what comes in now waits for the next turn */
    n->drain(n->owner);
    for (; d; d = next) {
        struct in_serve *note = (void *)d->note;

        next = d->next;
        if (route(n, d->worker, note, d->len, d->fds) < 0)
            no_state(note, d->len, d->fds[1]);
        free_deferred(d);
    }
}

static bool on_forward(struct notes *n, unsigned worker, void *p, size_t len, int fds[2])
{
    if (len < HEAD + W_HEADER || fds[0] < 0 || fds[1] < 0)
        return false;
    if (route(n, worker, p, len, fds) < 0 && defer(n, worker, p, len, fds) < 0)
        no_state(p, len, fds[1]);
    return true;
}

bool no_take(struct notes *n, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds)
{
    uint32_t type = 0;
    bool good = false;

    if (len >= sizeof(type))
        memcpy(&type, p, sizeof(type));
    if (type == IN_LEFT && nfds == 0)
        good = on_left(n, worker, p, len);
    else if (type == IN_KEPT && nfds <= 1)
        good = on_kept(n, worker, p, len, fds[0]);
    else if (type == IN_FORWARD && nfds == 2)
        good = on_forward(n, worker, p, len, fds);
    di_drop(&fds[0]);
    di_drop(&fds[1]);
    return good;
}

/* --- the whole ----------------------------------------------------------------------- */

static void on_flush(struct lp_op *op, int result)
{
    struct notes *n = LP_OWNER(op, struct notes, flush);
    bool rest = false;

    if (result != -ETIME)
        return;
    answer_deferred(n);
    for (unsigned i = 0; i < ST_WORKERS_MAX; i++)
        rest |= ob_flush(&n->boxes[i], i, n->send, n->owner) < 0;
    if (rest)
        lp_timer(n->lp, &n->flush, RETRY_MS);
}

void no_open(struct notes *n, struct lp_loop *lp)
{
    n->lp = lp;
    n->flush.done = on_flush;
    n->audit.done = on_audit;
}

int no_listen(struct notes *n, bool restored)
{
    const struct en_owner owner = {gone, each, catch_up, n};

    if (restored)
        lp_timer(n->lp, &n->audit, AUDIT_MS);
    return en_open(&n->ends, n->lp, &owner);
}

void no_free(struct notes *n)
{
    for (unsigned i = 0; i < ST_WORKERS_MAX; i++)
        ob_free(&n->boxes[i]);
    while (n->deferred) {
        struct no_deferred *d = n->deferred;

        n->deferred = d->next;
        free_deferred(d);
    }
    ow_free(&n->owners);
}
