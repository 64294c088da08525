/* TLS keys into the kernel: the ULP, then RX, then TX.
 *
 * Rests on net/tls (kernel-notes/). No log, no allocation. */
#ifndef HTLS_KTLS_H
#define HTLS_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "keysched.h"

/* Replaceable, so that a test can refuse or record. */
extern int (*kt_setsockopt)(int fd, int level, int name, const void *value, socklen_t len);

/* Attaches TCP_ULP "tls". No keys yet: plain I/O passes through. Call it when the socket arrives:
 * once the peer has closed its half it is too late. Returns 0, or -errno: -EEXIST (has one),
 * -ENOENT (no tls module), -ENOTCONN (not established any more). */
int kt_attach(int fd);

/* True when the socket carries the tls ULP already. */
bool kt_attached(int fd);

/* Writes the very bytes that setsockopt(SOL_TLS, TLS_RX or TLS_TX) takes for d's key, sequence
 * number and nonce. Secret: the caller wipes them. Returns how many, or -EINVAL. */
#define KT_BLOCK_MAX 64
int kt_block(const struct ks_dir *d, uint8_t out[KT_BLOCK_MAX]);

/* Installs both directions, RX then TX, and wipes what it built. After it has returned 0 nothing
 * may fail; *installed says how many directions hold keys (2, or 0 or 1 when it fails): with 1 the
 * connection must be killed. -EINVAL when the directions differ in suite; else the kernel's errno
 * (-ENOENT: the cipher's module is missing). */
int kt_install(int fd, const struct ks_dir *rx, const struct ks_dir *tx, int *installed);

/* Sets one direction: dir is TLS_RX or TLS_TX of <linux/tls.h>. Also how a rekey is done. Never set
 * the same TX key twice: the kernel does not refuse it and nonces would repeat. */
int kt_set(int fd, int dir, const struct ks_dir *d);

#endif
