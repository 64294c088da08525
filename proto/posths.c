/* Handshake messages that arrive after the handshake. */
#include "posths.h"

enum { HELLO_REQUEST = 0, NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };
enum { TLS12 = 0x0303 };
enum { UNEXPECTED_MESSAGE = -10, ILLEGAL_PARAMETER = -47, DECODE_ERROR = -50 };

#define TICKET_MAX 131072u /* lifetime, nonce, ticket (65535), extensions (65535), rounded up */

/* A message's header is whole: may it be here, with that length? */
static int judge(const struct ph_stream *s, uint16_t version)
{
    if (version == TLS12)
        return s->header[0] == HELLO_REQUEST && s->left == 0 ? 0 : UNEXPECTED_MESSAGE;
    if (s->header[0] == NEW_SESSION_TICKET)
        return s->left <= TICKET_MAX ? 0 : DECODE_ERROR;
    if (s->header[0] == KEY_UPDATE)
        return s->left == 1 ? 0 : DECODE_ERROR;
    return UNEXPECTED_MESSAGE; /* also CertificateRequest: we never offer post_handshake_auth */
}

static int key_update(const uint8_t *p, size_t n, enum ph_event *event)
{
    if (n != 1)
        return UNEXPECTED_MESSAGE;
    if (*p > 1)
        return ILLEGAL_PARAMETER;
    *event = *p ? PH_KEY_UPDATE_ASK : PH_KEY_UPDATE;
    return 0;
}

int ph_feed(struct ph_stream *s, uint16_t version, const uint8_t *p, size_t n, enum ph_event *event)
{
    *event = PH_NOTHING;
    if (n == 0)
        return UNEXPECTED_MESSAGE; /* no zero-length fragments of handshake messages */
    while (n > 0) {
        if (s->have < sizeof(s->header)) {
            s->header[s->have++] = *p++;
            n--;
            if (s->have < sizeof(s->header))
                continue;
            s->left = (uint32_t)s->header[1] << 16 | (uint32_t)s->header[2] << 8 | s->header[3];
            int r = judge(s, version);

            if (r < 0)
                return r;
        } else if (s->header[0] == KEY_UPDATE) {
            s->have = 0;
            return key_update(p, n, event);
        } else {
            size_t step = n < s->left ? n : s->left;

            s->left -= (uint32_t)step;
            p += step;
            n -= step;
        }
        if (s->have == sizeof(s->header) && s->left == 0)
            s->have = 0;
    }
    return 0;
}
