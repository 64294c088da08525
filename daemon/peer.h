/* One client's connection to a worker: its messages in, our answers out. */
#ifndef HTLS_PEER_H
#define HTLS_PEER_H

#include "internal.h"
#include "worker.h"

/* Serves a client from here: owns fd. Control is told when it is gone. Returns 0 or -errno (fd
 * closed). */
int pe_open(struct worker *w, int fd, const struct in_peer *who);

#endif
