/* An OpenSSL BIO over a socket that never takes a byte beyond the record it was asked for. */
#ifndef HTLS_SOCKBIO_H
#define HTLS_SOCKBIO_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stdint.h>

/* Where the two streams of records stand. The BIO's owner keeps it; it outlives the BIO. */
struct sb_state {
    int fd;               /* not owned; used with MSG_DONTWAIT, its flags stay as they are */
    const uint8_t *mem;   /* bytes that are read before those of the socket ... */
    uint32_t mem_left;    /* ... so many */
    uint8_t in_header[5]; /* of the record being read */
    unsigned in_have;     /* bytes of that header we have, 5 = inside the body */
    uint32_t in_left;     /* bytes of its body still to come */
    bool hold;            /* stop before the next record ... */
    unsigned allow;       /* ... but for this many */
    bool eof;             /* the peer's FIN came */
    int err;              /* errno of the last failed call, 0 = none */
    bool any_in;          /* at least one byte came */
    uint8_t first[8];     /* the first bytes, to name what is not TLS */
    unsigned first_have;
    uint8_t out_header[5];
    unsigned out_have;
    uint32_t out_len,
        out_left;         /* body of the record being written: its length, bytes still to go */
    uint8_t out_nonce[8]; /* first 8 bytes of the last record's body: TLS 1.2's explicit nonce */
};

/* A new BIO over *s (s->fd set, the rest zero). NULL: no memory. */
BIO *sb_new(struct sb_state *s);

#endif
