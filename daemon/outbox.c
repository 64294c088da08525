/* Cookies in a queue of one worker. */
#include "outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int ob_add(struct outbox *b, uint64_t cookie)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        uint64_t *more = realloc(b->cookies, cap * sizeof(*more));

        if (!more)
            return -ENOMEM;
        b->cookies = more;
        b->cap = cap;
    }
    b->cookies[b->n++] = cookie;
    return 0;
}

/* The last ones first: what is left needs no moving. */
int ob_flush(struct outbox *b, unsigned worker,
             int (*send)(void *owner, unsigned worker, const void *p, size_t n, const int *fds,
                         unsigned nfds),
             void *owner)
{
    while (b->n > 0) {
        struct in_ended m = {.type = IN_ENDED};
        int r;

        m.n = b->n < IN_ENDED_MAX ? (uint32_t)b->n : IN_ENDED_MAX;
        memcpy(m.cookies, b->cookies + b->n - m.n, m.n * sizeof(m.cookies[0]));
        r = send(owner, worker, &m, offsetof(struct in_ended, cookies) + m.n * sizeof(m.cookies[0]),
                 NULL, 0);
        if (r < 0)
            return r;
        b->n -= m.n;
    }
    ob_free(b);
    return 0;
}

void ob_free(struct outbox *b)
{
    free(b->cookies);
    memset(b, 0, sizeof(*b));
}
