/* Records that are not data: what they ask for, done before the program reads on.
 *
 * All return 1 = read on, 0 = the end of the stream, or -errno, sticky where it ends the
 * connection. `under` is the receiving generation that was in use before the record was read
 * (fo_under()). */
#ifndef HTLS_FOLLOW_H
#define HTLS_FOLLOW_H

#include "records.h"

uint32_t fo_under(const struct rr_state *s);

/* A whole record of handshake messages: tickets go to the daemon; a KeyUpdate too, and the key it
 * answers with is installed. */
ssize_t fo_handshake(int fd, struct rr_state *s, const uint8_t *p, size_t n, uint32_t under);

/* The kernel says EKEYEXPIRED: another reader has a KeyUpdate in its hands, or died with it. flags:
 * the call's. */
ssize_t fo_stalled(int fd, struct rr_state *s, int flags, uint32_t under);

/* An alert record, by its first n bytes. */
ssize_t fo_alert(int fd, struct rr_state *s, const uint8_t *p, size_t n);

/* A record that may not be there, or that the kernel could not read (error = its errno): tells the
 * peer, ends the connection. */
ssize_t fo_unexpected(int fd, struct rr_state *s);
ssize_t fo_unreadable(int fd, struct rr_state *s, int error);

#endif
