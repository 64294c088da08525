/* Judges whether TLS can begin on a descriptor. */
#ifndef HTLS_TARGET_H
#define HTLS_TARGET_H

/* Returns 0 when fd is a TCP socket, connected or (SYN sent) about to be, without TLS; else:
 *   -EBADF -ENOTSOCK  no descriptor, no socket
 *   -EINVAL           not TCP over IPv4 or IPv6, listening, or shut down for writing
 *   -ENOTCONN         not connected, or the connection is over
 *   -EISCONN          the kernel already does TLS on it */
int tg_check(int fd);

/* Returns 0 when the program has sent, received or shut down nothing on fd, else -EINVAL. Bytes
 * that have come and were not read are the peer's doing: the handshake will judge them. */
int tg_untouched(int fd);

#endif
