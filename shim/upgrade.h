/* From a plain descriptor to one that speaks TLS, waiting or not. */
#ifndef HTLS_UPGRADE_H
#define HTLS_UPGRADE_H

#include <stddef.h>
#include <sys/socket.h>

#include "fdstate.h"

/* Begins TLS as a client on fd for the name in value (len bytes, one trailing NUL allowed). On a
 * blocking socket it returns when TLS is up; on a non-blocking one at once, and the number holds a
 * gate meanwhile. Returns 0 or -errno; after a failure that came behind the argument checks the
 * descriptor is FS_FAILED. */
int up_client(int fd, const void *value, socklen_t len);

/* Concludes a gate whose answer is there. Returns true when the state is no gate any more. */
bool up_settle(struct fs_state *s);

/* Waits until a gate is settled: for a program that has made its descriptor blocking meanwhile. */
void up_wait(struct fs_state *s, int fd);

/* Concludes every gate whose answer is there. */
void up_settle_all(void);

/* A relay's stream has ended or failed: 0 when that was in order, else the positive errno, which
 * then stays the state's. */
int up_relay_error(struct fs_state *s, int fd);

/* Shuts the connection so that nothing can be sent on it, and marks it. Under the lock. */
void up_poison(struct fs_state *s, int fd, int error);

#endif
