/* The answers to a client, written from what the daemon knows into the bytes of wire.h. */
#ifndef HTLS_REPLY_H
#define HTLS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

/* What a RESULT says. Pointers are only read during the call; NULL, "" and 0 are left out where the
 * message may go without. */
struct ry_result {
    uint16_t version, cipher;
    const uint8_t *alpn;
    size_t alpn_len;
    enum w_mode tx, rx;
    const char *why, *group;
    uint64_t cookie;
    bool resumed;
    uint64_t pool; /* 0 = the connection has no slot for this client */
    uint32_t slot;
    const uint8_t *key; /* NULL = none */
    size_t key_len;
    bool has_generation;
    uint32_t generation;
    bool owed;
    uint64_t records_max;
};

/* Both return the message's length, or -errno when it cannot be built, which is a bug. */
int ry_result(void *out, size_t cap, uint32_t id, const struct ry_result *r, unsigned nfds);
int ry_error(void *out, size_t cap, uint32_t id, const struct failure *f);

#endif
