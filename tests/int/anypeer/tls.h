/* The peer's handshakes, done by OpenSSL, and the messages that only it can make. */
#ifndef ANYPEER_TLS_H
#define ANYPEER_TLS_H

#include "layer.h"

struct tl_context; /* certificate, versions, suites, ticket keys: lives as long as the process */
struct tl_session;

/* version: KS_TLS12, KS_TLS13, 0 for both. suite: OpenSSL's name, NULL for all. cert and key name
 * PEM files. Returns NULL when OpenSSL refuses. */
struct tl_context *tl_new(const char *cert, const char *key, uint16_t version, const char *suite);

/* One handshake on a connected socket, record by record: nothing behind the other end's Finished is
 * taken. Starts c's record layer. As a client it verifies nothing. Returns 0 with *out for tl_free,
 * or -errno. */
enum tl_role { TL_SERVER, TL_CLIENT };
int tl_handshake(struct tl_session **out, struct tl_context *s, struct la_conn *c,
                 enum tl_role role);
void tl_free(struct tl_session *t);

/* What came of it: a line of key=value. */
void tl_describe(const struct tl_session *t, char *out, size_t room);

/* A NewSessionTicket of TLS 1.3 that resumes, as a handshake message; *n is out's room, then its
 * length. Returns 0, -EOPNOTSUPP (TLS 1.2 sends them in the handshake) or -errno. */
int tl_ticket(struct tl_session *t, uint8_t *out, size_t *n);

#endif
