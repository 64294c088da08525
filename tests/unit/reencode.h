/* Builds a decoded message anew from its parts, for tests that compare the bytes. */
#ifndef HTLS_TESTS_REENCODE_H
#define HTLS_TESTS_REENCODE_H

#include "../../proto/wire.h"

/* Returns what w_end says. Attributes that this version does not know (HELLO, WELCOME) are lost. */
static inline int reencode(const struct w_msg *m, void *buf, size_t cap)
{
    struct w_buf b;
    struct w_val v;

    w_begin(&b, buf, cap, (enum w_type)m->type, m->id, m->nfds);
    for (unsigned a = 1; a < W_ATTR_END; a++) {
        uint32_t pos = 0;

        while (w_next(m, (enum w_attr)a, &pos, &v)) {
            /* The decoder leaves u zero in what is no number, so try a number first. */
            struct w_buf before = b;

            w_put_num(&b, (enum w_attr)a, v.u);
            if (b.error == 0)
                continue;
            b = before;
            w_put_bytes(&b, (enum w_attr)a, v.p, v.n);
        }
    }
    return w_end(&b);
}

#endif
