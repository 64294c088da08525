/* The control process: the Unix socket, its clients' credentials, the workers' lives. */
#ifndef HTLS_CONTROL_H
#define HTLS_CONTROL_H

#include "options.h"
#include "probe.h"

/* Listens, starts the workers, says READY, hands clients to workers until SIGTERM or SIGINT.
 * Returns the process's exit status; errors are logged. CT_AGAIN: the process must become htlsd
 * once more (execve); descriptors and environment are prepared for it. In a worker, which is a fork
 * of it, it does not return. */
#define CT_AGAIN (-1)
int ct_run(const struct options *o, const struct pr_caps *caps);

#endif
