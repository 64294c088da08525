/* Network namespaces: which one a socket is of, and work to be done in it. */
#ifndef HTLS_NETNS_H
#define HTLS_NETNS_H

#include <stdint.h>

/* The number of the network namespace of socket fd; the kernel gives none twice and none is 0.
 * Takes no lock of the socket. Returns 0 or -errno. */
int ns_cookie(int fd, uint64_t *cookie);

/* Runs work(arg) in the network namespace of socket fd, on a thread of its own whose end is waited
 * for. Returns what work returned (0 or -errno), or why it was not run: -EPERM without
 * CAP_NET_ADMIN over that namespace and CAP_SYS_ADMIN. */
int ns_call(int fd, int (*work)(void *arg), void *arg);

#endif
