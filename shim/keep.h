/* What is kept of a kernel connection beyond its descriptor: beginning and end. */
#ifndef HTLS_KEEP_H
#define HTLS_KEEP_H

#include "facts.h"
#include "records.h"

/* Before an upgrade: makes the memory of the slots known to this process, once, where that daemon
 * has any. May talk to it. Returns W_CAP_SLOTS or 0: what to add to the capabilities. */
uint32_t kp_prepare(const char *daemon);

/* TLS is up in the kernel: sets s up anew from what RESULT said, with a slot. Under the lock. */
void kp_begin(struct rr_state *s, const struct facts *f, const char *daemon);

/* This process lets go of the connection. Returns true to its last holder, who says the end and
 * then calls kp_free(). */
bool kp_end(struct rr_state *s);
void kp_free(struct rr_state *s);

#endif
