/* Session tickets that come when the handshake is over (RFC 8446 section 4.6.1). */
#ifndef HTLS_TICKETS_H
#define HTLS_TICKETS_H

#include "handshake.h"
#include "loop.h"

struct tickets;

/* After HS_DONE: takes session tickets that lie at the head of the receive queue. Application data
 * is left there, whole (DESIGN: the fewer already-decrypted bytes the better). Returns 0 or -errno.
 */
int tk_drain(struct hs *h, struct failure *f);

/* A worker's handshakes that are over and wait for tickets that come later: 64 of them, the oldest
 * makes way; each for two seconds at most. */
int tk_open(struct tickets **out, struct lp_loop *lp);
void tk_close(struct tickets *t);

/* Takes over a handshake whose keys have left it, for the connection of that SO_COOKIE. Its
 * descriptor may be closed: nothing touches it any more. Frees it at once when there is nothing to
 * wait for. */
void tk_keep(struct tickets *t, uint64_t cookie, struct hs *h);

/* The plaintext of a record that carries NewSessionTicket messages or parts of them, in the order
 * in which they came. Returns 0, -ENOENT (nobody waits for a ticket of that connection), -ENOMEM,
 * or -EBADMSG (something else is in it): then nobody waits any more. */
int tk_feed(struct tickets *t, uint64_t cookie, const uint8_t *plain, size_t n);

#endif
