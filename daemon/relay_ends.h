/* The socketpair of a relay: made here, or a gate that the client brought. */
#ifndef HTLS_RELAY_ENDS_H
#define HTLS_RELAY_ENDS_H

#include <stdint.h>

#include "failure.h"

/* A gate must hold exactly `fill` bytes. More was written by somebody who did not wait: it may not
 * reach the wire, nor may the connection go on. Returns 0 (also without a gate, -1) or -errno with
 * *f filled. */
int re_check_gate(int gate, uint32_t fill, struct failure *f);

/* Our end into *local, the program's into *far. With a gate (>= 0; it becomes *local, the caller
 * forgets it) *far is -1, for the program has the other end already; the gate must hold exactly
 * `fill` bytes. The program's end waits or does not wait as tcp does. Returns 0 or -errno with *f
 * filled, the gate still the caller's. */
int re_make(int tcp, int gate, int *local, int *far, struct failure *f);

/* Opens a gate: its filler is taken out and the program's end becomes writable. Only after the
 * answer is sent, or a program that is woken once (EPOLLET) would find that there is none yet. */
void re_open_gate(int local, uint32_t fill);

#endif
