/* Fuzzes the decoder: nothing is read outside, and what decodes is what the encoder would have
 * sent.
 *
 * Input: a byte whose bit 0 is the direction and whose bits 1 and 2 are the number of descriptors,
 * then the message. */
#include "../../proto/wire.c"

#include "../unit/reencode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* __builtin_trap and not assert: a fuzzer built with NDEBUG would find nothing. */
static void must(bool truth)
{
    if (!truth)
        __builtin_trap();
}

static void walk(const struct w_msg *m)
{
    char text[W_TEXT_MAX + 1];

    for (unsigned a = 0; a < W_ATTR_END + 2; a++) {
        uint32_t pos = 0, times = 0;
        struct w_val v;
        int rc = w_text(m, (enum w_attr)a, text, sizeof(text));

        must(rc == 0 || text[0] == '\0');
        while (w_next(m, (enum w_attr)a, &pos, &v)) {
            must(v.p >= m->buf && v.p + v.n <= m->buf + m->len);
            times++;
        }
        must((times > 0) == (a > 0 && a < W_ATTR_END && w_has(m, (enum w_attr)a)));
        must(times <= 32);
        if (rc == 0 && times > 0)
            must(strlen(text) == m->v[a].n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[W_MESSAGE_MAX];
    struct w_msg m;
    bool skips;
    int len;

    if (size == 0)
        return 0;
    if (w_decode(&m, data + 1, size - 1, data[0] >> 1 & 3,
                 data[0] & 1 ? W_TO_CLIENT : W_TO_DAEMON) < 0)
        return 0;
    walk(&m);
    len = reencode(&m, again, sizeof(again));
    must(len >= (int)W_HEADER && (size_t)len <= size - 1);
    skips = m.type == W_HELLO || m.type == W_WELCOME;
    must((size_t)len == size - 1 ? memcmp(again, data + 1, (size_t)len) == 0 : skips);
    return 0;
}
