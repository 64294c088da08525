/* A TLS server in this process with a small PKI, for tests that need a real peer. */
#ifndef HTLS_TESTS_TLSPEER_H
#define HTLS_TESTS_TLSPEER_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

/* Certificates are for server.test, *.wild.test, 127.0.0.1, ::1 unless the comment says otherwise.
 */
enum tp_cert {
    TP_EC,          /* of the CA, P-256 */
    TP_RSA,         /* of the CA */
    TP_EXPIRED,     /* of the CA, an hour ago */
    TP_FUTURE,      /* of the CA, from tomorrow on */
    TP_CLIENT_ONLY, /* of the CA, extended key usage: client */
    TP_CN_ONLY,     /* of the CA, its name only where names were before subjectAltName */
    TP_SELF,        /* self-signed */
    TP_STRANGER,    /* of a CA that nobody knows, sent alone */
    TP_CHAIN,       /* of that CA, sent with it */
    TP_CERTS
};

/* A new context of a server with that certificate; the PKI is made at the first call and kept. */
SSL_CTX *tp_ctx(enum tp_cert which);

/* A new store that holds the CA. */
X509_STORE *tp_store(void);

/* The certificate of the CA itself, of another CA with number n (all differ), as PEM text that the
 * caller frees. */
char *tp_ca_pem(void);
char *tp_other_pem(unsigned n);

/* One end speaks TLS as the server `ctx` says (the reference is taken over), on a non-blocking end
 * of fds; the other end is fds[0]. Loopback TCP when `tcp`, else a socketpair. */
SSL *tp_server(SSL_CTX *ctx, int fds[2], int tcp);

/* Bytes that tell a shift, a loss and a repetition apart. */
void tp_fill(unsigned char *p, size_t n);

/* Two connected sockets: fds[0] the client's, fds[1] the server's. Ends the tests when it fails. */
void tp_pair(int fds[2], int tcp);

#endif
