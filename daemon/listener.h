/* The daemon's Unix socket. */
#ifndef HTLS_LISTENER_H
#define HTLS_LISTENER_H

#include <stdbool.h>

#include "options.h"

/* The listening socket: `passed` when it is not -1, else a new one at o->socket (*own = true: the
 * path is ours to unlink; else as it was). A file left by a dead daemon is replaced; a living one
 * is not. Returns the descriptor, close-on-exec, non-blocking, or -errno, logged. */
int ls_open(const struct options *o, int passed, bool *own);

#endif
