/* The messages between control and its workers. Same program, same build: plain structs, the first
 * word is the type. One that is not exactly so ends the process that sent it. */
#ifndef HTLS_INTERNAL_H
#define HTLS_INTERNAL_H

#include <stdint.h>
#include <sys/types.h>

enum in_type {
    IN_CLIENT = 1, /* control -> worker: struct in_client */
    IN_ENDED,      /* control -> worker: struct in_ended */
    IN_SERVE,      /* control -> worker: struct in_serve */
    IN_LEFT,       /* worker -> control: struct in_left */
    IN_KEPT,       /* worker -> control: struct in_kept */
    IN_FORWARD     /* worker -> control: struct in_serve */
};

/* What the kernel said of a client at accept, what the configuration lets it do. The worker decides
 * nothing of that again. */
struct in_peer {
    uint32_t uid, gid;
    int32_t pid;
    uint32_t insecure; /* may ask for verify = none */
};

/* A client's connection is the first descriptor; the second is the memory of its uid's slots, where
 * pool is not 0. */
struct in_client {
    uint32_t type, reserved;
    struct in_peer who;
    uint64_t pool;
};

/* Sockets that are gone in every process; as many cookies as the message is long. */
#define IN_ENDED_MAX 512
struct in_ended {
    uint32_t type, n;
    uint64_t cookies[IN_ENDED_MAX];
};

/* That peer's connection is gone, its place under the uid is free. */
struct in_left {
    uint32_t type, uid;
};

/* The worker keeps this connection. The socket is its one descriptor where it lives in another
 * network namespace than the daemon and is still at hand. */
struct in_kept {
    uint32_t type, reserved;
    uint64_t cookie, netns;
};

/* A client's message about a connection that another worker keeps, with two descriptors: that TCP
 * socket, of which the owner takes the cookie once more, and the client's connection, on which it
 * answers. `message` is the client's, byte for byte. */
#define IN_MESSAGE_MAX 17408u
struct in_serve {
    uint32_t type, caps; /* of the client, from its HELLO */
    uint64_t cookie;
    struct in_peer who;
    uint8_t message[IN_MESSAGE_MAX];
};

#endif
