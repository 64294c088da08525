/* libhtls: what was negotiated, what went wrong. */
#include <errno.h>

#include "api.h"
#include "suites.h"

EXPORT const char *htls_version(const struct htls *h)
{
    return su_version(h->facts.version);
}

EXPORT const char *htls_cipher(const struct htls *h)
{
    return su_name(h->facts.cipher);
}

EXPORT const char *htls_alpn(const struct htls *h)
{
    return h->facts.alpn;
}

EXPORT const char *htls_group(const struct htls *h)
{
    return h->facts.group;
}

EXPORT int htls_mode_tx(const struct htls *h)
{
    return h->facts.mode_tx;
}

EXPORT int htls_mode_rx(const struct htls *h)
{
    return h->facts.mode_rx;
}

EXPORT const char *htls_mode_name(int mode)
{
    return mode == 0 ? "none" : w_mode_name((unsigned)mode);
}

EXPORT const char *htls_why(const struct htls *h)
{
    return h->facts.code ? "" : h->facts.text;
}

EXPORT const char *htls_error(const struct htls *h)
{
    return h->facts.code ? h->facts.text : rr_why(&h->rr);
}

EXPORT const char *htls_error_name(const struct htls *h)
{
    return h->facts.code ? w_code_name(h->facts.code) : "";
}

EXPORT int htls_alert(const struct htls *h)
{
    return h->facts.alert;
}

EXPORT int htls_verify_code(const struct htls *h)
{
    return (int)h->facts.verify_code;
}
