/* Control's knowledge of kept connections: which worker, which network namespace. */
#ifndef HTLS_OWNERS_H
#define HTLS_OWNERS_H

#include <stddef.h>
#include <stdint.h>

#include "cookiemap.h"

#define OW_NETNS_MAX 4096

struct ow_row {
    unsigned worker;
    uint64_t netns;
};

/* Zero at the start; ow_free() at the end. */
struct owners {
    struct cookiemap map;
    uint64_t *netns; /* a row's number is shorter than the cookie of its namespace */
    size_t n_netns;
};

/* Returns 0, -EINVAL (cookie 0), -ENOMEM, -EMFILE (more namespaces than OW_NETNS_MAX). */
int ow_set(struct owners *o, uint64_t cookie, const struct ow_row *row);

/* Returns 1 and fills *row, or 0. */
int ow_get(const struct owners *o, uint64_t cookie, struct ow_row *row);

void ow_drop(struct owners *o, uint64_t cookie);

/* Walks: start with *at = 0; 0 at the end. Nothing may be set or dropped between calls. */
int ow_next(const struct owners *o, size_t *at, uint64_t *cookie, struct ow_row *row);

void ow_free(struct owners *o);

#endif
