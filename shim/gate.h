/* A gate: a socket that poll says nothing of, until the daemon opens it. */
#ifndef HTLS_GATE_H
#define HTLS_GATE_H

#include <stdint.h>

/* Makes a socketpair whose near end (non-blocking) has a full send buffer, so that it is neither
 * readable nor writable. The far end is for the daemon, *fill bytes lie in it. Both close-on-exec,
 * the caller's. Returns 0 or -errno. */
int ga_make(int *near, int *far, uint32_t *fill);

/* The gate has become the relay's end: its send buffer gets the usual size. */
void ga_open_wide(int near);

#endif
