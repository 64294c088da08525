/* The peer's own record layer: it can send whatever it is told to, and judges what comes.
 *
 * Keys come from the handshake (tls.c); from there on OpenSSL never sees a record. A client that
 * breaks the protocol is a violation: the call that meets it returns -EPROTO, and the text stays.
 */
#ifndef ANYPEER_LAYER_H
#define ANYPEER_LAYER_H

#include "../../../daemon/record.h"
#include "wire.h"

struct la_record {
    uint8_t type;
    const uint8_t *p; /* until the next call */
    size_t n;
};

struct la_conn {
    struct wi_sock w;
    struct ks_dir rx, tx;
    struct ks_dir old_rx; /* the client's key before its last KeyUpdate; suite NULL: none */
    struct rc_ctx *open, *seal;

    uint64_t data_in, data_out; /* bytes of application data */
    uint64_t records_in;
    unsigned updates_in, updates_out; /* KeyUpdates */
    unsigned asks_in, asks_out;       /* of these, the ones that ask for one in return */
    unsigned close_notifies;          /* that came */
    uint8_t warned;                   /* the warning that came last, 0 = none */
    bool owed;                        /* we asked for a KeyUpdate, and none has come since */
    unsigned owed_since;              /* number of the first request that was not answered */
    unsigned late;                    /* records of data that came while owed */
    bool due;                         /* owed, and data from due_from on may not come before it */
    uint64_t due_from;
    bool client;         /* we are it, so tickets may come */
    bool we_owe;         /* the client asked for ours */
    bool failed;         /* the client sent a fatal alert */
    char violation[160]; /* the first one; empty: none */
};

/* Goes on from the keys of a handshake; the socket stays c's. Returns 0 or -errno. */
int la_start(struct la_conn *c, const struct ks_dir *rx, const struct ks_dir *tx);
void la_end(struct la_conn *c);

/* Seals one record into out (n + RC_HEADER + RC_OVERHEAD bytes) without sending it: for what is to
 * be cut or damaged. Returns its length or -errno. */
int la_seal(struct la_conn *c, uint8_t type, const void *p, size_t n, uint8_t *out);
/* Sends one record. Before application data it pays a KeyUpdate that is owed. */
int la_send(struct la_conn *c, uint8_t type, const void *p, size_t n);
/* Application data with n bytes of padding (TLS 1.3); together at most RC_PLAIN_MAX. */
int la_send_padded(struct la_conn *c, const void *p, size_t n, size_t padding);

enum la_keep { LA_NEXT_KEY, LA_OLD_KEY };
/* Sends KeyUpdate and goes to the next key; with LA_OLD_KEY, which is a fault, does not. */
int la_update(struct la_conn *c, bool ask, enum la_keep keep);

/* Goes to the next key, or begins the same key anew, without a word: both are faults. */
int la_key(struct la_conn *c, bool next);

/* The client has read our request number `ask` before it writes its bytes of data from number
 * `from` on: when those come before its KeyUpdate, that is a violation (RFC 8446 section 4.6.3).
 * Without effect when that request was answered. */
void la_due(struct la_conn *c, unsigned ask, uint64_t from);

/* The client's next record, its KeyUpdates followed. Returns 1, 0 at the end of the stream,
 * -EPROTO (c->violation) or -ETIMEDOUT. */
int la_next(struct la_conn *c, struct la_record *r);

#endif
