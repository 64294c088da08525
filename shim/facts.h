/* What was negotiated on one connection, or why it failed. */
#ifndef HTLS_FACTS_H
#define HTLS_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "../proto/wire.h"

/* Plain data, copied by assignment. All zero but alert = -1: nothing is known yet. */
struct facts {
    uint16_t version; /* 0x0303, 0x0304 */
    uint16_t cipher;  /* IANA number */
    uint8_t mode_tx;  /* enum w_mode; 0 before TLS is up */
    uint8_t mode_rx;
    bool resumed;
    uint64_t cookie; /* SO_COOKIE of the TCP socket */
    uint32_t caps;   /* W_CAP_ bits of the daemon */
    uint64_t pool;   /* where its slot lies (share.h), 0 = it has none */
    uint32_t slot;
    uint64_t records_max; /* under one key, 0 = no limit is known */
    char alpn[256];
    char group[256];

    uint16_t code;        /* enum w_code, W_CODE_OK while nothing failed */
    int16_t alert;        /* TLS alert description, -1 = none */
    uint32_t verify_code; /* X509_V_ERR_ number */

    char text[W_TEXT_MAX + 1]; /* after a failure the sentence about it, else why not better */
};

#endif
