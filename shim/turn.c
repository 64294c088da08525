/* Gives writers their turn, and changes the sending key between two of them.
 *
 * Linux has no call that sends a KeyUpdate and changes the key: between the two any other writer's
 * record would go out under the old key, which the peer refuses. So where keys can be changed every
 * write holds the slot's tx lock. It is not held off by readers, nor they by it. */
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "../proto/secret.h"
#include "client.h"
#include "goodbye.h"
#include "line.h"
#include "lock.h"
#include "sys.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define HANDSHAKE 22
#define KEY_UPDATE 24
#define TURN_MS 100 /* for a writer that may not wait: another such one is done in less */
#define GOODBYE_MS 100

static bool may_wait(int fd, int flags)
{
    int file = sy.fcntl(fd, F_GETFL);

    return !(flags & MSG_DONTWAIT) && file >= 0 && !(file & O_NONBLOCK);
}

/* What all holders know that forbids to write. */
static int forbidden(const struct rr_state *s)
{
    uint32_t flags = sh_flags(s->slot);

    if (flags >> SH_ERROR_SHIFT)
        return -(int)(flags >> SH_ERROR_SHIFT);
    if (flags & SH_WORN)
        return -EKEYEXPIRED;
    return flags & SH_SHUT_WR ? -EPIPE : 0;
}

static bool is_used_up(const struct rr_state *s)
{
    uint32_t max = s->slot->records_max;

    return max && atomic_load_explicit(&s->slot->sent, memory_order_relaxed) >= max;
}

/* Nothing more can be sent; what comes in can be read. */
static int wear_out(int fd, struct rr_state *s, const char *why)
{
    atomic_fetch_or(&s->slot->flags, SH_WORN);
    rr_explain(s, why);
    (void)gb_close_notify(fd, s, GOODBYE_MS);
    (void)sy.shutdown(fd, SHUT_WR);
    return -EKEYEXPIRED;
}

/* --- the next sending key --------------------------------------------------------------- */

/* KeyUpdate and key. No signal handler may write between them. */
static int change_key(int fd, struct rr_state *s, bool ask, const struct ln_answer *a)
{
    uint8_t record[] = {KEY_UPDATE, 0, 0, 1, ask};
    struct sh_slot *slot = s->slot;
    uint32_t owed = atomic_fetch_and(&slot->flags, ~(uint32_t)SH_OWED) & SH_OWED;
    char why[128];
    int r;

    atomic_fetch_or(&slot->flags, SH_PAYING);
    r = gb_record(fd, HANDSHAKE, record, sizeof(record));
    if (r < 0) {
        atomic_fetch_or(&slot->flags, owed);
        atomic_fetch_and(&slot->flags, ~(uint32_t)SH_PAYING);
        return r;
    }
    if (sy.setsockopt(fd, SOL_TLS, TLS_TX, a->key, a->key_len) < 0) {
        snprintf(why, sizeof(why), "the kernel refuses the next sending key: %s", strerror(errno));
        (void)rr_fail(s, EKEYEXPIRED, why);
        (void)sy.shutdown(fd, SHUT_RDWR);
        r = -EKEYEXPIRED;
    }
    atomic_store(&slot->tx_generation, a->generation);
    atomic_store_explicit(&slot->sent, 0, memory_order_relaxed);
    atomic_fetch_and(&slot->flags, ~(uint32_t)SH_PAYING);
    return r;
}

/* In turn. */
static int pay(int fd, struct rr_state *s, bool ask)
{
    struct ln_request q = {.type = W_REKEY, .fd = fd};
    struct ln_answer a;
    SECRET_WIPE(a);
    char why[W_TEXT_MAX + 1];
    struct lk_saved saved;
    int r;

    q.generation = atomic_load(&s->slot->tx_generation);
    r = ln_ask(s->daemon, &q, LN_WAIT_MS, true, &a);
    if (s->names && !s->names(fd, s))
        return -EBADF;
    if (r == 0 && a.key_len == 0)
        r = cl_failed(&a.facts, W_CODE_KEY_UPDATE, EPROTO, "htlsd gave none");
    if (r < 0) {
        snprintf(why, sizeof(why), "the sending key must be changed: %.*s", W_TEXT_MAX - 64,
                 a.facts.text);
        return wear_out(fd, s, why);
    }
    lk_calm(&saved);
    r = change_key(fd, s, ask, &a);
    lk_resume(&saved);
    return r;
}

/* The send buffer is full. As long as the program's own time limit, and readers read on. */
static int wait_for_room(int fd, const struct rr_state *s)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct timeval tv = {0, 0};
    socklen_t n = sizeof(tv);
    int ms = -1, r;

    if (sy.getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, &n) == 0 && (tv.tv_sec || tv.tv_usec))
        ms = tv.tv_sec < 1000000 ? (int)(tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000) : -1;
    r = sy.poll(&p, 1, ms);
    if (s->names && !s->names(fd, s))
        return -EBADF;
    return r == 0 ? -EAGAIN : 0;
}

static int pay_all(int fd, struct rr_state *s, int flags)
{
    int r = 0;

    while (r == 0 && ((sh_flags(s->slot) & SH_OWED) || is_used_up(s))) {
        r = pay(fd, s, false);
        if (r == -EAGAIN && may_wait(fd, flags))
            r = wait_for_room(fd, s);
        if (r == 0)
            r = forbidden(s);
    }
    return r;
}

/* --- turns ------------------------------------------------------------------------------ */

/* Returns 0 with the lock, -EDEADLK where this thread has it already, or -errno. */
static int take(int fd, struct rr_state *s, int flags)
{
    struct sh_slot *slot = s->slot;
    int r = sh_lock(slot, &slot->tx, 0);

    if (r == -ETIMEDOUT) {
        r = sh_lock(slot, &slot->tx, may_wait(fd, flags) ? -1 : TURN_MS);
        if (r == 0 && s->names && !s->names(fd, s)) {
            sh_unlock(&slot->tx);
            return -EBADF;
        }
    }
    if (r == -ENOLCK)
        return (int)rr_fail(s, EKEYEXPIRED, "the lock that writers share is broken");
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

int tn_begin(struct tn_turn *t, int fd, struct rr_state *s, int flags)
{
    int r = s->slot ? forbidden(s) : 0;

    if (r < 0 || !s->slot)
        return r;
    t->s = s;
    if (!s->follows_tx)
        return is_used_up(s) ? wear_out(fd, s,
                                        "as many records were sent as one key may seal, and this "
                                        "kernel or htlsd cannot change it (Linux can from 6.14)")
                             : 0;
    r = take(fd, s, flags);
    if (r == -EDEADLK) /* a signal handler: the write it interrupted has paid, or will */
        return 0;
    if (r < 0)
        return r;
    t->held = true;
    r = forbidden(s); /* it may have been said while we waited */
    if (r == 0)
        r = pay_all(fd, s, flags);
    if (r < 0)
        tn_end(t);
    return r;
}

void tn_wrote(const struct tn_turn *t, ssize_t n, size_t unit, size_t calls)
{
    struct sh_slot *slot = t->s ? t->s->slot : NULL;

    if (!slot || n < 0)
        return;
    atomic_fetch_add_explicit(&slot->moved, (uint64_t)n, memory_order_relaxed);
    atomic_fetch_add_explicit(&slot->sent, (uint32_t)((size_t)n / unit + calls),
                              memory_order_relaxed);
}

void tn_end(struct tn_turn *t)
{
    if (t->held)
        sh_unlock(&t->s->slot->tx);
    t->held = false;
}

int tn_update(int fd, struct rr_state *s, bool ask)
{
    struct tn_turn t = {.s = s};
    int r;

    if (!s->slot || !s->follows_tx)
        return -EOPNOTSUPP;
    r = tn_begin(&t, fd, s, 0);
    if (r == 0)
        r = pay(fd, s, ask);
    while (r == -EAGAIN && t.held && may_wait(fd, 0)) {
        r = wait_for_room(fd, s);
        if (r == 0)
            r = pay(fd, s, ask);
    }
    tn_end(&t);
    return r;
}
