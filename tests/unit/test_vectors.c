/* Tests of the encoder, by the golden vectors of tests/vectors and what becomes of them when
 * damaged.
 *
 * Linked with proto/wire.c, which test_wire.c includes. */
#include "../../proto/wire.h"

#include "reencode.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef HTLS_VECTORS
#define HTLS_VECTORS "tests/vectors"
#endif

struct vector {
    char name[64];
    int expect;
    enum w_dir dir;
    unsigned fds;
    size_t n;
    uint8_t bytes[4096];
};

static struct vector vectors[256];
static size_t n_vectors;

static int errno_named(const char *name)
{
    static const struct {
        const char *name;
        int rc;
    } names[] = {{"0", 0},
                 {"EBADMSG", -EBADMSG},
                 {"EPROTONOSUPPORT", -EPROTONOSUPPORT},
                 {"EPROTO", -EPROTO},
                 {"ENODATA", -ENODATA},
                 {"EMFILE", -EMFILE}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, name) == 0)
            return names[i].rc;
    }
    return 1;
}

/* One line: a `# key: value` of the head, and hex digits up to the comment. False = not a vector.
 */
static bool read_line(struct vector *v, char *line)
{
    char word[32];

    if (sscanf(line, "# expect: %31s", word) == 1)
        v->expect = errno_named(word);
    if (sscanf(line, "# direction: %31s", word) == 1)
        v->dir = strcmp(word, "daemon") == 0 ? W_TO_DAEMON : W_TO_CLIENT;
    if (sscanf(line, "# fds: %31s", word) == 1)
        v->fds = (unsigned)strtoul(word, NULL, 10);
    line[strcspn(line, "#\n")] = '\0';
    for (const char *p = line; *p != '\0'; p++) {
        if (isspace((unsigned char)*p))
            continue;
        if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]))
            return false;
        if (v->n == sizeof(v->bytes))
            return false;
        memcpy(word, p, 2);
        word[2] = '\0';
        v->bytes[v->n++] = (uint8_t)strtoul(word, NULL, 16);
        p++;
    }
    return true;
}

static bool read_vector(struct vector *v, const char *name)
{
    char path[512], line[256];
    bool good = true;
    FILE *f;

    *v = (struct vector){.expect = 1};
    (void)snprintf(v->name, sizeof(v->name), "%s", name);
    (void)snprintf(path, sizeof(path), "%s/%s", HTLS_VECTORS, name);
    f = fopen(path, "r");
    if (!f)
        return false;
    while (good && fgets(line, sizeof(line), f))
        good = read_line(v, line);
    (void)fclose(f);
    return good && v->expect <= 0 && v->dir != 0;
}

static int read_vectors(void)
{
    DIR *d = opendir(HTLS_VECTORS);
    struct dirent *e;
    bool good = d != NULL;

    n_vectors = 0;
    while (d && (e = readdir(d)) != NULL) {
        size_t n = strlen(e->d_name);

        if (n < 5 || strcmp(e->d_name + n - 4, ".hex") != 0)
            continue;
        if (n_vectors == sizeof(vectors) / sizeof(vectors[0]) ||
            !read_vector(&vectors[n_vectors++], e->d_name)) {
            (void)fprintf(stderr, "%s/%s is no vector\n", HTLS_VECTORS, e->d_name);
            good = false;
        }
    }
    if (d)
        (void)closedir(d);
    return good ? 0 : -1;
}

static bool is_open(const struct vector *v)
{
    return v->n > 4 && (v->bytes[4] == W_HELLO || v->bytes[4] == W_WELCOME);
}

/* Decodes a copy of exactly n bytes, so that the sanitizer sees a read past the end. What decodes
 * must come out of the encoder byte for byte, unless attributes were skipped. */
static int decode(const struct vector *v, size_t n, bool skips)
{
    static uint8_t again[W_MESSAGE_MAX];
    uint8_t *copy = malloc(n ? n : 1);
    struct w_msg m;
    int rc, len;

    CU_ASSERT_FATAL(copy != NULL);
    memcpy(copy, v->bytes, n);
    rc = w_decode(&m, copy, n, v->fds, v->dir);
    if (rc == 0) {
        len = reencode(&m, again, sizeof(again));
        CU_ASSERT(len > 0);
        if (!skips || len == (int)n)
            CU_ASSERT(len == (int)n && memcmp(again, copy, n) == 0);
    }
    free(copy);
    return rc;
}

static void test_vectors(void)
{
    unsigned good[W_TYPE_END] = {0}, bad = 0;

    for (size_t i = 0; i < n_vectors; i++) {
        const struct vector *v = &vectors[i];
        int rc = decode(v, v->n, strcmp(v->name, "hello-future.hex") == 0);

        if (rc != v->expect)
            (void)fprintf(stderr, "%s: %d, not %d\n", v->name, rc, v->expect);
        CU_ASSERT_EQUAL(rc, v->expect);
        if (v->expect == 0)
            good[v->bytes[4]]++;
        else
            bad++;
    }
    for (unsigned t = 1; t < W_TYPE_END; t++)
        CU_ASSERT(good[t] > 0);
    CU_ASSERT(bad > 20);
}

/* The message cut at every byte; then also with a header that owns up to it. */
static void test_truncated(void)
{
    for (size_t i = 0; i < n_vectors; i++) {
        struct vector v = vectors[i];

        for (size_t n = 0; v.expect == 0 && n < v.n; n++) {
            CU_ASSERT_EQUAL(decode(&v, n, true), -EBADMSG);
            if (n < W_HEADER)
                continue;
            v.bytes[8] = (uint8_t)n;
            v.bytes[9] = (uint8_t)(n >> 8);
            CU_ASSERT(decode(&v, n, true) <= 0);
            if (n % 4 != 0)
                CU_ASSERT_EQUAL(decode(&v, n, true), -EBADMSG);
            memcpy(v.bytes, vectors[i].bytes, W_HEADER);
        }
    }
}

static void test_every_bit(void)
{
    for (size_t i = 0; i < n_vectors; i++) {
        struct vector v = vectors[i];

        for (size_t bit = 0; bit < v.n * 8; bit++) {
            int rc;

            v.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            rc = decode(&v, v.n, is_open(&v));
            CU_ASSERT(rc <= 0);
            if (bit < 12 * 8 && v.expect == 0) /* nothing in the header but the id is free */
                CU_ASSERT(rc < 0);
            v.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
}

/* Random bytes behind a right header, then random attributes with small lengths. */
static void test_random(void)
{
    struct vector v = {.n = 0};
    uint64_t x = 88172645463325252U;

    for (unsigned round = 0; round < 200000; round++) {
        v.n = W_HEADER + (round % 41) * 4;
        for (size_t i = 0; i < v.n; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift64: the same on every run */
            v.bytes[i] = (uint8_t)x;
        }
        for (size_t i = W_HEADER; round % 2 && i < v.n; i += 12) {
            v.bytes[i] %= W_ATTR_END + 1;
            memset(v.bytes + i + 1, 0, 7);
            v.bytes[i + 4] = (uint8_t)(1U << (x >> i % 32) % 4);
        }
        memcpy(v.bytes, "htls", 4);
        v.bytes[4] = (uint8_t)(v.bytes[4] % W_TYPE_END);
        v.fds = v.bytes[6] %= 3;
        v.bytes[5] = v.bytes[7] = v.bytes[10] = v.bytes[11] = 0;
        v.bytes[8] = (uint8_t)v.n;
        v.bytes[9] = (uint8_t)(v.n >> 8);
        v.dir = round & 2 ? W_TO_DAEMON : W_TO_CLIENT;
        CU_ASSERT(decode(&v, v.n, is_open(&v)) <= 0);
    }
}

static void begin_connect(struct w_buf *b, void *buf, size_t cap)
{
    w_begin(b, buf, cap, W_CONNECT, 7, 1);
    w_put_text(b, W_A_SERVER_NAME, "example.com");
}

/* Every capacity that is too small says ENOSPC and leaves the byte behind it alone. */
static void test_no_room(void)
{
    uint8_t buf[128];
    struct w_buf b;

    for (size_t cap = 0; cap < 60; cap++) {
        memset(buf, 0xee, sizeof(buf));
        begin_connect(&b, buf, cap);
        w_put_num(&b, W_A_VERIFY, W_VERIFY_NONE);
        CU_ASSERT_EQUAL(w_end(&b), cap < 48 ? -ENOSPC : 48);
        CU_ASSERT_EQUAL(buf[cap], 0xee);
    }
}

/* A buffer larger than any message does not make a larger message (here: one attribute twice). */
static void test_full(void)
{
    static uint8_t buf[2 * W_MESSAGE_MAX], early[60000];
    struct w_buf b;

    for (size_t n = 0; n < 8; n++) {
        w_begin(&b, buf, n % 2 ? sizeof(buf) : (size_t)1 << 32, W_REPORT, 7, 0);
        w_put_bytes(&b, W_A_REPORT, early, 50000);
        w_put_bytes(&b, W_A_REPORT, early, 15504 + n);
        CU_ASSERT_EQUAL(w_end(&b), n == 0 ? -EINVAL : -ENOSPC);
    }
}

static void test_encoder_refuses(void)
{
    static const struct {
        enum w_attr a;
        uint64_t value;
    } numbers[] = {{W_A_VERIFY, 2},     {W_A_VERIFY, 256}, {W_A_SUITE, 0x10000}, {W_A_FLAGS, 4},
                   {W_A_TIMEOUT_MS, 0}, {W_A_ALPN, 1},     {(enum w_attr)0, 1},  {W_ATTR_END, 1}};
    uint8_t buf[4096];
    struct w_buf b;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        begin_connect(&b, buf, sizeof(buf));
        w_put_num(&b, numbers[i].a, numbers[i].value);
        CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    }
    begin_connect(&b, buf, sizeof(buf));
    w_put_bytes(&b, W_A_VERIFY, "\1", 1);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    begin_connect(&b, buf, sizeof(buf));
    w_put_bytes(&b, W_A_ALPN, NULL, 0);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    begin_connect(&b, buf, sizeof(buf));
    w_put_bytes(&b, W_A_ALPN, buf, (size_t)1 << 32 | 2);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    begin_connect(&b, buf, sizeof(buf));
    w_put_num(&b, W_A_FLAGS, 0); /* order */
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    begin_connect(&b, buf, 20);
    w_put_num(&b, W_A_VERIFY, 99); /* the first error stays */
    CU_ASSERT_EQUAL(w_end(&b), -ENOSPC);
    for (unsigned nfds = 3; nfds < 0x20000; nfds++) { /* 0x10001 is 1 in sixteen bits */
        w_begin(&b, buf, sizeof(buf), W_CONNECT, 7, nfds);
        w_put_text(&b, W_A_SERVER_NAME, "example.com");
        CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    }
    w_begin(&b, buf, sizeof(buf), W_CONNECT, 7, 1);
    w_put_text(&b, W_A_SERVER_NAME, NULL);
    w_put_text(&b, W_A_SERVER_NAME, "");
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL); /* nothing was put, so the name is missing */
    begin_connect(&b, buf, sizeof(buf));
    w_put_text(&b, W_A_GROUPS, NULL);
    w_put_text(&b, W_A_GROUPS, "");
    CU_ASSERT_EQUAL(w_end(&b), 36);
    w_begin(&b, buf, sizeof(buf), (enum w_type)0, 7, 0);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    w_begin(&b, buf, sizeof(buf), W_TYPE_END, 7, 0);
    CU_ASSERT_EQUAL(w_end(&b), -EINVAL);
    w_begin(&b, buf, sizeof(buf), W_REPORT, 7, 0);
    w_put_bytes(&b, W_A_REPORT, NULL, 0);
    CU_ASSERT_EQUAL(w_end(&b), 24);
}

static void test_text(void)
{
    uint8_t buf[256];
    struct w_buf b;
    struct w_msg m;
    char out[16];
    int n;

    begin_connect(&b, buf, sizeof(buf));
    w_put_bytes(&b, W_A_ALPN, "h2\0evil", 7);
    n = w_end(&b);
    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, buf, (size_t)n, 1, W_TO_DAEMON), 0);
    for (size_t cap = 0; cap <= sizeof(out); cap++) {
        memset(out, 'z', sizeof(out));
        CU_ASSERT_EQUAL(w_text(&m, W_A_SERVER_NAME, out, cap), cap < 12 ? -ENAMETOOLONG : 0);
        CU_ASSERT(cap < 12 ? cap == 0 || out[0] == '\0' : strcmp(out, "example.com") == 0);
        CU_ASSERT(cap == sizeof(out) || out[cap] == 'z');
    }
    CU_ASSERT_EQUAL(w_text(&m, W_A_ALPN, out, sizeof(out)), -EILSEQ);
    CU_ASSERT_EQUAL(out[0], '\0');
    out[0] = 'z';
    CU_ASSERT_EQUAL(w_text(&m, W_A_GROUPS, out, sizeof(out)), 0);
    CU_ASSERT_EQUAL(out[0], '\0');
    CU_ASSERT(w_has(&m, W_A_ALPN) && !w_has(&m, W_A_GROUPS));
    CU_ASSERT_EQUAL(w_num(&m, W_A_TIMEOUT_MS, 30000), 30000);
}

static void test_walk(void)
{
    static const char *const names[] = {"h2", "http/1.1", "x"};
    uint32_t pos = 0, other = 0;
    uint8_t buf[256];
    struct w_buf b;
    struct w_msg m;
    struct w_val v;
    int n;

    begin_connect(&b, buf, sizeof(buf));
    for (size_t i = 0; i < 3; i++)
        w_put_text(&b, W_A_ALPN, names[i]);
    w_put_num(&b, W_A_SUITE, 0x1301);
    w_put_num(&b, W_A_SUITE, 0xc02f);
    n = w_end(&b);
    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, buf, (size_t)n, 1, W_TO_DAEMON), 0);
    CU_ASSERT(m.id == 7 && m.type == W_CONNECT && m.nfds == 1);
    CU_ASSERT(m.v[W_A_ALPN].n == 2 && m.v[W_A_SUITE].u == 0x1301); /* v[] keeps the first */
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_FATAL(w_next(&m, W_A_ALPN, &pos, &v));
        CU_ASSERT(v.n == strlen(names[i]) && memcmp(v.p, names[i], v.n) == 0);
    }
    CU_ASSERT(!w_next(&m, W_A_ALPN, &pos, &v) && !w_next(&m, W_A_ALPN, &pos, &v));
    CU_ASSERT(v.n == 1); /* untouched */
    pos = 0;
    CU_ASSERT(w_next(&m, W_A_SUITE, &pos, &v) && v.u == 0x1301);
    CU_ASSERT(w_next(&m, W_A_SUITE, &pos, &v) && v.u == 0xc02f);
    CU_ASSERT(!w_next(&m, W_A_SUITE, &pos, &v));
    CU_ASSERT(!w_next(&m, W_A_GROUPS, &other, &v) && other == 0);
    CU_ASSERT(!w_next(&m, (enum w_attr)0, &other, &v));
    CU_ASSERT(!w_next(&m, (enum w_attr)900, &other, &v));
}

void suite_vectors(void)
{
    CU_pSuite s = CU_add_suite("vectors", read_vectors, NULL);

    CU_add_test(s, "golden vectors", test_vectors);
    CU_add_test(s, "cut at every byte", test_truncated);
    CU_add_test(s, "every bit flipped", test_every_bit);
    CU_add_test(s, "random messages", test_random);
    CU_add_test(s, "no room", test_no_room);
    CU_add_test(s, "the longest message", test_full);
    CU_add_test(s, "what the encoder refuses", test_encoder_refuses);
    CU_add_test(s, "walking lists", test_walk);
    CU_add_test(s, "text", test_text);
}
