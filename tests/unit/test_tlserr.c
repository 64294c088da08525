/* Tests of daemon/tlserr.c: every way in which a handshake fails, produced by a peer that fails so.
 */
#include "../../daemon/tlserr.c"

#include "hslink.h"
#include "suites.h"

static X509_STORE *store;

static int setup(void)
{
    store = tp_store();
    return 0;
}

static int teardown(void)
{
    X509_STORE_free(store);
    return 0;
}

/* Cause and remedy must both stand in the text. */
static void expect(const struct failure *f, unsigned code, int err, int alert, bool sent,
                   const char *cause, const char *remedy)
{
    CU_ASSERT_EQUAL(f->code, code);
    CU_ASSERT_EQUAL(f->err, err);
    CU_ASSERT_EQUAL(f->alert, alert);
    CU_ASSERT_EQUAL(f->alert_sent, sent);
    CU_ASSERT_PTR_NOT_NULL(strstr(f->text, cause));
    CU_ASSERT_PTR_NOT_NULL(strstr(f->text, remedy));
    if (f->code != code || !strstr(f->text, cause) || !strstr(f->text, remedy))
        fprintf(stderr, "code %u, errno %d, alert %d: %s\n", f->code, f->err, f->alert, f->text);
}

static void certificate(enum tp_cert which, const char *name, unsigned code, long verify, int alert,
                        const char *cause, const char *remedy)
{
    static const uint16_t versions[] = {KS_TLS12, KS_TLS13};

    for (int i = 0; i < 2; i++) {
        struct hs_setup s = hslink_setup(store, name);
        struct hslink l;

        s.version_min = s.version_max = versions[i];
        CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, tp_ctx(which), 0), 0);
        CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
        expect(&l.f, code, EKEYREJECTED, alert, true, cause, remedy);
        CU_ASSERT_EQUAL(l.f.verify, verify);
        CU_ASSERT_PTR_NOT_NULL(strstr(l.f.text, name));
        hslink_close(&l);
    }
}

static void test_certificates(void)
{
    certificate(TP_EC, "other.test", W_CODE_CERTIFICATE_NAME, X509_V_ERR_HOSTNAME_MISMATCH, 42,
                "hostname mismatch", "subjectAltName");
    certificate(TP_CN_ONLY, "server.test", W_CODE_CERTIFICATE_NAME, X509_V_ERR_HOSTNAME_MISMATCH,
                42, "hostname mismatch", "subjectAltName");
    certificate(TP_EC, "10.0.0.1", W_CODE_CERTIFICATE_NAME, X509_V_ERR_IP_ADDRESS_MISMATCH, 42,
                "IP address mismatch", "this IP address (subjectAltName)");
    certificate(TP_EXPIRED, "server.test", W_CODE_CERTIFICATE_EXPIRED, X509_V_ERR_CERT_HAS_EXPIRED,
                45, "expired", "renew it");
    certificate(TP_FUTURE, "server.test", W_CODE_CERTIFICATE_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID,
                42, "not yet valid", "clock");
    certificate(TP_SELF, "server.test", W_CODE_CERTIFICATE_UNTRUSTED,
                X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, 48, "self-signed", "HTLS_CA_FILE");
    certificate(TP_CHAIN, "server.test", W_CODE_CERTIFICATE_UNTRUSTED,
                X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, 48, "self-signed certificate in",
                "add its CA");
    certificate(TP_STRANGER, "server.test", W_CODE_CERTIFICATE_UNTRUSTED,
                X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, 48, "local issuer",
                "intermediate certificates");
    certificate(TP_CLIENT_ONLY, "server.test", W_CODE_CERTIFICATE_INVALID,
                X509_V_ERR_INVALID_PURPOSE, 43, "unsuitable certificate purpose",
                "present another one");
}

/* The rows that no small PKI reaches, all the same. */
static void test_verify_rows(void)
{
    for (size_t i = 0; i < sizeof(verify_rows) / sizeof(*verify_rows); i++) {
        struct failure f = {.alert = -1};

        verify_failure(&f, verify_rows[i].verify, "a.test");
        CU_ASSERT(f.code == verify_rows[i].code && f.verify == verify_rows[i].verify);
        CU_ASSERT(strstr(f.text, verify_rows[i].remedy) && strstr(f.text, "a.test"));
        CU_ASSERT(strlen(f.text) < sizeof(f.text) - 1);
    }
}

/* What a peer that writes `n` bytes and hangs up, when `end`, makes of a handshake. */
static struct failure raw(const void *p, size_t n, bool end, int tcp)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hslink l;
    struct failure f;

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, NULL, tcp), 0);
    CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_WANT_READ);
    CU_ASSERT_EQUAL(send(l.fds[1], p, n, 0), (ssize_t)n);
    if (end)
        shutdown(l.fds[1], SHUT_WR);
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    f = l.f;
    hslink_close(&l);
    return f;
}

static void alert(uint8_t number, unsigned code, const char *cause)
{
    const uint8_t p[] = {21, 3, 3, 0, 2, 2, number};
    struct failure f = raw(p, sizeof(p), true, 0);
    char text[32];

    snprintf(text, sizeof(text), "alert %u (", number);
    expect(&f, code, EPROTO, number, false, text, cause);
    CU_ASSERT_EQUAL(f.verify, 0);
}

static void test_alerts(void)
{
    alert(40, W_CODE_HANDSHAKE_FAILURE, "no common parameters");
    alert(70, W_CODE_UNSUPPORTED_VERSION, "none of the offered TLS versions");
    alert(71, W_CODE_NO_COMMON_SUITE, "stronger suites");
    alert(120, W_CODE_NO_ALPN, "ALPN");
    alert(112, W_CODE_HANDSHAKE_FAILURE, "serves no such name");
    alert(49, W_CODE_HANDSHAKE_FAILURE, "denies access");
    alert(80, W_CODE_HANDSHAKE_FAILURE, "no further reason");
}

static int no_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in,
                   unsigned in_n, void *arg)
{
    (void)ssl, (void)out, (void)n, (void)in, (void)in_n, (void)arg;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The same from a server that means it. */
static void test_real_alerts(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hslink l;
    SSL_CTX *c = tp_ctx(TP_EC);

    s.version_max = KS_TLS12;
    SSL_CTX_set_cipher_list(c, "ECDHE-RSA-AES128-GCM-SHA256"); /* with an ECDSA key: none */
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, c, 0), 0);
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    expect(&l.f, W_CODE_HANDSHAKE_FAILURE, EPROTO, 40, false, "alert 40", "no common parameters");
    hslink_close(&l);

    s = hslink_setup(store, "server.test");
    s.version_min = KS_TLS13;
    c = tp_ctx(TP_EC);
    SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, c, 0), 0);
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    expect(&l.f, W_CODE_UNSUPPORTED_VERSION, EPROTO, 70, false, "alert 70", "versions");
    hslink_close(&l);

    s.alpn = (const uint8_t *)"\2h2";
    s.alpn_len = 3;
    c = tp_ctx(TP_EC);
    SSL_CTX_set_alpn_select_cb(c, no_alpn, NULL);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, c, 0), 0);
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    expect(&l.f, W_CODE_NO_ALPN, EPROTO, 120, false, "alert 120", "ALPN");
    hslink_close(&l);
}

static void test_not_tls(void)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH\r\n";
    static const char nul[] = "\0\1\2\3\4\5\6\7";
    struct failure f = raw(http, sizeof(http) - 1, false, 0);

    expect(&f, W_CODE_PROTOCOL_VIOLATION, EPROTO, f.alert, f.alert_sent,
           "does not speak TLS on this port (its answer begins with \"HTTP", "plain port?");
    f = raw(http, sizeof(http) - 1, true, 0);
    expect(&f, W_CODE_PROTOCOL_VIOLATION, EPROTO, f.alert, f.alert_sent, "\"HTTP", "plain port?");
    f = raw(ssh, sizeof(ssh) - 1, false, 0);
    expect(&f, W_CODE_PROTOCOL_VIOLATION, EPROTO, f.alert, f.alert_sent, "\"SSH-", "plain port?");
    f = raw(nul, 8, false, 0);
    expect(&f, W_CODE_PROTOCOL_VIOLATION, EPROTO, f.alert, f.alert_sent, "\".....", "plain port?");
}

/* The same when it comes byte by byte. */
static void test_not_tls_slowly(void)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    struct hslink l;

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, NULL, 0), 0);
    for (const char *p = "HTTP/1.1"; *p && l.want != HS_FAILED; p++) {
        CU_ASSERT_EQUAL(send(l.fds[1], p, 1, 0), 1);
        l.want = hs_step(l.h, &l.f);
    }
    CU_ASSERT_EQUAL(l.want, HS_FAILED);
    expect(&l.f, W_CODE_PROTOCOL_VIOLATION, EPROTO, l.f.alert, l.f.alert_sent, "\"HTTP", "plain");
    hslink_close(&l);
}

/* TLS records that hold no TLS. */
static void test_garbage(void)
{
    static const uint8_t message[] = {22, 3, 3, 0, 5, 99, 0, 0, 1, 0};
    static const uint8_t data[] = {23, 3, 3, 0, 3, 'a', 'b', 'c'};
    static const uint8_t length[] = {22, 3, 3, 0xff, 0xff, 2, 0};
    uint8_t old[47] = {22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2};   /* a ServerHello of TLS 1.1 */
    uint8_t suite[47] = {22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3}; /* one of 1.2, suite not offered */
    struct failure f = raw(message, sizeof(message), false, 0);

    expect(&f, W_CODE_PROTOCOL_VIOLATION, EPROTO, 10, true, "server.test failed", "unexpected");
    f = raw(data, sizeof(data), false, 0);
    CU_ASSERT(f.err == EPROTO && f.alert_sent && *f.text);
    f = raw(length, sizeof(length), false, 0);
    CU_ASSERT(f.err == EPROTO && f.alert_sent && *f.text);
    old[44] = 0xc0, old[45] = 0x2b;
    f = raw(old, sizeof(old), false, 0);
    expect(&f, W_CODE_UNSUPPORTED_VERSION, EPROTO, 70, true, "handshake with server.test",
           "unsupported protocol");
    suite[45] = 0x2f;
    f = raw(suite, sizeof(suite), false, 0);
    expect(&f, W_CODE_NO_COMMON_SUITE, EPROTO, 47, true, "handshake with server.test",
           "wrong cipher returned");
}

static void test_ends(void)
{
    static const uint8_t part[] = {22, 3, 3, 0, 80, 2, 0};
    struct hs_setup s = hslink_setup(store, "server.test");
    struct linger now = {.l_onoff = 1};
    struct failure f = raw("", 0, true, 0);
    struct hslink l;

    expect(&f, W_CODE_RESET, ECONNRESET, -1, false, "closed the connection during the handshake",
           "does it speak TLS on this port?");
    f = raw(part, sizeof(part), true, 1);
    expect(&f, W_CODE_RESET, ECONNRESET, -1, false, "server.test closed the connection",
           "handshake");
    CU_ASSERT_PTR_NULL(strstr(f.text, "without an answer"));

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, NULL, 1), 0);
    CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_WANT_READ);
    setsockopt(l.fds[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    hslink_hang_up(&l); /* RST */
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    expect(&l.f, W_CODE_RESET, ECONNRESET, -1, false, "server.test closed", "without an answer");
    hslink_close(&l);

    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &s, NULL, 0), 0);
    hslink_hang_up(&l); /* already gone when we write */
    CU_ASSERT_EQUAL(hslink_run(&l), HS_FAILED);
    expect(&l.f, W_CODE_RESET, ECONNRESET, -1, false, "server.test closed", "without an answer");
    hslink_close(&l);
}

/* What only a socket in trouble says; and library errors that no peer here can provoke. */
static void test_direct(void)
{
    static const struct {
        int reason;
        unsigned code;
    } reasons[] = {
        {SSL_R_VERSION_TOO_LOW, W_CODE_UNSUPPORTED_VERSION},
        {SSL_R_NO_SHARED_CIPHER, W_CODE_NO_COMMON_SUITE},
        {SSL_R_WRONG_SIGNATURE_TYPE, W_CODE_NO_COMMON_SIGNATURE},
        {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, W_CODE_NO_COMMON_SIGNATURE},
        {SSL_R_WRONG_VERSION_NUMBER, W_CODE_PROTOCOL_VIOLATION},
        {SSL_R_RECORD_LENGTH_MISMATCH, W_CODE_PROTOCOL_VIOLATION},
        {SSL_R_UNEXPECTED_RECORD, W_CODE_PROTOCOL_VIOLATION},
        {SSL_R_BAD_DIGEST_LENGTH, W_CODE_HANDSHAKE_FAILURE},
    };
    struct te_alerts none = {-1, -1};
    SSL_CTX *c = tp_ctx(TP_EC);
    SSL *ssl = SSL_new(c);

    for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
        struct sb_state io = {.any_in = true};
        struct failure f = {.alert = -1};

        ERR_raise(ERR_LIB_SSL, reasons[i].reason);
        te_failure(&f, ssl, SSL_ERROR_SSL, &io, &none, "a.test");
        expect(&f, reasons[i].code, EPROTO, -1, false, "a.test failed",
               ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reasons[i].reason)));
        CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    }
    for (int i = 0; i < 3; i++) {
        static const int errs[] = {ECONNREFUSED, EHOSTUNREACH, EPIPE};
        static const unsigned codes[] = {W_CODE_REFUSED, W_CODE_RESET, W_CODE_RESET};
        static const char *const texts[] = {"refused", "No route to host", "closed"};
        struct sb_state io = {.err = errs[i]};
        struct failure f = {.alert = -1};

        te_failure(&f, ssl, SSL_ERROR_SYSCALL, &io, &none, "a.test");
        expect(&f, codes[i], i == 2 ? ECONNRESET : errs[i], -1, false, "a.test", texts[i]);
    }
    SSL_free(ssl);
    SSL_CTX_free(c);
}

/* A verification that fails is told as such even when the peer then closes in anger. */
static void test_order(void)
{
    struct te_alerts alerts = {.received = 46, .sent = 48};
    struct sb_state io = {.eof = true, .err = EPIPE, .any_in = true};
    struct failure f = {.alert = -1};
    SSL_CTX *c = tp_ctx(TP_EC);
    SSL *ssl = SSL_new(c);

    SSL_set_verify_result(ssl, X509_V_ERR_CERT_REVOKED);
    ERR_raise(ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED);
    te_failure(&f, ssl, SSL_ERROR_SSL, &io, &alerts, "a.test");
    CU_ASSERT(f.code == W_CODE_CERTIFICATE_INVALID && f.verify == X509_V_ERR_CERT_REVOKED);
    CU_ASSERT(f.alert == 46 && !f.alert_sent);
    /* the first reason stays */
    te_failure(&f, ssl, SSL_ERROR_SYSCALL, &io, &alerts, "a.test");
    CU_ASSERT_EQUAL(f.code, W_CODE_CERTIFICATE_INVALID);
    SSL_free(ssl);
    SSL_CTX_free(c);
}

void suite_tlserr(void)
{
    CU_pSuite s = CU_add_suite("tlserr", setup, teardown);

    CU_add_test(s, "certificates", test_certificates);
    CU_add_test(s, "every verify row", test_verify_rows);
    CU_add_test(s, "alerts", test_alerts);
    CU_add_test(s, "real alerts", test_real_alerts);
    CU_add_test(s, "not TLS", test_not_tls);
    CU_add_test(s, "not TLS, slowly", test_not_tls_slowly);
    CU_add_test(s, "garbage", test_garbage);
    CU_add_test(s, "ends", test_ends);
    CU_add_test(s, "direct", test_direct);
    CU_add_test(s, "order", test_order);
}
