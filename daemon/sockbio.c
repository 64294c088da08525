/* An OpenSSL BIO over a socket, exact to the record (kernel-notes/03-handshake.md).
 *
 * What lies behind the handshake's last record belongs to the kernel, which will decrypt it.
 * OpenSSL with read_ahead off already asks for five bytes and then for the body; the clamp here
 * makes that a certainty instead of a habit. */
#include "sockbio.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Accounts for n bytes that were read at the present place of the record stream. */
static void read_on(struct sb_state *s, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n && s->first_have < sizeof(s->first); i++)
        s->first[s->first_have++] = p[i];
    if (s->in_have == 0 && s->hold)
        s->allow--;
    if (s->in_have < 5) {
        memcpy(s->in_header + s->in_have, p, n);
        s->in_have += n;
        if (s->in_have == 5)
            s->in_left = (uint32_t)s->in_header[3] << 8 | s->in_header[4];
    } else {
        s->in_left -= n;
    }
    if (s->in_have == 5 && s->in_left == 0)
        s->in_have = 0;
}

static ssize_t take(struct sb_state *s, void *out, uint32_t want)
{
    ssize_t n;

    if (s->mem_left) {
        want = min_u32(want, s->mem_left);
        memcpy(out, s->mem, want);
        s->mem += want;
        s->mem_left -= want;
        return want;
    }
    do {
        n = recv(s->fd, out, want, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int sb_read(BIO *b, char *out, size_t len, size_t *got)
{
    struct sb_state *s = BIO_get_data(b);
    uint32_t want = s->in_have < 5 ? 5 - s->in_have : s->in_left;
    ssize_t n;

    BIO_clear_retry_flags(b);
    if (s->hold && s->in_have == 0 && s->allow == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    want = min_u32(want, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len);
    n = take(s, out, want);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            BIO_set_retry_read(b);
        else
            s->err = errno;
        return 0;
    }
    if (n == 0) {
        s->eof = true;
        return 0;
    }
    read_on(s, (const uint8_t *)out, (uint32_t)n);
    s->any_in = true;
    *got = (size_t)n;
    return 1;
}

/* Follows the records in what was written, to know the last one's explicit nonce. */
static void wrote(struct sb_state *s, const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (s->out_have < 5) {
            s->out_header[s->out_have++] = *p++;
            n--;
            if (s->out_have == 5) {
                s->out_len = (uint32_t)s->out_header[3] << 8 | s->out_header[4];
                s->out_left = s->out_len;
            }
        } else {
            uint32_t at = s->out_len - s->out_left;
            uint32_t step = n > s->out_left ? s->out_left : (uint32_t)n;

            for (uint32_t i = 0; i < step && at + i < sizeof(s->out_nonce); i++)
                s->out_nonce[at + i] = p[i];
            s->out_left -= step;
            p += step;
            n -= step;
        }
        if (s->out_have == 5 && s->out_left == 0)
            s->out_have = 0;
    }
}

static int sb_write(BIO *b, const char *p, size_t len, size_t *put)
{
    struct sb_state *s = BIO_get_data(b);
    ssize_t n;

    BIO_clear_retry_flags(b);
    do {
        n = send(s->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            BIO_set_retry_write(b);
        else
            s->err = errno;
        return 0;
    }
    wrote(s, (const uint8_t *)p, (size_t)n);
    *put = (size_t)n;
    return 1;
}

static long sb_ctrl(BIO *b, int cmd, long number, void *p)
{
    (void)number;
    (void)p;
    if (cmd == BIO_CTRL_EOF)
        return ((struct sb_state *)BIO_get_data(b))->eof;
    return cmd == BIO_CTRL_FLUSH;
}

static int sb_create(BIO *b)
{
    BIO_set_init(b, 1);
    return 1;
}

BIO *sb_new(struct sb_state *s)
{
    static BIO_METHOD *method; /* made once per process, never freed */
    BIO *b;

    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "htls socket");
        if (!method)
            return NULL;
        BIO_meth_set_read_ex(method, sb_read);
        BIO_meth_set_write_ex(method, sb_write);
        BIO_meth_set_ctrl(method, sb_ctrl);
        BIO_meth_set_create(method, sb_create);
    }
    b = BIO_new(method);
    if (b)
        BIO_set_data(b, s);
    return b;
}
