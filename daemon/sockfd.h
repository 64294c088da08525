/* Questions to a socket that a client sent us. */
#ifndef HTLS_SOCKFD_H
#define HTLS_SOCKFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failure.h"

/* Is tcp a TCP socket that is connected or connecting and has no TLS yet, gate (if not -1) an
 * AF_UNIX stream socket? Returns 0, or -errno with *f filled. */
int sf_check(int tcp, int gate, struct failure *f);

/* True while connect(2) is still under way. */
bool sf_connecting(int fd);

/* True with a SO_LINGER by which the close of the last holder waits: the last holder may be us,
 * whose loop must not. A time of 0 makes close say RST at once: that is not waiting. */
bool sf_lingers(int fd);

/* Switches such a SO_LINGER off. Called when a socket comes and again just before RESULT: from
 * there on the flag is the client's (dispose.c closes without waiting all the same). */
void sf_linger_off(int fd);

/* Makes the close a reset: what was not sent yet is dropped, memory of the kernel's included. */
void sf_abort(int fd);

/* SO_COOKIE, 0 when the kernel gives none. */
uint64_t sf_cookie(int fd);

/* True for a TCP socket over IPv4 or IPv6, in whatever state. */
bool sf_is_tcp(int fd);

/* SO_NETNS_COOKIE: the network namespace it lives in; 0 when the kernel does not say. */
uint64_t sf_netns(int fd);

/* "192.0.2.1:443", "[2001:db8::1]:443", "?" when there is no peer. */
void sf_peer_name(int fd, char *out, size_t cap);

/* The peer's port, 0 when there is no peer. */
uint16_t sf_peer_port(int fd);

#endif
