/* Trust stores, loaded once or kept by the digest of what a client sent. */
#include "trust.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define KEPT 16
#define CLIENT_CERTS_MAX                                                                           \
    512 /* of one request: the system's bundle has 150, parsing blocks the loop */

/* With the SHA-256 of the text that it was made of. */
struct store {
    X509_STORE *x509;
    uint8_t digest[TR_DIGEST];
};

struct kept_store {
    struct store store;
    uint64_t used; /* turn of the clock below at its last use */
};

struct tr_trust {
    struct store fallback;
    struct store named[OP_STORES_MAX];
    const struct options *options;
    struct kept_store kept[KEPT];
    uint64_t clock;
};

/* Adds every certificate of a PEM text to the store. Returns how many, -EINVAL at a bad one,
 * -E2BIG. */
static int add_pem(X509_STORE *store, BIO *in, int most)
{
    int n = 0;

    for (;;) {
        X509 *cert = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL);
        unsigned long e;

        if (!cert) {
            e = ERR_peek_last_error();
            ERR_clear_error();
            /* The end of the text is reported as an error too. */
            return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE
                       ? n
                       : -EINVAL;
        }
        if (!X509_STORE_add_cert(store, cert)) {
            X509_free(cert);
            ERR_clear_error();
            return -EINVAL;
        }
        X509_free(cert);
        if (++n > most)
            return -E2BIG;
    }
}

/* Makes a store of what a memory BIO holds. Returns how many certificates, or -errno. */
static int store_of(BIO *text, int most, struct store *out)
{
    struct store s = {.x509 = X509_STORE_new()};
    char *p;
    long len = BIO_get_mem_data(text, &p);
    int n;

    if (!s.x509 || !EVP_Digest(p, (size_t)len, s.digest, NULL, EVP_sha256(), NULL)) {
        X509_STORE_free(s.x509);
        return -ENOMEM;
    }
    n = add_pem(s.x509, text, most);
    if (n <= 0) {
        X509_STORE_free(s.x509);
        return n < 0 ? n : -ENODATA;
    }
    *out = s;
    return n;
}

static int store_of_file(const char *path, struct store *out)
{
    BIO *in = BIO_new_file(path, "r"), *text;
    char piece[4096];
    int n;

    if (!in) {
        ERR_clear_error();
        return errno ? -errno : -EIO;
    }
    text = BIO_new(BIO_s_mem());
    if (!text) {
        BIO_free(in);
        return -ENOMEM;
    }
    while ((n = BIO_read(in, piece, sizeof(piece))) > 0 && BIO_write(text, piece, n) == n)
        ;
    ERR_clear_error();
    n = n > 0 ? -ENOMEM : store_of(text, INT_MAX, out);
    BIO_free(in);
    BIO_free(text);
    return n;
}

/* The system's bundle: where OpenSSL looks (SSL_CERT_FILE included), then where distributions put
 * it. */
static int load_system(struct store *out)
{
    const char *env = getenv(X509_get_default_cert_file_env());
    const char *places[] = {env && *env ? env : X509_get_default_cert_file(),
                            "/etc/ssl/certs/ca-certificates.crt",
                            "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        int n = store_of_file(places[i], out);

        if (n > 0) {
            lg_debug("trust: %d certificates of %s", n, places[i]);
            return n;
        }
        if (i == 0 && env && *env)
            return n;
    }
    return -ENOENT;
}

static int load_named(struct tr_trust *t, unsigned i)
{
    const struct op_store *s = &t->options->stores[i];
    int n = store_of_file(s->file, &t->named[i]);

    if (n < 0) {
        lg_error("trust store %s: %s: %s", s->name, s->file,
                 n == -ENODATA || n == -EINVAL ? "no certificate in it, or a damaged one"
                                               : strerror(-n));
        return n;
    }
    return 0;
}

int tr_load(struct tr_trust **out, const struct options *o)
{
    struct tr_trust *t = calloc(1, sizeof(*t));
    int r = 0;

    if (!t)
        return -ENOMEM;
    t->options = o;
    if (*o->trust_file)
        r = store_of_file(o->trust_file, &t->fallback);
    else if (load_system(&t->fallback) < 0)
        lg_warning("no system trust store found: only clients that bring CA certificates can "
                   "verify a peer; install ca-certificates or set trust-file");
    if (r < 0)
        lg_error("trust-file %s: %s", o->trust_file,
                 r == -ENODATA || r == -EINVAL ? "no certificate in it, or a damaged one"
                                               : strerror(-r));
    for (unsigned i = 0; r >= 0 && i < o->n_stores; i++)
        r = load_named(t, i);
    if (!t->fallback.x509)
        t->fallback.x509 = X509_STORE_new(); /* empty: every verification fails, as it must */
    if (r < 0 || !t->fallback.x509) {
        tr_free(t);
        return r < 0 ? r : -ENOMEM;
    }
    *out = t;
    return 0;
}

void tr_free(struct tr_trust *t)
{
    if (!t)
        return;
    X509_STORE_free(t->fallback.x509);
    for (unsigned i = 0; i < OP_STORES_MAX; i++)
        X509_STORE_free(t->named[i].x509);
    for (unsigned i = 0; i < KEPT; i++)
        X509_STORE_free(t->kept[i].store.x509);
    free(t);
}

/* The client's own certificates, parsed or remembered. NULL with *f filled. */
static const struct store *get_client(struct tr_trust *t, const void *pem, size_t n,
                                      struct failure *f)
{
    struct kept_store *oldest = &t->kept[0];
    struct store made = {.x509 = NULL};
    uint8_t digest[TR_DIGEST];
    BIO *in = NULL;
    int r = -ENOMEM;

    if (n > W_TRUST_MAX || !EVP_Digest(pem, n, digest, NULL, EVP_sha256(), NULL)) {
        fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for the CA certificates");
        return NULL;
    }
    for (unsigned i = 0; i < KEPT; i++) {
        struct kept_store *k = &t->kept[i];

        if (k->store.x509 && memcmp(k->store.digest, digest, sizeof(digest)) == 0) {
            k->used = ++t->clock;
            return &k->store;
        }
        if (k->used < oldest->used)
            oldest = k;
    }
    in = BIO_new_mem_buf(pem, (int)n);
    if (in)
        r = store_of(in, CLIENT_CERTS_MAX, &made);
    BIO_free(in);
    if (r > 0) {
        X509_STORE_free(oldest->store.x509);
        oldest->store = made;
        oldest->used = ++t->clock;
        return &oldest->store;
    }
    if (r == -ENOMEM)
        fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for the CA certificates");
    else if (r == -E2BIG)
        fl_set(f, W_CODE_LIMIT, E2BIG,
               "more than %d CA certificates in one request: let the administrator make a named "
               "trust store of them",
               CLIENT_CERTS_MAX);
    else
        fl_set(f, W_CODE_BAD_REQUEST, EINVAL,
               "the CA certificates hold no certificate, or a damaged one: give PEM text");
    return NULL;
}

static const struct store *get_named(const struct tr_trust *t, const char *name, struct failure *f)
{
    for (unsigned i = 0; i < t->options->n_stores; i++)
        if (strcmp(t->options->stores[i].name, name) == 0)
            return &t->named[i];
    fl_set(f, W_CODE_BAD_REQUEST, ENOENT,
           "no trust store named \"%s\": add a section [trust %s] to the configuration", name,
           name);
    return NULL;
}

int tr_get(struct tr_trust *t, const char *name, const void *pem, size_t n, X509_STORE **out,
           uint8_t digest[TR_DIGEST], struct failure *f)
{
    const struct store *s = n > 0   ? get_client(t, pem, n, f)
                            : *name ? get_named(t, name, f)
                                    : &t->fallback;

    if (!s)
        return -f->err;
    X509_STORE_up_ref(s->x509);
    *out = s->x509;
    memcpy(digest, s->digest, TR_DIGEST);
    return 0;
}
