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

#include "lock.h"
#include "sys.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };
enum { CLOSE_NOTIFY = 0, USER_CANCELED = 90 };
enum { LEVEL_WARNING = 1, LEVEL_FATAL = 2 };

#define HEAD 2     /* bytes of an alert */
#define IOV_COPY 8 /* MSG_WAITALL is served over so many buffers, else a call may return short */

void rr_init(struct rr_state *s, uint16_t version)
{
    memset(s, 0, sizeof(*s));
    s->version = version;
    atomic_init(&s->alert, -1);
}

const char *rr_text(int error)
{
    switch (error) {
    case ECONNRESET:
        return "the peer closed the connection without close_notify: data may be missing";
    case EPROTO:
        return "the peer ended the connection with an alert, or broke the protocol";
    case EBADMSG:
        return "a record does not authenticate: it was damaged or forged on the way";
    case EKEYEXPIRED:
        return "the peer changed its key and this version of htls cannot follow in the kernel; use "
               "the relay for this peer (htlsd: path = relay)";
    default:
        return "";
    }
}

static ssize_t stick(struct rr_state *s, int error)
{
    atomic_store(&s->error, error);
    return -error;
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

/* A record that is not data, as its pieces come. */
struct other {
    int type;
    size_t n;
    uint8_t head[HEAD];
    struct ph_stream at; /* handshake messages may begin in one record and end in another */
    int error;           /* what they mean to a program that cannot follow them; 0 = nothing */
};

/* Two threads may read one socket: each goes on from where the other has left it. */
static void begin_other(struct rr_state *s, struct other *o, int type)
{
    struct lk_saved saved;

    *o = (struct other){.type = type};
    lk_take(&saved);
    o->at = s->messages;
    lk_give(&saved);
}

static void end_other(struct rr_state *s, const struct other *o)
{
    struct lk_saved saved;

    if (o->type != HANDSHAKE)
        return;
    lk_take(&saved);
    s->messages = o->at;
    lk_give(&saved);
}

static void take_piece(const struct rr_state *s, struct other *o, const uint8_t *p, size_t n)
{
    enum ph_event event;

    for (size_t i = 0; i < n && o->n + i < HEAD; i++)
        o->head[o->n + i] = p[i];
    o->n += n;
    if (o->type != HANDSHAKE || o->error || n == 0)
        return;
    if (ph_feed(&o->at, s->version, p, n, &event) < 0)
        o->error = EPROTO;
    else if (event != PH_NOTHING)
        o->error = EKEYEXPIRED;
}

static void gather(const struct rr_state *s, struct other *o, const struct msghdr *m, size_t n)
{
    for (size_t i = 0; i < m->msg_iovlen && n > 0; i++) {
        size_t step = m->msg_iov[i].iov_len < n ? m->msg_iov[i].iov_len : n;

        take_piece(s, o, m->msg_iov[i].iov_base, step);
        n -= step;
    }
}

/* Reads a control record to its end: the program's buffer may have been smaller than it. MSG_EOR
 * marks the end. Returns 0 or -errno. */
static int finish_control(int fd, const struct rr_state *s, struct other *o, int flags)
{
    for (;;) {
        union control control;
        uint8_t scratch[512];
        struct iovec iov = {scratch, sizeof(scratch)};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
        ssize_t n;

        m.msg_controllen = sizeof(control.bytes);
        do
            n = sy.recvmsg(fd, &m, flags & MSG_DONTWAIT);
        while (n < 0 && errno == EINTR); /* half a record left behind would be misread */
        if (n < 0)
            return -errno;
        take_piece(s, o, scratch, (size_t)n);
        if (n == 0 || (m.msg_flags & MSG_EOR))
            return 0;
    }
}

static ssize_t on_alert(int fd, struct rr_state *s, const uint8_t *p, size_t n)
{
    if (n < 2)
        return stick(s, EPROTO);
    if (p[1] == CLOSE_NOTIFY) {
        atomic_store(&s->eof, true);
        (void)sy.shutdown(fd, SHUT_RD);
        return 0;
    }
    if (p[1] == USER_CANCELED || (s->version == 0x0303 && p[0] != LEVEL_FATAL))
        return 1; /* read on */
    atomic_store(&s->alert, p[1]);
    return stick(s, EPROTO);
}

/* A whole control record. Returns 1 to read on, 0 for the end, or -errno. */
static ssize_t on_control(int fd, struct rr_state *s, const struct other *o)
{
    if (o->type == ALERT)
        return on_alert(fd, s, o->head, o->n);
    if (o->type != HANDSHAKE || o->n == 0)
        return stick(s, EPROTO);
    if (o->error)
        return stick(s, o->error);
    return 1; /* tickets: the place from which they will go to the daemon's session cache */
}

/* The kernel says these once, and then what looks like an end, or nothing. */
static ssize_t refused(struct rr_state *s, int error)
{
    if (error == EBADMSG || error == EMSGSIZE)
        return stick(s, EBADMSG);
    return error == ECONNRESET ? stick(s, ECONNRESET) : -error;
}

/* One recvmsg. Returns > 0 with data, 0 at the end of the stream, -errno, or 1 with *again = true
 * after a record that is not the program's. */
static ssize_t once(int fd, struct rr_state *s, struct msghdr *msg, int flags, bool *again)
{
    union control control;
    struct msghdr m = *msg;
    struct other o;
    ssize_t n, r;
    int type;

    *again = false;
    m.msg_control = &control;
    m.msg_controllen = sizeof(control.bytes);
    n = sy.recvmsg(fd, &m, flags);
    if (n < 0)
        return refused(s, errno);
    type = type_of(&m);
    msg->msg_flags = m.msg_flags & ~(MSG_EOR | MSG_CTRUNC);
    msg->msg_namelen = m.msg_namelen;
    if (type == DATA || (type < 0 && n > 0)) {
        *again = n == 0; /* an empty record */
        return n;
    }
    if (type < 0) /* FIN; what came before it was whole records */
        return atomic_load(&s->shut_rd) || atomic_load(&s->eof) ? 0 : stick(s, ECONNRESET);
    if (s->names && !s->names(fd, s))
        return -EBADF;
    begin_other(s, &o, type);
    if (!(flags & MSG_PEEK))
        gather(s, &o, msg, (size_t)n);
    if ((flags & MSG_PEEK) || !(m.msg_flags & MSG_EOR)) {
        r = finish_control(fd, s, &o, flags);
        if (r < 0)
            return r;
    }
    end_other(s, &o);
    r = on_control(fd, s, &o);
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
    msg->msg_controllen = 0;
    msg->msg_flags = m.msg_flags;
    msg->msg_namelen = m.msg_namelen;
    return total;
}

static int send_alert(int fd, uint8_t level, uint8_t description)
{
    uint8_t record[2] = {level, description};
    struct iovec iov = {record, sizeof(record)};
    union control control;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    struct cmsghdr *c = &control.align;

    memset(&control, 0, sizeof(control));
    m.msg_controllen = sizeof(control.bytes);
    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = ALERT;
    return sy.sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int rr_close_notify(int fd, struct rr_state *s, int wait_ms)
{
    int r;

    if (atomic_exchange(&s->shut_wr, true))
        return 0;
    r = send_alert(fd, LEVEL_WARNING, CLOSE_NOTIFY);
    if (r == -EAGAIN && wait_ms > 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        (void)sy.poll(&p, 1, wait_ms);
        r = send_alert(fd, LEVEL_WARNING, CLOSE_NOTIFY);
    }
    if (r == -EAGAIN)
        atomic_store(&s->shut_wr, false);
    return r;
}

void rr_clear(int fd, struct rr_state *s)
{
    char c;
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    (void)rr_recvmsg(fd, s, &m, MSG_PEEK | MSG_DONTWAIT);
}
