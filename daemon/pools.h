/* The memory in which a uid's processes keep what they share of a connection: a memfd each, its
 * slots (PROTOCOL.md, "The slot"). The daemon makes it and gives it out; it never looks inside. */
#ifndef HTLS_POOLS_H
#define HTLS_POOLS_H

#include <stddef.h>
#include <stdint.h>

struct pool {
    uint32_t uid;
    uint64_t id; /* never 0 */
    int fd;
};

/* Zero at the start; po_free() at the end. */
struct pools {
    struct pool *rows;
    size_t n;
};

/* That uid's, NULL when there is none. Valid until the next po_make() or po_keep(). */
const struct pool *po_find(const struct pools *p, uint32_t uid);

/* Control: that uid's, made when it is the first time, with room for so many slots. NULL for the
 * uid under which the kernel shows all users that it cannot name (their processes share nothing),
 * beyond PO_UIDS_MAX users, or without memory. */
#define PO_UIDS_MAX 1024
const struct pool *po_make(struct pools *p, uint32_t uid, uint32_t slots);

/* Takes over fd. A worker: what control sent; closed when it is known already. Control: what a
 * service manager kept. Returns 0 or -ENOMEM, then it is closed. */
int po_keep(struct pools *p, uint32_t uid, uint64_t id, int fd);

void po_free(struct pools *p);

#endif
