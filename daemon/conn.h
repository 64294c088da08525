/* One connection on its way from a plain socket to TLS. */
#ifndef HTLS_CONN_H
#define HTLS_CONN_H

#include "handshake.h"
#include "request.h"
#include "worker.h"

struct conn;

/* How it ended. Text pointers are valid during the call. */
struct cn_result {
    struct hs_facts facts;
    enum w_mode tx, rx;
    const char *why; /* "" when nothing better was possible to wish for */
    uint64_t cookie;
    int fd; /* travels with the answer: the relay's end, or the TCP socket of a gate; -1 none */
};

/* Who asked. The connection calls exactly one of up() and down() unless it was cancelled, or both
 * when up() returns -errno: the result could not be handed over, the connection is lost, down()
 * says so. After up() with a relay, relay_ended() may come later. */
struct cn_owner {
    int (*up)(void *owner, const struct cn_result *r);
    void (*down)(void *owner, const struct failure *f);
    void (*relay_ended)(void *owner, const struct failure *f);
    void *owner;
};

/* Takes over both descriptors (gate: -1 without one), the request and a reference to the store, on
 * failure too. Returns 0, or -errno with *f filled, when it cannot even begin (not a TCP socket,
 * already TLS). */
int cn_open(struct conn **out, struct worker *w, const struct cn_owner *owner, int tcp, int gate,
            struct request *q, X509_STORE *store, const struct in_peer *peer, struct failure *f);

/* Gives up: no call to the owner any more. The socket is shut down. Works in every state; a relay
 * that already runs goes on without its owner. */
void cn_cancel(struct conn *c);

/* Starts waiting connections while the cap allows it; the worker calls it when one has ended. */
void cn_start_waiting(struct worker *w);

#endif
