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
    struct facts facts;
};

#endif
