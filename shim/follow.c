/* Acts on records that are not data.
 *
 * A change of the receiving key: one reader is given the KeyUpdate record, all others
 * EKEYEXPIRED until the next key is in. Whoever acts on it holds the slot's rx lock from before the
 * question to the daemon until the key is in and the generation counted; who comes later finds the
 * generation moved. A reader that is told EKEYEXPIRED, finds the lock free and the generation where
 * it was knows that the record's reader has died, or is about to take the lock: he reports the
 * KeyUpdate himself, and that one then finds it done. So nobody waits for somebody who is dead, and
 * no key is installed twice. The daemon repeats the key of a report that it had answered before. */
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <stdio.h>
#include <string.h>

#include "../proto/posths.h"
#include "goodbye.h"
#include "line.h"
#include "lock.h"
#include "sys.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define HANDSHAKE 22
#define RX_WAIT_MS (LN_WAIT_MS + 1000) /* for another reader that changes the key */
#define GRACE_MS 20                    /* for the record's reader to come and take the lock */
#define STAND_MS 1000                  /* for holders that share no slot with us */
#define SEQ_SIZE 8                     /* at the end of every struct that sets a key */

enum { CLOSE_NOTIFY = 0, USER_CANCELED = 90, NO_RENEGOTIATION = 100 };
enum { UNEXPECTED_MESSAGE = 10, BAD_RECORD_MAC = 20, RECORD_OVERFLOW = 22, DECODE_ERROR = 50 };
enum { LEVEL_FATAL = 2, KEY_UPDATE = 24, HELLO_REQUEST = 0 };

uint32_t fo_under(const struct rr_state *s)
{
    return s->slot ? atomic_load_explicit(&s->slot->rx_generation, memory_order_acquire) : 0;
}

/* Nobody can do anything with the connection any more: who waits on it shall see that. */
static ssize_t end(int fd, struct rr_state *s, int error, const char *why)
{
    ssize_t r = rr_fail(s, error, why);

    (void)sy.shutdown(fd, SHUT_RDWR);
    return r;
}

static ssize_t refuse(int fd, struct rr_state *s, int alert, int error, const char *why)
{
    gb_fatal(fd, s, (uint8_t)alert);
    return end(fd, s, error, why);
}

ssize_t fo_unexpected(int fd, struct rr_state *s)
{
    return refuse(fd, s, UNEXPECTED_MESSAGE, EPROTO,
                  "the peer sent a record that may not come after the handshake");
}

/* The kernel's error stops the next send unless it is taken away. */
ssize_t fo_unreadable(int fd, struct rr_state *s, int error)
{
    int alert = error == EBADMSG    ? BAD_RECORD_MAC
                : error == EMSGSIZE ? RECORD_OVERFLOW
                                    : DECODE_ERROR;
    int pending;
    socklen_t n = sizeof(pending);

    (void)sy.getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &n);
    return refuse(fd, s, alert, EBADMSG, NULL);
}

ssize_t fo_alert(int fd, struct rr_state *s, const uint8_t *p, size_t n)
{
    char why[128];

    if (n < 2)
        return refuse(fd, s, DECODE_ERROR, EPROTO, "the peer sent half an alert");
    if (p[1] == CLOSE_NOTIFY) {
        if (s->slot)
            atomic_fetch_or(&s->slot->flags, SH_EOF);
        atomic_store(&s->eof, true);
        (void)sy.shutdown(fd, SHUT_RD);
        return 0;
    }
    if (p[1] == USER_CANCELED || (s->version == 0x0303 && p[0] != LEVEL_FATAL))
        return 1;
    atomic_store(&s->alert, p[1]);
    snprintf(why, sizeof(why), "the peer ended the connection with alert %d (RFC 8446 section 6)",
             p[1]);
    return end(fd, s, EPROTO, why);
}

/* --- where the peer's messages stand ---------------------------------------------------- */

static uint64_t pack(const struct ph_stream *m)
{
    uint64_t v;

    memcpy(&v, m->header, sizeof(m->header));
    v &= UINT32_MAX;
    return v | (uint64_t)(m->have | m->left << 3) << 32;
}

static struct ph_stream unpack(uint64_t v)
{
    struct ph_stream m = {.have = (v >> 32) & 7, .left = (uint32_t)(v >> 35)};

    memcpy(m.header, &v, sizeof(m.header));
    return m;
}

/* Returns as ph_feed(). Two readers whose records come out of order cannot be helped here. */
static int feed(struct rr_state *s, const uint8_t *p, size_t n, enum ph_event *event)
{
    uint64_t was = s->slot ? atomic_load(&s->slot->messages) : 0, is;
    int r;

    do {
        struct ph_stream m = unpack(was);

        r = ph_feed(&m, s->version, p, n, event);
        is = pack(&m);
    } while (s->slot && !atomic_compare_exchange_weak(&s->slot->messages, &was, is));
    return r;
}

/* --- the next receiving key ------------------------------------------------------------- */

static int get_key(int fd, uint8_t key[LN_KEY_MAX], uint32_t *n)
{
    struct tls_crypto_info info;
    socklen_t len = sizeof(info);

    if (sy.getsockopt(fd, SOL_TLS, TLS_RX, &info, &len) < 0)
        return -errno;
    switch (info.cipher_type) {
    case TLS_CIPHER_AES_GCM_128:
        len = sizeof(struct tls12_crypto_info_aes_gcm_128);
        break;
    case TLS_CIPHER_AES_GCM_256:
        len = sizeof(struct tls12_crypto_info_aes_gcm_256);
        break;
    case TLS_CIPHER_AES_CCM_128:
        len = sizeof(struct tls12_crypto_info_aes_ccm_128);
        break;
    case TLS_CIPHER_CHACHA20_POLY1305:
        len = sizeof(struct tls12_crypto_info_chacha20_poly1305);
        break;
    default:
        return -EOPNOTSUPP;
    }
    if (sy.getsockopt(fd, SOL_TLS, TLS_RX, key, &len) < 0)
        return -errno;
    *n = len;
    return 0;
}

/* The key that is in already (whoever put it there died before he could say so) is not set again:
 * its count of records would begin anew. */
static int install(int fd, const struct ln_answer *a)
{
    uint8_t now[LN_KEY_MAX];
    SECRET_WIPE(now);
    uint32_t n = 0;

    if (get_key(fd, now, &n) == 0 && n == a->key_len && n > SEQ_SIZE &&
        memcmp(now, a->key, n - SEQ_SIZE) == 0)
        return 0;
    return sy.setsockopt(fd, SOL_TLS, TLS_RX, a->key, a->key_len) < 0 ? -errno : 0;
}

/* The kernel takes every record that begins with byte 24 for a KeyUpdate and waits for a key. This
 * one was the middle of another message: the key stays the one there is. */
static void keep_key(int fd)
{
    uint8_t now[LN_KEY_MAX];
    SECRET_WIPE(now);
    uint32_t n = 0;

    if (get_key(fd, now, &n) == 0)
        (void)sy.setsockopt(fd, SOL_TLS, TLS_RX, now, n);
}

static ssize_t cannot_follow(int fd, struct rr_state *s, const struct ln_answer *a, int error)
{
    char why[W_TEXT_MAX + 1];
    bool broke = error == EPROTO;

    snprintf(why, sizeof(why), "%s%.*s", broke ? "" : "the peer changed its key: ", W_TEXT_MAX - 64,
             a->facts.text);
    if (a->facts.alert >= 0)
        gb_fatal(fd, s, (uint8_t)a->facts.alert);
    return end(fd, s, broke ? EPROTO : EKEYEXPIRED, why);
}

/* Holders that share no slot with us are two or more keys ahead of us: one of them is about to
 * install the newest. */
static ssize_t let_others(int fd, struct rr_state *s, const struct ln_answer *a)
{
    char c;
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (a->has_generation)
        atomic_store(&s->slot->rx_generation, a->generation);
    for (int ms = 0; ms < STAND_MS; ms += 10) {
        if (sy.recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EKEYEXPIRED)
            break;
        (void)sy.poll(NULL, 0, 10);
    }
    return 1;
}

/* Under the rx lock. Reports a KeyUpdate, installs what comes. */
static ssize_t change(int fd, struct rr_state *s, const uint8_t *p, size_t n, uint32_t under)
{
    struct ln_request q = {.type = W_CONTROL,
                           .fd = fd,
                           .record_type = HANDSHAKE,
                           .record = p,
                           .n = n,
                           .generation = under};
    struct ln_answer a;
    SECRET_WIPE(a);
    int r;

    q.moved = atomic_load_explicit(&s->slot->moved, memory_order_relaxed);
    r = ln_ask(s->daemon, &q, LN_WAIT_MS, true, &a);
    if (s->names && !s->names(fd, s))
        return -EBADF;
    if (r < 0)
        return cannot_follow(fd, s, &a, -r);
    if (a.key_len == 0)
        return let_others(fd, s, &a);
    r = install(fd, &a);
    if (r < 0) {
        snprintf(a.facts.text, sizeof(a.facts.text), "the kernel refuses the next one: %s",
                 strerror(-r));
        return cannot_follow(fd, s, &a, EKEYEXPIRED);
    }
    if (a.owed)
        atomic_fetch_or(&s->slot->flags, SH_OWED);
    atomic_store_explicit(&s->slot->rx_generation, a.generation, memory_order_release);
    return 1;
}

static ssize_t no_change(int fd, struct rr_state *s)
{
    if (atomic_load(&s->closing))
        return -EKEYEXPIRED;
    return end(fd, s, EKEYEXPIRED, NULL);
}

/* Takes the rx lock. Returns 0, 1 when the change has been made meanwhile, or -errno. */
static ssize_t take_turn(int fd, struct rr_state *s, int wait_ms, uint32_t under)
{
    int r = sh_lock(s->slot, &s->slot->rx, wait_ms);

    if (r == -EDEADLK || (r == -ETIMEDOUT && wait_ms == 0))
        return -EAGAIN; /* a signal handler came between; or it is being done */
    if (r < 0)
        return end(fd, s, EKEYEXPIRED, "the peer changed its key; who should follow it hangs");
    r = sh_error(s->slot);
    if (r) {
        sh_unlock(&s->slot->rx);
        return rr_stick(s, r, NULL);
    }
    if (fo_under(s) == under)
        return 0;
    sh_unlock(&s->slot->rx);
    return 1;
}

/* A thread that is cancelled in here would leave the others to find out. */
static ssize_t follow(int fd, struct rr_state *s, const uint8_t *p, size_t n, uint32_t under,
                      int wait_ms)
{
    int cancel, other;
    ssize_t r;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    r = take_turn(fd, s, wait_ms, under);
    if (r == 0) {
        r = change(fd, s, p, n, under);
        sh_unlock(&s->slot->rx);
    }
    (void)pthread_setcancelstate(cancel, &other);
    return r;
}

ssize_t fo_stalled(int fd, struct rr_state *s, int flags, uint32_t under)
{
    static const uint8_t report[] = {KEY_UPDATE, 0, 0, 1, 1}; /* it may have asked for one */
    int file = sy.fcntl(fd, F_GETFL);
    bool wait = !(flags & MSG_DONTWAIT) && file >= 0 && !(file & O_NONBLOCK);

    if (!s->follows_rx || atomic_load(&s->closing))
        return no_change(fd, s);
    for (int ms = 0; ms < GRACE_MS; ms++) {
        ssize_t r = take_turn(fd, s, wait ? RX_WAIT_MS : 0, under);

        if (r != 0)
            return r;
        sh_unlock(&s->slot->rx);
        (void)sy.poll(NULL, 0, 1);
    }
    return follow(fd, s, report, sizeof(report), under, wait ? RX_WAIT_MS : 0);
}

/* --- handshake messages ----------------------------------------------------------------- */

static void tell(int fd, struct rr_state *s, const uint8_t *p, size_t n, uint32_t under)
{
    struct ln_request q = {.type = W_CONTROL,
                           .fd = fd,
                           .record_type = HANDSHAKE,
                           .record = p,
                           .n = n,
                           .generation = under};

    if (!s->controls)
        return;
    atomic_store(&s->told, true);
    ln_tell(s->daemon, &q);
}

ssize_t fo_handshake(int fd, struct rr_state *s, const uint8_t *p, size_t n, uint32_t under)
{
    enum ph_event event = PH_NOTHING;
    int alert = feed(s, p, n, &event);
    uint8_t report[] = {KEY_UPDATE, 0, 0, 1, event == PH_KEY_UPDATE_ASK};

    if (alert < 0)
        return refuse(fd, s, -alert, EPROTO,
                      "the peer sent a handshake message that may not come after the handshake");
    if (s->version == 0x0303) { /* HelloRequest: RFC 5246 section 7.4.1.1 */
        if (!s->slot || !(atomic_fetch_or(&s->slot->flags, SH_REFUSED) & SH_REFUSED))
            gb_warn(fd, s, NO_RENEGOTIATION);
        return 1;
    }
    if (event == PH_NOTHING) {
        tell(fd, s, p, n, under);
        if (p[0] == KEY_UPDATE && s->follows_rx)
            keep_key(fd);
        return 1;
    }
    if (!s->follows_rx || atomic_load(&s->closing))
        return no_change(fd, s);
    if (n > sizeof(report) && p[0] != KEY_UPDATE) /* behind tickets, which the daemon wants too */
        tell(fd, s, p, n - sizeof(report), under);
    return follow(fd, s, report, sizeof(report), under, RX_WAIT_MS);
}
