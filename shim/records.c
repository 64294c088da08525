/* Reads records with their type, so that what is not data never reaches the program.
 *
 * The kernel stops before a record of another type and gives that alone on the next call; a plain
 * read() there is EIO for ever (kernel-notes/04-records.md). So every read is a recvmsg with room
 * for the type. */
#include "records.h"

#include <errno.h>
#include <limits.h>
#include <linux/tls.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include "../proto/secret.h"
#include "follow.h"
#include "sys.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };

#define RECORD_MAX 16384 /* bytes of any record (RFC 8446 section 5.1) */
#define HEAD 8           /* of a record that is no handshake message: all that is looked at */
#define IOV_COPY 8 /* MSG_WAITALL is served over so many buffers, else a call may return short */

void rr_init(struct rr_state *s, uint16_t version)
{
    bool eof_ok = atomic_load(&s->eof_ok);

    memset(s, 0, sizeof(*s));
    s->version = version;
    atomic_init(&s->alert, -1);
    atomic_init(&s->eof_ok, eof_ok);
}

static const char *usual(int error)
{
    switch (error) {
    case ECONNRESET:
        return "the peer closed the connection without close_notify: data may be missing";
    case EPROTO:
        return "the peer ended the connection with an alert, or broke the protocol";
    case EBADMSG:
        return "a record does not authenticate: it was damaged or forged on the way";
    case EKEYEXPIRED:
        return "the peer changed its key and this kernel or htlsd cannot follow (Linux can from "
               "6.14); use the relay for this peer (htlsd: path = relay)";
    default:
        return "";
    }
}

void rr_explain(struct rr_state *s, const char *why)
{
    if (atomic_exchange(&s->explained, true))
        return;
    strncpy(s->why, why, sizeof(s->why) - 1);
}

const char *rr_why(const struct rr_state *s)
{
    int error = atomic_load(&s->error);

    return s->why[0] || !error ? s->why : usual(error);
}

ssize_t rr_stick(struct rr_state *s, int error, const char *why)
{
    int none = 0;

    if (!atomic_load(&s->error))
        rr_explain(s, why ? why : usual(error));
    (void)atomic_compare_exchange_strong(&s->error, &none, error);
    return -error;
}

ssize_t rr_fail(struct rr_state *s, int error, const char *why)
{
    if (s->slot)
        sh_fail(s->slot, error);
    return rr_stick(s, error, why);
}

/* The content type of what was received, DATA when the kernel names none. */
static int type_of(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE)
            return *CMSG_DATA(c);
    return -1;
}

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(1)];
};

static size_t gather(const struct msghdr *m, size_t n, uint8_t *p, size_t room)
{
    size_t have = 0;

    for (size_t i = 0; i < m->msg_iovlen && have < room && have < n; i++) {
        size_t step = m->msg_iov[i].iov_len;

        step = step < n - have ? step : n - have;
        step = step < room - have ? step : room - have;
        memcpy(p + have, m->msg_iov[i].iov_base, step);
        have += step;
    }
    return have;
}

/* Reads a control record to its end: the program's buffer may have been smaller than it. MSG_EOR
 * marks the end. Completes p up to room, throws the rest away. Returns 0 or -errno. */
static int finish_control(int fd, uint8_t *p, size_t room, size_t *have, int flags)
{
    for (;;) {
        union control control;
        uint8_t scratch[512];
        struct iovec iov = {scratch, sizeof(scratch)};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
        size_t step;
        ssize_t n;

        m.msg_controllen = sizeof(control.bytes);
        do
            n = sy.recvmsg(fd, &m, flags & MSG_DONTWAIT);
        while (n < 0 && errno == EINTR); /* half a record left behind would be misread */
        if (n < 0)
            return -errno;
        step = room - *have < (size_t)n ? room - *have : (size_t)n;
        memcpy(p + *have, scratch, step);
        *have += step;
        if (n == 0 || (m.msg_flags & MSG_EOR))
            return 0;
    }
}

/* What one recvmsg brought of a record that is not data. */
struct piece {
    const struct msghdr *m; /* the program's buffers */
    size_t n;               /* bytes in them */
    bool peeked, whole;
    uint32_t under;
};

static int collect(int fd, const struct piece *c, uint8_t *p, size_t room, size_t *have, int flags)
{
    *have = c->peeked ? 0 : gather(c->m, c->n, p, room);
    return c->peeked || !c->whole ? finish_control(fd, p, room, have, flags) : 0;
}

/* Not on the stack, which may be a small one, and not by malloc: this may be a signal handler. */
static ssize_t on_handshake(int fd, struct rr_state *s, const struct piece *c, int flags)
{
    uint8_t *p = mmap(NULL, RECORD_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t have;
    ssize_t r;

    if (p == MAP_FAILED)
        return rr_fail(s, ENOMEM, "no memory for a record");
    r = collect(fd, c, p, RECORD_MAX, &have, flags);
    if (r == 0)
        r = fo_handshake(fd, s, p, have, c->under);
    secret_wipe(p, have);
    (void)munmap(p, RECORD_MAX);
    return r;
}

static ssize_t on_control(int fd, struct rr_state *s, int type, const struct piece *c, int flags)
{
    uint8_t head[HEAD];
    size_t have;
    int r;

    if (type == HANDSHAKE)
        return on_handshake(fd, s, c, flags);
    r = collect(fd, c, head, HEAD, &have, flags);
    if (r < 0)
        return r;
    return type == ALERT ? fo_alert(fd, s, head, have) : fo_unexpected(fd, s);
}

/* FIN; what came before it was whole records. Another holder may have read the real end. */
static ssize_t on_fin(struct rr_state *s)
{
    int error = s->slot ? sh_error(s->slot) : 0;

    if (error)
        return rr_stick(s, error, NULL);
    if (s->slot && (sh_flags(s->slot) & SH_EOF))
        atomic_store(&s->eof, true);
    if (atomic_load(&s->shut_rd) || atomic_load(&s->eof) || atomic_load(&s->eof_ok))
        return 0;
    return rr_stick(s, ECONNRESET, NULL);
}

/* The kernel says these once, and then what looks like an end, or nothing. */
static ssize_t refused(int fd, struct rr_state *s, int error, int flags, uint32_t under)
{
    switch (error) {
    case EKEYEXPIRED:
        return fo_stalled(fd, s, flags, under);
    case EBADMSG:
    case EMSGSIZE:
        return fo_unreadable(fd, s, error);
    case ECONNRESET:
        return rr_fail(s, ECONNRESET, "the peer reset the connection");
    default:
        return -error;
    }
}

/* A look at an empty record that stands before one of another type has left it there: it would be
 * all that is ever seen. */
static ssize_t take_empty(int fd, struct rr_state *s)
{
    union control control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};

    m.msg_controllen = sizeof(control.bytes);
    if (sy.recvmsg(fd, &m, MSG_DONTWAIT) <= 0)
        return 1;
    /* Another thread read on meanwhile; what we have taken cannot be put back. */
    return rr_fail(s, EIO, "one thread looked with MSG_PEEK while another read");
}

/* One recvmsg. Returns > 0 with data, 0 at the end of the stream, -errno, or 1 with *again = true
 * after a record that is not the program's. */
static ssize_t once(int fd, struct rr_state *s, struct msghdr *msg, int flags, bool *again)
{
    struct piece c = {.m = msg, .peeked = (flags & MSG_PEEK) != 0, .under = fo_under(s)};
    union control control;
    struct msghdr m = *msg;
    ssize_t n, r;
    int type;

    *again = false;
    m.msg_control = &control;
    m.msg_controllen = sizeof(control.bytes);
    n = sy.recvmsg(fd, &m, flags);
    if (n < 0) {
        int error = errno;

        if (error != EAGAIN && error != EINTR && s->names && !s->names(fd, s))
            return -EBADF;
        r = refused(fd, s, error, flags, c.under);
        *again = r == 1;
        return r;
    }
    type = type_of(&m);
    msg->msg_flags = m.msg_flags & ~(MSG_EOR | MSG_CTRUNC);
    msg->msg_namelen = m.msg_namelen;
    if (type == DATA || (type < 0 && n > 0)) {
        r = n == 0 && c.peeked ? take_empty(fd, s) : n;
        *again = n == 0 && r >= 0; /* an empty record */
        return r;
    }
    if (type < 0)
        return on_fin(s);
    if (s->names && !s->names(fd, s))
        return -EBADF;
    c.n = (size_t)n;
    c.whole = (m.msg_flags & MSG_EOR) != 0 || n == 0;
    r = on_control(fd, s, type, &c, flags);
    *again = r == 1;
    return r;
}

/* Moves a copy of the program's buffers past n bytes. Returns false when they are full. */
static bool advance(struct msghdr *m, size_t n)
{
    while (m->msg_iovlen > 0 && n >= m->msg_iov->iov_len) {
        n -= m->msg_iov->iov_len;
        m->msg_iov++;
        m->msg_iovlen--;
    }
    if (m->msg_iovlen == 0)
        return false;
    m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + n;
    m->msg_iov->iov_len -= n;
    return true;
}

static size_t room(const struct msghdr *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->msg_iovlen; i++)
        n += m->msg_iov[i].iov_len;
    return n;
}

static ssize_t until_something(int fd, struct rr_state *s, struct msghdr *msg, int flags)
{
    bool again;
    ssize_t n;

    do {
        int error = atomic_load(&s->error);

        if (error)
            return -error;
        if (atomic_load(&s->eof))
            return 0;
        n = once(fd, s, msg, flags, &again);
    } while (again);
    return n;
}

/* The kernel's own MSG_WAITALL ends at a ticket: goes on behind it. It also ends at a signal or a
 * time limit; what stands at the head then tells the two apart. m's buffers are used up. */
static ssize_t fill(int fd, struct rr_state *s, struct msghdr *m, int flags)
{
    ssize_t n = until_something(fd, s, m, flags), total = n;
    bool again;

    while (n > 0 && advance(m, (size_t)n)) {
        n = once(fd, s, m, flags | MSG_DONTWAIT, &again);
        if (again)
            n = until_something(fd, s, m, flags);
        if (n > 0)
            total += n;
    }
    return total;
}

/* MSG_TRUNC on TCP means: throw away, the buffers need not exist. The kernel's TLS knows it not. */
static ssize_t discard(int fd, struct rr_state *s, size_t n, int flags)
{
    char scratch[4096] = "";
    ssize_t k, total = 0;

    do {
        size_t left = n - (size_t)total;
        struct iovec iov = {scratch, left < sizeof(scratch) ? left : sizeof(scratch)};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

        k = until_something(fd, s, &m, flags);
        if (k <= 0)
            return total > 0 ? total : k;
        total += k;
        if (!(flags & MSG_WAITALL))
            flags |= MSG_DONTWAIT;
    } while ((size_t)total < n && !(flags & MSG_PEEK));
    return total;
}

ssize_t rr_recvmsg(int fd, struct rr_state *s, struct msghdr *msg, int flags)
{
    struct iovec copy[IOV_COPY];
    struct msghdr m = *msg;
    ssize_t total;

    if (flags & MSG_OOB) /* on a kTLS socket the kernel would make it an ordinary read */
        return -EINVAL;
    if (msg->msg_iovlen > IOV_MAX) /* the kernel says the same of a record that is too long */
        return -EMSGSIZE;
    if (room(msg) == 0)
        return 0;
    if (flags & MSG_TRUNC) {
        m.msg_flags = 0;
        m.msg_namelen = 0;
        total = discard(fd, s, room(msg), flags & ~MSG_TRUNC);
    } else if (!(flags & MSG_WAITALL) || (flags & MSG_PEEK) || msg->msg_iovlen > IOV_COPY) {
        total = until_something(fd, s, &m, flags);
    } else {
        memcpy(copy, msg->msg_iov, msg->msg_iovlen * sizeof(*copy));
        m.msg_iov = copy;
        total = fill(fd, s, &m, flags);
    }
    if (total > 0 && s->slot && !(flags & MSG_PEEK))
        atomic_fetch_add_explicit(&s->slot->moved, (uint64_t)total, memory_order_relaxed);
    msg->msg_controllen = 0;
    msg->msg_flags = m.msg_flags;
    msg->msg_namelen = m.msg_namelen;
    return total;
}

void rr_clear(int fd, struct rr_state *s)
{
    char c;
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    atomic_store(&s->closing, true);
    (void)rr_recvmsg(fd, s, &m, MSG_PEEK | MSG_DONTWAIT);
}
