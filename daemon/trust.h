/* Trust stores: the system's, the configuration's named ones, those that clients bring. */
#ifndef HTLS_TRUST_H
#define HTLS_TRUST_H

#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "options.h"

#define TR_DIGEST 32u

struct tr_trust;

/* Loads the default store and every named one; called before the worker gives up the file system. A
 * default store that cannot be found is a warning, for a client may bring its own; a configured
 * file that cannot be read is -errno, logged. */
int tr_load(struct tr_trust **out, const struct options *o);
void tr_free(struct tr_trust *t);

/* The store for a request; a reference that the caller drops with X509_STORE_free(). With pem (n >
 * 0 bytes) the client's own certificates, else the store of that name, else the default. Parsed
 * client stores are kept, by the SHA-256 of their content, the 16 used last. `digest` tells stores
 * apart, also those of one name that workers loaded before and after its file was changed. Returns
 * 0, or -errno with *f filled: -EINVAL (no certificate in it, or a bad one), -ENOENT (no store of
 * that name), -ENOMEM. */
int tr_get(struct tr_trust *t, const char *name, const void *pem, size_t n, X509_STORE **out,
           uint8_t digest[TR_DIGEST], struct failure *f);

#endif
