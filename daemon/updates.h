/* How many KeyUpdates a peer may send: a bucket that time and moved data refill.
 *
 * A KeyUpdate costs its sender a record of 27 bytes and us two key derivations and an answer: a
 * peer that sends nothing else would keep us busy for ever. RFC 8446 section 4.6.3 sets no number.
 * Over the cap a connection ends with the alert unexpected_message, as BoringSSL and Go do it.
 *
 * Pure: whoever owns the bucket passes the time in. */
#ifndef HTLS_UPDATES_H
#define HTLS_UPDATES_H

#include <stdint.h>

#define UD_BYTES 4096u /* of application data, in either direction, are worth one KeyUpdate */

/* Of one connection. Small: there may be one in a table entry of every connection. */
struct ud_bucket {
    uint64_t level;    /* in parts of a KeyUpdate, see updates.c */
    uint64_t since_ms; /* when time was last counted */
};

/* Fills the bucket. `most` is how many KeyUpdates may come at once, at least 1; it goes into every
 * call, so that no bucket carries it. One more is allowed for every second. */
void ud_open(struct ud_bucket *b, unsigned most, uint64_t now_ms);

/* Application data was moved, in either direction. */
void ud_moved(struct ud_bucket *b, unsigned most, uint64_t bytes);

/* A KeyUpdate of the peer. Returns 0, or -EDQUOT when it is one too many. */
int ud_take(struct ud_bucket *b, unsigned most, uint64_t now_ms);

#endif
