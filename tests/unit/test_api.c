/* Tests of shim/api.c: what a program that uses libhtls sees, with a daemon that is a thread of the
 * test. */
#include "../../shim/api.c"

#include "api_rig.h"
#include "suites.h"

static void test_before(void)
{
    char buf[4];

    htls_free(NULL);
    h = htls_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    CU_ASSERT_EQUAL(htls_fd(h), -EBADF);
    CU_ASSERT_EQUAL(htls_pollfd(h), -EBADF);
    CU_ASSERT_EQUAL(htls_recv(h, buf, 4, 0), -ENOTCONN);
    CU_ASSERT_EQUAL(htls_send(h, buf, 4, 0), -ENOTCONN);
    CU_ASSERT_EQUAL(htls_pending(h), 0);
    CU_ASSERT_STRING_EQUAL(htls_version(h), "");
    CU_ASSERT_STRING_EQUAL(htls_cipher(h), "");
    CU_ASSERT_STRING_EQUAL(htls_error(h), "");
    CU_ASSERT_STRING_EQUAL(htls_error_name(h), "");
    CU_ASSERT_STRING_EQUAL(htls_mode_name(htls_mode_tx(h)), "none");
    CU_ASSERT_EQUAL(htls_alert(h), -1);
    CU_ASSERT_EQUAL(htls_verify_code(h), 0);
    htls_free(h);
}

/* What cannot begin leaves the program's descriptor as it was, and the object too. */
static void test_wrong_descriptor(void)
{
    char longer[300];
    int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0), pipes[2];

    begin(act_kernel);
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT_EQUAL(htls_connect(h, pipes[0], "host.test", 0), -ENOTSOCK);
    CU_ASSERT_EQUAL(htls_connect(h, udp, "host.test", 0), -EINVAL);
    CU_ASSERT_EQUAL(htls_connect(h, tcp, "host.test", 0), -ENOTCONN);
    CU_ASSERT_EQUAL(listen(tcp, 1), 0);
    CU_ASSERT_EQUAL(htls_connect(h, tcp, "host.test", 0), -EINVAL);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "", 0), -EINVAL);
    memset(longer, 'x', sizeof(longer));
    longer[299] = '\0';
    CU_ASSERT_EQUAL(htls_connect(h, mine, longer, 0), -EINVAL);
    CU_ASSERT_TRUE(strlen(htls_error(h)) > 0);
    CU_ASSERT_EQUAL(send(mine, "x", 1, 0), 1);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    CU_ASSERT_STRING_EQUAL(htls_error(h), "");
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), -EALREADY);
    close(udp);
    close(tcp);
    close(pipes[0]);
    close(pipes[1]);
    finish();
}

static void test_alpn_lists(void)
{
    static const struct {
        const char *list;
        int r;
    } rows[] = {{"h2", 0},        {"h2,http/1.1", 0}, {"", -EINVAL},     {",", -EINVAL},
                {",h2", -EINVAL}, {"h2,", -EINVAL},   {"h2,,x", -EINVAL}};
    char many[128] = "a", big[300];

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        CU_ASSERT_EQUAL(cl_check_alpn(rows[i].list), rows[i].r);
    for (int i = 1; i < 32; i++)
        strcat(many, ",a");
    CU_ASSERT_EQUAL(cl_check_alpn(many), 0);
    strcat(many, ",a");
    CU_ASSERT_EQUAL(cl_check_alpn(many), -EINVAL);
    memset(big, 'x', 256);
    big[256] = '\0';
    CU_ASSERT_EQUAL(cl_check_alpn(big), -EINVAL);
    big[255] = '\0';
    CU_ASSERT_EQUAL(cl_check_alpn(big), 0);
}

static void test_kernel(void)
{
    begin(act_kernel);
    CU_ASSERT_EQUAL(htls_set_ca(h, "some text", 9), 0);
    CU_ASSERT_EQUAL(htls_set_alpn(h, "h2"), 0);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    CU_ASSERT_EQUAL(d.types[1], W_TRUST);
    CU_ASSERT_EQUAL(d.trust, 9);
    CU_ASSERT_EQUAL(d.caps & ~W_CAP_SLOTS, W_CAP_EARLY);
    CU_ASSERT_EQUAL(htls_fd(h), mine);
    CU_ASSERT_EQUAL(htls_pollfd(h), -EBADF);
    CU_ASSERT_STRING_EQUAL(htls_version(h), "TLSv1.3");
    CU_ASSERT_STRING_EQUAL(htls_cipher(h), "TLS_AES_128_GCM_SHA256");
    CU_ASSERT_STRING_EQUAL(htls_alpn(h), "h2");
    CU_ASSERT_STRING_EQUAL(htls_group(h), "x25519");
    CU_ASSERT_STRING_EQUAL(htls_why(h), "because");
    CU_ASSERT_STRING_EQUAL(htls_error(h), "");
    CU_ASSERT_EQUAL(htls_mode_tx(h), HTLS_MODE_KERNEL);
    CU_ASSERT_EQUAL(htls_mode_rx(h), HTLS_MODE_KERNEL);
    /* without keys the socket carries plain bytes: enough to see that they go by it */
    CU_ASSERT_EQUAL(htls_send(h, "ping", 4, 0), 4);
    CU_ASSERT_EQUAL(send(peer, "pong", 4, 0), 4);
    expect("pong", 64, 0);
    CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, MSG_DONTWAIT), -EAGAIN);
    CU_ASSERT_EQUAL(shutdown(peer, SHUT_WR), 0); /* no close_notify before it */
    CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), -ECONNRESET);
    CU_ASSERT_TRUE(strlen(htls_error(h)) > 0);
    CU_ASSERT_STRING_EQUAL(htls_why(h), "");
    finish();
}

static void test_early(void)
{
    char a[3], b[8];
    struct iovec iov[2] = {{a, 3}, {b, 8}};

    begin(act_early);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    CU_ASSERT_EQUAL(send(peer, " late", 5, 0), 5);
    CU_ASSERT_EQUAL(htls_pending(h), 5);
    expect("ea", 2, MSG_PEEK);
    CU_ASSERT_EQUAL(htls_pending(h), 5);
    expect("e", 1, 0);
    CU_ASSERT_EQUAL(htls_pending(h), 4);
    CU_ASSERT_EQUAL(htls_readv(h, iov, 2, 0), 4);
    CU_ASSERT_EQUAL(memcmp(a, "arl", 3), 0);
    CU_ASSERT_EQUAL(b[0], 'y');
    CU_ASSERT_EQUAL(htls_pending(h), 0);
    expect(" late", 64, 0);
    finish();
}

static void test_relay(void)
{
    int number;

    begin(act_relay);
    number = mine;
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    CU_ASSERT_EQUAL(htls_fd(h), number);
    CU_ASSERT_TRUE(fcntl(number, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT_EQUAL(htls_mode_tx(h), HTLS_MODE_RELAY);
    expect("relay", 5, MSG_WAITALL);
    CU_ASSERT_EQUAL(htls_send(h, "echo", 4, 0), 4);
    expect("echo", 4, MSG_WAITALL);
    CU_ASSERT_EQUAL(htls_shutdown(h), 0);
    CU_ASSERT_EQUAL(htls_shutdown(h), 0);
    CU_ASSERT_EQUAL(htls_send(h, "more", 4, 0), -EPIPE);
    CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), 0);
    CU_ASSERT_STRING_EQUAL(htls_error(h), "");
    finish();
}

/* The daemon says on its own socket that the end of the stream was none. */
static void test_relay_cut(void)
{
    begin(act_relay_cut);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    expect("relay", 5, MSG_WAITALL);
    CU_ASSERT_EQUAL(htls_send(h, "echo", 4, 0), 4);
    expect("echo", 4, MSG_WAITALL);
    CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), -ECONNRESET);
    CU_ASSERT_STRING_EQUAL(htls_error(h), "cut off");
    CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), -ECONNRESET);
    finish();
}

/* It dies without a word: then the end of the stream is no end of the data, in whatever order the
 * kernel closes its descriptors. */
static void test_relay_dies(void)
{
    static int slowly;

    for (int i = 0; i < 4; i++) {
        d.arg = i & 1 ? &slowly : NULL;
        begin(act_relay_dies);
        CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
        CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), 1);
        if (i & 2)
            CU_ASSERT_EQUAL(htls_shutdown(h), 0);
        CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), -ECONNRESET);
        CU_ASSERT_EQUAL(htls_recv(h, &(char){0}, 1, 0), -ECONNRESET);
        CU_ASSERT_STRING_EQUAL(htls_error_name(h), "no-daemon");
        finish();
    }
    d.arg = NULL;
}

static void test_refused(void)
{
    begin(act_refuse);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), -EKEYREJECTED);
    CU_ASSERT_STRING_EQUAL(htls_error(h), "it has expired");
    CU_ASSERT_STRING_EQUAL(htls_error_name(h), "certificate-expired");
    CU_ASSERT_EQUAL(htls_alert(h), 45);
    CU_ASSERT_EQUAL(htls_verify_code(h), 10);
    CU_ASSERT_TRUE(is_shut(mine));
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), -ENOTCONN);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), -EALREADY);
    finish();
}

static void test_no_daemon(void)
{
    connect_pair();
    h = htls_new();
    htls_set_daemon(h, "/nonexistent/htls.sock");
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), -ENOENT);
    CU_ASSERT_STRING_EQUAL(htls_error_name(h), "no-daemon");
    CU_ASSERT_TRUE(is_shut(mine));
    htls_free(h);
    close(mine);
    close(peer);
}

/* Else plain bytes would go where the program believes in keys. */
static void test_wrong_mode(void)
{
    begin(act_wrong_mode);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), -EPROTO);
    CU_ASSERT_TRUE(is_shut(mine));
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), -ENOTCONN);
    finish();
}

static void test_start(void)
{
    struct pollfd p = {.events = POLLIN};

    begin(act_later);
    CU_ASSERT_EQUAL(htls_start(h, mine, "host.test", 0), 0);
    CU_ASSERT_EQUAL(htls_start(h, mine, "host.test", 0), -EALREADY);
    p.fd = htls_pollfd(h);
    CU_ASSERT_TRUE_FATAL(p.fd >= 0);
    CU_ASSERT_EQUAL(htls_finish(h), -EAGAIN);
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), -ENOTCONN);
    CU_ASSERT_EQUAL(send(mine, "!", 1, 0), 1); /* the daemon's sign to go on */
    while (htls_finish(h) == -EAGAIN)
        CU_ASSERT_EQUAL_FATAL(poll(&p, 1, 5000), 1);
    CU_ASSERT_EQUAL(htls_finish(h), 0);
    CU_ASSERT_EQUAL(htls_mode_rx(h), HTLS_MODE_KERNEL);
    finish();
}

static void test_free_cancels(void)
{
    client_went = false;
    begin(act_wait_for_end);
    CU_ASSERT_EQUAL(htls_start(h, mine, "host.test", 0), 0);
    htls_free(h);
    h = NULL;
    CU_ASSERT_TRUE(is_shut(mine));
    finish();
    CU_ASSERT_TRUE(client_went);
}

static void test_close(void)
{
    char buf[8];

    begin(act_kernel);
    CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), 0);
    CU_ASSERT_EQUAL(htls_close(h), 0);
    CU_ASSERT_EQUAL(fcntl(mine, F_GETFD), -1);
    CU_ASSERT_EQUAL(recv(peer, buf, sizeof(buf), 0), 2); /* close_notify, here without keys */
    CU_ASSERT_EQUAL(recv(peer, buf, sizeof(buf), 0), 0);
    CU_ASSERT_EQUAL(htls_fd(h), -EBADF);
    CU_ASSERT_STRING_EQUAL(htls_version(h), "TLSv1.3"); /* the facts stay */
    mine = -1;
    finish();
}

/* The daemon switches it off; the program finds it again, also on a relay's end. */
static void test_linger(void)
{
    static void (*const acts[])(struct fake *, int) = {act_kernel, act_relay, act_refuse};
    const struct linger linger = {1, 7};

    for (int i = 0; i < 3; i++) {
        struct linger l = {0};
        socklen_t n = sizeof(l);

        begin(acts[i]);
        CU_ASSERT_EQUAL(setsockopt(mine, SOL_SOCKET, SO_LINGER, &linger, sizeof(l)), 0);
        CU_ASSERT_EQUAL(htls_connect(h, mine, "host.test", 0), i < 2 ? 0 : -EKEYREJECTED);
        CU_ASSERT_EQUAL(getsockopt(mine, SOL_SOCKET, SO_LINGER, &l, &n), 0);
        CU_ASSERT(l.l_onoff == 1 && l.l_linger == 7);
        (void)htls_shutdown(h); /* the relay waits for it */
        finish();
    }
}

void suite_api(void)
{
    CU_pSuite suite = CU_add_suite("api", NULL, NULL);

    CU_add_test(suite, "ALPN lists", test_alpn_lists);
    CU_add_test(suite, "before the handshake", test_before);
    CU_add_test(suite, "descriptors that will not do", test_wrong_descriptor);
    CU_add_test(suite, "kernel mode", test_kernel);
    CU_add_test(suite, "early bytes", test_early);
    CU_add_test(suite, "relay mode", test_relay);
    CU_add_test(suite, "a relay that is cut off", test_relay_cut);
    CU_add_test(suite, "a relay whose daemon dies", test_relay_dies);
    CU_add_test(suite, "refused", test_refused);
    CU_add_test(suite, "no daemon", test_no_daemon);
    CU_add_test(suite, "an answer that does not fit", test_wrong_mode);
    CU_add_test(suite, "without waiting", test_start);
    CU_add_test(suite, "freed in mid-handshake", test_free_cancels);
    CU_add_test(suite, "close", test_close);
    CU_add_test(suite, "SO_LINGER", test_linger);
}
