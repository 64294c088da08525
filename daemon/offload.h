/* What the kernel says of a connection's TLS: software or NIC, per direction. */
#ifndef HTLS_OFFLOAD_H
#define HTLS_OFFLOAD_H

#include "../proto/wire.h"

struct of_diag;

/* A sock_diag socket, one per worker. Returns 0 or -errno; without it of_confirm() says
 * W_MODE_KERNEL. */
int of_open(struct of_diag **out);
void of_close(struct of_diag *d);

/* Where the records of fd, whose keys are installed, are encrypted. What cannot be found out
 * (another network namespace; details kept from us, as 6.12 does without CAP_NET_ADMIN) counts as
 * W_MODE_KERNEL, for the kernel took the keys. Never fails: the connection stands. */
void of_confirm(struct of_diag *d, int fd, enum w_mode *tx, enum w_mode *rx);

#endif
