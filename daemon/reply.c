/* RESULT and ERROR. */
#include "reply.h"

#include <errno.h>
#include <string.h>

/* A text comes from many hands, a peer's too: on the wire it is plain printable text. */
static void put_text(struct w_buf *b, enum w_attr a, const char *text)
{
    char clean[W_TEXT_MAX];
    size_t n = text ? strnlen(text, sizeof(clean) - 1) : 0;

    for (size_t i = 0; i < n; i++) {
        clean[i] = text[i];
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            clean[i] = '?';
    }
    clean[n] = '\0';
    w_put_text(b, a, clean);
}

int ry_result(void *out, size_t cap, uint32_t id, const struct ry_result *r, unsigned nfds)
{
    struct w_buf b;

    w_begin(&b, out, cap, W_RESULT, id, nfds);
    w_put_num(&b, W_A_TLS_VERSION, r->version);
    w_put_num(&b, W_A_CIPHER, r->cipher);
    if (r->alpn_len)
        w_put_bytes(&b, W_A_ALPN_SELECTED, r->alpn, r->alpn_len);
    w_put_num(&b, W_A_MODE_TX, r->tx);
    w_put_num(&b, W_A_MODE_RX, r->rx);
    put_text(&b, W_A_WHY, r->why);
    w_put_num(&b, W_A_COOKIE, r->cookie);
    put_text(&b, W_A_GROUP, r->group);
    w_put_num(&b, W_A_RESUMED, r->resumed);
    if (r->pool) {
        w_put_num(&b, W_A_POOL, r->pool);
        w_put_num(&b, W_A_SLOT, r->slot);
    }
    if (r->has_generation)
        w_put_num(&b, W_A_GENERATION, r->generation);
    if (r->key)
        w_put_bytes(&b, W_A_KEY, r->key, r->key_len);
    if (r->owed)
        w_put_num(&b, W_A_OWED, 1);
    if (r->records_max)
        w_put_num(&b, W_A_RECORDS_MAX, r->records_max);
    return w_end(&b);
}

int ry_error(void *out, size_t cap, uint32_t id, const struct failure *f)
{
    struct w_buf b;

    w_begin(&b, out, cap, W_ERROR, id, 0);
    w_put_num(&b, W_A_CODE, f->code);
    w_put_num(&b, W_A_ERRNO, f->err > 0 ? (uint64_t)f->err : EIO);
    if (f->alert >= 0) {
        w_put_num(&b, W_A_ALERT, (uint64_t)f->alert);
        w_put_num(&b, W_A_ALERT_SENT, f->alert_sent);
    }
    if (f->verify)
        w_put_num(&b, W_A_VERIFY_CODE, (uint64_t)f->verify);
    put_text(&b, W_A_TEXT, *f->text ? f->text : w_code_text(f->code));
    return w_end(&b);
}
