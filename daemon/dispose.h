/* Closing what strangers sent us, without ever waiting. */
#ifndef HTLS_DISPOSE_H
#define HTLS_DISPOSE_H

#include <sys/types.h>

/* Closes a descriptor of any kind. */
void di_close(int fd);

/* Closes an AF_UNIX socket whose queue may hold descriptors: they are taken out first. Also shuts
 * it down. */
void di_close_unix(int fd);

/* di_close() for a variable that owns the descriptor; -1 is ignored, and left behind. */
void di_drop(int *fd);

/* recv(2) from an AF_UNIX socket: descriptors that come with the bytes are closed here, not by the
 * kernel. */
ssize_t di_recv(int fd, void *buf, size_t n, int flags);

#endif
