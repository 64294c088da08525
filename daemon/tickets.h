/* Session tickets that come when the handshake is over (RFC 8446 section 4.6.1). */
#ifndef HTLS_TICKETS_H
#define HTLS_TICKETS_H

#include "handshake.h"

/* After HS_DONE: takes session tickets that lie at the head of the receive queue. Application data
 * is left there, whole (DESIGN: the fewer already-decrypted bytes the better). Returns 0 or -errno.
 */
int tk_drain(struct hs *h, struct failure *f);

#endif
