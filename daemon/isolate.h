/* What each process of the daemon gives up, in named stages. */
#ifndef HTLS_ISOLATE_H
#define HTLS_ISOLATE_H

#include "options.h"

/* Every process, first thing: umask, no core dump, SIGPIPE ignored, RLIMIT_NOFILE to its hard
 * limit, descriptors 0 to 2 exist. Returns 0 or -errno. */
int iso_early(void);

/* A worker, before its loop: user and group of options.user when root, no supplementary groups, no
 * capability in any set, no_new_privs, not dumpable (its memory holds session keys). After this it
 * opens no file. Returns 0 or -errno; a worker that cannot isolate itself must not run. */
int iso_worker(const struct options *o);

#endif
