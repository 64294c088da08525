/* libhtls: TLS for a connected TCP socket, done by htlsd.
 *
 * An htls object is one TLS connection: before, during, after its handshake. The program's own
 * descriptor number goes on naming the connection: in kernel mode it is the very TCP socket, now
 * with keys (kernel: net/tls); in relay mode it is replaced, under the same number, by a socketpair
 * end whose other end the daemon serves. Everything returned as int is 0 or a count on success and
 * -errno on failure; htls_error() then has a sentence, and more detail stands beside it.
 *
 * Threads: different objects may be used from different threads at once. One object: one thread may
 * read while another writes; all other calls need the caller's own lock. After fork both processes
 * may use an object that is up; an object whose handshake runs belongs to the process that began
 * it. Signals: no call is async-signal-safe except where the text says so. No call prints or exits,
 * and none raises SIGPIPE. */
#ifndef HTLS_H
#define HTLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HTLS_API_VERSION 1
#define HTLS_SOCKET_DEFAULT "/run/htls/htls.sock"

struct htls;

/* Where one direction's records are encrypted or decrypted. */
enum htls_mode {
    HTLS_MODE_RELAY = 1,  /* by htlsd, in user space, behind a socketpair */
    HTLS_MODE_KERNEL = 2, /* by the kernel, in software */
    HTLS_MODE_NIC = 3     /* by the network card */
};

/* htls_set_path(): which of them to accept. */
enum htls_path {
    HTLS_PATH_AUTO = 0,   /* the best there is (default) */
    HTLS_PATH_KERNEL = 1, /* kernel or NIC, else fail with EOPNOTSUPP */
    HTLS_PATH_RELAY = 2   /* the relay, always */
};

/* --- before the handshake ------------------------------------------------------------ */

/* Makes an object with the defaults. Returns NULL when there is no memory. Free with htls_free().
 */
struct htls *htls_new(void);

/* Frees the object and what it holds. Never closes the program's descriptor and sends nothing: call
 * htls_close() for the orderly end. Cancels a handshake that runs (its socket is then shut down, so
 * that nothing can go out in the clear). NULL is ignored. */
void htls_free(struct htls *h);

/* The daemon's socket. Default: the environment's HTLS_SOCKET (ignored in a set-uid program), else
 * HTLS_SOCKET_DEFAULT. `path` is copied. -ENAMETOOLONG when it does not fit into sun_path. */
int htls_set_daemon(struct htls *h, const char *path);

/* Application protocols in order of preference, comma-separated: "h2,http/1.1" (RFC 7301). Copied.
 * -EINVAL: an empty or over-long (255) name, or more than 32. NULL: none (default). */
int htls_set_alpn(struct htls *h, const char *list);

/* TLS versions to offer, 0x0303 to 0x0304 (default both). -EINVAL: another number, or min > max. */
int htls_set_versions(struct htls *h, uint16_t min, uint16_t max);

/* Cipher suites to offer, IANA numbers in order of preference; copied. n = 0: the daemon's default.
 * -EINVAL: more than 32. One the daemon does not know makes the handshake call fail with -EINVAL.
 */
int htls_set_suites(struct htls *h, const uint16_t *suites, size_t n);

/* Key exchange groups as OpenSSL spells them, colon-separated: "X25519:P-256". Copied; NULL:
 * default. Checked by the daemon: the handshake call then fails with -EINVAL. */
int htls_set_groups(struct htls *h, const char *groups);

/* Trust for this connection: the PEM text of CA certificates, at most 1 MiB, copied and sent to the
 * daemon as content. They take the place of the system's store. -EFBIG: larger. n = 0: the default.
 * Without this call a file named by the environment's HTLS_CA_FILE is used, if set (never in a
 * set-uid program). */
int htls_set_ca(struct htls *h, const void *pem, size_t n);

/* Trust: a store by its name in the daemon's configuration. Copied. NULL: the default. */
int htls_set_trust_store(struct htls *h, const char *name);

/* Verification of the peer's certificate and name: 1 on (default), 0 off. Off is refused by the
 * daemon (-EACCES at the handshake) unless its configuration allows it to this user. */
int htls_set_verify(struct htls *h, int on);

/* 1: an end of the stream without close_notify is an end (0) and not -ECONNRESET; data may be
 * missing then, and a stranger on the way may have cut it off. 0 is the default. Also when TLS is
 * up. */
int htls_set_truncation_ok(struct htls *h, int on);

/* enum htls_path. -EINVAL: another number. */
int htls_set_path(struct htls *h, int path);

/* --- the handshake ------------------------------------------------------------------- */

/* Does a TLS client handshake on `fd`, a connected TCP socket of any address family on which
 * nothing has been sent or received yet, and waits for its end; `fd` may be blocking or not and
 * keeps its flags. `name` is the DNS name (IDN as A-labels; one trailing dot is ignored) or IP
 * address that the certificate must be for (RFC 9525); a DNS name is also sent as SNI (RFC 6066
 * section 3). timeout_ms: deadline for everything, 0 = the daemon's (10 s),
 * which is also the most it grants. Returns 0, or:
 *   -ENOTSOCK -ENOTCONN -EINVAL   fd is no socket / not connected / not TCP, listening, or name is
 * bad -EALREADY         the object already has or had a connection; -EISCONN: fd already speaks TLS
 *   -ECONNREFUSED -ENOENT -EACCES no daemon there / no socket file / not allowed to
 *   -EKEYREJECTED     the peer's certificate was refused (htls_verify_code())
 *   -EPROTO           the handshake failed (htls_alert()) or the peer does not speak TLS
 *   -ETIMEDOUT -ECONNRESET        the peer (or the daemon) was too slow / the peer went away
 *   -EOPNOTSUPP       HTLS_PATH_KERNEL, and there is no kernel path
 *   -EUSERS -EMFILE -ENOMEM -ETOOMANYREFS  a limit
 *   -EPIPE            the daemon went away meanwhile
 * After any failure but -EALREADY, -EISCONN, -EINVAL, -ENOTSOCK and -ENOTCONN the socket is shut
 * down in both directions: nothing can be sent on it in the clear. `fd` always stays the caller's.
 */
int htls_connect(struct htls *h, int fd, const char *name, int timeout_ms);

/* The same without waiting: returns 0 when the handshake has begun. Then wait until htls_pollfd()
 * is readable and call htls_finish(). Until htls_finish() has returned 0 the program must not touch
 * `fd`. Errors as htls_connect(); -ETIMEDOUT also when the daemon is so busy that it does not take
 * the request within 250 ms. */
int htls_start(struct htls *h, int fd, const char *name, int timeout_ms);

/* A descriptor to poll for POLLIN while the handshake runs, owned by the object: do not read or
 * close it. -EBADF when none runs. */
int htls_pollfd(const struct htls *h);

/* Ends what htls_start() began. Returns 0 when TLS is up, -EAGAIN when it still runs, -EALREADY
 * when none runs, or an error of htls_connect(). In relay mode `fd` has been replaced under its
 * number (dup3, flags kept): a descriptor in an epoll set must be added again. */
int htls_finish(struct htls *h);

/* --- data ---------------------------------------------------------------------------- */

/* The program's descriptor, or -EBADF before the handshake. */
int htls_fd(const struct htls *h);

/* Receives application data as recv(2) does, records that are not data handled on the way: tickets
 * do not show, close_notify is 0 (and stays 0), a connection that ends without it is -ECONNRESET, a
 * fatal alert is -EPROTO (htls_alert()). flags: MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL.
 * Already-decrypted bytes come first. Also -EAGAIN, -EINTR, -EBADMSG (a record that does not
 * authenticate), -EKEYEXPIRED (the peer changed its key and this kernel or daemon cannot follow).
 */
ssize_t htls_recv(struct htls *h, void *buf, size_t n, int flags);
ssize_t htls_readv(struct htls *h, const struct iovec *iov, int iovcnt, int flags);

/* Sends as send(2) does. flags: MSG_DONTWAIT, MSG_MORE. -EPIPE after htls_shutdown(), of whichever
 * process. -EKEYEXPIRED: so many records were sent that the key must be changed, and it cannot be;
 * reading goes on. */
ssize_t htls_send(struct htls *h, const void *buf, size_t n, int flags);
ssize_t htls_writev(struct htls *h, const struct iovec *iov, int iovcnt, int flags);

/* Changes the sending key now (RFC 8446 section 4.6.3); ask_peer: the peer shall change his as
 * well. Not needed for safety, which libhtls sees to. -EOPNOTSUPP: TLS 1.2, the relay, or a kernel
 * that cannot (Linux can from 6.14). -EAGAIN: no room in the send buffer of a non-blocking socket.
 */
int htls_update_keys(struct htls *h, int ask_peer);

/* Already-decrypted bytes that wait in the object and that poll(2) on the descriptor does not know.
 */
size_t htls_pending(const struct htls *h);

/* Sends close_notify (RFC 8446 section 6.1) and closes the write side; reading goes on. Once is
 * enough, more often is 0. -EAGAIN: the send buffer is full on a non-blocking socket, call again.
 */
int htls_shutdown(struct htls *h);

/* htls_shutdown() where it was not called yet, then closes the descriptor. Where other processes
 * hold the connection too (fork), only the last of them says the end. The object stays, for its
 * facts, until htls_free(). Returns what htls_shutdown() returned; the descriptor is closed
 * anyway. */
int htls_close(struct htls *h);

/* --- facts, valid until htls_free() -------------------------------------------------- */

const char *htls_version(const struct htls *h); /* "TLSv1.3", "" before TLS is up */
const char *htls_cipher(const struct htls *h);  /* IANA name, "TLS_AES_128_GCM_SHA256" */
const char *htls_alpn(const struct htls *h);    /* chosen protocol or "" */
const char *htls_group(const struct htls *h);   /* key exchange group or "" */
int htls_mode_tx(const struct htls *h);         /* enum htls_mode, 0 before TLS is up */
int htls_mode_rx(const struct htls *h);
const char *htls_mode_name(int mode);       /* "relay", "kernel", "nic", "none" */
const char *htls_why(const struct htls *h); /* why the mode is no better, or "" */

const char *htls_error(const struct htls *h); /* sentence: cause and remedy; "" when none */
const char *
htls_error_name(const struct htls *h); /* PROTOCOL.md's name of the error, "" when none */
int htls_alert(const struct htls *h);  /* TLS alert description received or sent, or -1 */
int htls_verify_code(
    const struct htls *h); /* X509_V_ERR_ number of the refused certificate, or 0 */

#ifdef __cplusplus
}
#endif

#endif
