/* Tests of daemon/record.c: what goes in comes out, nothing that was touched does. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "../../daemon/record.c"

#include "suites.h"

#include <CUnit/CUnit.h>

#define ROOM (RC_PLAIN_MAX + RC_HEADER + RC_OVERHEAD + 64)

static uint8_t plain_bytes[RC_PLAIN_MAX + 1];
static uint8_t wire[ROOM], copy[ROOM];

static void make_dir(struct ks_dir *d, const struct ks_suite *suite, uint64_t seq)
{
    *d = (struct ks_dir){.suite = suite, .seq = seq};
    for (size_t i = 0; i < sizeof(d->key); i++)
        d->key[i] = (uint8_t)(i * 7 + suite->id);
    for (size_t i = 0; i < sizeof(d->iv); i++)
        d->iv[i] = (uint8_t)(i * 11 + suite->id);
    memset(d->nonce, 0xff, sizeof(d->nonce)); /* the second record's must wrap */
}

static struct rc_ctx *context(const struct ks_suite *suite, uint64_t seq, int seal)
{
    struct rc_ctx *c = NULL;
    struct ks_dir d;

    make_dir(&d, suite, seq);
    CU_ASSERT_EQUAL_FATAL(rc_new(&c, &d, seal), 0);
    return c;
}

/* Opens `len` bytes of r with a new context; what rc_open says. */
static int open_with(const struct ks_suite *suite, uint64_t seq, uint8_t *r, size_t len,
                     uint8_t *type, uint8_t **plain, size_t *n)
{
    struct rc_ctx *c = context(suite, seq, 0);
    int got = rc_open(c, r, len, type, plain, n);

    CU_ASSERT_EQUAL(rc_seq(c), seq + (got == 0));
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    rc_free(c);
    return got;
}

static int opens(const struct ks_suite *suite, uint8_t *r, size_t len)
{
    uint8_t type = 77, *plain = r;
    size_t n = 77;
    int got = open_with(suite, 5, r, len, &type, &plain, &n);

    if (got < 0)
        CU_ASSERT(type == 77 && plain == r && n == 77);
    return got;
}

static size_t seal_at(const struct ks_suite *suite, uint64_t seq, uint8_t type, const void *in,
                      size_t n)
{
    struct rc_ctx *c = context(suite, seq, 1);
    int len = rc_seal(c, type, in, n, wire);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(rc_length(wire), len);
    CU_ASSERT((size_t)len <= n + RC_HEADER + RC_OVERHEAD);
    rc_free(c);
    return (size_t)len;
}

static size_t seal_one(const struct ks_suite *suite, uint8_t type, const void *in, size_t n)
{
    return seal_at(suite, 5, type, in, n);
}

/* Seals with `inner` as the whole inner plaintext of TLS 1.3, by sealing all but its last byte with
 * that one as the type. */
static size_t seal_inner(const struct ks_suite *suite, const uint8_t *inner, size_t n)
{
    return seal_one(suite, inner[n - 1], inner, n - 1);
}

static void test_round_trips(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 16383, RC_PLAIN_MAX};
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites; i++) {
        struct rc_ctx *out = context(&s[i], 0, 1), *in = context(&s[i], 0, 0);

        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            uint8_t type = 0, *plain = NULL;
            int len = rc_seal(out, RC_DATA, sizes[k] ? plain_bytes : NULL, sizes[k], wire);

            CU_ASSERT_FATAL(len > 0);
            CU_ASSERT_EQUAL_FATAL(rc_open(in, wire, (size_t)len, &type, &plain, &n), 0);
            CU_ASSERT_EQUAL(type, RC_DATA);
            CU_ASSERT_EQUAL_FATAL(n, sizes[k]);
            CU_ASSERT(memcmp(plain, plain_bytes, n) == 0);
            CU_ASSERT(rc_seq(out) == k + 1 && rc_seq(in) == k + 1);
        }
        CU_ASSERT_EQUAL(rc_seal(out, RC_DATA, plain_bytes, RC_PLAIN_MAX + 1, wire), -EINVAL);
        rc_free(in);
        rc_free(out);
    }
}

static void test_types(void)
{
    static const uint8_t types[] = {RC_ALERT, RC_HANDSHAKE, RC_DATA};
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites; i++) {
        for (size_t k = 0; k < sizeof(types); k++) {
            size_t len = seal_one(&s[i], types[k], "ab", 2);
            uint8_t type, *plain;

            CU_ASSERT_EQUAL(wire[0], s[i].version == KS_TLS13 ? RC_DATA : types[k]);
            CU_ASSERT(wire[1] == 3 && wire[2] == 3);
            CU_ASSERT_EQUAL(open_with(&s[i], 5, wire, len, &type, &plain, &n), 0);
            CU_ASSERT(type == types[k] && n == 2);
            /* Only data may be empty. */
            len = seal_one(&s[i], types[k], NULL, 0);
            CU_ASSERT_EQUAL(opens(&s[i], wire, len), types[k] == RC_DATA ? 0 : -EBADMSG);
        }
    }
}

/* Every bit of a record counts: each byte changed, one at a time. */
static void test_tampered(void)
{
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites; i++) {
        size_t len = seal_one(&s[i], RC_DATA, plain_bytes, 40);

        memcpy(copy, wire, len);
        for (size_t at = 0; at < len; at++) {
            for (int bit = 0; bit < 8; bit++) {
                memcpy(wire, copy, len);
                wire[at] ^= (uint8_t)(1 << bit);
                int r = opens(&s[i], wire, len);
                CU_ASSERT(r == -EBADMSG || (r == -EMSGSIZE && at == 3));
            }
        }
        memcpy(wire, copy, len);
        CU_ASSERT_EQUAL(opens(&s[i], wire, len), 0);
    }
}

/* Text that did not authenticate must not be lying in the record. */
static void test_spoiled(void)
{
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites; i++) {
        size_t len = seal_one(&s[i], RC_DATA, plain_bytes, 64);

        wire[len - 1] ^= 1;
        CU_ASSERT_EQUAL(opens(&s[i], wire, len), -EBADMSG);
        CU_ASSERT_PTR_NULL(memmem(wire, len, plain_bytes, 16));
    }
}

/* Under another number a record is refused; the context goes on, so looking on trial costs nothing.
 */
static void test_wrong_sequence(void)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites; i++) {
        struct rc_ctx *c = context(&s[i], 5, 0), *late = context(&s[i], 5 + (1ull << 32), 0);
        size_t len = seal_one(&s[i], RC_DATA, plain_bytes, 40);

        memcpy(copy, wire, len);
        CU_ASSERT_EQUAL(rc_open(late, copy, len, &type, &plain, &n), -EBADMSG);
        memcpy(copy, wire, len);
        CU_ASSERT_EQUAL(rc_open(c, copy, len, &type, &plain, &n), 0);
        memcpy(copy, wire, len);
        CU_ASSERT_EQUAL(rc_open(c, copy, len, &type, &plain, &n), -EBADMSG);
        CU_ASSERT_EQUAL(rc_open(c, wire, seal_at(&s[i], 6, RC_DATA, "a", 1), &type, &plain, &n), 0);
        rc_free(late);
        rc_free(c);
    }
}

static void test_lengths(void)
{
    static const uint8_t max[] = {23, 3, 3, RC_BODY_MAX >> 8, RC_BODY_MAX & 255};
    static const uint8_t more[] = {23, 3, 3, (RC_BODY_MAX + 1) >> 8, (RC_BODY_MAX + 1) & 255};
    static const uint8_t low[] = {19, 3, 3, 0, 1}, high[] = {24, 3, 3, 0, 1};
    static const uint8_t first[] = {22, 3, 1, 0, 0}, ssl2[] = {22, 2, 3, 0, 1};
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);

    CU_ASSERT_EQUAL(rc_length(max), (int)(RC_HEADER + RC_BODY_MAX));
    CU_ASSERT_EQUAL(rc_length(more), -EMSGSIZE);
    CU_ASSERT_EQUAL(rc_length(first), (int)RC_HEADER);
    CU_ASSERT(rc_length(low) == -EBADMSG && rc_length(high) == -EBADMSG);
    CU_ASSERT_EQUAL(rc_length(ssl2), -EBADMSG);
    for (size_t i = 0; i < n_suites; i++) {
        size_t len = seal_one(&s[i], RC_DATA, plain_bytes, 40);

        /* Cut, and with a byte too many behind it. */
        for (size_t n = 0; n < len; n++)
            CU_ASSERT_EQUAL(opens(&s[i], wire, n), -EBADMSG);
        CU_ASSERT_EQUAL(opens(&s[i], wire, len + 1), -EBADMSG);
        /* Cut with a length field that says so: down to bodies too short for a tag. */
        for (size_t n = RC_HEADER; n < len; n++) {
            memcpy(copy, wire, n);
            copy[4] = (uint8_t)(n - RC_HEADER);
            CU_ASSERT_EQUAL(opens(&s[i], copy, n), -EBADMSG);
        }
    }
}

/* A record that authenticates though rc_seal would never make it: any outer type, any length, the
 * text all 23. Returns its length. */
static size_t seal_raw(const struct ks_suite *suite, uint8_t outer, size_t text_len)
{
    struct rc_ctx *c = context(suite, 5, 1);
    size_t body = c->explicit_len + text_len + TAG_LEN;
    uint8_t *text = wire + RC_HEADER + c->explicit_len, *tag = text + text_len;
    int got;

    memcpy(wire, (uint8_t[]){outer, 3, 3, (uint8_t)(body >> 8), (uint8_t)body}, RC_HEADER);
    memset(text, 23, text_len);
    CU_ASSERT(start(c, wire, text_len, NULL));
    CU_ASSERT_EQUAL(EVP_CipherUpdate(c->evp, text, &got, text, (int)text_len), 1);
    CU_ASSERT_EQUAL(EVP_CipherFinal_ex(c->evp, tag, &got), 1);
    CU_ASSERT_EQUAL(EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_GET_TAG, (int)TAG_LEN, tag), 1);
    rc_free(c);
    return RC_HEADER + body;
}

static void test_too_long(void)
{
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites; i++) {
        size_t most = RC_PLAIN_MAX + (s[i].version == KS_TLS13);

        CU_ASSERT_EQUAL(opens(&s[i], wire, seal_raw(&s[i], RC_DATA, most)), 0);
        CU_ASSERT_EQUAL(opens(&s[i], wire, seal_raw(&s[i], RC_DATA, most + 1)), -EMSGSIZE);
    }
}

/* Padding of TLS 1.3: any amount up to the limit, and an inner plaintext of nothing else. */
static void test_padding(void)
{
    static uint8_t inner[RC_PLAIN_MAX + 1];
    static const size_t zeros[] = {1, 2, 100, RC_PLAIN_MAX - 3};
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites && s[i].version == KS_TLS13; i++) {
        for (size_t k = 0; k < sizeof(zeros) / sizeof(zeros[0]); k++) {
            size_t len;

            memset(inner, 0, sizeof(inner));
            memcpy(inner, "a\0c\x16", 4); /* a zero inside is no padding */
            len = seal_inner(&s[i], inner, 4 + zeros[k]);
            CU_ASSERT_EQUAL(open_with(&s[i], 5, wire, len, &type, &plain, &n), 0);
            CU_ASSERT(type == RC_HANDSHAKE && n == 3 && memcmp(plain, "a\0c", 3) == 0);
            memset(inner, 0, 4);
            len = seal_inner(&s[i], inner, 4 + zeros[k]);
            CU_ASSERT_EQUAL(opens(&s[i], wire, len), -EBADMSG);
        }
        /* An empty record of data with padding is allowed, one of a handshake is not. */
        memset(inner, 0, 4);
        inner[0] = RC_DATA;
        n = seal_inner(&s[i], inner, 4);
        CU_ASSERT_EQUAL(open_with(&s[i], 5, wire, n, &type, &plain, &n), 0);
        CU_ASSERT(type == RC_DATA && n == 0);
        inner[0] = RC_HANDSHAKE;
        CU_ASSERT_EQUAL(opens(&s[i], wire, seal_inner(&s[i], inner, 4)), -EBADMSG);
    }
}

static void test_unpadded(void)
{
    uint8_t text[41];

    for (size_t n = 0; n <= sizeof(text); n++) {
        memset(text, 0, sizeof(text));
        CU_ASSERT_EQUAL(unpadded(text, n), 0);
        for (size_t at = 0; at < n; at++) {
            memset(text, 0, sizeof(text));
            text[at] = 1;
            CU_ASSERT_EQUAL(unpadded(text, n), at + 1);
            memset(text, 0xff, at);
            CU_ASSERT_EQUAL(unpadded(text, n), at + 1);
        }
    }
}

/* Types that no protected record of TLS 1.3 may carry inside or outside. */
static void test_confusion13(void)
{
    static const uint8_t wrong[] = {1, 19, RC_CCS, 24, 255};
    size_t n_suites;
    const struct ks_suite *s = ks_suites(&n_suites);

    for (size_t i = 0; i < n_suites && s[i].version == KS_TLS13; i++) {
        for (size_t k = 0; k < sizeof(wrong); k++)
            CU_ASSERT_EQUAL(opens(&s[i], wire, seal_one(&s[i], wrong[k], "a", 1)), -EBADMSG);
        for (uint8_t outer = RC_CCS; outer < RC_DATA; outer++)
            CU_ASSERT_EQUAL(opens(&s[i], wire, seal_raw(&s[i], outer, 2)), -EBADMSG);
    }
}

/* In TLS 1.2 the type is outside: it is authenticated, so an alert does not pass for data. */
static void test_confusion12(void)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites; i++) {
        size_t len;

        if (s[i].version != KS_TLS12)
            continue;
        len = seal_one(&s[i], RC_ALERT, "\1\0", 2);
        wire[0] = RC_DATA;
        CU_ASSERT_EQUAL(opens(&s[i], wire, len), -EBADMSG);
        /* No content type is looked for inside: zeros are data. */
        len = seal_one(&s[i], RC_DATA, "\0\0\0", 3);
        CU_ASSERT_EQUAL(open_with(&s[i], 5, wire, len, &type, &plain, &n), 0);
        CU_ASSERT(n == 3 && type == RC_DATA);
    }
}

/* TLS 1.2 GCM and CCM: the nonce on the wire is ours and counts up; opening takes any. */
static void test_explicit_nonce(void)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites; i++) {
        struct rc_ctx *c = NULL;
        struct ks_dir d;
        int len;

        if (s[i].version != KS_TLS12 || s[i].aead == KS_CHACHA20)
            continue;
        make_dir(&d, &s[i], 5);
        memcpy(d.nonce, "\1\2\3\4\5\6\7\xff", 8);
        CU_ASSERT_EQUAL_FATAL(rc_new(&c, &d, 1), 0);
        len = rc_seal(c, RC_DATA, "a", 1, wire);
        CU_ASSERT_EQUAL(len, (int)(RC_HEADER + 8 + 1 + 16));
        CU_ASSERT(memcmp(wire + RC_HEADER, d.nonce, 8) == 0);
        CU_ASSERT_EQUAL(open_with(&s[i], 5, wire, (size_t)len, &type, &plain, &n), 0);
        rc_seal(c, RC_DATA, "a", 1, wire);
        CU_ASSERT(memcmp(wire + RC_HEADER, "\1\2\3\4\5\6\x08\0", 8) == 0);
        rc_free(c);
    }
}

static void test_exhausted(void)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites; i++) {
        struct rc_ctx *out = context(&s[i], UINT64_MAX - 1, 1);
        struct rc_ctx *in = context(&s[i], UINT64_MAX - 1, 0);
        int len = rc_seal(out, RC_DATA, "a", 1, wire);

        CU_ASSERT_FATAL(len > 0);
        CU_ASSERT_EQUAL(rc_open(in, wire, (size_t)len, &type, &plain, &n), 0);
        CU_ASSERT_EQUAL(rc_seal(out, RC_DATA, "a", 1, wire), -EOVERFLOW);
        CU_ASSERT_EQUAL(rc_open(in, wire, (size_t)len, &type, &plain, &n), -EOVERFLOW);
        rc_free(in);
        rc_free(out);
    }
}

static void test_rekey(void)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    uint8_t type, *plain;

    for (size_t i = 0; i < n_suites; i++) {
        struct rc_ctx *out = context(&s[i], 9, 1), *in = context(&s[i], 9, 0);
        struct ks_dir d;
        int len;

        make_dir(&d, &s[i], 0);
        d.key[0] ^= 1;
        CU_ASSERT_EQUAL(rc_rekey(out, &d), 0);
        CU_ASSERT_EQUAL(rc_seq(out), 0);
        len = rc_seal(out, RC_DATA, "a", 1, wire);
        memcpy(copy, wire, (size_t)len);
        CU_ASSERT_EQUAL(rc_open(in, copy, (size_t)len, &type, &plain, &n), -EBADMSG);
        CU_ASSERT_EQUAL(rc_rekey(in, &d), 0);
        CU_ASSERT_EQUAL(rc_open(in, wire, (size_t)len, &type, &plain, &n), 0);
        /* A context does one thing. */
        CU_ASSERT_EQUAL(rc_seal(in, RC_DATA, "a", 1, wire), -EINVAL);
        CU_ASSERT_EQUAL(rc_open(out, wire, (size_t)len, &type, &plain, &n), -EINVAL);
        rc_free(in);
        rc_free(out);
    }
    rc_free(NULL);
}

static int init(void)
{
    for (size_t i = 0; i < sizeof(plain_bytes); i++)
        plain_bytes[i] = (uint8_t)(i * 31 + (i >> 8));
    return 0;
}

void suite_record(void)
{
    CU_pSuite s = CU_add_suite("record", init, NULL);

    CU_add_test(s, "round trips of every suite and size", test_round_trips);
    CU_add_test(s, "content types", test_types);
    CU_add_test(s, "each changed bit is seen", test_tampered);
    CU_add_test(s, "a refused record holds no text", test_spoiled);
    CU_add_test(s, "another sequence number", test_wrong_sequence);
    CU_add_test(s, "cut and too long", test_lengths);
    CU_add_test(s, "longer than the protocol allows", test_too_long);
    CU_add_test(s, "padding", test_padding);
    CU_add_test(s, "the end of the padding", test_unpadded);
    CU_add_test(s, "TLS 1.3 types out of place", test_confusion13);
    CU_add_test(s, "TLS 1.2 types out of place", test_confusion12);
    CU_add_test(s, "explicit nonce", test_explicit_nonce);
    CU_add_test(s, "sequence numbers run out", test_exhausted);
    CU_add_test(s, "rekey", test_rekey);
}
