/* One TCP connection of the peer, cut into TLS records: knows bytes, no keys.
 *
 * Whoever waits to send reads meanwhile, so that two ends which both write much never wait for each
 * other. Every wait has a limit: a test that hangs says where. */
#ifndef ANYPEER_WIRE_H
#define ANYPEER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wi_sock {
    int fd;
    uint8_t *in; /* what came and was not taken yet: in[at] to in[n - 1] */
    size_t at, n;
    uint8_t *held; /* what waits for wi_uncork() */
    size_t held_n;
    bool corked;
    bool ended; /* nothing more will come: FIN, or error */
    int error;  /* ECONNRESET and the like, 0 after FIN */
};

/* How long anything may take, by the environment's HTLS_TEST_PATIENCE. */
int wi_patience_ms(void);

/* A listener on a free port of 127.0.0.1; *port is its number. Returns the descriptor or -errno. */
int wi_listen(uint16_t *port);
/* Waits for the next connection, or makes one. Return 0 or -errno. wi_close frees what it holds. */
int wi_accept(struct wi_sock *w, int listener);
int wi_connect(struct wi_sock *w, uint16_t port);
void wi_close(struct wi_sock *w);

/* Sends all of it, or keeps it while corked. Returns 0 or -errno. */
int wi_send(struct wi_sock *w, const void *p, size_t n);
void wi_cork(struct wi_sock *w);
int wi_uncork(struct wi_sock *w);

int wi_fin(struct wi_sock *w);
/* Ends the connection with RST; only wi_close may follow. */
void wi_reset(struct wi_sock *w);

/* Is a whole record here already, or the end? */
bool wi_ready(struct wi_sock *w);
/* The next whole record, which stays in place until the next call on w. Returns 1, 0 at the end of
 * the stream (w->error says of which kind), -ETIMEDOUT, -EBADMSG or -EMSGSIZE (no TLS record). */
int wi_record(struct wi_sock *w, uint8_t **record, size_t *len);

#endif
