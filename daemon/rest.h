/* Bytes that a socket would not take yet: heap memory only while there are any. */
#ifndef HTLS_REST_H
#define HTLS_REST_H

#include <stddef.h>
#include <stdint.h>

/* n bytes at p + at. Zero = nothing waits. May hold plaintext: rs_free() wipes. */
struct rest {
    uint8_t *p;
    size_t at, n;
};

void rs_free(struct rest *q);

/* Appends a copy. Returns 0 or -ENOMEM. */
int rs_add(struct rest *q, const uint8_t *p, size_t n);

/* Sends what waits, without waiting for the socket. Returns 1 when nothing waits any more, 0 when
 * something does, or -errno of send(2). */
int rs_flush(struct rest *q, int fd);

/* Sends p behind what waits and keeps what the socket does not take. Returns like rs_flush(), or
 * -ENOMEM. */
int rs_pass(struct rest *q, int fd, const uint8_t *p, size_t n);

#endif
