/* Tests of proto/wire.c: what the protocol says of every message and attribute, said a second time.
 */
#include "../../proto/wire.c"

#include "suites.h"
#include "wire_rules.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>

/* A message written by hand: wire.c must not judge itself. */
struct raw {
    uint8_t b[2 * W_MESSAGE_MAX];
    size_t n;
};
static struct raw raw;

static void le(size_t at, unsigned width, uint64_t v)
{
    for (unsigned i = 0; i < width; i++, v >>= 8)
        raw.b[at + i] = (uint8_t)v;
}

static void start(unsigned type, unsigned fds)
{
    memcpy(raw.b, "htls", 4);
    le(4, 2, type);
    le(6, 2, fds);
    le(12, 4, 77);
    raw.n = 16;
}

static void add(unsigned a, const void *p, size_t n)
{
    memset(raw.b + raw.n, 0, 12 + n);
    le(raw.n, 2, a);
    le(raw.n + 4, 4, n);
    memcpy(raw.b + raw.n + 8, p, n);
    raw.n += 8 + (n + 3) / 4 * 4;
}

static void add_num(unsigned a, unsigned width, uint64_t v)
{
    uint8_t p[8];

    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    add(a, p, width);
}

static const char *filler(void)
{
    static char x[W_MESSAGE_MAX];
    return memset(x, 'x', sizeof(x));
}

/* A good value for the attribute: the greatest number, or three bytes. */
static void add_good(unsigned a)
{
    for (size_t i = 0; i < N_ATTRS; i++) {
        if (attrs[i].a == a && attrs[i].kind <= 8)
            add_num(a, (unsigned)attrs[i].kind, attrs[i].max);
        else if (attrs[i].a == a)
            add(a, "xyz", 3);
    }
    if (a == W_A_GATE_FILL)
        add_num(a, 4, 4096);
}

/* Decodes a copy of exactly this size, so that the sanitizer sees a read past the end. */
static int decode_as(unsigned fds, enum w_dir dir)
{
    struct w_msg m, before;
    uint8_t *copy = malloc(raw.n ? raw.n : 1);
    int rc;

    CU_ASSERT_FATAL(copy != NULL);
    memcpy(copy, raw.b, raw.n);
    memset(&m, 0x5a, sizeof(m));
    before = m;
    rc = w_decode(&m, copy, raw.n, fds, dir);
    if (rc < 0)
        CU_ASSERT(memcmp(&m, &before, sizeof(m)) == 0);
    free(copy);
    return rc;
}

static int finish(unsigned fds)
{
    unsigned type = raw.b[4];

    le(8, 4, raw.n);
    return decode_as(fds, type < W_TYPE_END && messages[type].dir ? messages[type].dir : 1);
}

static bool in(const uint8_t *list, size_t most, unsigned a)
{
    return a != 0 && memchr(list, (int)a, most) != NULL;
}

/* A message with its required attributes and `extra`, without `but`. */
static void compose(unsigned type, unsigned extra, unsigned but)
{
    start(type, messages[type].fds);
    for (unsigned a = 1; a < 100; a++) {
        if (a != but && (a == extra || in(messages[type].must, 6, a)))
            add_good(a);
    }
}

static void test_header(void)
{
    for (size_t n = 0; n < 16; n++) {
        start(W_STATUS, 0);
        raw.n = n;
        CU_ASSERT_EQUAL(finish(0), -EBADMSG);
    }
    for (unsigned i = 0; i < 4; i++) {
        start(W_STATUS, 0);
        raw.b[i] ^= 0x20;
        CU_ASSERT_EQUAL(finish(0), -EBADMSG);
    }
    start(W_STATUS, 0);
    CU_ASSERT_EQUAL(finish(0), 0);
    for (uint32_t wrong = 0; wrong < 64; wrong++) {
        le(8, 4, wrong);
        CU_ASSERT_EQUAL(decode_as(0, W_TO_DAEMON), wrong == 16 ? 0 : -EBADMSG);
    }
    for (unsigned type = 0; type < 0x10000; type++) {
        start(type, 0);
        if (type == 0 || type >= W_TYPE_END)
            CU_ASSERT_EQUAL(finish(0), -EPROTONOSUPPORT);
    }
}

static void test_messages(void)
{
    for (unsigned t = 1; t < W_TYPE_END; t++) {
        compose(t, 0, 0);
        CU_ASSERT_EQUAL(finish(messages[t].fds), 0);
        CU_ASSERT_EQUAL(decode_as(messages[t].fds, W_TO_DAEMON + W_TO_CLIENT - messages[t].dir),
                        -EPROTO);
        for (unsigned a = 1; a < W_ATTR_END; a++) {
            bool must = in(messages[t].must, 6, a), may = in(messages[t].may, 16, a);
            bool bare = !messages[t].must[0];
            /* bare: too long before it has the wrong attribute */
            int rc = must ? -ENODATA : may ? 0 : bare ? -EBADMSG : -EPROTO;

            compose(t, must ? 0 : a, must ? a : 0);
            if (a != W_A_GATE_FILL || t != W_CONNECT) /* that: cross_checks */
                CU_ASSERT_EQUAL(finish(messages[t].fds), rc);
        }
    }
}

static void test_descriptors(void)
{
    for (unsigned t = 1; t < W_TYPE_END; t++) {
        for (unsigned said = 0; said < 5; said++) {
            bool may = said == messages[t].fds || (t == W_RESULT && said == 1);

            for (unsigned came = 0; came < 5; came++) {
                compose(t, 0, 0);
                le(6, 2, said);
                CU_ASSERT_EQUAL(finish(came), may && said == came ? 0 : -EMFILE);
            }
        }
        le(6, 2, 0x100 + messages[t].fds);
        CU_ASSERT_EQUAL(finish(messages[t].fds), -EMFILE);
    }
}

/* The host of attrs[i] with `times` of that attribute: a number, or n bytes. */
static int with(size_t i, unsigned times, uint64_t number, const char *p, size_t n)
{
    unsigned host = attrs[i].host;

    start(host, messages[host].fds);
    for (unsigned a = 1; a < W_ATTR_END; a++) {
        for (unsigned k = 0; a == attrs[i].a && k < times; k++) {
            if (!p)
                add_num(a, n ? (unsigned)n : (unsigned)attrs[i].kind, number);
            else
                add(a, p, n);
        }
        if (a != attrs[i].a && in(messages[host].must, 6, a))
            add_good(a);
    }
    return finish(messages[host].fds);
}

static void test_numbers(void)
{
    for (size_t i = 0; i < N_ATTRS; i++) {
        uint64_t min = attrs[i].min, max = attrs[i].max;
        unsigned width = (unsigned)attrs[i].kind;

        if (width > 8)
            continue;
        CU_ASSERT_EQUAL(with(i, 1, min, NULL, 0), 0);
        CU_ASSERT_EQUAL(with(i, 1, max, NULL, 0), 0);
        if (min > 0) /* below MODE_TX's and _RX's 2 is a mode, but not beside the other's 3 */
            CU_ASSERT_EQUAL(with(i, 1, min - 1, NULL, 0), -EBADMSG);
        if (width < 8 && max < (UINT64_C(1) << (8 * width)) - 1)
            CU_ASSERT_EQUAL(with(i, 1, attrs[i].a == W_A_FLAGS ? 4 : max + 1, NULL, 0), -EBADMSG);
        for (unsigned n = 1; n <= 8; n++)
            CU_ASSERT_EQUAL(with(i, 1, min, NULL, n), n == width ? 0 : -EBADMSG);
        CU_ASSERT_EQUAL(with(i, 1, 0, "", 0), -EBADMSG);
    }
}

static void test_bytes(void)
{
    for (size_t i = 0; i < N_ATTRS; i++) {
        char kind = attrs[i].kind;

        if (attrs[i].kind <= 8)
            continue;
        CU_ASSERT_EQUAL(with(i, 1, 0, filler(), attrs[i].min), 0);
        CU_ASSERT_EQUAL(with(i, 1, 0, filler(), attrs[i].max), 0);
        CU_ASSERT_EQUAL(with(i, 1, 0, filler(), attrs[i].max + 1), -EBADMSG);
        CU_ASSERT_EQUAL(with(i, 1, 0, filler(), 0), attrs[i].min ? -EBADMSG : 0);
        for (int c = 0; c < 3 * 256; c++) { /* each byte first, in the middle, last */
            uint8_t v[4] = "aaa", byte = v[c / 256] = (uint8_t)c;
            bool text = byte >= ' ' && byte != 0x7f, name = byte > ' ' && byte < 0x7f;
            bool good = kind == 'b' || (kind == 't' ? text : name);

            CU_ASSERT_EQUAL(with(i, 1, 0, (char *)v, 3), good ? 0 : -EBADMSG);
        }
    }
}

static void test_lists(void)
{
    for (size_t i = 0; i < N_ATTRS; i++) {
        const char *p = attrs[i].kind <= 8 ? NULL : "xyz";

        CU_ASSERT_EQUAL(with(i, attrs[i].most, attrs[i].max, p, p ? 3 : 0), 0);
        CU_ASSERT_EQUAL(with(i, attrs[i].most + 1, attrs[i].max, p, p ? 3 : 0), -EBADMSG);
    }
}

/* A CONNECT with these numbers, where not -1. */
static int connect_with(unsigned fds, const int numbers[4])
{
    static const enum w_attr which[] = {W_A_FLAGS, W_A_VERSION_MIN, W_A_VERSION_MAX, W_A_GATE_FILL};

    start(W_CONNECT, fds);
    for (unsigned i = 0; i < 4; i++) {
        if (numbers[i] >= 0)
            add_num(which[i], i == 1 || i == 2 ? 2 : 4, (uint64_t)numbers[i]);
        if (i == 0)
            add(W_A_SERVER_NAME, "a", 1);
    }
    return finish(fds);
}

static void test_cross_checks(void)
{
    static const struct {
        int numbers[4], rc;
        unsigned fds;
    } rows[] = {
        // clang-format off
        {{-1, -1, -1, -1}, 0, 1}, {{0, -1, -1, -1}, 0, 1}, {{1, -1, -1, -1}, 0, 1},
        {{-1, -1, -1, 4096}, -EPROTO, 1}, {{1, -1, -1, 1}, -EPROTO, 1},
        {{2, -1, -1, 1}, 0, 2}, {{2, -1, -1, 1}, -EMFILE, 1}, {{0, -1, -1, -1}, -EMFILE, 2},
        {{2, -1, -1, 0}, -EBADMSG, 2}, {{2, -1, -1, -1}, -ENODATA, 2},
        {{3, -1, -1, 0x1000000}, 0, 2}, {{3, -1, -1, 0x1000001}, -EBADMSG, 2},
        {{4, -1, -1, -1}, -EBADMSG, 1}, {{-1, 0x304, 0x303, -1}, -EBADMSG, 1},
        {{-1, 0x303, 0x303, -1}, 0, 1}, {{-1, 0x303, 0x304, -1}, 0, 1},
        {{-1, 0x304, 0x304, -1}, 0, 1}, {{-1, -1, 0x303, -1}, 0, 1}, {{-1, 0x304, -1, -1}, 0, 1},
        // clang-format on
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(connect_with(rows[i].fds, rows[i].numbers), rows[i].rc);
    for (unsigned tx = 1; tx <= 3; tx++) {
        for (unsigned rx = 1; rx <= 3; rx++) {
            compose(W_RESULT, 0, 0);
            raw.b[16 + 12 + 12 + 8] = (uint8_t)tx;
            raw.b[16 + 12 + 12 + 12 + 8] = (uint8_t)rx;
            CU_ASSERT_EQUAL(finish(0), (tx == 1) == (rx == 1) ? 0 : -EBADMSG);
        }
    }
    compose(W_WELCOME, 0, 0);
    le(16 + 8, 4, 0);
    CU_ASSERT_EQUAL(finish(0), -EBADMSG);
}

static void test_frames(void)
{
    for (unsigned t = 1; t < W_TYPE_END; t++) {
        bool open = t == W_HELLO || t == W_WELCOME;

        if (!messages[t].must[0])
            continue;
        for (unsigned a = W_ATTR_END; a < 100; a++) {
            compose(t, 0, 0);
            add(a, "new", 3);
            CU_ASSERT_EQUAL(finish(messages[t].fds), open ? 0 : -EPROTONOSUPPORT);
        }
        raw.b[raw.n - 1] = 1; /* the padding of what is skipped */
        CU_ASSERT_EQUAL(finish(messages[t].fds), -EBADMSG);
        for (unsigned zero = 2; zero < 4; zero++) {
            compose(t, 0, 0);
            raw.b[16 + zero] = 1;
            CU_ASSERT_EQUAL(finish(messages[t].fds), -EBADMSG);
        }
        for (unsigned n = 1; n < 12; n++) { /* trailing bytes */
            compose(t, 0, 0);
            memset(raw.b + raw.n, 0, n);
            raw.n += n;
            CU_ASSERT_EQUAL(finish(messages[t].fds), -EBADMSG);
        }
        start(t, messages[t].fds);
        add(0, "", 0);
        CU_ASSERT_EQUAL(finish(messages[t].fds), -EBADMSG);
    }
    for (size_t n = 1; n < 4; n++) {
        for (size_t i = n; i < 4; i++) { /* each byte of each padding */
            start(W_CONNECT, 1);
            add(W_A_SERVER_NAME, "xyz", n);
            raw.b[16 + 8 + i] = 0xff;
            CU_ASSERT_EQUAL(finish(1), -EBADMSG);
        }
    }
    for (uint64_t n = 0; n < 20; n++) { /* a length that lies, small and near the wrap */
        start(W_CONNECT, 1);
        add(W_A_SERVER_NAME, "abcd", 4);
        le(16 + 4, 4, n);
        CU_ASSERT_EQUAL(finish(1), n == 4 ? 0 : -EBADMSG);
        le(16 + 4, 4, 0xffffffff - n);
        CU_ASSERT_EQUAL(finish(1), -EBADMSG);
        compose(W_HELLO, 0, 0);
        add(900, "", 0); /* where it is skipped, no limit of a value saves us */
        le(raw.n - 4, 4, 0xffffffff - n);
        CU_ASSERT_EQUAL(finish(0), -EBADMSG);
    }
}

static void test_longest(void)
{
    for (size_t n = 4000; n < 4100; n += 4) { /* HELLO is long only through what we do not know */
        start(W_HELLO, 0);
        add_num(W_A_VERSION, 4, 2);
        add_num(W_A_CAPS, 4, 0);
        add(900, filler(), n - 48);
        CU_ASSERT_EQUAL(raw.n, n);
        CU_ASSERT_EQUAL(finish(0), n <= 4096 ? 0 : -EBADMSG);
    }
    /* Every message with the longest of everything that it may carry is a legal one. */
    for (unsigned t = 1; t < W_TYPE_END; t++) {
        start(t, messages[t].fds);
        for (size_t i = 0; i < N_ATTRS; i++) {
            unsigned a = attrs[i].a;

            for (unsigned k = 0; k < attrs[i].most; k++) {
                if (!in(messages[t].must, 6, a) && !in(messages[t].may, 16, a))
                    continue;
                if (attrs[i].kind <= 8)
                    add_num(a, (unsigned)attrs[i].kind, attrs[i].max);
                else
                    add(a, filler(), attrs[i].max);
            }
        }
        CU_ASSERT(raw.n <= W_MESSAGE_MAX);
        CU_ASSERT_EQUAL(finish(messages[t].fds), 0);
    }
}

void suite_wire(void)
{
    CU_pSuite s = CU_add_suite("wire", NULL, NULL);

    CU_add_test(s, "header", test_header);
    CU_add_test(s, "messages carry what they may and must", test_messages);
    CU_add_test(s, "descriptors", test_descriptors);
    CU_add_test(s, "numbers", test_numbers);
    CU_add_test(s, "bytes, text and names", test_bytes);
    CU_add_test(s, "lists", test_lists);
    CU_add_test(s, "what attributes say together", test_cross_checks);
    CU_add_test(s, "frames of attributes", test_frames);
    CU_add_test(s, "the longest messages", test_longest);
}
