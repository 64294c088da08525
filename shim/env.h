/* The environment variables of the shim and the library. */
#ifndef HTLS_ENV_H
#define HTLS_ENV_H

#include <stdbool.h>
#include <stddef.h>

/* True in a set-uid program and the like (AT_SECURE): the shim then does nothing at all. */
bool en_secure(void);

/* HTLS_SOCKET or the default; read at first use. Never NULL. */
const char *en_socket(void);

/* HTLS_CA_FILE, or NULL when it is not set; read at first use. */
const char *en_ca_file(void);

/* Reads a whole file of certificates. Returns 0 with *pem allocated (the caller frees it), or
 * -errno: -EFBIG when it holds more than the protocol carries, -ENODATA when it is empty. */
int en_load(const char *path, char **pem, size_t *n);

#endif
