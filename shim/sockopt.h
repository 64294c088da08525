/* get/setsockopt on htls's own level, and on sockets that another one stands for. */
#ifndef HTLS_SO_H
#define HTLS_SO_H

#include <sys/socket.h>

/* Both return 0 or -errno. */
int so_set(int fd, int level, int name, const void *value, socklen_t len);
int so_get(int fd, int level, int name, void *value, socklen_t *len);

#endif
