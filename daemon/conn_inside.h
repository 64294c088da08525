/* The inside of a connection on its way to TLS, shared by conn.c and what commits it. */
#ifndef HTLS_CONN_INSIDE_H
#define HTLS_CONN_INSIDE_H

#include "conn.h"
#include "failure.h"
#include "loop.h"
#include "turns.h"

enum state { WAITING, CONNECTING, HANDSHAKING, COMMITTING, UP, FAILED, STATES };

struct conn {
    struct worker *w;
    struct cn_owner owner; /* .owner NULL = cancelled */
    struct in_peer peer;
    enum state state;
    int tcp, gate;
    struct request *q;
    X509_STORE *store;
    struct hs *hs;
    struct lp_op io, timer;
    struct relay *relay; /* runs by itself; kept to disown it */
    struct turn turn;
    struct failure f;
    char name[W_NAME_MAX + 1];
    char remote[64]; /* address:port for the log */
    uint64_t began;  /* CLOCK_MONOTONIC, milliseconds */
    uint64_t cookie;
};

/* The one door between states. */
void cn_goto(struct conn *c, enum state to);

/* The end without TLS. The socket is shut down whoever else holds it: after TLS was asked for,
 * nothing may follow on it in the clear. The reason must be in c->f. */
void cn_fail(struct conn *c);

/* Its turn is over. */
void cn_leave_running(struct conn *c, enum state was);

/* Frees what only a running handshake needs. */
void cn_drop_parts(struct conn *c);

/* Frees it, if it has ended and nothing of it is under way. */
void cn_release(struct conn *c);

/* The handshake is over: drain, derive, decide, install. In conn_commit.c. */
void cn_commit(struct conn *c);

#endif
