/* Tests the key schedule with the record layer against OpenSSL: what a real peer sends or accepts.
 *
 * Linked with daemon/keysched.c and daemon/record.c, which their own tests include. */
#include "../../daemon/keysched.h"
#include "../../daemon/record.h"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>

/* A connection of two OpenSSL ends in this process, with what its keylog told. */
struct link {
    SSL *client, *server;
    BIO *to_server, *to_client;       /* borrowed from the two */
    uint8_t secret[2][KS_SECRET_MAX]; /* [0] client or master, [1] server */
    size_t secret_len;
};
static EVP_PKEY *keys[2]; /* ECDSA, RSA */
static X509 *certs[2];

static void on_keylog(const SSL *ssl, const char *line)
{
    struct link *l = SSL_get_app_data(ssl);
    const char *value = strrchr(line, ' ');
    int which = -1;

    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0 ||
        strncmp(line, "CLIENT_RANDOM ", 14) == 0)
        which = 0;
    if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
        which = 1;
    if (which >= 0 && l)
        OPENSSL_hexstr2buf_ex(l->secret[which], KS_SECRET_MAX, &l->secret_len, value + 1, '\0');
}

static SSL_CTX *make_ctx(const SSL_METHOD *method, const struct ks_suite *suite)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    bool v13 = suite->version == KS_TLS13;

    SSL_CTX_set_min_proto_version(ctx, suite->version);
    SSL_CTX_set_max_proto_version(ctx, suite->version);
    CU_ASSERT_EQUAL(v13 ? SSL_CTX_set_ciphersuites(ctx, suite->openssl)
                        : SSL_CTX_set_cipher_list(ctx, suite->openssl),
                    1);
    SSL_CTX_set_num_tickets(ctx, 0); /* so that the sequence numbers are known */
    return ctx;
}

static void connect_link(struct link *l, const struct ks_suite *suite)
{
    SSL_CTX *c = make_ctx(TLS_client_method(), suite), *s = make_ctx(TLS_server_method(), suite);
    int rsa = strstr(suite->name, "_RSA_") != NULL, a = 0, b = 0;

    memset(l, 0, sizeof(*l));
    SSL_CTX_use_certificate(s, certs[rsa]);
    SSL_CTX_use_PrivateKey(s, keys[rsa]);
    SSL_CTX_set_keylog_callback(c, on_keylog);
    l->client = SSL_new(c);
    l->server = SSL_new(s);
    SSL_CTX_free(c);
    SSL_CTX_free(s);
    SSL_set_app_data(l->client, l);
    l->to_server = BIO_new(BIO_s_mem());
    l->to_client = BIO_new(BIO_s_mem());
    BIO_up_ref(l->to_server);
    BIO_up_ref(l->to_client);
    SSL_set_bio(l->client, l->to_client, l->to_server);
    SSL_set_bio(l->server, l->to_server, l->to_client);
    SSL_set_connect_state(l->client);
    SSL_set_accept_state(l->server);
    for (int i = 0; i < 10 && (a != 1 || b != 1); i++) {
        a = SSL_do_handshake(l->client);
        b = SSL_do_handshake(l->server);
    }
    CU_ASSERT_FATAL(a == 1 && b == 1);
    CU_ASSERT_EQUAL(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(l->client)), suite->id);
    CU_ASSERT_STRING_EQUAL(SSL_CIPHER_standard_name(SSL_get_current_cipher(l->client)),
                           suite->name);
    CU_ASSERT(BIO_ctrl_pending(l->to_server) == 0 && BIO_ctrl_pending(l->to_client) == 0);
}

static void derive_link(const struct link *l, const struct ks_suite *suite, struct ks_dir *client,
                        struct ks_dir *server)
{
    uint8_t cr[32], sr[32];

    if (suite->version == KS_TLS13) {
        CU_ASSERT_EQUAL_FATAL(ks_tls13(client, suite, l->secret[0], l->secret_len), 0);
        CU_ASSERT_EQUAL_FATAL(ks_tls13(server, suite, l->secret[1], l->secret_len), 0);
        return;
    }
    SSL_get_client_random(l->client, cr, sizeof(cr));
    SSL_get_server_random(l->client, sr, sizeof(sr));
    CU_ASSERT_EQUAL_FATAL(ks_tls12(client, server, suite, l->secret[0], cr, sr), 0);
    memset(client->nonce, 0xa5, 8); /* not what OpenSSL's Finished used */
    memset(server->nonce, 0xa5, 8);
}

static uint8_t payload[RC_PLAIN_MAX], wire[RC_PLAIN_MAX + 512];

/* Takes one record that OpenSSL wrote and opens it. */
static void open_next(struct rc_ctx *c, BIO *from, uint8_t want_type, const void *want, size_t n)
{
    uint8_t type = 0, *plain = NULL;
    size_t got = 0;
    int len;

    CU_ASSERT_EQUAL_FATAL(BIO_read(from, wire, RC_HEADER), (int)RC_HEADER);
    len = rc_length(wire);
    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(BIO_read(from, wire + RC_HEADER, len - (int)RC_HEADER),
                          len - (int)RC_HEADER);
    CU_ASSERT_EQUAL_FATAL(rc_open(c, wire, (size_t)len, &type, &plain, &got), 0);
    CU_ASSERT_EQUAL(type, want_type);
    CU_ASSERT_EQUAL_FATAL(got, n);
    CU_ASSERT(memcmp(plain, want, n) == 0);
}

static void give(struct rc_ctx *c, BIO *to, uint8_t type, const void *in, size_t n)
{
    int len = rc_seal(c, type, in, n, wire);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(BIO_write(to, wire, len), len);
}

static void accept_data(SSL *ssl, size_t n)
{
    static uint8_t got[RC_PLAIN_MAX];

    CU_ASSERT_EQUAL(SSL_read(ssl, got, sizeof(got)), (int)n);
    CU_ASSERT(memcmp(got, payload, n) == 0);
}

/* One direction: `from` writes into `wire_bio`, which `to` reads from. */
static void check_direction(SSL *from, SSL *to, BIO *wire_bio, const struct ks_dir *start)
{
    static const size_t sizes[] = {1, 1000, RC_PLAIN_MAX};
    static const uint8_t update[] = {24, 0, 0, 1, 0};
    struct rc_ctx *in = NULL, *out = NULL;
    struct ks_dir d = *start;

    CU_ASSERT_EQUAL_FATAL(rc_new(&in, &d, 0), 0);
    CU_ASSERT_EQUAL_FATAL(rc_new(&out, &d, 1), 0);
    for (int generation = 0; generation < 3; generation++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            CU_ASSERT_EQUAL(SSL_write(from, payload, (int)sizes[i]), (int)sizes[i]);
            open_next(in, wire_bio, RC_DATA, payload, sizes[i]);
            give(out, wire_bio, RC_DATA, payload, sizes[i]);
            accept_data(to, sizes[i]);
        }
        if (d.suite->version != KS_TLS13)
            break;
        CU_ASSERT_EQUAL(SSL_key_update(from, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        CU_ASSERT_EQUAL(SSL_do_handshake(from), 1);
        open_next(in, wire_bio, RC_HANDSHAKE, update, sizeof(update));
        give(out, wire_bio, RC_HANDSHAKE, update, sizeof(update));
        CU_ASSERT_EQUAL(SSL_get_error(to, SSL_read(to, wire, 1)), SSL_ERROR_WANT_READ);
        CU_ASSERT_EQUAL(ks_next(&d), 0);
        CU_ASSERT(rc_rekey(in, &d) == 0 && rc_rekey(out, &d) == 0);
    }
    rc_free(in);
    rc_free(out);
}

static void test_openssl(void)
{
    size_t n;
    const struct ks_suite *s = ks_suites(&n);

    for (size_t i = 0; i < n; i++) {
        struct ks_dir client, server;
        struct link l;

        connect_link(&l, &s[i]);
        derive_link(&l, &s[i], &client, &server);
        check_direction(l.client, l.server, l.to_server, &client);
        check_direction(l.server, l.client, l.to_client, &server);
        SSL_free(l.client);
        SSL_free(l.server);
    }
}

static int init(void)
{
    keys[0] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    keys[1] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    for (int i = 0; i < 2; i++) {
        certs[i] = X509_new();
        if (!keys[i] || !certs[i])
            return 1;
        X509_gmtime_adj(X509_getm_notBefore(certs[i]), 0);
        X509_gmtime_adj(X509_getm_notAfter(certs[i]), 3600);
        X509_set_pubkey(certs[i], keys[i]);
        if (X509_sign(certs[i], keys[i], EVP_sha256()) == 0)
            return 1;
    }
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 13 + (i >> 8));
    return 0;
}

static int clean(void)
{
    for (int i = 0; i < 2; i++) {
        X509_free(certs[i]);
        EVP_PKEY_free(keys[i]);
    }
    return 0;
}

void suite_openssl(void)
{
    CU_pSuite s = CU_add_suite("openssl", init, clean);

    CU_add_test(s, "every suite, both directions", test_openssl);
}
