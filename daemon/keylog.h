/* A session's secrets, from the lines that OpenSSL writes for a key log. */
#ifndef HTLS_KEYLOG_H
#define HTLS_KEYLOG_H

#include <stddef.h>
#include <stdint.h>

#include "keysched.h"

/* Secret: wipe it. A length of 0 means that the secret has not been seen. */
struct kl_secrets {
    uint8_t client[KS_SECRET_MAX], server[KS_SECRET_MAX]; /* TLS 1.3: first traffic secrets */
    uint8_t master[KS_SECRET_MAX];                        /* TLS 1.2 */
    size_t client_len, server_len, master_len;
};

/* Keeps the secret of one line in NSS key log format when it is one of these three; other lines are
 * passed over. A damaged line gives a secret of no bytes. */
void kl_take(struct kl_secrets *s, const char *line);

/* Appends the line to a key log opened with O_APPEND, whole: workers share the file. A log that
 * takes nothing more (a full disk) stops no handshake. */
void kl_write(int fd, const char *line);

#endif
