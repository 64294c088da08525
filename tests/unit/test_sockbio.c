/* Tests of daemon/sockbio.c: no byte too many, whoever asks for whatever. */
#include "../../daemon/sockbio.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A BIO over fds[0]; the peer is fds[1]. */
struct wire {
    struct sb_state s;
    BIO *bio;
    int fds[2];
};

static void open_wire(struct wire *w)
{
    memset(w, 0, sizeof(*w));
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, w->fds), 0);
    w->s.fd = w->fds[0];
    w->bio = sb_new(&w->s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->bio);
}

static void close_wire(struct wire *w)
{
    BIO_free(w->bio);
    close(w->fds[0]);
    if (w->fds[1] >= 0)
        close(w->fds[1]);
}

static int unread(const struct wire *w)
{
    int n = -1;

    ioctl(w->fds[0], FIONREAD, &n);
    return n;
}

/* Puts a record of `len` bytes, all `fill`, into p. Returns its whole length. */
static size_t record(uint8_t *p, uint8_t type, size_t len, uint8_t fill)
{
    const uint8_t header[] = {type, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};

    memcpy(p, header, sizeof(header));
    memset(p + sizeof(header), fill, len);
    return sizeof(header) + len;
}

static void send_all(int fd, const void *p, size_t n)
{
    CU_ASSERT_EQUAL(send(fd, p, n, 0), (ssize_t)n);
}

/* However much is asked for, a read ends at the header's and at the record's end. */
static void test_clamp(void)
{
    static const size_t lengths[] = {1, 20, 0, 300};
    uint8_t sent[512], got[512];
    size_t asks[] = {1, 3, 5, 6, 100, sizeof(got)}, n;

    for (size_t a = 0; a < sizeof(asks) / sizeof(*asks); a++) {
        struct wire w;

        open_wire(&w);
        n = 0;
        for (size_t i = 0; i < 4; i++)
            n += record(sent + n, 22, lengths[i], (uint8_t)i);
        send_all(w.fds[1], sent, n);
        for (size_t i = 0, at = 0; i < 4; i++) {
            size_t end = at + 5 + lengths[i], stop = at + 5;

            while (at < end) {
                size_t k = 0;

                CU_ASSERT_EQUAL_FATAL(BIO_read_ex(w.bio, got + at, asks[a], &k), 1);
                at += k;
                CU_ASSERT_FATAL(at <= stop);
                if (at == stop)
                    stop = end;
            }
            CU_ASSERT_EQUAL(w.s.in_have, 0);
            CU_ASSERT_EQUAL(unread(&w), (int)(n - end));
        }
        CU_ASSERT(memcmp(sent, got, n) == 0);
        close_wire(&w);
    }
}

/* Records that arrive byte by byte: would-block in between, the same bytes in the end. */
static void test_short_reads(void)
{
    uint8_t sent[64], got[64];
    size_t n = record(sent, 23, 9, 7), at = 0, k = 0;
    struct wire w;

    open_wire(&w);
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 0);
    CU_ASSERT(BIO_should_retry(w.bio) && BIO_should_read(w.bio) && w.s.err == 0 && !w.s.any_in);
    for (size_t i = 0; i < n; i++) {
        send_all(w.fds[1], sent + i, 1);
        CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got + at, sizeof(got) - at, &k), 1);
        CU_ASSERT_EQUAL(k, 1);
        at += k;
        CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got + at, sizeof(got) - at, &k), 0);
        CU_ASSERT(BIO_should_retry(w.bio));
    }
    CU_ASSERT(memcmp(got, sent, n) == 0 && w.s.in_have == 0);
    CU_ASSERT(w.s.first_have == 8 && memcmp(w.s.first, sent, 8) == 0);
    close_wire(&w);
}

static void test_hold(void)
{
    uint8_t sent[256], got[256];
    size_t n = record(sent, 22, 10, 1), k = 0;
    struct wire w;

    open_wire(&w);
    n += record(sent + n, 23, 10, 2);
    n += record(sent + n, 23, 10, 3);
    send_all(w.fds[1], sent, n);
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 1);
    w.s.hold = true; /* in the middle of a record: that one is still finished */
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 1);
    CU_ASSERT_EQUAL(k, 10);
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 0);
    CU_ASSERT(BIO_should_retry(w.bio) && unread(&w) == 30);
    w.s.allow = 1;
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, 2, &k), 1); /* its header in two pieces: one record */
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, 100, &k), 1);
    CU_ASSERT_EQUAL(k, 3);
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, 100, &k), 1);
    CU_ASSERT_EQUAL(k, 10);
    CU_ASSERT_EQUAL(w.s.allow, 0);
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, 100, &k), 0);
    CU_ASSERT(BIO_should_retry(w.bio) && unread(&w) == 15);
    close_wire(&w);
}

/* A record out of memory, with no socket at all any more: the next one is not asked for. */
static void test_memory(void)
{
    uint8_t record_of[64], got[64];
    size_t n = record(record_of, 23, 20, 4), at = 0, k = 0;
    struct wire w;

    open_wire(&w);
    w.s.hold = true;
    w.s.allow = 1;
    w.s.fd = -1;
    w.s.mem = record_of;
    w.s.mem_left = (uint32_t)n;
    while (BIO_read_ex(w.bio, got + at, at < 5 ? 5 : 7, &k) == 1)
        at += k;
    CU_ASSERT(at == n && memcmp(got, record_of, n) == 0 && w.s.mem_left == 0);
    CU_ASSERT(BIO_should_retry(w.bio) && w.s.err == 0);
    w.s.allow = 1;
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, 5, &k), 0);
    CU_ASSERT(!BIO_should_retry(w.bio) && w.s.err == EBADF);
    close_wire(&w);
}

static void test_ends(void)
{
    struct linger now = {.l_onoff = 1};
    uint8_t got[8];
    struct wire w;
    size_t k = 0;

    open_wire(&w);
    CU_ASSERT_EQUAL(BIO_eof(w.bio), 0);
    close(w.fds[1]);
    w.fds[1] = -1;
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 0);
    CU_ASSERT(!BIO_should_retry(w.bio) && w.s.eof && w.s.err == 0 && BIO_eof(w.bio));
    CU_ASSERT_EQUAL(BIO_write_ex(w.bio, "x", 1, &k), 0);
    CU_ASSERT(!BIO_should_retry(w.bio) && w.s.err == EPIPE);
    close_wire(&w);

    open_wire(&w); /* unread bytes at the peer's end make a reset of its close */
    send_all(w.fds[0], "unread", 6);
    setsockopt(w.fds[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(w.fds[1]);
    w.fds[1] = -1;
    CU_ASSERT_EQUAL(BIO_read_ex(w.bio, got, sizeof(got), &k), 0);
    CU_ASSERT(!BIO_should_retry(w.bio) && w.s.err == ECONNRESET && !w.s.eof);
    close_wire(&w);

    CU_ASSERT_EQUAL(BIO_flush(w.bio = sb_new(&w.s)), 1);
    BIO_free(w.bio);
}

/* The nonce of the last record, however the records were cut into writes. */
static void test_nonce(void)
{
    uint8_t sent[256];
    size_t n, k;

    n = record(sent, 22, 40, 1);
    n += record(sent + n, 20, 1, 1); /* a ChangeCipherSpec is shorter than a nonce */
    n += record(sent + n, 22, 0, 9);
    n += record(sent + n, 22, 24, 0);
    memcpy(sent + n - 24, "\1\2\3\4\5\6\7\10\11", 9);
    for (size_t piece = 1; piece <= n; piece++) {
        struct wire w;

        open_wire(&w);
        for (size_t at = 0; at < n; at += piece) {
            size_t step = n - at < piece ? n - at : piece;

            CU_ASSERT_EQUAL(BIO_write_ex(w.bio, sent + at, step, &k), 1);
            CU_ASSERT_EQUAL(k, step);
        }
        CU_ASSERT(memcmp(w.s.out_nonce, "\1\2\3\4\5\6\7\10", 8) == 0);
        CU_ASSERT(w.s.out_have == 0 && w.s.out_left == 0);
        close_wire(&w);
    }
}

/* A full socket takes a part, then nothing: only what went is counted. */
static void test_full(void)
{
    static uint8_t sent[5 + 16384];
    size_t n = record(sent, 23, 16384, 5), total = 0, k = 0;
    int small = 4608;
    struct wire w;

    open_wire(&w);
    setsockopt(w.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    while (BIO_write_ex(w.bio, sent + total % n, n - total % n, &k) == 1)
        total += k;
    CU_ASSERT(BIO_should_retry(w.bio) && BIO_should_write(w.bio) && w.s.err == 0);
    CU_ASSERT_EQUAL(total % n == 0 ? 0 : n - total % n, w.s.out_left);
    close_wire(&w);
}

void suite_sockbio(void)
{
    CU_pSuite s = CU_add_suite("sockbio", NULL, NULL);

    CU_add_test(s, "clamp", test_clamp);
    CU_add_test(s, "short reads", test_short_reads);
    CU_add_test(s, "hold", test_hold);
    CU_add_test(s, "memory", test_memory);
    CU_add_test(s, "ends", test_ends);
    CU_add_test(s, "nonce", test_nonce);
    CU_add_test(s, "full", test_full);
}
