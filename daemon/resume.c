/* Which TLS sessions are kept, and which connections may resume them.
 *
 * A resumed handshake shows no certificate: what a session proves was proven to the connection that
 * made it. So the cache's key is a digest of all that made it so: who asked, what was trusted and
 * checked, which name, what was offered. And the proof has an end of its own, however often the
 * peer renews its tickets (RFC 8446 section 4.6.1): a configured time after the certificate was
 * seen, or when the first of the verified chain expires. */
#include "resume.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "../proto/secret.h"
#include "handshake.h"

#define FORMAT 1     /* of the key */
#define HEADER_MAX 8 /* of a DER element whose length is an int */

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- who is alike -------------------------------------------------------------------- */

/* With its length, or "ab" and "c" would be "a" and "bc". */
static bool add(EVP_MD_CTX *c, const void *p, size_t n)
{
    const uint8_t len[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    return EVP_DigestUpdate(c, len, sizeof(len)) && (n == 0 || EVP_DigestUpdate(c, p, n));
}

/* The port is in it, for different services of a host may have one name and not one trust; the
 * address is not: many hosts serve one name together. The empty string is the identity's place. */
static int make_key(uint8_t key[SE_KEY], const struct hs_setup *s)
{
    const uint32_t numbers[] = {FORMAT, s->uid, s->verify, s->port, s->version_min, s->version_max};
    uint16_t suites[HS_SUITES_MAX];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok;

    for (size_t i = 0; i < s->n_suites; i++)
        suites[i] = s->suites[i]->id;
    ok = c && EVP_DigestInit_ex2(c, EVP_sha256(), NULL) && add(c, numbers, sizeof(numbers)) &&
         add(c, "", 0) && add(c, s->trust, sizeof(s->trust)) && add(c, s->name, strlen(s->name)) &&
         add(c, s->alpn, s->alpn_len) && add(c, suites, s->n_suites * sizeof(suites[0])) &&
         add(c, s->groups, strlen(s->groups)) && EVP_DigestFinal_ex(c, key, NULL);
    EVP_MD_CTX_free(c);
    return ok ? 0 : -ENOMEM;
}

/* --- what is offered ----------------------------------------------------------------- */

/* A peer resumes with the session's suite, or with another of its hash that is offered: neither may
 * be one that this connection did not want. OpenSSL passes over a session of another version by
 * itself, but not over one of another suite with that hash. */
static bool suits(const SSL_SESSION *session, const struct hs_setup *s)
{
    const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(session);

    for (size_t i = 0; cipher && i < s->n_suites; i++)
        if (s->suites[i]->id == SSL_CIPHER_get_protocol_id(cipher))
            return true;
    return false;
}

static void offer(struct ru_link *l, SSL *ssl, const struct hs_setup *s)
{
    struct se_session kept;
    SECRET_WIPE(kept);
    const uint8_t *p = kept.bytes;

    if (se_take(l->ctx->cache, l->key, now_s(), &kept) < 0)
        return;
    l->offered = d2i_SSL_SESSION(NULL, &p, (long)kept.n);
    if (l->offered && suits(l->offered, s) && SSL_set_session(ssl, l->offered) &&
        (!l->verify || SSL_get_verify_result(ssl) == X509_V_OK)) {
        l->proven = kept.proven;
        return;
    }
    ERR_clear_error();
    SSL_set_session(ssl, NULL);
    SSL_SESSION_free(l->offered);
    l->offered = NULL;
    se_drop(l->ctx->cache, l->key);
}

void ru_open(struct ru_link *l, const struct ru_ctx *ctx, SSL *ssl, const struct hs_setup *s)
{
    if (!ctx->cache || !se_serves(ctx->cache, s->uid) || make_key(l->key, s) < 0)
        return;
    l->ctx = ctx;
    l->uid = s->uid;
    l->verify = s->verify;
    offer(l, ssl, s);
}

/* --- what is kept -------------------------------------------------------------------- */

/* When the first certificate of the chain that was verified expires; 0 when that cannot be said. */
static uint64_t chain_ends(SSL *ssl)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    uint64_t end = UINT64_MAX;

    if (!chain)
        return 0;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        struct tm tm;
        time_t t;

        if (!ASN1_TIME_to_tm(X509_get0_notAfter(sk_X509_value(chain, i)), &tm))
            return 0;
        t = timegm(&tm);
        end = least(end, t < 0 ? 0 : (uint64_t)t);
    }
    return end;
}

/* A hint of 0 means "not at all" in TLS 1.3, "not said" in TLS 1.2 (RFC 5077 section 3.3). */
static uint64_t session_ends(const SSL_SESSION *session, uint64_t proven, uint64_t now)
{
    uint64_t hint = SSL_SESSION_get_ticket_lifetime_hint(session);
    bool v13 = SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION;

    return SSL_SESSION_has_ticket(session) && (v13 || hint) ? least(proven, now + hint) : proven;
}

/* Copies a session's DER without the peer's certificate, the element [3]: nobody here asks for it
 * again, when it ends is known, and to parse it takes OpenSSL 3.0 three times as long as the whole
 * resumed handshake of TLS 1.2. Returns 0 or -errno. */
static int copy_bare(struct se_session *s, const uint8_t *der, long n)
{
    const uint8_t *p = der, *end;
    uint8_t *out = s->bytes;
    size_t room = sizeof(s->bytes) - HEADER_MAX, have = 0;
    long len;
    int tag, class;

    if (ASN1_get_object(&p, &len, &tag, &class, n) != V_ASN1_CONSTRUCTED || tag != V_ASN1_SEQUENCE)
        return -EINVAL;
    for (end = p + len; p < end;) {
        const uint8_t *from = p;

        if (ASN1_get_object(&p, &len, &tag, &class, end - p) & 0x80)
            return -EINVAL;
        p += len;
        if (class == V_ASN1_CONTEXT_SPECIFIC && tag == 3)
            continue;
        if ((size_t)(p - from) > room - have)
            return -EMSGSIZE;
        memcpy(s->bytes + HEADER_MAX + have, from, (size_t)(p - from));
        have += (size_t)(p - from);
    }
    ASN1_put_object(&out, 1, (int)have, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memmove(out, s->bytes + HEADER_MAX, have);
    s->n = (size_t)(out - s->bytes) + have;
    return 0;
}

/* Puts a session into the cache. Returns 0 or -errno. */
static int keep(struct ru_link *l, const SSL_SESSION *session)
{
    struct se_session s = {.uid = l->uid, .proven = l->proven};
    SECRET_WIPE(s);
    uint8_t *der = NULL;
    uint64_t now = now_s();
    int n, r;

    if (!SSL_SESSION_is_resumable(session))
        return -EINVAL;
    n = i2d_SSL_SESSION(session, &der);
    if (n <= 0)
        return -ENOMEM;
    r = copy_bare(&s, der, n);
    OPENSSL_clear_free(der, (size_t)n);
    if (r < 0)
        return r;
    s.once = SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION;
    s.until = session_ends(session, l->proven, now);
    return se_put(l->ctx->cache, l->key, &s, now);
}

static void keep_and_count(struct ru_link *l, const SSL_SESSION *session)
{
    if (keep(l, session) == 0)
        st_add(&l->ctx->stats->sessions_stored, 1);
    else
        st_add(&l->ctx->stats->sessions_refused, 1);
}

void ru_ticket(struct ru_link *l, const SSL_SESSION *session)
{
    if (!l->ctx)
        return;
    l->tickets++;
    keep_and_count(l, session);
}

/* Without the extended master secret a peer in the middle can make two connections' sessions equal
 * (RFC 7627 section 1): such a one is not resumed. */
static void keep_tls12(struct ru_link *l, SSL *ssl)
{
    const SSL_SESSION *session = SSL_get0_session(ssl);

    if (session == l->offered)
        return; /* it still lies in the cache, and got no younger */
    if (SSL_get_extms_support(ssl) == 1)
        keep_and_count(l, session);
    else
        st_add(&l->ctx->stats->sessions_refused, 1);
}

void ru_done(struct ru_link *l, SSL *ssl)
{
    bool resumed = SSL_session_reused(ssl) == 1;

    if (!l->ctx)
        return;
    l->done = true;
    st_add(resumed ? &l->ctx->stats->sessions_hits : &l->ctx->stats->sessions_misses, 1);
    if (!resumed) {
        l->proven = now_s() + l->ctx->lifetime;
        if (l->verify)
            l->proven = least(l->proven, chain_ends(ssl));
        if (l->offered && SSL_SESSION_get_protocol_version(l->offered) == TLS1_2_VERSION)
            se_drop(l->ctx->cache, l->key); /* the peer does not know it any more */
    }
    if (SSL_version(ssl) == TLS1_2_VERSION)
        keep_tls12(l, ssl);
}

void ru_close(struct ru_link *l)
{
    if (l->offered && !l->done)
        se_drop(l->ctx->cache, l->key);
    SSL_SESSION_free(l->offered);
    l->offered = NULL;
}
