/* What the daemon says to the service manager: readiness, status, what to keep over a restart. */
#ifndef HTLS_NOTIFY_H
#define HTLS_NOTIFY_H

/* Tells the service manager lines of sd_notify(3), such as "READY=1\nSTATUS=serving". Returns 0,
 * also when there is nobody to tell (no NOTIFY_SOCKET), or -errno; -EINVAL: NOTIFY_SOCKET is no
 * path or abstract name. Waits a second at most. */
int nt_notify(const char *state);

/* Has it keep a descriptor under that name for the next start of this service
 * (sd_pid_notify_with_fds(3), FDSTORE); passed.h finds it again. The descriptor stays the caller's.
 * Returns as nt_notify(). */
int nt_store(const char *name, int fd);

#endif
