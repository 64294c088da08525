/* What systemd and the daemon say to each other: readiness, status, a listener made beforehand. */
#ifndef HTLS_NOTIFY_H
#define HTLS_NOTIFY_H

#include <stddef.h>

#define NT_WHY_MAX 160

/* Tells the service manager lines of sd_notify(3), such as "READY=1\nSTATUS=serving". Returns 0,
 * also when there is nobody to tell (no NOTIFY_SOCKET), or -errno; -EINVAL: NOTIFY_SOCKET is no
 * path or abstract name. Waits a second at most. */
int nt_notify(const char *state);

/* The listening SOCK_SEQPACKET socket that systemd has passed on, close-on-exec and the caller's
 * from here. -ENOENT: none was passed. -EPROTO: something else was, `why` says what and what to do.
 * The variables (LISTEN_PID, LISTEN_FDS, ...) are removed from the environment in each case. */
int nt_listen_fd(char why[NT_WHY_MAX]);

#endif
