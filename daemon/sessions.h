/* TLS sessions that may be resumed: one cache in memory that all workers share.
 *
 * To the cache a session is bytes under a key; what makes two connections alike enough to share one
 * is resume.c's affair. Nothing survives the daemon.
 *
 * Control makes the cache before it forks and never touches it again: a lock taken in memory that a
 * worker writes is a list that a worker writes, and control has rights that a worker must not get.
 */
#ifndef HTLS_SESSIONS_H
#define HTLS_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SE_KEY 32u         /* bytes of a key */
#define SE_BYTES_MAX 2048u /* of a session; with a ticket of OpenSSL it has 320 */
#define SE_PER_KEY 4u      /* sessions for one use that one key may have */

struct se_cache;

/* Secret: wipe it. */
struct se_session {
    uint32_t uid;    /* whose: counts against that user's share */
    bool once;       /* leaves the cache when it is taken (TLS 1.3, RFC 8446 appendix C.4) */
    uint64_t until;  /* seconds, CLOCK_REALTIME: not given out any more from then on */
    uint64_t proven; /* the same: until when the proof of who the peer is may be relied on */
    size_t n;
    uint8_t bytes[SE_BYTES_MAX];
};

/* A cache for at most `places` (> 0) sessions, `share` percent of them one user's. Costs memory
 * only where sessions lie. Returns 0 or -errno. se_free() in every process that has it; NULL is
 * ignored. */
int se_new(struct se_cache **out, unsigned places, unsigned share);
void se_free(struct se_cache *c);

/* False for the overflow uid, as which the users of other user namespaces appear: it is nobody in
 * particular and shares nothing. */
bool se_serves(const struct se_cache *c, uint32_t uid);

/* All below: `now` in seconds of CLOCK_REALTIME. A lock that is not to be had within 5 ms (another
 * worker was stopped while it held it) is -EBUSY: nothing happens. */

/* Keeps a copy. One that may be used again takes the place of its like under the same key; else the
 * oldest goes where there are too many: of the key, of the user, of all. Returns 0, -EMSGSIZE
 * (longer than SE_BYTES_MAX, or empty), -ETIME (over already), -EBUSY. */
int se_put(struct se_cache *c, const uint8_t key[SE_KEY], const struct se_session *s, uint64_t now);

/* The newest under that key, taken out when it is for one use. Returns 0, -ENOENT, -EBUSY. */
int se_take(struct se_cache *c, const uint8_t key[SE_KEY], uint64_t now, struct se_session *s);

/* Forgets everything under that key. */
void se_drop(struct se_cache *c, const uint8_t key[SE_KEY]);

/* Wipes what is over, in the part-th of `parts` equal parts of the cache. */
void se_sweep(struct se_cache *c, unsigned part, unsigned parts, uint64_t now);

/* Sessions in it now, over or not. */
uint64_t se_count(const struct se_cache *c);

#endif
