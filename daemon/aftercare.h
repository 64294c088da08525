/* A kernel connection after its socket has gone back: kept, asked about, ended. */
#ifndef HTLS_AFTERCARE_H
#define HTLS_AFTERCARE_H

#include "conn.h"
#include "internal.h"
#include "reply.h"
#include "worker.h"

/* Whether one more can be kept: asked before its keys go into the kernel. */
bool ac_has_room(const struct worker *w);

/* Keys are in the kernel: keeps what comes after needs, and tells control. Never fails when
 * ac_has_room() was true. The socket stays the caller's. */
void ac_keep(struct worker *w, int tcp, const struct in_peer *who, const char *name,
             const struct cn_result *r, const struct ks_dir *rx, const struct ks_dir *tx);

/* The slot and the limit of a kept connection, as this client may know them, into its RESULT. */
void ac_describe(const struct worker *w, uint64_t cookie, const struct in_peer *who, uint32_t caps,
                 struct ry_result *r);

/* Acts on a CONTROL, REKEY or ATTACH about the socket tcp, which stays the caller's. Returns the
 * length of the answer in w->out, a RESULT or ERROR without descriptors; -ENOKEY when another
 * worker may keep it, for ac_forward(). */
int ac_answer(struct worker *w, const struct in_peer *who, uint32_t caps, const struct w_msg *m,
              int tcp);

/* Sends the message on to whoever keeps the connection; that worker answers on `client`. Returns 0
 * or -errno; the descriptors stay the caller's. */
int ac_forward(struct worker *w, const struct in_peer *who, uint32_t caps, const struct w_msg *m,
               int tcp, int client);

/* A message of control: somebody else's client asks about a connection of ours (fds: socket,
 * client; used up), or sockets are gone. False when it is malformed. */
bool ac_serve(struct worker *w, const void *message, size_t len, int fds[2]);
bool ac_ended(struct worker *w, const void *message, size_t len);

/* Tells control of every entry that it does not know yet. At the start, then by a timer where its
 * queue was full. */
void ac_announce(struct worker *w);

/* The timer's completion, for worker.c. */
void ac_on_untold(struct lp_op *op, int result);

#endif
