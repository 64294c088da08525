/* Sends alerts, in turn with those who write. */
#include "goodbye.h"

#include <errno.h>
#include <linux/tls.h>
#include <poll.h>
#include <string.h>

#include "client.h"
#include "sys.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define ALERT_WAIT_MS 100 /* the connection is dead: who cannot be told is not told */

enum { ALERT = 21 };
enum { LEVEL_WARNING = 1, LEVEL_FATAL = 2 };
enum { CLOSE_NOTIFY = 0 };

int gb_record(int fd, uint8_t type, const void *p, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(1)];
    } control;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    struct cmsghdr *c = &control.align;

    memset(&control, 0, sizeof(control));
    m.msg_controllen = sizeof(control.bytes);
    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = type;
    return sy.sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int send_alert(int fd, uint8_t level, uint8_t description, uint64_t deadline)
{
    uint8_t record[2] = {level, description};
    int r = gb_record(fd, ALERT, record, sizeof(record));
    uint64_t now = cl_now();

    if (r == -EAGAIN && now < deadline) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        (void)sy.poll(&p, 1, (int)(deadline - now));
        r = gb_record(fd, ALERT, record, sizeof(record));
    }
    return r;
}

/* No record may come between a KeyUpdate and its key; and a writer that waits for room may hold
 * its turn for ever. `says`: the flag that all holders shall see when the alert is out. */
static int in_turn(int fd, const struct rr_state *s, uint8_t level, uint8_t description,
                   int wait_ms, uint32_t says)
{
    uint64_t deadline = cl_now() + (uint64_t)wait_ms;
    int held = s->slot ? sh_lock(s->slot, &s->slot->tx, wait_ms) : -EDEADLK, r = 0;

    if (held < 0 && held != -EDEADLK)
        return -EAGAIN;
    if (!s->slot || (!sh_error(s->slot) && !(sh_flags(s->slot) & SH_SHUT_WR)))
        r = send_alert(fd, level, description, deadline);
    if (r == 0 && s->slot)
        atomic_fetch_or(&s->slot->flags, says);
    if (held == 0)
        sh_unlock(&s->slot->tx);
    return r;
}

int gb_close_notify(int fd, struct rr_state *s, int wait_ms)
{
    int r;

    if (atomic_exchange(&s->shut_wr, true))
        return 0;
    r = in_turn(fd, s, LEVEL_WARNING, CLOSE_NOTIFY, wait_ms, SH_SHUT_WR);
    if (r == -EAGAIN)
        atomic_store(&s->shut_wr, false);
    return r;
}

void gb_warn(int fd, struct rr_state *s, uint8_t description)
{
    (void)in_turn(fd, s, LEVEL_WARNING, description, ALERT_WAIT_MS, 0);
}

void gb_fatal(int fd, struct rr_state *s, uint8_t description)
{
    (void)in_turn(fd, s, LEVEL_FATAL, description, ALERT_WAIT_MS, 0);
}
