/* Reading a kernel-mode socket with record types; ending it with close_notify. */
#ifndef HTLS_RECORDS_H
#define HTLS_RECORDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "../proto/posths.h"

/* What is known of a connection's two ends. Readers and writers may be different threads. */
struct rr_state {
    uint16_t version;          /* 0x0303 or 0x0304; warnings mean something in the first alone */
    atomic_bool eof;           /* close_notify was read */
    atomic_bool shut_rd;       /* the program shut reading: an end of stream is its own doing */
    atomic_bool shut_wr;       /* close_notify was sent, or the program shut writing */
    atomic_int error;          /* sticky: positive errno, 0 = none */
    atomic_int alert;          /* the peer's fatal alert, -1 = none */
    struct ph_stream messages; /* where the peer's handshake messages stand; under the lock */
    /* Does the number still stand for this connection? NULL = always. Asked after every wait:
     * another thread may have closed it, and it may name a stranger by now. */
    bool (*names)(int fd, const struct rr_state *s);
};

void rr_init(struct rr_state *s, uint16_t version);

/* recvmsg(2) for application data: msg's buffers, name and flags are served, its control buffer
 * comes back empty. Tickets are passed over, close_notify is 0 and stays 0 (and reading is shut on
 * the socket, so that every other holder and poller sees the end), FIN without it is -ECONNRESET.
 * The buffers may hold a control record's bytes beyond what is returned. Returns a count or -errno:
 *   -ECONNRESET -EPROTO -EBADMSG -EKEYEXPIRED   sticky; rr_text() has the sentence
 *   -EAGAIN -EINTR ...                          of the call */
ssize_t rr_recvmsg(int fd, struct rr_state *s, struct msghdr *msg, int flags);

/* Sends close_notify once; with a full send buffer it waits up to wait_ms for room. Returns 0 (also
 * when it was sent before), -EAGAIN, or -errno. */
int rr_close_notify(int fd, struct rr_state *s, int wait_ms);

/* Before the last close: takes away the tickets that lie unread. TCP says RST and not FIN when
 * anything does, and the peer may lose by that what was sent last. Data is left where it is. */
void rr_clear(int fd, struct rr_state *s);

/* A sentence about a sticky error, "" for others. */
const char *rr_text(int error);

#endif
