/* The messages between control and its workers. Same program, same build: plain structs. */
#ifndef HTLS_INTERNAL_H
#define HTLS_INTERNAL_H

#include <stdint.h>
#include <sys/types.h>

/* control -> worker, with the client's connection as the one descriptor: what the kernel said of
 * the peer at accept, what the configuration lets it do. The worker decides nothing of that again.
 */
struct in_peer {
    uint32_t uid, gid;
    int32_t pid;
    uint32_t insecure; /* may ask for verify = none */
};

/* worker -> control, no descriptor: that peer's connection is gone, its place under the uid is
 * free. */
struct in_gone {
    uint32_t uid;
};

#endif
