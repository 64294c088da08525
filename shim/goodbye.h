/* Sending alerts on a kernel connection: close_notify and the fatal ones. */
#ifndef HTLS_GOODBYE_H
#define HTLS_GOODBYE_H

#include "records.h"

/* Sends close_notify once for all holders; for its turn to write, and for room in the send buffer,
 * it waits up to wait_ms. Returns 0 (also when it was sent before, or nothing may be sent any
 * more), -EAGAIN, or -errno. */
int gb_close_notify(int fd, struct rr_state *s, int wait_ms);

/* Sends an alert of level warning, or of level fatal. Best effort, with a short wait. */
void gb_warn(int fd, struct rr_state *s, uint8_t description);
void gb_fatal(int fd, struct rr_state *s, uint8_t description);

/* One record that is not data: level and type as the kernel wants it. Sends it whole or not at all
 * and never waits. Returns 0 or -errno. */
int gb_record(int fd, uint8_t type, const void *p, size_t n);

#endif
