/* What is kept of a kernel connection beyond its descriptor: beginning and end. */
#ifndef HTLS_KEEP_H
#define HTLS_KEEP_H

#include "facts.h"
#include "records.h"

/* Before an upgrade: returns what to add to the capabilities. Asks the daemon for the memory of the
 * slots where an upgrade before this one had use for it. */
uint32_t kp_prepare(const char *daemon);

/* A RESULT is in, and the caller may wait a little: makes the memory in which its slot lies known
 * to this process, once. A relayed connection has none. Not under the lock. */
void kp_learn(const struct facts *f, const char *daemon);

/* TLS is up in the kernel: sets s up anew from what RESULT said, with a slot. Under the lock. */
void kp_begin(struct rr_state *s, const struct facts *f, const char *daemon);

/* This process lets go of the connection. Returns true to its last holder, who says the end and
 * then calls kp_free(). */
bool kp_end(struct rr_state *s);
void kp_free(struct rr_state *s);

#endif
