/* The inside of libhtls's one object. */
#ifndef HTLS_API_H
#define HTLS_API_H

#include <stdbool.h>

#include "client.h"
#include "facts.h"
#include "htls.h"
#include "records.h"

#define EXPORT __attribute__((visibility("default")))

struct htls {
    char *daemon, *alpn, *groups, *trust_store, *name;
    char *pem;
    size_t pem_len;
    uint16_t version_min, version_max;
    uint16_t suites[32];
    size_t n_suites;
    bool no_verify;
    int path;

    int fd;   /* the program's; -1 before htls_start() */
    int sock; /* to the daemon: while the handshake runs, then while a relay may fail; -1 else */
    bool used, running, up; /* used: it had its one connection, however that went */
    uint64_t deadline;
    struct linger linger; /* as the program had it: the daemon switches it off */
    uint8_t *early;
    size_t early_at, early_len;
    struct rr_state rr;
    bool joined; /* in the list of kernel connections */
    struct htls *next;
    struct facts facts;
};

/* *out becomes a copy of value, or NULL; the old one is freed. Returns 0 or -ENOMEM. */
int ap_set_string(char **out, const char *value);

/* The answer is in, TLS is up in the kernel: sets h->rr up, counts this process as a holder. */
void ap_join(struct htls *h, const char *daemon);

/* This process holds it no longer. Returns true to the last holder, who says the end and then calls
 * kp_free(); false also where there is nothing to leave. */
bool ap_leave(struct htls *h);

#endif
