/* A TLS server in this process with a small PKI. Whatever fails here ends the tests. */
#include "tlspeer.h"

#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static EVP_PKEY *ec_key, *rsa_key, *ca_key, *stranger_key;
static X509 *ca, *stranger, *certs[TP_CERTS];

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "tlspeer: %s failed\n", what);
    abort();
}

static void extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    must(e && X509_add_ext(cert, e, -1), "an extension");
    X509_EXTENSION_free(e);
}

static X509 *cert_of(const char *name, EVP_PKEY *key, long from, long to)
{
    static long serial = 1;
    X509 *x = X509_new();

    must(x && X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), serial++),
         "a certificate");
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), to);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    must(X509_set_pubkey(x, key), "a public key");
    return x;
}

static X509 *make_ca(const char *name, EVP_PKEY *key)
{
    X509 *x = cert_of(name, key, -3600, 86400);

    X509_set_issuer_name(x, X509_get_subject_name(x));
    extend(x, NID_basic_constraints, "critical,CA:TRUE");
    must(X509_sign(x, key, EVP_sha256()) > 0, "a signature");
    return x;
}

/* issuer NULL: self-signed. usage NULL: without extensions. */
static X509 *make_leaf(EVP_PKEY *key, X509 *issuer, EVP_PKEY *by, long from, long to,
                       const char *usage)
{
    X509 *x = cert_of(usage ? "server" : "server.test", key, from, to);

    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    if (usage) {
        extend(x, NID_subject_alt_name, "DNS:server.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1");
        extend(x, NID_ext_key_usage, usage);
    }
    must(X509_sign(x, by, EVP_sha256()) > 0, "a signature");
    return x;
}

static void make_pki(void)
{
    if (ca)
        return;
    ec_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    rsa_key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    ca_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    stranger_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    must(ec_key && rsa_key && ca_key && stranger_key, "key generation");
    ca = make_ca("Test CA", ca_key);
    stranger = make_ca("Unknown CA", stranger_key);
    certs[TP_EC] = make_leaf(ec_key, ca, ca_key, -60, 3600, "serverAuth");
    certs[TP_RSA] = make_leaf(rsa_key, ca, ca_key, -60, 3600, "serverAuth");
    certs[TP_EXPIRED] = make_leaf(ec_key, ca, ca_key, -7200, -3600, "serverAuth");
    certs[TP_FUTURE] = make_leaf(ec_key, ca, ca_key, 86400, 90000, "serverAuth");
    certs[TP_CLIENT_ONLY] = make_leaf(ec_key, ca, ca_key, -60, 3600, "clientAuth");
    certs[TP_CN_ONLY] = make_leaf(ec_key, ca, ca_key, -60, 3600, NULL);
    certs[TP_SELF] = make_leaf(ec_key, NULL, ec_key, -60, 3600, "serverAuth");
    certs[TP_STRANGER] = make_leaf(ec_key, stranger, stranger_key, -60, 3600, "serverAuth");
    certs[TP_CHAIN] = certs[TP_STRANGER];
}

SSL_CTX *tp_ctx(enum tp_cert which)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    make_pki();
    must(c && SSL_CTX_use_certificate(c, certs[which]) &&
             SSL_CTX_use_PrivateKey(c, which == TP_RSA ? rsa_key : ec_key) &&
             SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) &&
             SSL_CTX_set_cipher_list(c, "ALL") &&
             SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256"),
         "a server's context");
    if (which == TP_CHAIN)
        must(SSL_CTX_add1_chain_cert(c, stranger) == 1, "a chain");
    return c;
}

X509_STORE *tp_store(void)
{
    X509_STORE *s = X509_STORE_new();

    make_pki();
    must(s && X509_STORE_add_cert(s, ca), "a trust store");
    return s;
}

static char *pem_of(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *text, *copy;
    long n;

    must(b && PEM_write_bio_X509(b, x), "PEM");
    n = BIO_get_mem_data(b, &text);
    copy = strndup(text, (size_t)n);
    must(copy != NULL, "memory");
    BIO_free(b);
    return copy;
}

char *tp_ca_pem(void)
{
    make_pki();
    return pem_of(ca);
}

char *tp_other_pem(unsigned n)
{
    char name[32], *text;
    X509 *x;

    make_pki();
    snprintf(name, sizeof(name), "CA number %u", n);
    x = make_ca(name, stranger_key);
    text = pem_of(x);
    X509_free(x);
    return text;
}

void tp_fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 13 + (i >> 8));
}

void tp_pair(int fds[2], int tcp)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int listener;

    if (!tcp) {
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
        return;
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 1) == 0 &&
             getsockname(listener, (struct sockaddr *)&a, &n) == 0 &&
             connect(fds[0], (struct sockaddr *)&a, n) == 0,
         "loopback");
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    must(fds[1] >= 0, "accept");
    close(listener);
}

/* A peer that hangs up must not end the tests by SIGPIPE, which stays on: our own code may not
 * raise it either. */
static int quiet_write(BIO *b, const char *p, int n)
{
    int k = (int)send((int)BIO_get_fd(b, NULL), p, (size_t)n, MSG_NOSIGNAL);

    BIO_clear_retry_flags(b);
    if (k < 0 && BIO_sock_should_retry(k))
        BIO_set_retry_write(b);
    return k;
}

static BIO *quiet_socket(int fd)
{
    static BIO_METHOD *m;
    const BIO_METHOD *of = BIO_s_socket();
    BIO *b;

    if (!m) {
        m = BIO_meth_new(BIO_TYPE_SOCKET, "quiet socket");
        must(m && BIO_meth_set_write(m, quiet_write) &&
                 BIO_meth_set_read(m, BIO_meth_get_read(of)) &&
                 BIO_meth_set_ctrl(m, BIO_meth_get_ctrl(of)) &&
                 BIO_meth_set_create(m, BIO_meth_get_create(of)) &&
                 BIO_meth_set_destroy(m, BIO_meth_get_destroy(of)),
             "a BIO");
    }
    b = BIO_new(m);
    must(b && BIO_set_fd(b, fd, BIO_NOCLOSE) >= 0, "a BIO");
    return b;
}

SSL *tp_server(SSL_CTX *ctx, int fds[2], int tcp)
{
    SSL *s = SSL_new(ctx);
    BIO *bio;

    tp_pair(fds, tcp);
    bio = quiet_socket(fds[1]);
    must(s && bio && BIO_socket_nbio(fds[1], 1), "a server");
    SSL_set_bio(s, bio, bio);
    SSL_set_accept_state(s);
    SSL_CTX_free(ctx);
    return s;
}
