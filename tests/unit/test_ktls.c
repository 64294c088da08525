/* Tests of daemon/ktls.c: the exact bytes that the kernel gets, in which order, for how long. */
#include <stdint.h>
#include <string.h>

/* Stands in for the wipe, so that a test can ask what was wiped. */
static void spy_bzero(void *p, size_t n);
#define explicit_bzero spy_bzero
#include "../../daemon/ktls.c"
#undef explicit_bzero

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define CALLS 4

static struct {
    int fd, level, name;
    const void *at;
    uint8_t value[64];
    socklen_t len;
    bool wiped;
} calls[CALLS];
static int n_calls, refuse_call, refuse_errno;

static void spy_bzero(void *p, size_t n)
{
    memset(p, 0, n);
    if (n_calls > 0 && n_calls <= CALLS && p == calls[n_calls - 1].at &&
        n >= calls[n_calls - 1].len)
        calls[n_calls - 1].wiped = true;
}

static int record_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (n_calls < CALLS && len <= sizeof(calls[0].value)) {
        calls[n_calls].fd = fd;
        calls[n_calls].level = level;
        calls[n_calls].name = name;
        calls[n_calls].at = value;
        calls[n_calls].wiped = false;
        memcpy(calls[n_calls].value, value, len);
        calls[n_calls].len = len;
    }
    if (++n_calls != refuse_call)
        return 0;
    errno = refuse_errno;
    return -1;
}

static void expect(int refuse, int err)
{
    memset(calls, 0, sizeof(calls));
    n_calls = 0;
    refuse_call = refuse;
    refuse_errno = err;
}

static void make_dir(struct ks_dir *d, uint16_t id)
{
    *d = (struct ks_dir){.suite = ks_find(id), .seq = 0x0102030405060708};
    for (size_t i = 0; i < sizeof(d->key); i++)
        d->key[i] = (uint8_t)(0x80 + i);
    for (size_t i = 0; i < sizeof(d->iv); i++)
        d->iv[i] = (uint8_t)(0xc0 + i);
    memcpy(d->nonce, "NONCE678", sizeof(d->nonce));
}

#define K16 "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
#define K32 K16 "\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f"
#define IV_0_3 "\xc0\xc1\xc2\xc3"
#define IV_4_11 "\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb"
#define SEQ "\1\2\3\4\5\6\7\x08"

/* struct tls12_crypto_info_*: version, cipher, iv, key, salt, sequence number. */
static const struct {
    uint16_t id;
    socklen_t len;
    const char *bytes;
} rows[] = {
    {0x1301, 40, "\4\3\63\0" IV_4_11 K16 IV_0_3 SEQ},
    {0x1302, 56, "\4\3\64\0" IV_4_11 K32 IV_0_3 SEQ},
    {0x1303, 56, "\4\3\66\0" IV_0_3 IV_4_11 K32 SEQ},
    {0x1304, 40, "\4\3\65\0" IV_4_11 K16 IV_0_3 SEQ},
    {0xC02B, 40,
     "\3\3\63\0"
     "NONCE678" K16 IV_0_3 SEQ},
    {0xC02F, 40,
     "\3\3\63\0"
     "NONCE678" K16 IV_0_3 SEQ},
    {0xC02C, 56,
     "\3\3\64\0"
     "NONCE678" K32 IV_0_3 SEQ},
    {0xC030, 56,
     "\3\3\64\0"
     "NONCE678" K32 IV_0_3 SEQ},
    {0xCCA9, 56, "\3\3\66\0" IV_0_3 IV_4_11 K32 SEQ},
    {0xCCA8, 56, "\3\3\66\0" IV_0_3 IV_4_11 K32 SEQ},
    {0xC0AC, 40,
     "\3\3\65\0"
     "NONCE678" K16 IV_0_3 SEQ},
};

static void test_bytes(void)
{
    struct ks_dir d;
    size_t n;

    ks_suites(&n);
    CU_ASSERT_EQUAL(n, sizeof(rows) / sizeof(rows[0]));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_dir(&d, rows[i].id);
        expect(0, 0);
        CU_ASSERT_EQUAL(kt_set(7, TLS_TX, &d), 0);
        CU_ASSERT_EQUAL_FATAL(n_calls, 1);
        CU_ASSERT(calls[0].fd == 7 && calls[0].level == SOL_TLS && calls[0].name == TLS_TX);
        CU_ASSERT_EQUAL_FATAL(calls[0].len, rows[i].len);
        CU_ASSERT(memcmp(calls[0].value, rows[i].bytes, rows[i].len) == 0);
        CU_ASSERT(calls[0].wiped);
    }
}

static void test_set_refuses(void)
{
    struct ks_suite odd;
    struct ks_dir d;

    make_dir(&d, 0x1301);
    expect(1, ENOENT);
    CU_ASSERT_EQUAL(kt_set(7, TLS_RX, &d), -ENOENT);
    CU_ASSERT(calls[0].wiped);
    expect(0, 0);
    CU_ASSERT_EQUAL(kt_set(7, TLS_TX_ZEROCOPY_RO, &d), -EINVAL);
    odd = *d.suite;
    odd.key_len = 32; /* a row that does not fit the kernel's structure */
    d.suite = &odd;
    CU_ASSERT_EQUAL(kt_set(7, TLS_RX, &d), -EINVAL);
    d.suite = NULL;
    CU_ASSERT_EQUAL(kt_set(7, TLS_RX, &d), -EINVAL);
    CU_ASSERT_EQUAL(n_calls, 0);
}

static void test_install(void)
{
    struct ks_dir rx, tx;
    int installed = 9;

    make_dir(&rx, 0x1301);
    make_dir(&tx, 0x1301);
    rx.seq = 3;
    expect(0, 0);
    CU_ASSERT_EQUAL(kt_install(7, &rx, &tx, &installed), 0);
    CU_ASSERT_EQUAL(installed, 2);
    CU_ASSERT_EQUAL_FATAL(n_calls, 2);
    CU_ASSERT(calls[0].name == TLS_RX && calls[1].name == TLS_TX);
    CU_ASSERT(calls[0].value[39] == 3 && calls[1].value[39] == 8);
    CU_ASSERT(calls[0].wiped && calls[1].wiped);
}

static void test_install_refused(void)
{
    struct ks_dir rx, tx;
    int installed = 9;

    make_dir(&rx, 0x1303);
    make_dir(&tx, 0x1303);
    expect(1, ENOENT);
    CU_ASSERT_EQUAL(kt_install(7, &rx, &tx, &installed), -ENOENT);
    CU_ASSERT(installed == 0 && n_calls == 1);
    CU_ASSERT(calls[0].wiped);
    expect(2, EINVAL);
    CU_ASSERT_EQUAL(kt_install(7, &rx, &tx, &installed), -EINVAL);
    CU_ASSERT(installed == 1 && n_calls == 2);
    CU_ASSERT(calls[0].wiped && calls[1].wiped);
    make_dir(&tx, 0x1301);
    expect(0, 0);
    installed = 9;
    CU_ASSERT_EQUAL(kt_install(7, &rx, &tx, &installed), -EINVAL);
    CU_ASSERT(installed == 0 && n_calls == 0);
}

static void test_attach(void)
{
    expect(0, 0);
    CU_ASSERT_EQUAL(kt_attach(7), 0);
    CU_ASSERT(calls[0].fd == 7 && calls[0].level == IPPROTO_TCP && calls[0].name == TCP_ULP);
    CU_ASSERT_STRING_EQUAL(calls[0].value, "tls");
    expect(1, EEXIST);
    CU_ASSERT_EQUAL(kt_attach(7), -EEXIST);
}

/* The real call, on a real connection: what kt_attached says must follow what kt_attach did. */
static void test_attached(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0), pair[2];

    CU_ASSERT_FATAL(listener >= 0 && tcp >= 0);
    CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&a, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    CU_ASSERT_EQUAL_FATAL(connect(tcp, (struct sockaddr *)&a, len), 0);
    CU_ASSERT_FALSE(kt_attached(-1));
    CU_ASSERT_FALSE(kt_attached(tcp));
    kt_setsockopt = setsockopt;
    CU_ASSERT_EQUAL(kt_attach(tcp) == 0, kt_attached(tcp));
    kt_setsockopt = record_setsockopt;
    close(tcp);
    close(listener);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CU_ASSERT_FALSE(kt_attached(pair[0]));
    close(pair[0]);
    close(pair[1]);
}

static int init(void)
{
    kt_setsockopt = record_setsockopt;
    return 0;
}

static int clean(void)
{
    kt_setsockopt = setsockopt;
    return 0;
}

void suite_ktls(void)
{
    CU_pSuite s = CU_add_suite("ktls", init, clean);

    CU_add_test(s, "the bytes of every suite", test_bytes);
    CU_add_test(s, "one direction refused", test_set_refuses);
    CU_add_test(s, "receiving first, then sending", test_install);
    CU_add_test(s, "first or second refused", test_install_refused);
    CU_add_test(s, "attach", test_attach);
    CU_add_test(s, "attached", test_attached);
}
