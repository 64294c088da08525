/* One TLS record sealed or opened in one pass.
 *
 * A context keeps libcrypto's expanded key; per record only the nonce changes, nothing is
 * allocated. CCM is the odd one: its length must be known first, it takes the text in a single
 * piece, and its verdict comes with the text instead of at the end. Ciphers are fetched once per
 * process and never freed: a worker has one thread, and a fork inherits them. */
#include "record.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "../proto/secret.h"

#define NONCE_LEN 12u
#define EXPLICIT_LEN 8u
#define TAG_LEN 16u
#define AAD_MAX 13u

struct rc_ctx {
    EVP_CIPHER_CTX *evp; /* owned */
    uint64_t seq;
    uint64_t nonce; /* TLS 1.2 GCM/CCM, sealing: explicit nonce of the next record */
    uint8_t iv[NONCE_LEN];
    bool seal;
    bool v13;
    bool ccm;
    uint8_t explicit_len; /* bytes of the nonce that stand in the record */
};

/* libcrypto's name of each AEAD. */
static const char *const ciphers[KS_AEADS] = {
    [KS_AES_128_GCM] = "AES-128-GCM",
    [KS_AES_256_GCM] = "AES-256-GCM",
    [KS_CHACHA20] = "ChaCha20-Poly1305",
    [KS_AES_128_CCM] = "AES-128-CCM",
};

static void put64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* A failure's entries must not stay in the thread's queue: SSL_get_error() would take them for the
 * error of some other connection. */
static int failed(int err)
{
    ERR_clear_error();
    return err;
}

/* The keyed libcrypto context; NULL when libcrypto failed. The caller owns it. */
static EVP_CIPHER_CTX *keyed(const struct ks_dir *d, int seal)
{
    static EVP_CIPHER *fetched[KS_AEADS];
    EVP_CIPHER **cipher = &fetched[d->suite->aead];
    EVP_CIPHER_CTX *evp;

    if (!*cipher)
        *cipher = EVP_CIPHER_fetch(NULL, ciphers[d->suite->aead], NULL);
    if (!*cipher)
        return NULL;
    evp = EVP_CIPHER_CTX_new();
    if (!evp)
        return NULL;
    /* The lengths first: CCM mixes both into its state when the key arrives. */
    if (EVP_CipherInit_ex2(evp, *cipher, NULL, NULL, seal, NULL) == 1 &&
        EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_IVLEN, (int)NONCE_LEN, NULL) == 1 &&
        (d->suite->aead != KS_AES_128_CCM ||
         EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, (int)TAG_LEN, NULL) == 1) &&
        EVP_CipherInit_ex2(evp, NULL, d->key, NULL, seal, NULL) == 1)
        return evp;
    EVP_CIPHER_CTX_free(evp);
    return NULL;
}

int rc_rekey(struct rc_ctx *c, const struct ks_dir *d)
{
    EVP_CIPHER_CTX *evp = keyed(d, c->seal);

    if (!evp)
        return failed(-ENOTRECOVERABLE);
    EVP_CIPHER_CTX_free(c->evp);
    c->evp = evp;
    c->seq = d->seq;
    c->nonce = get64(d->nonce);
    memcpy(c->iv, d->iv, sizeof(c->iv));
    c->v13 = d->suite->version == KS_TLS13;
    c->ccm = d->suite->aead == KS_AES_128_CCM;
    c->explicit_len = !c->v13 && d->suite->aead != KS_CHACHA20 ? EXPLICIT_LEN : 0;
    return 0;
}

int rc_new(struct rc_ctx **out, const struct ks_dir *d, int seal)
{
    struct rc_ctx *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->seal = seal != 0;
    r = rc_rekey(c, d);
    if (r < 0) {
        rc_free(c);
        return r;
    }
    *out = c;
    return 0;
}

void rc_free(struct rc_ctx *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->evp); /* wipes the key schedule */
    secret_wipe(c, sizeof(*c));
    free(c);
}

uint64_t rc_seq(const struct rc_ctx *c)
{
    return c->seq;
}

int rc_length(const uint8_t header[RC_HEADER])
{
    unsigned body = (unsigned)header[3] << 8 | header[4];

    if (header[0] < RC_CCS || header[0] > RC_DATA || header[1] != 3)
        return -EBADMSG;
    if (body > RC_BODY_MAX)
        return -EMSGSIZE;
    return (int)(RC_HEADER + body);
}

/* RFC 8446 5.3 and RFC 7905: the whole iv XOR the sequence number. RFC 5288 and RFC 6655: four
 * bytes of salt, then the eight that stand in the record. */
static void make_nonce(const struct rc_ctx *c, const uint8_t *in_record, uint8_t nonce[NONCE_LEN])
{
    memcpy(nonce, c->iv, NONCE_LEN);
    if (c->explicit_len)
        memcpy(nonce + 4, in_record, EXPLICIT_LEN);
    else
        put64(nonce + 4, get64(c->iv + 4) ^ c->seq);
}

/* 1.3 authenticates the header as it went over the wire, 1.2 the sequence number, type, version and
 * length of the plaintext. */
static int make_aad(const struct rc_ctx *c, const uint8_t header[RC_HEADER], size_t text_len,
                    uint8_t aad[AAD_MAX])
{
    if (c->v13) {
        memcpy(aad, header, RC_HEADER);
        return (int)RC_HEADER;
    }
    put64(aad, c->seq);
    memcpy(aad + 8, header, 3);
    aad[11] = (uint8_t)(text_len >> 8);
    aad[12] = (uint8_t)text_len;
    return (int)AAD_MAX;
}

/* Nonce, tag (opening) and associated data: all that comes before the text. */
static bool start(struct rc_ctx *c, const uint8_t *record, size_t text_len, uint8_t *tag)
{
    uint8_t nonce[NONCE_LEN], aad[AAD_MAX];
    int aad_len = make_aad(c, record, text_len, aad), n;

    make_nonce(c, record + RC_HEADER, nonce);
    if (EVP_CipherInit_ex2(c->evp, NULL, NULL, nonce, c->seal, NULL) != 1)
        return false;
    if (tag && EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_SET_TAG, (int)TAG_LEN, tag) != 1)
        return false;
    if (c->ccm && EVP_CipherUpdate(c->evp, NULL, &n, NULL, (int)text_len) != 1)
        return false;
    return EVP_CipherUpdate(c->evp, NULL, &n, aad, aad_len) == 1;
}

/* Encrypts in straight into text, so the plaintext is never copied, except for CCM in 1.3, which
 * cannot take the content type as a second piece. */
static bool encrypt(struct rc_ctx *c, uint8_t type, const void *in, size_t n, uint8_t *text)
{
    int got;

    if (c->ccm) {
        if (n > 0)
            memcpy(text, in, n);
        text[n] = type; /* in 1.2 the tag will overwrite it */
        return EVP_CipherUpdate(c->evp, text, &got, text, (int)n + c->v13) == 1;
    }
    if (n > 0 && EVP_CipherUpdate(c->evp, text, &got, in, (int)n) != 1)
        return false;
    return !c->v13 || EVP_CipherUpdate(c->evp, text + n, &got, &type, 1) == 1;
}

int rc_seal(struct rc_ctx *c, uint8_t type, const void *in, size_t n, uint8_t *out)
{
    size_t text_len = n + c->v13;
    size_t body = c->explicit_len + text_len + TAG_LEN;
    uint8_t *text = out + RC_HEADER + c->explicit_len;
    int got;

    if (!c->seal || n > RC_PLAIN_MAX)
        return -EINVAL;
    if (c->seq == UINT64_MAX)
        return -EOVERFLOW;
    out[0] = c->v13 ? RC_DATA : type;
    out[1] = 3;
    out[2] = 3;
    out[3] = (uint8_t)(body >> 8);
    out[4] = (uint8_t)body;
    if (c->explicit_len)
        put64(out + RC_HEADER, c->nonce);
    if (!start(c, out, text_len, NULL) || !encrypt(c, type, in, n, text) ||
        EVP_CipherFinal_ex(c->evp, text + text_len, &got) != 1 ||
        EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_GET_TAG, (int)TAG_LEN, text + text_len) != 1)
        return failed(-ENOTRECOVERABLE);
    c->seq++;
    c->nonce++;
    return (int)(RC_HEADER + body);
}

/* The length up to the last byte that is not zero, 0 when there is none. The common record has no
 * padding. One that has takes a time that depends on its whole length, not on how much of it is
 * padding; in words of eight, for a peer that pads everything must not cost several times the AEAD.
 */
static size_t unpadded(const uint8_t *text, size_t n)
{
    size_t end = 0, i = 0;

    if (n > 0 && text[n - 1] != 0)
        return n;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        size_t take;

        memcpy(&word, text + i, sizeof(word));
        take = (size_t)0 - (size_t)(word != 0);
        end = (end & ~take) | ((i + 8) & take);
    }
    for (; i < n; i++)
        end = text[i] != 0 ? i + 1 : end;
    while (end > 0 && text[end - 1] == 0)
        end--; /* inside one word */
    return end;
}

/* Finds the real content type and length of the text that has authenticated. */
static int unwrap(const struct rc_ctx *c, uint8_t outer, const uint8_t *text, size_t text_len,
                  uint8_t *type, size_t *n)
{
    uint8_t inner = outer;
    size_t len = text_len;

    if (c->v13) {
        len = unpadded(text, text_len);
        if (len == 0)
            return -EBADMSG;
        inner = text[--len];
        /* RFC 8446 5: a protected change_cipher_spec is as wrong as an unknown type. */
        if (inner <= RC_CCS || inner > RC_DATA)
            return -EBADMSG;
    }
    /* RFC 8446 5.4, RFC 5246 6.2.1: only application data may be empty. */
    if (len == 0 && inner != RC_DATA)
        return -EBADMSG;
    *type = inner;
    *n = len;
    return 0;
}

/* The length of the text in a whole record whose form is right, else -errno. */
static int text_length(const struct rc_ctx *c, const uint8_t *record, size_t len)
{
    size_t around = RC_HEADER + c->explicit_len + TAG_LEN;
    int whole = len < RC_HEADER ? -EBADMSG : rc_length(record);

    if (whole < 0)
        return whole;
    if ((size_t)whole != len || len < around + c->v13 || (c->v13 && record[0] != RC_DATA))
        return -EBADMSG;
    if (len - around > RC_PLAIN_MAX + c->v13)
        return -EMSGSIZE;
    return (int)(len - around);
}

int rc_open(struct rc_ctx *c, uint8_t *record, size_t len, uint8_t *type, uint8_t **plain,
            size_t *n)
{
    uint8_t *text = record + RC_HEADER + c->explicit_len;
    int text_len, got, r;

    if (c->seal)
        return -EINVAL;
    if (c->seq == UINT64_MAX)
        return -EOVERFLOW;
    text_len = text_length(c, record, len);
    if (text_len < 0)
        return text_len;
    if (!start(c, record, (size_t)text_len, text + text_len))
        return failed(-ENOTRECOVERABLE);
    if (EVP_CipherUpdate(c->evp, text, &got, text, text_len) != 1 ||
        EVP_CipherFinal_ex(c->evp, text + text_len, &got) != 1) {
        /* Nobody may act on text that did not authenticate. */
        secret_wipe(text, (size_t)text_len);
        return failed(-EBADMSG);
    }
    r = unwrap(c, record[0], text, (size_t)text_len, type, n);
    if (r < 0)
        return r;
    *plain = text;
    c->seq++;
    return 0;
}
