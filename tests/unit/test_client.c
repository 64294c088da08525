/* Tests of shim/client.c: the conversation with a daemon that is a thread of this test. */
#include "../../shim/client.c"

#include "fake_daemon.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- what the daemon does -------------------------------------------------------------------- */

static void act_kernel(struct fake *d, int sock)
{
    fake_take(d, sock);
    fake_welcome(d, sock);
    fake_result(d, sock, W_MODE_KERNEL, -1, NULL, 0);
}

static void act_relay(struct fake *d, int sock)
{
    static uint8_t early[60000];
    int fd = open("/dev/null", O_RDONLY);

    fake_take(d, sock);
    fake_welcome(d, sock);
    fake_result(d, sock, W_MODE_RELAY, fd, early, sizeof(early));
    close(fd);
}

static void act_error(struct fake *d, int sock)
{
    fake_take(d, sock);
    fake_welcome(d, sock);
    fake_error(d, sock, W_CODE_CERTIFICATE_EXPIRED, EKEYREJECTED, "it has expired");
}

static void act_close(struct fake *d, int sock)
{
    fake_take(d, sock);
    fake_welcome(d, sock);
}

/* Full: says so and closes, the request unread. */
static void act_turn_away(struct fake *d, int sock)
{
    fake_error(d, sock, W_CODE_LIMIT, EUSERS, "too many");
}

static void act_nonsense(struct fake *d, int sock)
{
    int fd = open("/dev/null", O_RDONLY);

    fake_take(d, sock);
    CU_ASSERT_EQUAL(fm_send(sock, "nonsense", 8, &fd, 1, 0), 0);
    close(fd);
}

/* Reads nothing until the client is gone. */
static void act_deaf(struct fake *d, int sock)
{
    (void)d;
    (void)poll(&(struct pollfd){.fd = sock, .events = POLLRDHUP}, 1, 5000);
}

/* Says nothing until then. */
static void act_silent(struct fake *d, int sock)
{
    fake_take(d, sock);
    act_deaf(d, sock);
}

/* --- a client -------------------------------------------------------------------------------- */

struct talk {
    struct cl_params p;
    struct cl_result r;
    struct facts f;
    uint64_t deadline;
    int sock, fd;
};

static int start(struct talk *t, const char *path, int gate, uint32_t fill)
{
    t->sock = -1;
    t->f.alert = -1;
    t->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return cl_start(path, &t->p, t->fd, gate, fill, &t->sock, &t->deadline, &t->f);
}

static void end(struct talk *t)
{
    if (t->sock >= 0)
        close(t->sock);
    if (t->r.fd >= 0)
        close(t->r.fd);
    free(t->r.early);
    close(t->fd);
}

/* One whole conversation. */
static int converse(struct talk *t, struct fake *d, void (*act)(struct fake *d, int sock))
{
    int r;

    if (!t->p.name)
        t->p.name = "host.test";
    t->r.fd = -1;
    fake_start(d, act);
    r = start(t, d->path, -1, 0);
    if (r == 0)
        r = cl_wait(t->sock, t->deadline, &t->r, &t->f);
    if (r < 0 && t->sock >= 0) {
        close(t->sock);
        t->sock = -1;
    }
    fake_stop(d);
    return r;
}

static void test_plain_request(void)
{
    struct talk t = {.p = {.name = "host.test"}};
    struct fake d = {.n = 0};
    struct stat mine, theirs;

    CU_ASSERT_EQUAL(converse(&t, &d, act_kernel), 0);
    CU_ASSERT_EQUAL(d.n, 2);
    CU_ASSERT_EQUAL(d.types[0], W_HELLO);
    CU_ASSERT_EQUAL(d.types[1], W_CONNECT);
    CU_ASSERT_EQUAL(d.nfds, 1);
    /* the program reads with record types; all else is left to the daemon */
    CU_ASSERT_EQUAL(d.m.have, UINT64_C(1) << W_A_FLAGS | UINT64_C(1) << W_A_SERVER_NAME);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_FLAGS, 0), W_F_READS_RECORDS);
    CU_ASSERT_EQUAL(d.caps, 0);
    CU_ASSERT_EQUAL(fstat(t.fd, &mine), 0);
    CU_ASSERT_EQUAL(stat("/dev/null", &theirs), 0);
    CU_ASSERT_EQUAL(mine.st_ino, theirs.st_ino); /* it stays the caller's, open */
    end(&t);
}

static void test_every_setting(void)
{
    static const uint16_t suites[] = {0x1303, 0x1301};
    struct talk t = {.p = {.name = "host.test",
                           .alpn = "h2,http/1.1",
                           .version_min = 0x0303,
                           .version_max = 0x0303,
                           .suites = suites,
                           .n_suites = 2,
                           .groups = "X25519:P-256",
                           .trust_store = "corp",
                           .no_verify = 1,
                           .path = W_PATH_RELAY,
                           .timeout_ms = 1234,
                           .caps = W_CAP_EARLY}};
    struct w_val v;
    struct fake d = {.n = 0};
    uint32_t pos = 0;

    CU_ASSERT_EQUAL(converse(&t, &d, act_kernel), 0);
    CU_ASSERT_EQUAL(d.caps, W_CAP_EARLY);
    CU_ASSERT(w_next(&d.m, W_A_ALPN, &pos, &v) && v.n == 2);
    CU_ASSERT_TRUE(w_next(&d.m, W_A_ALPN, &pos, &v));
    CU_ASSERT_EQUAL(memcmp(v.p, "http/1.1", 8), 0);
    pos = 0;
    CU_ASSERT_TRUE(w_next(&d.m, W_A_SUITE, &pos, &v));
    CU_ASSERT_EQUAL(v.u, 0x1303); /* the order is the preference */
    CU_ASSERT(w_num(&d.m, W_A_VERSION_MIN, 0) == 0x0303 &&
              w_num(&d.m, W_A_VERSION_MAX, 0) == 0x0303);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_VERIFY, 0), W_VERIFY_NONE);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_PATH, 0), W_PATH_RELAY);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_TIMEOUT_MS, 0), 1234);
    CU_ASSERT(d.m.v[W_A_GROUPS].n == 12 && d.m.v[W_A_TRUST_STORE].n == 4);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_FLAGS, 0), W_F_READS_RECORDS);
    end(&t);
}

/* As large as may be, to a daemon that does not read at first. */
static void test_trust(void)
{
    size_t n = W_TRUST_MAX;
    uint8_t *pem = malloc(n), sum = 0;
    struct talk t = {.p = {.name = "host.test", .pem = pem, .pem_len = n}};
    struct fake d = {.slow_ms = 30};
    int r;

    CU_ASSERT_PTR_NOT_NULL_FATAL(pem);
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + (pem[i] = (uint8_t)(i * 31)));
    t.r.fd = -1;
    fake_start(&d, act_kernel);
    r = start(&t, d.path, -1, 0);
    CU_ASSERT_EQUAL(r, 0);
    CU_ASSERT_EQUAL(cl_wait(t.sock, t.deadline, &t.r, &t.f), 0);
    fake_stop(&d);
    CU_ASSERT_EQUAL(d.types[1], W_TRUST);
    CU_ASSERT_EQUAL(d.types[d.n - 1], W_CONNECT);
    CU_ASSERT_EQUAL(d.trust, n);
    CU_ASSERT_EQUAL(d.trust_sum, sum);
    free(pem);
    end(&t);
}

static void test_gate(void)
{
    struct talk t = {.p = {.name = "host.test"}, .r = {.fd = -1}};
    int gate = open("/dev/zero", O_RDONLY);
    struct fake d = {.n = 0};

    fake_start(&d, act_kernel);
    CU_ASSERT_EQUAL(start(&t, d.path, gate, 4480), 0);
    CU_ASSERT_EQUAL(cl_wait(t.sock, t.deadline, &t.r, &t.f), 0);
    fake_stop(&d);
    CU_ASSERT_EQUAL(d.nfds, 2);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_FLAGS, 0), W_F_READS_RECORDS | W_F_GATE);
    CU_ASSERT_EQUAL(w_num(&d.m, W_A_GATE_FILL, 0), 4480);
    close(gate);
    end(&t);
}

static void test_kernel(void)
{
    struct talk t = {.p = {.name = NULL}};
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(converse(&t, &d, act_kernel), 0);
    CU_ASSERT_EQUAL(t.r.fd, -1);
    CU_ASSERT_PTR_NULL(t.r.early);
    CU_ASSERT_EQUAL(t.f.version, 0x0304);
    CU_ASSERT_EQUAL(t.f.cipher, 0x1301);
    CU_ASSERT_EQUAL(t.f.mode_tx, W_MODE_KERNEL);
    CU_ASSERT_EQUAL(t.f.mode_rx, W_MODE_KERNEL);
    CU_ASSERT_EQUAL(t.f.cookie, 0x1122334455667788u);
    CU_ASSERT_TRUE(t.f.resumed);
    CU_ASSERT_STRING_EQUAL(t.f.alpn, "h2");
    CU_ASSERT_STRING_EQUAL(t.f.group, "x25519");
    CU_ASSERT_STRING_EQUAL(t.f.text, "because");
    CU_ASSERT_EQUAL(t.f.code, 0);
    CU_ASSERT_EQUAL(cl_check_mode(&t.r, false, &t.f), 0);
    CU_ASSERT_EQUAL(cl_check_mode(&t.r, true, &t.f), -EPROTO); /* a gate wants the socket back */
    end(&t);
}

/* What the connection needs later: can the daemon follow a change of keys, where is the slot? */
static void test_slot(void)
{
    struct talk t = {.p = {.caps = W_CAP_SLOTS}};
    struct fake d = {.offers = W_CAP_CONTROL | W_CAP_REKEY, .pool = 0x123456789abcdefu};

    CU_ASSERT_EQUAL(converse(&t, &d, act_kernel), 0);
    CU_ASSERT_EQUAL(d.caps, W_CAP_SLOTS);
    CU_ASSERT_EQUAL(t.f.caps, W_CAP_CONTROL | W_CAP_REKEY);
    CU_ASSERT_EQUAL(t.f.pool, 0x123456789abcdefu);
    CU_ASSERT_EQUAL(t.f.slot, 5);
    CU_ASSERT_EQUAL(t.f.records_max, 1000);
    end(&t);
}

static void test_relay(void)
{
    struct talk t = {.p = {.caps = W_CAP_EARLY}};
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(converse(&t, &d, act_relay), 0);
    CU_ASSERT_TRUE_FATAL(t.r.fd >= 0);
    CU_ASSERT_TRUE(fcntl(t.r.fd, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT_EQUAL(t.r.early_len, 60000);
    CU_ASSERT_EQUAL(t.f.mode_rx, W_MODE_RELAY);
    CU_ASSERT_EQUAL(cl_check_mode(&t.r, false, &t.f), 0);
    CU_ASSERT_EQUAL(cl_check_mode(&t.r, true, &t.f), -EPROTO);
    CU_ASSERT_EQUAL(t.r.fd, -1); /* closed: nobody would */
    end(&t);
}

static void test_error(void)
{
    struct talk t = {.p = {.name = NULL}};
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(converse(&t, &d, act_error), -EKEYREJECTED);
    CU_ASSERT_EQUAL(t.f.code, W_CODE_CERTIFICATE_EXPIRED);
    CU_ASSERT_EQUAL(t.f.alert, 45);
    CU_ASSERT_EQUAL(t.f.verify_code, 10);
    CU_ASSERT_STRING_EQUAL(t.f.text, "it has expired");
    end(&t);
}

static void test_daemon_goes(void)
{
    struct talk t = {.p = {.name = NULL}}, u = {.p = {.name = NULL}}, v = {.p = {.name = NULL}};
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(converse(&t, &d, act_close), -EPIPE);
    CU_ASSERT_EQUAL(t.f.code, W_CODE_NO_DAEMON);
    CU_ASSERT_EQUAL(converse(&u, &d, act_turn_away), -EUSERS);
    CU_ASSERT_STRING_EQUAL(u.f.text, "too many");
    CU_ASSERT_EQUAL(converse(&v, &d, act_nonsense), -EPROTO);
    CU_ASSERT_EQUAL(v.r.fd, -1);
    end(&t);
    end(&u);
    end(&v);
}

/* Nothing of a refused answer stays behind: not its descriptors either. */
static void test_no_leak(void)
{
    int before = dup(0), after;
    struct fake d = {.n = 0};

    close(before);
    for (int i = 0; i < 3; i++) {
        void (*const acts[])(struct fake *, int) = {act_close, act_nonsense, act_error};
        struct talk t = {.p = {.name = NULL}};

        (void)converse(&t, &d, acts[i]);
        end(&t);
    }
    after = dup(0);
    CU_ASSERT_EQUAL(after, before);
    close(after);
}

static void test_patience(void)
{
    struct talk t = {.p = {.name = "host.test"}, .r = {.fd = -1}};
    struct fake d = {.n = 0};
    uint64_t began;

    fake_start(&d, act_silent);
    CU_ASSERT_EQUAL(start(&t, d.path, -1, 0), 0);
    began = cl_now();
    CU_ASSERT_TRUE(t.deadline > began + CL_TIMEOUT_MS); /* behind the daemon's own */
    CU_ASSERT_EQUAL(cl_finish(t.sock, &t.r, &t.f), -EAGAIN);
    CU_ASSERT_EQUAL(cl_wait(t.sock, began + 30, &t.r, &t.f), -ETIMEDOUT);
    CU_ASSERT_TRUE(cl_now() - began < 2000);
    CU_ASSERT_EQUAL(t.f.code, W_CODE_TIMEOUT);
    close(t.sock);
    t.sock = -1;
    fake_stop(&d);
    end(&t);
}

static void test_no_daemon(void)
{
    struct talk t = {.p = {.name = "host.test"}, .r = {.fd = -1}};
    char longer[200];
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(start(&t, "/nonexistent/htls.sock", -1, 0), -ENOENT);
    CU_ASSERT_EQUAL(t.f.code, W_CODE_NO_DAEMON);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.f.text, "/nonexistent/htls.sock"));
    CU_ASSERT_EQUAL(t.sock, -1);
    end(&t);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    CU_ASSERT_EQUAL(start(&t, longer, -1, 0), -ENAMETOOLONG);
    end(&t);
    fake_start(&d, act_silent); /* a socket file that nobody listens at any more */
    shutdown(d.listener, SHUT_RD);
    CU_ASSERT_EQUAL(start(&t, d.path, -1, 0), -ECONNREFUSED);
    fake_stop(&d);
    end(&t);
}

static int refusals;

static int busy_connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    if (refusals-- <= 0)
        return connect(fd, addr, len);
    errno = refusals % 2 ? EAGAIN : EINTR;
    return -1;
}

/* connect(2) on AF_UNIX says EAGAIN when the backlog is full, and no poll tells when it is not. */
static void test_full_backlog(void)
{
    struct talk t = {.p = {.name = NULL}};
    struct fake d = {.n = 0};

    refusals = 4;
    sy.connect = busy_connect;
    CU_ASSERT_EQUAL(converse(&t, &d, act_kernel), 0);
    CU_ASSERT_TRUE(refusals < 0);
    sy.connect = connect;
    end(&t);
}

/* A daemon that is not there for us just now does not hold up who does not wait. */
static void test_prompt(void)
{
    static const uint8_t pem[W_TRUST_MAX];
    struct cl_params p = {.name = "host.test", .pem = pem, .pem_len = sizeof(pem), .prompt = true};
    struct fake d = {.n = 0};

    for (int full = 0; full < 2; full++) { /* it takes nobody in, or does not read */
        struct talk t = {.p = p, .r = {.fd = -1}};

        refusals = INT_MAX;
        sy.connect = full ? busy_connect : connect;
        CU_ASSERT_EQUAL(converse(&t, &d, act_deaf), -ETIMEDOUT);
        CU_ASSERT_TRUE(cl_now() < t.deadline); /* long before a handshake is given up */
        CU_ASSERT(t.f.code == W_CODE_TIMEOUT && strstr(t.f.text, "busy"));
        end(&t);
    }
    sy.connect = connect;
}

static void test_bad_settings(void)
{
    struct talk t = {.p = {.name = "not a name"}};
    struct fake d = {.n = 0};

    CU_ASSERT_EQUAL(converse(&t, &d, act_silent), -EINVAL);
    CU_ASSERT_EQUAL(t.f.code, W_CODE_BAD_REQUEST);
    CU_ASSERT_EQUAL(t.sock, -1);
    end(&t);
}

void suite_client(void)
{
    CU_pSuite suite = CU_add_suite("client", NULL, NULL);

    CU_add_test(suite, "a plain request", test_plain_request);
    CU_add_test(suite, "every setting", test_every_setting);
    CU_add_test(suite, "certificates in pieces", test_trust);
    CU_add_test(suite, "a gate", test_gate);
    CU_add_test(suite, "kernel mode", test_kernel);
    CU_add_test(suite, "a slot", test_slot);
    CU_add_test(suite, "relay mode, early bytes", test_relay);
    CU_add_test(suite, "an error", test_error);
    CU_add_test(suite, "a daemon that goes away", test_daemon_goes);
    CU_add_test(suite, "nothing leaks", test_no_leak);
    CU_add_test(suite, "a daemon that says nothing", test_patience);
    CU_add_test(suite, "no daemon", test_no_daemon);
    CU_add_test(suite, "a full backlog", test_full_backlog);
    CU_add_test(suite, "a busy daemon and who does not wait", test_prompt);
    CU_add_test(suite, "settings that cannot be sent", test_bad_settings);
}
