/* This process's one line to the daemon, for what comes up while connections live.
 *
 * Hidden, close-on-exec, opened at the first need and again when it has broken; a child of fork
 * opens its own. Requests wait for each other. */
#ifndef HTLS_LINE_H
#define HTLS_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../proto/secret.h"
#include "../proto/wire.h"
#include "facts.h"

#define LN_WAIT_MS                                                                                 \
    5000 /* for the answer to a change of keys; a daemon may be restarted meanwhile */
#define LN_KEY_MAX 64

/* What to ask; fd is the connection and stays the caller's. */
struct ln_request {
    enum w_type type; /* CONTROL, REKEY, ATTACH, SHARE */
    int fd;
    uint8_t record_type; /* CONTROL */
    const uint8_t *record;
    size_t n;
    uint64_t moved;
    uint32_t generation; /* CONTROL, REKEY */
};

/* The answer. After a failure facts has code, alert and text. Wipe it: SECRET_WIPE. */
struct ln_answer {
    struct facts facts;
    bool has_generation, owed;
    uint32_t generation;
    uint32_t key_len; /* 0 = none came */
    uint8_t key[LN_KEY_MAX];
    int fd; /* SHARED: the memory, the receiver's; -1 = none */
};

/* Asks the daemon at that path and waits, up to wait_ms, for the answer. `patient`: also for a
 * daemon that is not there just now. Returns 0, or -errno: the daemon's, or of not reaching it. */
int ln_ask(const char *daemon, const struct ln_request *q, int wait_ms, bool patient,
           struct ln_answer *a);

/* Tells it, and waits for nothing: what cannot be told now is not told. */
void ln_tell(const char *daemon, const struct ln_request *q);

/* Waits a little until the daemon has answered all that it was told: then it has closed its copies
 * of the sockets, which would keep a closed one in the program's epoll sets. */
void ln_settle(void);

/* Closes the line if it has this number: the program wants it. It is opened again at the next need.
 */
void ln_leave(int fd);

#endif
