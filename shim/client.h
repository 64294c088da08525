/* The conversation with the daemon about one connection. */
#ifndef HTLS_CLIENT_H
#define HTLS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../proto/wire.h"
#include "facts.h"

#define CL_TIMEOUT_MS                                                                              \
    10000 /* of a handshake, when the program names none: the daemon's default                     \
           */

/* What to ask for; zero and NULL mean the default. Everything stays the caller's. */
struct cl_params {
    const char *name;
    const char *alpn; /* comma-separated */
    uint16_t version_min, version_max;
    const uint16_t *suites;
    size_t n_suites;
    const char *groups;
    const void *pem; /* CA certificates */
    size_t pem_len;
    const char *trust_store;
    int no_verify;
    int path; /* enum w_path */
    int timeout_ms;
    bool prompt;   /* the program does not wait: a busy daemon is an error soon */
    uint32_t caps; /* W_CAP_ bits of ours */
};

/* How it ended. early is allocated and the receiver's; fd is -1 or the receiver's. */
struct cl_result {
    int fd;
    uint8_t *early;
    size_t early_len;
};

/* Checks an ALPN list. Returns 0 or -EINVAL. */
int cl_check_alpn(const char *list);

/* Milliseconds of CLOCK_MONOTONIC; what deadlines are counted in. */
uint64_t cl_now(void);

/* Connects to the daemon at path and sends the request with fd (and gate, if not -1, filled with
 * `fill` bytes), which stay the caller's. Returns 0 with *sock to wait on and *deadline, a little
 * behind the daemon's own, so that a hung daemon cannot hang the program; or -errno with f->code
 * and f->text set. */
int cl_start(const char *path, const struct cl_params *p, int fd, int gate, uint32_t fill,
             int *sock, uint64_t *deadline, struct facts *f);

/* Reads the answer if it is there. Returns 0 with *f and *r filled, -EAGAIN, or -errno with *f
 * filled. The socket stays open: while a relay runs the daemon may still say on it how the relay
 * ended. */
int cl_finish(int sock, struct cl_result *r, struct facts *f);

/* Waits for the answer until the deadline. Returns as cl_finish(), never -EAGAIN. */
int cl_wait(int sock, uint64_t deadline, struct cl_result *r, struct facts *f);

/* A relay's stream has ended or failed, as the program met it on `relay`; `shut_wr` = it had ended
 * its own before. Returns 0 when that was in order, else -errno with *f filled: -ECONNRESET also
 * when the daemon is gone, for nobody says then that all has come. May wait for the daemon. */
int cl_relay_end(int sock, int relay, bool shut_wr, struct facts *f);

/* The steps of it, for others who talk to the daemon (line.h). cl_reach: a connection to it, *sock
 * is the caller's; connects until the deadline where the backlog is full. cl_send: one message with
 * its descriptors. cl_wait_for: one event. All return 0, -ETIMEDOUT or -errno. */
int cl_reach(const char *path, uint64_t deadline, int *sock, struct facts *f);
int cl_send(int sock, struct w_buf *b, const int *fds, unsigned nfds, uint64_t deadline);
int cl_wait_for(int sock, short events, uint64_t deadline);

/* What RESULT says of a connection; what ERROR says, whose -errno is returned. */
void cl_facts(const struct w_msg *m, struct facts *f);
int cl_error(const struct w_msg *m, struct facts *f);

/* True when the other end of a stream is closed, not only shut. */
bool cl_hung_up(int fd);

/* A RESULT is in: does its descriptor go with its mode (PROTOCOL.md, "Which socket")? Returns 0, or
 * -EPROTO with *r emptied: else plain bytes could go where keys were promised. */
int cl_check_mode(struct cl_result *r, bool gate, struct facts *f);

/* Sets f to a failure of ours. Returns -err. */
int cl_failed(struct facts *f, unsigned code, int err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
