/* One TLS handshake: OpenSSL speaks, we listen for the secrets, count the records.
 *
 * The SSL object never sees application data. When it is done, secrets and sequence numbers
 * go to the kernel or to the relay, which continue the two streams of records where it stopped.
 * What OpenSSL still has to hear of afterwards is in tickets.c. */
#include "handshake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "../proto/secret.h"
#include "handshake_state.h"

/* --- what OpenSSL tells us ----------------------------------------------------------- */

static void on_key_log(const SSL *ssl, const char *line)
{
    struct hs *h = SSL_get_app_data(ssl);

    kl_take(&h->secrets, line);
    if (h->ctx->key_log_fd >= 0)
        kl_write(h->ctx->key_log_fd, line);
}

/* Counts records, never assumes them: a server may send any number of tickets, and the read side's
 * ChangeCipherSpec of TLS 1.2 shows only as a record header (kernel-notes/03-handshake.md). */
static void on_message(int write_p, int version, int content, const void *buf, size_t len, SSL *ssl,
                       void *arg)
{
    struct hs *h = arg;
    const uint8_t *p = buf;
    int w = write_p ? 1 : 0;

    (void)version;
    if (content == SSL3_RT_HEADER && len >= 1) {
        if (p[0] != SSL3_RT_CHANGE_CIPHER_SPEC)
            h->seq[w]++;
        else if (SSL_version(ssl) == TLS1_2_VERSION)
            h->seq[w] = 0;
    } else if (content == SSL3_RT_HANDSHAKE && len >= 1 && SSL_version(ssl) == TLS1_3_VERSION) {
        if (p[0] == SSL3_MT_FINISHED) /* the next record uses the application key */
            h->seq[w] = 0;
    }
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct hs *h = SSL_get_app_data(ssl);

    if (!(where & SSL_CB_ALERT) || (value & 0xff) == SSL_AD_CLOSE_NOTIFY)
        return;
    if (where & SSL_CB_READ)
        h->alerts.received = value & 0xff;
    else
        h->alerts.sent = value & 0xff;
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct hs *h = SSL_get_app_data(ssl);

    if (SSL_version(ssl) == TLS1_3_VERSION) /* earlier ones: ru_done() */
        ru_ticket(&h->resume, session);
    return 0; /* the reference stays OpenSSL's */
}

/* --- preparation --------------------------------------------------------------------- */

int hs_ctx_new(struct hs_ctx **out, int key_log_fd)
{
    struct hs_ctx *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->key_log_fd = key_log_fd;
    c->ssl_ctx = SSL_CTX_new(TLS_client_method());
    if (!c->ssl_ctx || !SSL_CTX_set_min_proto_version(c->ssl_ctx, TLS1_2_VERSION)) {
        hs_ctx_free(c);
        return -ENOMEM;
    }
    SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_keylog_callback(c->ssl_ctx, on_key_log);
    SSL_CTX_set_info_callback(c->ssl_ctx, on_info);
    *out = c;
    return 0;
}

void hs_ctx_free(struct hs_ctx *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl_ctx);
    free(c);
}

void hs_ctx_resume(struct hs_ctx *c, const struct ru_ctx *ru)
{
    c->resume = *ru;
    SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl_ctx, on_new_session);
}

/* The names of the suites of one version, colon-separated, as OpenSSL wants them. Returns how many.
 */
static size_t suite_list(const struct hs_setup *s, uint16_t version, char *out, size_t cap)
{
    size_t n = 0, at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < s->n_suites; i++) {
        int k;

        if (s->suites[i]->version != version)
            continue;
        k = snprintf(out + at, cap - at, "%s%s", n ? ":" : "", s->suites[i]->openssl);
        if (k < 0 || (size_t)k >= cap - at)
            break;
        at += (size_t)k;
        n++;
    }
    return n;
}

static int set_suites(struct hs *h, const struct hs_setup *s, struct failure *f)
{
    char list12[1024], list13[1024]; /* HS_SUITES_MAX of the longest names */
    size_t n12 = suite_list(s, KS_TLS12, list12, sizeof(list12));
    size_t n13 = suite_list(s, KS_TLS13, list13, sizeof(list13));
    uint16_t min = s->version_min, max = s->version_max;

    if (n12 == 0 && min < KS_TLS13)
        min = KS_TLS13;
    if (n13 == 0 && max > KS_TLS12)
        max = KS_TLS12;
    if (min > max)
        return fl_set(f, W_CODE_NO_COMMON_SUITE, EINVAL,
                      "no cipher suite is left to offer for the TLS versions that were asked for");
    if (!SSL_set_min_proto_version(h->ssl, min) || !SSL_set_max_proto_version(h->ssl, max) ||
        (n12 && !SSL_set_cipher_list(h->ssl, list12)) || !SSL_set_ciphersuites(h->ssl, list13))
        return fl_set(f, W_CODE_INTERNAL_ERROR, EINVAL, "OpenSSL refused the suites or versions");
    return 0;
}

/* A host name in A-labels: what RFC 6066 lets stand in SNI. Underscores occur in the wild. */
static bool dns_name_ok(const char *name)
{
    size_t label = 0;

    for (const char *p = name; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                      (*p >= '0' && *p <= '9') || *p == '-' || *p == '_';

        if (*p == '.' ? label == 0 : !letter || label >= 63)
            return false;
        label = *p == '.' ? 0 : label + 1;
    }
    return label > 0;
}

/* The name to verify, and SNI for a DNS name; an IP address is never sent (RFC 6066 section 3). */
static int set_name(struct hs *h, const struct hs_setup *s, struct failure *f)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(h->ssl);
    struct in6_addr scratch;
    size_t n = strlen(s->name);

    memcpy(h->name, s->name, n + 1);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (inet_pton(AF_INET, h->name, &scratch) == 1 || inet_pton(AF_INET6, h->name, &scratch) == 1) {
        if (s->verify && !X509_VERIFY_PARAM_set1_ip_asc(param, h->name))
            return fl_set(f, W_CODE_INTERNAL_ERROR, EINVAL, "OpenSSL refused the IP address");
        return 0;
    }
    if (n > 1 && h->name[n - 1] == '.')
        h->name[n - 1] = '\0';
    if (!dns_name_ok(h->name))
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL,
                      "\"%s\" is no host name: give a DNS name (IDN as A-labels) or an IP address",
                      s->name);
    if ((s->verify && !SSL_set1_host(h->ssl, h->name)) ||
        !SSL_set_tlsext_host_name(h->ssl, h->name))
        return fl_set(f, W_CODE_INTERNAL_ERROR, EINVAL, "OpenSSL refused the name");
    return 0;
}

static int configure(struct hs *h, const struct hs_setup *s, struct failure *f)
{
    int r = set_suites(h, s, f);

    if (r < 0)
        return r;
    r = set_name(h, s, f);
    if (r < 0)
        return r;
    if (*s->groups && !SSL_set1_groups_list(h->ssl, s->groups))
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL, "OpenSSL knows no such groups: %s", s->groups);
    if (s->alpn_len && SSL_set_alpn_protos(h->ssl, s->alpn, (unsigned)s->alpn_len) != 0)
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL, "OpenSSL refused the ALPN list");
    SSL_set_verify(h->ssl, s->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (s->store && !SSL_set1_verify_cert_store(h->ssl, s->store))
        return fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for the trust store");
    return 0;
}

int hs_new_client(struct hs **out, struct hs_ctx *c, int fd, const struct hs_setup *s,
                  struct failure *f)
{
    struct hs *h = calloc(1, sizeof(*h));
    BIO *bio;
    int r;

    if (!h)
        return fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for a handshake");
    h->ctx = c;
    h->io.fd = fd;
    h->alerts.received = h->alerts.sent = -1;
    h->ssl = SSL_new(c->ssl_ctx);
    bio = h->ssl ? sb_new(&h->io) : NULL;
    if (!bio) {
        hs_free(h);
        return fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for a handshake");
    }
    SSL_set_bio(h->ssl, bio, bio);
    SSL_set_app_data(h->ssl, h);
    SSL_set_msg_callback(h->ssl, on_message);
    SSL_set_msg_callback_arg(h->ssl, h);
    SSL_set_connect_state(h->ssl);
    r = configure(h, s, f);
    if (r < 0) {
        ERR_clear_error();
        hs_free(h);
        return r;
    }
    ru_open(&h->resume, &c->resume, h->ssl, s);
    *out = h;
    return 0;
}

void hs_free(struct hs *h)
{
    if (!h)
        return;
    ru_close(&h->resume);
    if (h->ssl) {
        /* Without this SSL_free() marks the session as not resumable; no alert is sent either way.
         */
        SSL_set_shutdown(h->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(h->ssl);
    }
    secret_wipe(h, sizeof(*h));
    free(h);
}

/* --- the handshake ------------------------------------------------------------------- */

enum hs_want hs_step(struct hs *h, struct failure *f)
{
    int r, e;

    ERR_clear_error();
    r = SSL_do_handshake(h->ssl);
    if (r == 1) {
        h->io.hold = true;
        ru_done(&h->resume, h->ssl);
        return HS_DONE;
    }
    e = SSL_get_error(h->ssl, r);
    if (e == SSL_ERROR_WANT_READ)
        return HS_WANT_READ;
    if (e == SSL_ERROR_WANT_WRITE)
        return HS_WANT_WRITE;
    te_failure(f, h->ssl, e, &h->io, &h->alerts, h->name);
    return HS_FAILED;
}

static int keys12(struct hs *h, const struct ks_suite *suite, struct ks_dir *rx, struct ks_dir *tx)
{
    uint8_t client_random[32], server_random[32];
    uint64_t nonce = 0;
    int r;

    SSL_get_client_random(h->ssl, client_random, sizeof(client_random));
    SSL_get_server_random(h->ssl, server_random, sizeof(server_random));
    r = ks_tls12(tx, rx, suite, h->secrets.master, client_random, server_random);
    if (r < 0)
        return r;
    /* OpenSSL began its explicit nonces at a random number and counts up; so do we, behind it. */
    for (unsigned i = 0; i < 8; i++)
        nonce = nonce << 8 | h->io.out_nonce[i];
    nonce++;
    for (unsigned i = 0; i < 8; i++)
        tx->nonce[i] = (uint8_t)(nonce >> (56 - 8 * i));
    return 0;
}

int hs_keys(struct hs *h, struct ks_dir *rx, struct ks_dir *tx, struct failure *f)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(h->ssl);
    const struct ks_suite *suite = cipher ? ks_find(SSL_CIPHER_get_protocol_id(cipher)) : NULL;
    int r;

    if (!suite)
        return fl_set(f, W_CODE_NO_COMMON_SUITE, EPROTO,
                      "the peer chose a suite htls does not know");
    if (suite->version == KS_TLS12) {
        r = h->secrets.master_len == KS_SECRET_MAX ? keys12(h, suite, rx, tx) : -ENOTRECOVERABLE;
    } else {
        r = ks_tls13(rx, suite, h->secrets.server, h->secrets.server_len);
        if (r == 0)
            r = ks_tls13(tx, suite, h->secrets.client, h->secrets.client_len);
    }
    if (r < 0)
        return fl_set(f, W_CODE_INTERNAL_ERROR, EPROTO, "the keys could not be derived");
    rx->seq = h->seq[0];
    tx->seq = h->seq[1];
    return 0;
}

void hs_facts(const struct hs *h, struct hs_facts *facts)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(h->ssl);
    const unsigned char *alpn;
    const char *group;
    unsigned n;

    memset(facts, 0, sizeof(*facts));
    facts->suite = cipher ? ks_find(SSL_CIPHER_get_protocol_id(cipher)) : NULL;
    SSL_get0_alpn_selected(h->ssl, &alpn, &n);
    if (alpn && n < sizeof(facts->alpn)) {
        memcpy(facts->alpn, alpn, n);
        facts->alpn_len = n;
    }
    group = SSL_version(h->ssl) == TLS1_3_VERSION
                ? SSL_group_to_name(h->ssl, (int)SSL_get_negotiated_group(h->ssl))
                : NULL;
    if (group)
        snprintf(facts->group, sizeof(facts->group), "%s", group);
    facts->resumed = SSL_session_reused(h->ssl) == 1;
}
