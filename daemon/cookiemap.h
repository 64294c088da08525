/* From a socket's cookie to a number: where its entry lies, which worker keeps it. */
#ifndef HTLS_COOKIEMAP_H
#define HTLS_COOKIEMAP_H

#include <stddef.h>
#include <stdint.h>

/* Open addressing, a quarter always free: 16 bytes a place, at most 43 bytes a cookie. Cookie 0 is
 * none. Zero at the start; cm_free() at the end. */
struct cookiemap {
    struct cm_place {
        uint64_t cookie;
        uint64_t value;
    } * places;
    size_t cap, n;
};

/* Remembers or replaces. Returns 0, -EINVAL (cookie 0) or -ENOMEM, then nothing has changed. */
int cm_set(struct cookiemap *m, uint64_t cookie, uint64_t value);

/* The value's place, which the next cm_set() or cm_drop() may move; NULL when it is not known. */
uint64_t *cm_get(const struct cookiemap *m, uint64_t cookie);

/* Forgets; what is not known is ignored. */
void cm_drop(struct cookiemap *m, uint64_t cookie);

/* Walks: start with *at = 0; false at the end. Between calls nothing may be set or dropped. */
int cm_next(const struct cookiemap *m, size_t *at, uint64_t *cookie, uint64_t *value);

void cm_free(struct cookiemap *m);

#endif
