/* Puts the keys of a connection into the kernel's tls ULP.
 *
 * What the kernel does with them is written down in kernel-notes/. Each function is a few system
 * calls and keeps nothing: the copies of the keys made here die before it returns. */
#include "ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>

#include "../proto/secret.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

_Static_assert(KS_TLS12 == TLS_1_2_VERSION && KS_TLS13 == TLS_1_3_VERSION,
               "versions are the kernel's");

int (*kt_setsockopt)(int fd, int level, int name, const void *value, socklen_t len) = setsockopt;

/* Large enough for every cipher. Secret: wipe it. */
union crypto {
    struct tls_crypto_info info;
    struct tls12_crypto_info_aes_gcm_128 aes_128_gcm;
    struct tls12_crypto_info_aes_gcm_256 aes_256_gcm;
    struct tls12_crypto_info_chacha20_poly1305 chacha20;
    struct tls12_crypto_info_aes_ccm_128 aes_128_ccm;
    uint8_t bytes[KT_BLOCK_MAX];
};

/* Where each field stands in a cipher's crypto_info. */
struct layout {
    uint16_t cipher;
    uint8_t size;
    uint8_t iv, iv_len;
    uint8_t key, key_len;
    uint8_t salt, salt_len;
    uint8_t rec_seq;
};
#define LAYOUT(number, type)                                                                       \
    {                                                                                              \
        .cipher = (number), .size = sizeof(struct type), .iv = offsetof(struct type, iv),          \
        .iv_len = sizeof(((struct type *)0)->iv), .key = offsetof(struct type, key),               \
        .key_len = sizeof(((struct type *)0)->key), .salt = offsetof(struct type, salt),           \
        .salt_len = sizeof(((struct type *)0)->salt), .rec_seq = offsetof(struct type, rec_seq)    \
    }

static const struct layout layouts[KS_AEADS] = {
    [KS_AES_128_GCM] = LAYOUT(TLS_CIPHER_AES_GCM_128, tls12_crypto_info_aes_gcm_128),
    [KS_AES_256_GCM] = LAYOUT(TLS_CIPHER_AES_GCM_256, tls12_crypto_info_aes_gcm_256),
    [KS_CHACHA20] = LAYOUT(TLS_CIPHER_CHACHA20_POLY1305, tls12_crypto_info_chacha20_poly1305),
    [KS_AES_128_CCM] = LAYOUT(TLS_CIPHER_AES_CCM_128, tls12_crypto_info_aes_ccm_128),
};

int kt_attach(int fd)
{
    static const char name[] = "tls";

    if (kt_setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, sizeof(name)) < 0)
        return -errno;
    return 0;
}

bool kt_attached(int fd)
{
    char name[16] = {0};
    socklen_t len = sizeof(name) - 1;

    if (getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len) < 0)
        return false;
    return strcmp(name, "tls") == 0;
}

/* Returns the size of d's crypto_info in *c, or -EINVAL. The caller wipes *c. */
static int fill(union crypto *c, const struct ks_dir *d)
{
    const struct layout *l;

    if (!d->suite || d->suite->aead >= KS_AEADS)
        return -EINVAL;
    l = &layouts[d->suite->aead];
    if (d->suite->key_len != l->key_len)
        return -EINVAL;
    c->info.version = d->suite->version;
    c->info.cipher_type = l->cipher;
    memcpy(c->bytes + l->key, d->key, l->key_len);
    /* The iv of TLS 1.3 is cut in two, that of ChaCha20 is whole behind a salt of no bytes. In TLS
     * 1.2 GCM and CCM the field iv is the explicit nonce, which the kernel sends as it is and
     * counts up. */
    memcpy(c->bytes + l->salt, d->iv, l->salt_len);
    if (d->suite->version == KS_TLS12 && l->salt_len > 0)
        memcpy(c->bytes + l->iv, d->nonce, l->iv_len);
    else
        memcpy(c->bytes + l->iv, d->iv + l->salt_len, l->iv_len);
    for (unsigned i = 0; i < 8; i++)
        c->bytes[l->rec_seq + i] = (uint8_t)(d->seq >> (56 - 8 * i));
    return l->size;
}

int kt_block(const struct ks_dir *d, uint8_t out[KT_BLOCK_MAX])
{
    union crypto c = {.bytes = {0}};
    SECRET_WIPE(c);
    int size = fill(&c, d);

    if (size > 0)
        memcpy(out, c.bytes, (size_t)size);
    return size;
}

int kt_set(int fd, int dir, const struct ks_dir *d)
{
    union crypto c = {.bytes = {0}};
    SECRET_WIPE(c);
    int size;

    if (dir != TLS_RX && dir != TLS_TX)
        return -EINVAL;
    size = fill(&c, d);
    if (size < 0)
        return size;
    if (kt_setsockopt(fd, SOL_TLS, dir, &c, (socklen_t)size) < 0)
        return -errno;
    return 0;
}

int kt_install(int fd, const struct ks_dir *rx, const struct ks_dir *tx, int *installed)
{
    int r;

    *installed = 0;
    if (rx->suite != tx->suite)
        return -EINVAL;
    r = kt_set(fd, TLS_RX, rx);
    if (r < 0)
        return r;
    *installed = 1;
    r = kt_set(fd, TLS_TX, tx);
    if (r < 0)
        return r;
    /* Point of no return: the socket speaks TLS in both directions. */
    *installed = 2;
    return 0;
}
