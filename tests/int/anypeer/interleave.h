/* The peer's side of random interleavings: batches of sequences, as the program announces them. */
#ifndef ANYPEER_INTERLEAVE_H
#define ANYPEER_INTERLEAVE_H

#include "layer.h"
#include "tls.h"

/* Runs batches until the client says close_notify, then says it too. Every byte is compared.
 * *sequences counts. Returns 0 or, with a text in why, -errno. */
int il_run(struct la_conn *c, struct tl_session *t, uint64_t *sequences, char *why, size_t room);

#endif
