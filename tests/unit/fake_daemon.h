/* A daemon that is a thread of a test: it takes one request, then does as it is told. */
#ifndef HTLS_TESTS_FAKE_DAEMON_H
#define HTLS_TESTS_FAKE_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../proto/wire.h"

#define FAKE_MESSAGES 32
#define FAKE_LINES 8

struct fake {
    char dir[32], path[64]; /* path is what a client connects to */
    int listener;
    int lines[FAKE_LINES]; /* of clients that keep one beside (shim/line.h); they are welcomed */
    unsigned n_lines;
    pthread_t thread;
    void (*act)(struct fake *d, int sock); /* called with the first client; closes nothing */
    int slow_ms;                           /* before it does anything at all */
    void *arg;                             /* the test's own */
    bool talks_on_lines;                   /* act gets lines too */
    bool beside;
    uint32_t offers; /* capabilities that it says it has */
    uint64_t pool;   /* RESULT gives slot 5 of this one; 0 = none */

    uint16_t types[FAKE_MESSAGES]; /* of the messages that came */
    unsigned n;
    uint32_t caps; /* of HELLO */
    size_t trust;  /* bytes of certificates, and their sum */
    uint8_t trust_sum;
    struct w_msg m; /* the CONNECT, its text in raw */
    uint8_t raw[16384];
    int fds[2]; /* came with it; closed by fake_stop() */
    unsigned nfds;
};

void fake_start(struct fake *d, void (*act)(struct fake *d, int sock));
void fake_stop(struct fake *d);

/* For act: takes messages up to the CONNECT, and switches SO_LINGER off on its socket; says
 * WELCOME; sends a RESULT with fd (-1: none) or an ERROR, both to the CONNECT that came. */
void fake_take(struct fake *d, int sock);
void fake_welcome(struct fake *d, int sock);
void fake_result(struct fake *d, int sock, enum w_mode mode, int fd, const void *early, size_t n);
void fake_error(struct fake *d, int sock, enum w_code code, int err, const char *text);

/* Answers a STATUS: it lives. */
void fake_report(struct fake *d, int sock);

#endif
