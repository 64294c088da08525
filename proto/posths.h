/* Handshake messages that arrive after the handshake, cut out of their records. */
#ifndef HTLS_POSTHS_H
#define HTLS_POSTHS_H

#include <stddef.h>
#include <stdint.h>

/* Where the stream of handshake messages stands; zero at the start. Messages may span records and a
 * record may hold several (RFC 8446 section 5.1), so position is all that is kept. */
struct ph_stream {
    uint8_t header[4];
    unsigned have;
    uint32_t left; /* of the body */
};

enum ph_event {
    PH_NOTHING,       /* nothing to do: tickets, parts of messages, a HelloRequest that we ignore */
    PH_KEY_UPDATE,    /* the peer goes to its next key, and asks for nothing */
    PH_KEY_UPDATE_ASK /* the peer goes to its next key and asks us to follow */
};

/* Feeds one record's plaintext. version: 0x0303 or 0x0304. A KeyUpdate ends its record (RFC
 * 8446 section 5.1), so there is at most one event. Returns 0 with *event, or the negative TLS
 * alert to end the connection with: -10 unexpected_message, -47 illegal_parameter, -50
 * decode_error. */
int ph_feed(struct ph_stream *s, uint16_t version, const uint8_t *p, size_t n,
            enum ph_event *event);

#endif
