/* The one map from OpenSSL's errors, the socket's errors, alerts to a failure with a remedy. */
#include "tlserr.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

struct verify_row {
    long verify;
    unsigned code;
    const char *remedy;
};

static const struct verify_row verify_rows[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, W_CODE_CERTIFICATE_EXPIRED,
     "its owner must renew it; also check this machine's clock"},
    {X509_V_ERR_CERT_NOT_YET_VALID, W_CODE_CERTIFICATE_EXPIRED, "check this machine's clock"},
    {X509_V_ERR_HOSTNAME_MISMATCH, W_CODE_CERTIFICATE_NAME,
     "connect by a name that the certificate holds (subjectAltName)"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, W_CODE_CERTIFICATE_NAME,
     "connect by a name, or use a certificate with this IP address (subjectAltName)"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, W_CODE_CERTIFICATE_UNTRUSTED,
     "add it to the trust store (HTLS_CA_FILE, trust-file) if it is really the peer's"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, W_CODE_CERTIFICATE_UNTRUSTED,
     "add its CA to the trust store (HTLS_CA_FILE, trust-file)"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, W_CODE_CERTIFICATE_UNTRUSTED,
     "add its CA to the trust store (HTLS_CA_FILE, trust-file), or let the server send the "
     "intermediate certificates"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, W_CODE_CERTIFICATE_UNTRUSTED,
     "add its CA to the trust store (HTLS_CA_FILE, trust-file)"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, W_CODE_CERTIFICATE_UNTRUSTED,
     "add its CA to the trust store (HTLS_CA_FILE, trust-file)"},
    {X509_V_ERR_CERT_UNTRUSTED, W_CODE_CERTIFICATE_UNTRUSTED,
     "add its CA to the trust store (HTLS_CA_FILE, trust-file)"},
};

static void verify_failure(struct failure *f, long verify, const char *name)
{
    unsigned code = W_CODE_CERTIFICATE_INVALID;
    const char *remedy = "the peer must present another one";

    for (size_t i = 0; i < sizeof(verify_rows) / sizeof(*verify_rows); i++) {
        if (verify_rows[i].verify != verify)
            continue;
        code = verify_rows[i].code;
        remedy = verify_rows[i].remedy;
    }
    f->verify = verify;
    fl_set(f, code, EKEYREJECTED, "certificate of %s refused: %s; %s", name,
           X509_verify_cert_error_string(verify), remedy);
}

struct alert_row {
    int alert;
    unsigned code;
    const char *meaning;
};

static const struct alert_row alert_rows[] = {
    {SSL_AD_HANDSHAKE_FAILURE, W_CODE_HANDSHAKE_FAILURE,
     "no common parameters (suites, groups, or it wants a client certificate)"},
    {SSL_AD_PROTOCOL_VERSION, W_CODE_UNSUPPORTED_VERSION,
     "it speaks none of the offered TLS versions"},
    {SSL_AD_INSUFFICIENT_SECURITY, W_CODE_NO_COMMON_SUITE, "it demands stronger suites"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, W_CODE_NO_ALPN,
     "it speaks none of the offered ALPN protocols"},
    {SSL_AD_UNRECOGNIZED_NAME, W_CODE_HANDSHAKE_FAILURE, "it serves no such name"},
    {SSL_AD_ACCESS_DENIED, W_CODE_HANDSHAKE_FAILURE, "it denies access"},
};

static void alert_failure(struct failure *f, int alert, const char *name)
{
    unsigned code = W_CODE_HANDSHAKE_FAILURE;
    const char *meaning = "it gave no further reason";

    for (size_t i = 0; i < sizeof(alert_rows) / sizeof(*alert_rows); i++) {
        if (alert_rows[i].alert != alert)
            continue;
        code = alert_rows[i].code;
        meaning = alert_rows[i].meaning;
    }
    fl_set(f, code, EPROTO, "%s ended the handshake with alert %d (%s): %s", name, alert,
           SSL_alert_desc_string_long(alert), meaning);
}

/* True when the first bytes cannot be a TLS record (RFC 8446 section 5.1). */
static bool not_tls(const struct sb_state *io)
{
    if (io->first_have < 3)
        return false;
    return io->first[0] < 20 || io->first[0] > 23 || io->first[1] != 3;
}

static void not_tls_failure(struct failure *f, const struct sb_state *io, const char *name)
{
    char seen[sizeof(io->first) + 1] = "";

    for (unsigned i = 0; i < io->first_have; i++)
        seen[i] = (char)(io->first[i] >= 0x20 && io->first[i] < 0x7f ? io->first[i] : '.');
    fl_set(
        f, W_CODE_PROTOCOL_VIOLATION, EPROTO,
        "%s does not speak TLS on this port (its answer begins with \"%s\"); is it the plain port?",
        name, seen);
}

static void socket_failure(struct failure *f, const struct sb_state *io, const char *name)
{
    f->alert = -1; /* OpenSSL raises one at EOF too; it reaches nobody */
    f->alert_sent = false;
    if (io->err == ECONNREFUSED)
        fl_set(f, W_CODE_REFUSED, ECONNREFUSED, "%s refused the connection", name);
    else if (io->err && io->err != ECONNRESET && io->err != EPIPE)
        fl_set(f, W_CODE_RESET, io->err, "connection to %s lost: %s", name, strerror(io->err));
    else
        fl_set(f, W_CODE_RESET, ECONNRESET, "%s closed the connection during the handshake%s", name,
               io->any_in ? "" : " without an answer; does it speak TLS on this port?");
}

static void library_failure(struct failure *f, unsigned long e, const char *name)
{
    int reason = ERR_GET_REASON(e);
    const char *text = ERR_reason_error_string(e);
    unsigned code = W_CODE_HANDSHAKE_FAILURE;

    if (ERR_GET_LIB(e) == ERR_LIB_SSL) {
        if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW)
            code = W_CODE_UNSUPPORTED_VERSION;
        else if (reason == SSL_R_WRONG_CIPHER_RETURNED || reason == SSL_R_NO_SHARED_CIPHER)
            code = W_CODE_NO_COMMON_SUITE;
        else if (reason == SSL_R_WRONG_SIGNATURE_TYPE ||
                 reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM)
            code = W_CODE_NO_COMMON_SIGNATURE;
        else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_RECORD_LENGTH_MISMATCH ||
                 reason == SSL_R_UNEXPECTED_MESSAGE || reason == SSL_R_UNEXPECTED_RECORD)
            code = W_CODE_PROTOCOL_VIOLATION;
    }
    fl_set(f, code, EPROTO, "handshake with %s failed: %s", name, text ? text : "unknown error");
}

void te_failure(struct failure *f, SSL *ssl, int ssl_error, const struct sb_state *io,
                const struct te_alerts *alerts, const char *name)
{
    unsigned long e = ERR_peek_error();
    long verify = SSL_get_verify_result(ssl);
    bool verify_failed =
        ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;

    if (f->code) { /* the first reason stays, its alert with it */
        ERR_clear_error();
        return;
    }
    f->alert = alerts->received >= 0 ? alerts->received : alerts->sent;
    f->alert_sent = alerts->received < 0 && alerts->sent >= 0;
    if (verify_failed && verify != X509_V_OK)
        verify_failure(f, verify, name);
    else if (alerts->received >= 0)
        alert_failure(f, alerts->received, name);
    else if (not_tls(io))
        not_tls_failure(f, io, name);
    else if (ssl_error == SSL_ERROR_SYSCALL || io->eof || io->err)
        socket_failure(f, io, name);
    else
        library_failure(f, e, name);
    ERR_clear_error();
}
