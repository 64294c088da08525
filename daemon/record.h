/* One TLS record, sealed or opened with the keys of one direction by EVP.
 *
 * The relay's record layer, also used to look into a record on trial. TLS 1.2 (RFC 5246
 * section 6.2.3, RFC 5288, RFC 6655, RFC 7905) or 1.3 (RFC 8446 section 5). A context belongs to
 * one thread. */
#ifndef HTLS_RECORD_H
#define HTLS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "keysched.h"

#define RC_HEADER 5u
#define RC_PLAIN_MAX 16384u
#define RC_BODY_MAX (RC_PLAIN_MAX + 256u) /* largest length field of a protected record */
#define RC_OVERHEAD 32u                   /* a sealed record is at most this much longer */

enum rc_type { RC_CCS = 20, RC_ALERT = 21, RC_HANDSHAKE = 22, RC_DATA = 23 };

struct rc_ctx; /* EVP state of one direction; secret inside */

/* Makes the context for sealing (seal = 1) or opening (0) from d's keys, sequence number and nonce,
 * which are copied. Returns 0, -ENOMEM, -ENOTRECOVERABLE. rc_free wipes; NULL is ignored. */
int rc_new(struct rc_ctx **out, const struct ks_dir *d, int seal);
void rc_free(struct rc_ctx *c);

/* Goes to new keys in place (after a KeyUpdate). */
int rc_rekey(struct rc_ctx *c, const struct ks_dir *d);

/* Sequence number of the next record. */
uint64_t rc_seq(const struct rc_ctx *c);

/* Seals n (<= RC_PLAIN_MAX) bytes as one record of `type` into out, which has room for n +
 * RC_HEADER + RC_OVERHEAD and does not overlap in. Returns the record's length or -EINVAL,
 * -ENOTRECOVERABLE, -EOVERFLOW (sequence number exhausted). */
int rc_seal(struct rc_ctx *c, uint8_t type, const void *in, size_t n, uint8_t *out);

/* The number of bytes that a whole record has, from its first RC_HEADER bytes, or -EBADMSG (type
 * not 20 to 23, or the version's first byte not 3), -EMSGSIZE (longer than RC_HEADER +
 * RC_BODY_MAX). */
int rc_length(const uint8_t header[RC_HEADER]);

/* Opens one whole record in place. On success *type is the real content type, *plain points into
 * the record, *n is its length (0 is allowed for data; padding of TLS 1.3 is removed) and the
 * sequence number has moved. Returns 0, or with the context unchanged: -EBADMSG (does not
 * authenticate, no content type or a forbidden one, empty though not data), -EMSGSIZE (plaintext
 * longer than RC_PLAIN_MAX), -EOVERFLOW (sequence number exhausted), -EINVAL (a context for
 * sealing), -ENOTRECOVERABLE. The record's bytes are spoiled on failure. */
int rc_open(struct rc_ctx *c, uint8_t *record, size_t len, uint8_t *type, uint8_t **plain,
            size_t *n);

#endif
