/* Tests of shim/sockopt.c: htls's own level, and who answers the others. */
#include "../../shim/sockopt.c"

#include "suites.h"
#include "tcp_pair.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>

static int tcp[2];
static struct fs_state *s;

static void begin(enum fs_kind kind)
{
    struct lk_saved saved;

    tcp_pair(tcp);
    lk_take(&saved);
    s = fs_new(kind);
    CU_ASSERT_EQUAL_FATAL(fs_attach(tcp[0], s), 0);
    lk_give(&saved);
}

static void finish(void)
{
    struct lk_saved saved;

    lk_take(&saved);
    if (fs_find(tcp[0]) && fs_detach(tcp[0]))
        fs_put(s);
    lk_give(&saved);
    close(tcp[0]);
    close(tcp[1]);
}

static int set(int name, const char *value, socklen_t n)
{
    return so_set(tcp[0], HTLS_LEVEL, name, value, n);
}

static int get_state(void)
{
    int value = -1;
    socklen_t n = sizeof(value);

    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_STATE, &value, &n), 0);
    CU_ASSERT_EQUAL(n, sizeof(value));
    return value;
}

static void is_text(int name, const char *wanted)
{
    char out[2048];
    socklen_t n = sizeof(out);

    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, name, out, &n), 0);
    CU_ASSERT_EQUAL(n, strlen(wanted));
    CU_ASSERT_STRING_EQUAL(out, wanted);
}

static void test_before(void)
{
    int none = 0, full = 2, odd = 1;
    char longest[600];

    tcp_pair(tcp);
    CU_ASSERT_EQUAL(get_state(), HTLS_STATE_PLAIN);
    CU_ASSERT_PTR_NULL(fs_find(tcp[0])); /* a question leaves no trace */
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, "h2,http/1.1", 12), 0);
    s = fs_find(tcp[0]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_STRING_EQUAL(s->alpn, "h2,http/1.1");
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, "h2,,x", 5), -EINVAL);
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, "a\0b", 3), -EINVAL);
    memset(longest, 'x', sizeof(longest));
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, longest, sizeof(longest)), -EINVAL);
    CU_ASSERT_STRING_EQUAL(s->alpn, "h2,http/1.1"); /* untouched by what was refused */
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, "", 0), 0);
    CU_ASSERT_STRING_EQUAL(s->alpn, "");
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_ALPN, NULL, 5), -EFAULT);
    CU_ASSERT_EQUAL(set(HTLS_SO_CA, "store", 5), 0);
    CU_ASSERT_STRING_EQUAL(s->trust_store, "store");
    CU_ASSERT_EQUAL(set(HTLS_SO_CA, longest, 64), -EINVAL);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_VERIFY, &none, sizeof(none)), 0);
    CU_ASSERT_TRUE(s->no_verify);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_VERIFY, &full, sizeof(full)), 0);
    CU_ASSERT_FALSE(s->no_verify);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_VERIFY, &odd, sizeof(odd)), -EINVAL);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_VERIFY, &none, 1), -EINVAL);
    CU_ASSERT_EQUAL(set(HTLS_SO_CLOSE_OUTPUT, "\1\0\0\0", 4), -ENOTCONN);
    CU_ASSERT_EQUAL(get_state(), HTLS_STATE_PLAIN);
    finish();
}

static void test_numbers(void)
{
    char out[16];
    socklen_t n = sizeof(out);

    tcp_pair(tcp);
#define SOCKOPT_CHECK(name, number, access, value)                                                 \
    if (strstr(value, "reserved")) {                                                               \
        CU_ASSERT_EQUAL(set(number, "x", 1), -ENOPROTOOPT);                                        \
        CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, number, out, &n), -ENOPROTOOPT);                \
    } else if (!strchr(access, 'S')) {                                                             \
        CU_ASSERT_EQUAL(set(number, "x", 1), -ENOPROTOOPT);                                        \
    } else if (!strchr(access, 'G')) {                                                             \
        CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, number, out, &n), -ENOPROTOOPT);                \
    }
    HTLS_SOCKOPTS(SOCKOPT_CHECK)
#undef SOCKOPT_CHECK
    CU_ASSERT_EQUAL(set(0, "x", 1), -ENOPROTOOPT);
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, 1000, out, &n), -ENOPROTOOPT);
    CU_ASSERT_EQUAL(so_get(-1, HTLS_LEVEL, HTLS_SO_STATE, out, &n), -EBADF);
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_STATE, NULL, &n), -EFAULT);
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_STATE, out, NULL), -EFAULT);
    close(tcp[0]);
    close(tcp[1]);
}

static void test_answers(void)
{
    char out[8];
    socklen_t n;

    begin(FS_KERNEL);
    strcpy(s->name, "host.test");
    s->facts = (struct facts){.version = 0x0303, .cipher = 0xc02f, .mode_tx = W_MODE_NIC};
    s->facts.mode_rx = W_MODE_KERNEL;
    strcpy(s->facts.alpn, "h2");
    is_text(HTLS_SO_SERVER_NAME, "host.test");
    is_text(HTLS_SO_PROTOCOL, "TLSv1.2");
    is_text(HTLS_SO_CIPHER, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    is_text(HTLS_SO_ALPN_SELECTED, "h2");
    is_text(HTLS_SO_MODE, "tx=nic rx=kernel");
    is_text(HTLS_SO_ERROR, "");
    /* As much as fits; a NUL where there is room for one. */
    memset(out, '#', sizeof(out));
    n = 4;
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_PROTOCOL, out, &n), 0);
    CU_ASSERT(n == 4 && memcmp(out, "TLSv####", 8) == 0);
    n = 7;
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_PROTOCOL, out, &n), 0);
    CU_ASSERT(n == 7 && memcmp(out, "TLSv1.2#", 8) == 0);
    n = 8;
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_PROTOCOL, out, &n), 0);
    CU_ASSERT(n == 7 && out[7] == '\0');
    CU_ASSERT_EQUAL(set(HTLS_SO_ALPN, "h2", 2), -EINVAL);
    finish();
}

static void test_states(void)
{
    static const struct {
        enum fs_kind kind;
        enum htls_state state;
    } rows[] = {{FS_CONFIG, HTLS_STATE_PLAIN},
                {FS_BUSY, HTLS_STATE_HANDSHAKE},
                {FS_KERNEL, HTLS_STATE_UP},
                {FS_RELAY, HTLS_STATE_UP},
                {FS_FAILED, HTLS_STATE_FAILED}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(rows[i].kind);
        CU_ASSERT_EQUAL(get_state(), rows[i].state);
        finish();
    }
    begin(FS_KERNEL);
    atomic_store(&s->rr.eof, true);
    CU_ASSERT_EQUAL(get_state(), HTLS_STATE_CLOSED);
    atomic_store(&s->rr.error, EBADMSG);
    CU_ASSERT_EQUAL(get_state(), HTLS_STATE_FAILED);
    is_text(HTLS_SO_ERROR, rr_why(&s->rr));
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&s->rr), "authenticate"));
    finish();
    begin(FS_FAILED);
    s->facts.code = W_CODE_TIMEOUT;
    strcpy(s->facts.text, "too slow");
    is_text(HTLS_SO_ERROR, "too slow");
    finish();
}

static void test_kernel_connection(void)
{
    int value = 1, two = 2;
    socklen_t n = sizeof(value);
    char byte = 1;

    CU_ASSERT_EQUAL(so_get(0, HTLS_LEVEL, HTLS_SO_ALERT, &value, &n), -ENOTSOCK);
    begin(FS_KERNEL);
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_ALERT, &value, &n), 0);
    CU_ASSERT_EQUAL(value, -1);
    atomic_store(&s->rr.alert, 48);
    CU_ASSERT_EQUAL(so_get(tcp[0], HTLS_LEVEL, HTLS_SO_ALERT, &value, &n), 0);
    CU_ASSERT_EQUAL(value, 48);
    rr_explain(&s->rr, "used up"); /* no error to a reader */
    is_text(HTLS_SO_ERROR, "used up");
    CU_ASSERT_EQUAL(get_state(), HTLS_STATE_UP);
    value = 1;
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_EOF_OK, &value, sizeof(value)), 0);
    CU_ASSERT_TRUE(atomic_load(&s->rr.eof_ok));
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_EOF_OK, &byte, 1), -EINVAL);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_EOF_OK, &two, sizeof(two)), -EINVAL);
    value = 0;
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_EOF_OK, &value, sizeof(value)), 0);
    CU_ASSERT_FALSE(atomic_load(&s->rr.eof_ok));
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_UPDATE_KEYS, &value, sizeof(value)),
                    -EOPNOTSUPP); /* no daemon keeps it */
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_UPDATE_KEYS, &two, sizeof(two)), -EINVAL);
    CU_ASSERT_EQUAL(so_set(tcp[1], HTLS_LEVEL, HTLS_SO_UPDATE_KEYS, &value, sizeof(value)),
                    -ENOTCONN);
    finish();
    begin(FS_RELAY);
    CU_ASSERT_EQUAL(so_set(tcp[0], HTLS_LEVEL, HTLS_SO_UPDATE_KEYS, &value, sizeof(value)),
                    -EOPNOTSUPP);
    finish();
}

/* SO_ERROR has a failure once; every other option of the socket is the TCP socket's. */
static void test_other_levels(void)
{
    int value = 0, other[2];
    socklen_t n = sizeof(value);
    char block[64];

    begin(FS_FAILED);
    atomic_store(&s->so_error, EKEYREJECTED);
    CU_ASSERT_EQUAL(so_get(tcp[0], SOL_SOCKET, SO_ERROR, &value, &n), 0);
    CU_ASSERT_EQUAL(value, EKEYREJECTED);
    CU_ASSERT_EQUAL(so_get(tcp[0], SOL_SOCKET, SO_ERROR, &value, &n), 0);
    CU_ASSERT_EQUAL(value, 0);
    finish();

    begin(FS_RELAY);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
    s->shadow = dup(tcp[0]);
    CU_ASSERT(dup2(other[0], tcp[0]) >= 0);
    CU_ASSERT_EQUAL(so_get(tcp[0], SOL_SOCKET, SO_DOMAIN, &value, &n), 0);
    CU_ASSERT_EQUAL(value, AF_INET);
    value = 1;
    CU_ASSERT_EQUAL(so_set(tcp[0], IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)), 0);
    value = 0;
    CU_ASSERT_EQUAL(getsockopt(s->shadow, IPPROTO_TCP, TCP_NODELAY, &value, &n), 0);
    CU_ASSERT_EQUAL(value, 1);
    value = 5000;
    CU_ASSERT_EQUAL(so_set(tcp[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof(value)), 0);
    CU_ASSERT_EQUAL(getsockopt(other[0], SOL_SOCKET, SO_SNDBUF, &value, &n), 0);
    CU_ASSERT_EQUAL(value, 10000);
    n = sizeof(block);
    CU_ASSERT_EQUAL(so_get(tcp[0], IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, block, &n), -EOPNOTSUPP);
    close(other[0]);
    close(other[1]);
    finish();
}

static struct linger linger_of(int fd)
{
    struct linger l = {-1, -1};
    socklen_t n = sizeof(l);

    CU_ASSERT_EQUAL(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &n), 0);
    return l;
}

/* What would make the daemon's close wait stays here; what would not is the TCP socket's. */
static void test_linger(void)
{
    static const struct linger values[] = {{1, 0}, {1, 9}, {0, 0}, {0, 9}};
    struct linger l;
    socklen_t n = sizeof(l);
    int other[2];

    begin(FS_RELAY);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
    s->shadow = dup(tcp[0]);
    CU_ASSERT(dup2(other[0], tcp[0]) >= 0);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(so_set(tcp[0], SOL_SOCKET, SO_LINGER, &values[i], sizeof(l)), 0);
        CU_ASSERT_EQUAL(so_get(tcp[0], SOL_SOCKET, SO_LINGER, &l, &n), 0);
        CU_ASSERT_EQUAL(l.l_onoff, values[i].l_onoff);
        CU_ASSERT_EQUAL(l.l_linger, linger_of(tcp[0]).l_linger);
        CU_ASSERT_EQUAL(linger_of(s->shadow).l_onoff, i == 0);
    }
    CU_ASSERT_EQUAL(so_set(tcp[0], SOL_SOCKET, SO_LINGER, &l, 4), -EINVAL);
    CU_ASSERT_EQUAL(so_set(tcp[0], SOL_SOCKET, SO_LINGER, NULL, sizeof(l)), -EFAULT);
    close(other[0]);
    close(other[1]);
    finish();

    begin(FS_KERNEL); /* nobody else's any more */
    CU_ASSERT_EQUAL(so_set(tcp[0], SOL_SOCKET, SO_LINGER, &values[1], sizeof(l)), 0);
    CU_ASSERT_EQUAL(linger_of(tcp[0]).l_linger, 9);
    finish();
}

void suite_sockopt(void)
{
    CU_pSuite suite = CU_add_suite("sockopt", NULL, NULL);

    CU_add_test(suite, "before the upgrade", test_before);
    CU_add_test(suite, "the table of numbers", test_numbers);
    CU_add_test(suite, "answers", test_answers);
    CU_add_test(suite, "states", test_states);
    CU_add_test(suite, "a kernel connection", test_kernel_connection);
    CU_add_test(suite, "other levels", test_other_levels);
    CU_add_test(suite, "SO_LINGER", test_linger);
}
