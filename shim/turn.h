/* A writer's turn on a kernel connection: what must be said before the program's next record is
 * said, and nobody writes meanwhile.
 *
 * Where keys can be changed the turn is a lock that all holders share; else it is a look at what
 * they have said. A thread that is cancelled in its turn gives it back by ending: the lock is a
 * robust one. */
#ifndef HTLS_TURN_H
#define HTLS_TURN_H

#include "records.h"

/* Zero = none. */
struct tn_turn {
    struct rr_state *s;
    bool held;
};

/* Waits for the turn, as long as the socket's mode and flags (MSG_DONTWAIT) say, and pays what is
 * owed. Returns 0, or -errno:
 *   -EPIPE        close_notify was sent, by whichever holder
 *   -EAGAIN       another writes, or there is no room for a KeyUpdate
 *   -EKEYEXPIRED  the key is used up, or cannot be changed though it must; rr_why()
 *   -EBADF        the number was closed meanwhile
 *   others        of which the connection died */
int tn_begin(struct tn_turn *t, int fd, struct rr_state *s, int flags);

/* What the call wrote: n bytes (negative: none) in records of at least `unit` bytes but for the
 * last of each of `calls`. */
void tn_wrote(const struct tn_turn *t, ssize_t n, size_t unit, size_t calls);

void tn_end(struct tn_turn *t);

/* Changes our key now; ask = the peer shall change his too. Returns 0, or as tn_begin(), or
 * -EOPNOTSUPP: TLS 1.2, or a kernel or daemon that cannot. */
int tn_update(int fd, struct rr_state *s, bool ask);

#endif
