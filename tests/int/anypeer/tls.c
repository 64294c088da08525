/* The peer's handshakes, done by OpenSSL over memory BIOs.
 *
 * The handshake itself sends no ticket of TLS 1.3: it would be sealed under the application's key,
 * and from there on every record is ours. Tickets are made later, as messages: OpenSSL seals them
 * for a wire that nobody reads, and a callback shows us the text. */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "../../../daemon/keylog.h"
#include "../../../proto/secret.h"

enum { NEW_SESSION_TICKET = 4 };

struct tl_context {
    SSL_CTX *ctx;
};

struct tl_session {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    struct kl_secrets secrets;
    uint8_t ticket[4096];
    size_t ticket_n;
};

static void on_line(const SSL *ssl, const char *line)
{
    struct tl_session *t = SSL_get_app_data(ssl);

    kl_take(&t->secrets, line);
}

static void on_message(int write, int version, int type, const void *p, size_t n, SSL *ssl,
                       void *arg)
{
    struct tl_session *t = arg;

    (void)version;
    (void)ssl;
    if (!write || type != SSL3_RT_HANDSHAKE || n < 4 || n > sizeof(t->ticket) ||
        *(const uint8_t *)p != NEW_SESSION_TICKET)
        return;
    memcpy(t->ticket, p, n);
    t->ticket_n = n;
}

static bool restrict_to(SSL_CTX *c, uint16_t version, const char *suite)
{
    int min = version ? version : TLS1_2_VERSION, max = version ? version : TLS1_3_VERSION;

    if (!SSL_CTX_set_min_proto_version(c, min) || !SSL_CTX_set_max_proto_version(c, max))
        return false;
    if (!suite)
        return SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                           "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256");
    return strncmp(suite, "TLS_", 4) == 0 ? SSL_CTX_set_ciphersuites(c, suite)
                                          : SSL_CTX_set_cipher_list(c, suite);
}

struct tl_context *tl_new(const char *cert, const char *key, uint16_t version, const char *suite)
{
    struct tl_context *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->ctx = SSL_CTX_new(TLS_method());
    if (s->ctx && SSL_CTX_use_certificate_chain_file(s->ctx, cert) == 1 &&
        SSL_CTX_use_PrivateKey_file(s->ctx, key, SSL_FILETYPE_PEM) == 1 &&
        restrict_to(s->ctx, version, suite) && SSL_CTX_set_num_tickets(s->ctx, 0)) {
        SSL_CTX_set_keylog_callback(s->ctx, on_line);
        return s;
    }
    ERR_print_errors_fp(stderr);
    SSL_CTX_free(s->ctx);
    free(s);
    return NULL;
}

/* --- the handshake ------------------------------------------------------------------- */

static int flush(struct tl_session *t, struct wi_sock *w)
{
    char *p;
    long n = BIO_get_mem_data(t->out, &p);
    int k = n > 0 ? wi_send(w, p, (size_t)n) : 0;

    (void)BIO_reset(t->out);
    return k;
}

static int feed(struct tl_session *t, struct wi_sock *w)
{
    uint8_t *record;
    size_t n;
    int k = wi_record(w, &record, &n);

    if (k <= 0)
        return k < 0 ? k : -ECONNRESET;
    return BIO_write(t->in, record, (int)n) == (int)n ? 0 : -ENOMEM;
}

static int run(struct tl_session *t, struct wi_sock *w)
{
    for (;;) {
        int r = SSL_do_handshake(t->ssl), why = SSL_get_error(t->ssl, r);
        int k = flush(t, w);

        if (r == 1 || k < 0)
            return k;
        if (why != SSL_ERROR_WANT_READ) {
            ERR_print_errors_fp(stderr);
            return -EPROTO;
        }
        k = feed(t, w);
        if (k < 0)
            return k;
    }
}

/* --- from its secrets to the record layer -------------------------------------------- */

static int keys12(struct tl_session *t, const struct ks_suite *suite, struct ks_dir *client,
                  struct ks_dir *server)
{
    uint8_t from[32], to[32];

    if (SSL_get_client_random(t->ssl, from, 32) != 32 ||
        SSL_get_server_random(t->ssl, to, 32) != 32 || t->secrets.master_len == 0)
        return -EPROTO;
    return ks_tls12(client, server, suite, t->secrets.master, from, to);
}

static int keys13(struct tl_session *t, const struct ks_suite *suite, struct ks_dir *client,
                  struct ks_dir *server)
{
    int k = ks_tls13(client, suite, t->secrets.client, t->secrets.client_len);

    return k < 0 ? k : ks_tls13(server, suite, t->secrets.server, t->secrets.server_len);
}

static int start(struct tl_session *t, struct la_conn *c, enum tl_role role)
{
    const struct ks_suite *suite =
        ks_find(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl)));
    struct ks_dir client, server;
    SECRET_WIPE(client);
    SECRET_WIPE(server);
    int k;

    if (!suite)
        return -EOPNOTSUPP;
    k = suite->version == KS_TLS13 ? keys13(t, suite, &client, &server)
                                   : keys12(t, suite, &client, &server);
    if (k < 0)
        return k;
    c->client = role == TL_CLIENT;
    return role == TL_SERVER ? la_start(c, &client, &server) : la_start(c, &server, &client);
}

int tl_handshake(struct tl_session **out, struct tl_context *s, struct la_conn *c,
                 enum tl_role role)
{
    struct tl_session *t = calloc(1, sizeof(*t));
    int k = -ENOMEM;

    if (!t)
        return k;
    t->ssl = SSL_new(s->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->ssl && t->in && t->out) {
        BIO_set_mem_eof_return(t->in, -1);
        SSL_set_bio(t->ssl, t->in, t->out);
        SSL_set_app_data(t->ssl, t);
        SSL_set_msg_callback(t->ssl, on_message);
        SSL_set_msg_callback_arg(t->ssl, t);
        if (role == TL_SERVER)
            SSL_set_accept_state(t->ssl);
        else
            SSL_set_connect_state(t->ssl);
        k = run(t, &c->w);
    }
    if (k == 0)
        k = start(t, c, role);
    if (k < 0) {
        tl_free(t);
        return k;
    }
    *out = t;
    return 0;
}

void tl_free(struct tl_session *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    secret_wipe(t, sizeof(*t));
    free(t);
}

void tl_describe(const struct tl_session *t, char *out, size_t room)
{
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);

    snprintf(out, room, "version=%s cipher=%s resumed=%d name=%s", SSL_get_version(t->ssl),
             SSL_get_cipher_name(t->ssl), SSL_session_reused(t->ssl), name ? name : "");
}

int tl_ticket(struct tl_session *t, uint8_t *out, size_t *n)
{
    if (SSL_version(t->ssl) != TLS1_3_VERSION)
        return -EOPNOTSUPP;
    t->ticket_n = 0;
    if (SSL_new_session_ticket(t->ssl) != 1 || SSL_do_handshake(t->ssl) != 1)
        return -EPROTO;
    (void)BIO_reset(t->out);
    if (t->ticket_n == 0 || t->ticket_n > *n)
        return -EPROTO;
    memcpy(out, t->ticket, t->ticket_n);
    *n = t->ticket_n;
    return 0;
}
