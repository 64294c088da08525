/* Reading a kernel-mode socket with record types. */
#ifndef HTLS_RECORDS_H
#define HTLS_RECORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "../proto/wire.h"
#include "share.h"

/* What is known of a connection's two ends. Readers and writers may be different threads. */
struct rr_state {
    uint16_t version; /* 0x0303 or 0x0304; warnings mean something in the first alone */
    bool controls;    /* the daemon takes records that are not data */
    bool follows_rx;  /* the key of that direction can be changed: kernel, daemon, TLS 1.3 */
    bool follows_tx;
    atomic_bool eof;     /* close_notify was read */
    atomic_bool shut_rd; /* the program shut reading: an end of stream is its own doing */
    atomic_bool shut_wr; /* close_notify was sent, or the program shut writing */
    atomic_bool eof_ok;  /* for this program an end without close_notify is one */
    atomic_bool closing; /* nobody will read on: no change of keys is waited for */
    atomic_bool told; /* the daemon was told something, and may still hold a copy of the socket */
    atomic_int error; /* sticky: positive errno, 0 = none */
    atomic_int alert; /* the peer's fatal alert, -1 = none */
    struct sh_slot *slot;  /* kernel mode: what all holders know (share.h); NULL: none */
    char daemon[108];      /* whom to ask (sun_path) */
    atomic_bool explained; /* why is taken; it is whole before error is set */
    char why[W_TEXT_MAX + 1];
    /* Does the number still stand for this connection? NULL = always. Asked after every wait:
     * another thread may have closed it, and it may name a stranger by now. */
    bool (*names)(int fd, const struct rr_state *s);
};

void rr_init(struct rr_state *s, uint16_t version);

/* recvmsg(2) for application data: msg's buffers, name and flags are served, its control buffer
 * comes back empty. What is not data is handled (control.h). close_notify is 0 and stays 0 (and
 * reading is shut on the socket, so that every other holder and poller sees the end), FIN without
 * it is -ECONNRESET. The buffers may hold a control record's bytes beyond what is returned.
 * Returns a count or -errno:
 *   -ECONNRESET -EPROTO -EBADMSG -EKEYEXPIRED   sticky; rr_why() has the sentence
 *   -EAGAIN -EINTR ...                          of the call */
ssize_t rr_recvmsg(int fd, struct rr_state *s, struct msghdr *msg, int flags);

/* Before the last close: takes away the tickets that lie unread. TCP says RST and not FIN when
 * anything does, and the peer may lose by that what was sent last. Data is left where it is. */
void rr_clear(int fd, struct rr_state *s);

/* The connection is dead for this process (rr_stick) or for all (rr_fail) from now on, of a
 * positive errno. `why`: the sentence, NULL = the usual one. The first cause stays. Both return
 * -error. */
ssize_t rr_stick(struct rr_state *s, int error, const char *why);
ssize_t rr_fail(struct rr_state *s, int error, const char *why);

/* Sets the sentence where there is none yet. */
void rr_explain(struct rr_state *s, const char *why);

/* A sentence about what went wrong, "" when nothing did. */
const char *rr_why(const struct rr_state *s);

#endif
