/* Tests of daemon/conn.c: the states of a connection, the kernel's answers made up. */
#include "../../daemon/conn.c"

#include "../../daemon/resume.h"
#include "capture.h"
#include "suites.h"
#include "workerrig.h"

#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static struct wrig g;
static struct capture log_lines;
static int fds_before;

/* What the owner was told. */
static struct told {
    int up, down, relay_ended, fd;
    int refuse; /* what up() returns */
    int tcp;    /* another holder's */
    bool dead;  /* nothing could be sent on it when down() was called */
    enum w_mode tx;
    char why[128];
    uint64_t cookie;
    struct failure f, first; /* of down(): the last, the first */
} told;

static int on_up(void *owner, const struct cn_result *r)
{
    struct told *t = owner;

    t->up++;
    t->tx = r->tx;
    t->cookie = r->cookie;
    t->fd = r->fd >= 0 ? dup(r->fd) : -1; /* travels with the answer, stays the connection's */
    snprintf(t->why, sizeof(t->why), "%s", r->why);
    return t->refuse;
}

static void on_down(void *owner, const struct failure *f)
{
    struct told *t = owner;

    t->f = *f;
    t->dead = send(t->tcp, "plain", 5, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
    if (t->down++ == 0)
        t->first = *f;
}

static void on_ended(void *owner, const struct failure *f)
{
    struct told *t = owner;

    t->relay_ended++;
    t->f = *f;
}

/* The kernel: which setsockopt is refused with what; how often each was called. */
static struct {
    int ulp, rx, tx, calls_rx, calls_tx;
} kernel;

static int made_up(int fd, int level, int name, const void *value, socklen_t len)
{
    int err = 0;

    (void)fd, (void)value, (void)len;
    if (level == IPPROTO_TCP && name == TCP_ULP)
        err = kernel.ulp;
    if (level == SOL_TLS && name == TLS_RX) {
        kernel.calls_rx++;
        err = kernel.rx;
    }
    if (level == SOL_TLS && name == TLS_TX) {
        kernel.calls_tx++;
        err = kernel.tx;
    }
    errno = err;
    return err ? -1 : 0;
}

static void begin_case(void)
{
    log_lines = capture_begin(2);
    fds_before = open_fds();
    memset(&told, 0, sizeof(told));
    memset(&kernel, 0, sizeof(kernel));
    told.fd = told.tcp = -1;
    kt_setsockopt = made_up;
    wrig_open(&g);
    wrig_with_kernel(&g);
}

static void end_case(void)
{
    static char said[65536];

    fd_close(&told.fd);
    SSL_free(g.server);
    g.server = NULL;
    wrig_close(&g);
    kt_setsockopt = setsockopt;
    CU_ASSERT_EQUAL(open_fds(), fds_before);
    capture_end(log_lines, said, sizeof(said));
    CU_ASSERT_PTR_NULL(strstr(said, "bug:"));
}

/* A connection for server.test over tcp, planned for the kernel. NULL when it cannot even begin. */
static struct conn *open_conn(int tcp, int gate, uint32_t fill, enum w_path path, unsigned ms)
{
    const struct cn_owner owner = {on_up, on_down, on_ended, &told};
    const struct in_peer who = {.uid = 1};
    struct request *q = calloc(1, sizeof(*q));
    struct conn *c = NULL;
    size_t n;
    const struct ks_suite *all = ks_suites(&n);

    strcpy(q->setup.name, "server.test");
    q->setup.version_min = KS_TLS12;
    q->setup.version_max = KS_TLS13;
    q->setup.verify = true;
    while (q->setup.n_suites < n)
        q->setup.suites[q->setup.n_suites] = &all[q->setup.n_suites], q->setup.n_suites++;
    q->path = path;
    q->kernel = path != W_PATH_RELAY;
    q->timeout_ms = ms;
    q->gate = gate >= 0;
    q->gate_fill = fill;
    memset(&told.f, 0, sizeof(told.f));
    told.f.alert = -1;
    if (cn_open(&c, g.w, &owner, tcp, gate, q, tp_store(), &who, &told.f) < 0)
        return NULL;
    cn_start_waiting(g.w);
    return c;
}

static void serve(int fds[2], enum tp_cert which)
{
    g.server = tp_server(tp_ctx(which), fds, 1);
}

static void test_kernel(void)
{
    int fds[2];

    begin_case();
    serve(fds, TP_EC);
    CU_ASSERT_PTR_NOT_NULL(open_conn(fds[0], -1, 0, W_PATH_AUTO, 5000));
    WRIG_UNTIL(&g, told.up);
    CU_ASSERT(told.tx == W_MODE_KERNEL && told.fd == -1 && told.cookie && *told.why == '\0');
    CU_ASSERT(kernel.calls_rx == 1 && kernel.calls_tx == 1 && told.down == 0);
    close(fds[1]);
    end_case();
}

/* With a gate the TCP socket itself comes back. */
static void test_kernel_gate(void)
{
    int fds[2], gate[2];

    begin_case();
    serve(fds, TP_EC);
    tp_pair(gate, 0);
    CU_ASSERT_EQUAL(send(gate[0], "12345", 5, 0), 5);
    CU_ASSERT_PTR_NOT_NULL(open_conn(fds[0], gate[1], 5, W_PATH_AUTO, 5000));
    WRIG_UNTIL(&g, told.up);
    CU_ASSERT(told.fd >= 0 && sf_cookie(told.fd) == told.cookie);
    close(gate[0]);
    close(fds[1]);
    end_case();
}

/* The ULP, or the first key, is refused: the relay takes over, or the request fails. */
static void test_kernel_refuses(void)
{
    for (int which = 0; which < 4; which++) {
        int fds[2];

        begin_case();
        serve(fds, TP_EC);
        *(which % 2 ? &kernel.rx : &kernel.ulp) = ENOENT;
        CU_ASSERT_PTR_NOT_NULL(
            open_conn(fds[0], -1, 0, which < 2 ? W_PATH_AUTO : W_PATH_KERNEL, 5000));
        WRIG_UNTIL(&g, told.up + told.down);
        CU_ASSERT_EQUAL(kernel.calls_tx, 0);
        if (which < 2) {
            CU_ASSERT(told.up && told.tx == W_MODE_RELAY && told.fd >= 0 && *told.why);
        } else {
            CU_ASSERT(told.down && told.f.code == W_CODE_NO_KERNEL);
        }
        close(fds[1]);
        end_case();
    }
}

/* One direction is in and the other refused: the connection dies, whatever was asked for. */
static void test_half_keys(void)
{
    int fds[2], n = 0;
    char c;

    begin_case();
    serve(fds, TP_EC);
    kernel.tx = ENOENT;
    CU_ASSERT_PTR_NOT_NULL(open_conn(fds[0], -1, 0, W_PATH_AUTO, 5000));
    WRIG_UNTIL(&g, told.up + told.down);
    CU_ASSERT(told.down == 1 && told.f.code == W_CODE_INTERNAL_ERROR && told.f.err == ENOENT);
    WRIG_UNTIL(&g, (n = SSL_read(g.server, &c, 1)) <= 0 &&
                       SSL_get_error(g.server, n) != SSL_ERROR_WANT_READ);
    close(fds[1]);
    end_case();
}

/* The result cannot be handed over, of a relay or of a socket that was to take a gate's place: the
 * owner is told, and nothing more; the TCP socket is dead by then. */
static void test_lost(void)
{
    for (int kernel_too = 0; kernel_too < 2; kernel_too++) {
        int fds[2], gate[2] = {-1, -1}, n = 0;
        char c;

        begin_case();
        told.refuse = -ETOOMANYREFS;
        serve(fds, TP_EC);
        if (kernel_too)
            tp_pair(gate, 0);
        told.tcp = dup(fds[0]);
        CU_ASSERT_PTR_NOT_NULL(
            open_conn(fds[0], gate[1], 0, kernel_too ? W_PATH_AUTO : W_PATH_RELAY, 5000));
        WRIG_UNTIL(&g, told.down);
        CU_ASSERT(told.up == 1 && told.down == 1 && told.fd >= 0);
        CU_ASSERT(told.f.code == W_CODE_LIMIT && told.f.err == ETOOMANYREFS && *told.f.text);
        CU_ASSERT(told.dead); /* before the owner heard of it */
        WRIG_UNTIL(&g, (n = SSL_read(g.server, &c, 1)) <= 0 &&
                           SSL_get_error(g.server, n) != SSL_ERROR_WANT_READ);
        WRIG_UNTIL(&g, wrig_idle(&g));
        CU_ASSERT(told.down == 1 && told.relay_ended == 0);
        fd_close(&told.tcp);
        fd_close(&gate[0]);
        close(fds[1]);
        end_case();
    }
}

static void test_relay(void)
{
    int fds[2];

    begin_case();
    serve(fds, TP_RSA);
    CU_ASSERT_PTR_NOT_NULL(open_conn(fds[0], -1, 0, W_PATH_RELAY, 5000));
    WRIG_UNTIL(&g, told.up);
    CU_ASSERT(told.tx == W_MODE_RELAY && told.relay_ended == 0);
    CU_ASSERT(kernel.calls_rx == 0 && st_get(&g.w->stats->relays) == 1);
    fd_close(&told.fd);
    WRIG_UNTIL(&g, told.relay_ended);
    CU_ASSERT(told.relay_ended == 1 && told.f.code == 0 && told.down == 0);
    close(fds[1]);
    end_case();
}

/* Whether kernel or relay, the handshake waits for a ticket under the connection's cookie; what the
 * relay reads it is given. */
static void test_tickets(void)
{
    for (int relay = 0; relay < 2; relay++) {
        struct ru_ctx resume = {.lifetime = 60};
        uint8_t byte = 4;
        int fds[2];

        begin_case();
        CU_ASSERT_EQUAL_FATAL(se_new(&resume.cache, 8, 100), 0);
        resume.stats = g.w->stats;
        hs_ctx_resume(g.w->hs_ctx, &resume);
        serve(fds, TP_EC);
        SSL_set_num_tickets(g.server, 0);
        CU_ASSERT_PTR_NOT_NULL(
            open_conn(fds[0], -1, 0, relay ? W_PATH_RELAY : W_PATH_KERNEL, 5000));
        WRIG_UNTIL(&g, told.up && SSL_is_init_finished(g.server));
        if (relay) {
            CU_ASSERT_EQUAL(SSL_write(g.server, "data", 4), 4);
            CU_ASSERT_EQUAL(SSL_new_session_ticket(g.server), 1);
            CU_ASSERT_EQUAL(SSL_do_handshake(g.server), 1);
            WRIG_UNTIL(&g, se_count(resume.cache) == 1);
        }
        CU_ASSERT_EQUAL(tk_feed(g.w->tickets, told.cookie, &byte, 1), 0);
        fd_close(&told.fd);
        close(fds[1]);
        end_case();
        se_free(resume.cache);
    }
}

static void test_relay_limit(void)
{
    int fds[2];

    begin_case();
    g.o.relays = 0;
    serve(fds, TP_EC);
    CU_ASSERT_PTR_NOT_NULL(open_conn(fds[0], -1, 0, W_PATH_RELAY, 5000));
    WRIG_UNTIL(&g, told.down);
    CU_ASSERT(told.f.code == W_CODE_LIMIT && strstr(told.f.text, "limits: relays"));
    close(fds[1]);
    end_case();
}

/* A silent peer delays nobody but itself; one that waits for its turn has its deadline too. */
static void test_deadline(void)
{
    int silent[2], behind[2], held;
    char c;

    begin_case();
    g.w->turns.most = 1;
    tp_pair(silent, 1);
    tp_pair(behind, 1);
    held = dup(behind[0]); /* the program's own: it may not go on in the clear */
    CU_ASSERT_PTR_NOT_NULL(open_conn(silent[0], -1, 0, W_PATH_RELAY, 60));
    CU_ASSERT_PTR_NOT_NULL(open_conn(behind[0], -1, 0, W_PATH_RELAY, 20));
    CU_ASSERT(g.w->turns.running == 1 && st_get(&g.w->stats->waiting) == 1);
    WRIG_UNTIL(&g, told.down);
    CU_ASSERT(told.first.code == W_CODE_TIMEOUT && strstr(told.first.text, "limits: handshakes"));
    CU_ASSERT_EQUAL(recv(behind[1], &c, 1, MSG_DONTWAIT), 0); /* no byte, then the end */
    CU_ASSERT(send(held, "plain", 5, MSG_NOSIGNAL) < 0 && errno == EPIPE);
    close(held);
    WRIG_UNTIL(&g, told.down == 2);
    CU_ASSERT(told.f.code == W_CODE_TIMEOUT && told.f.err == ETIMEDOUT);
    CU_ASSERT_PTR_NULL(strstr(told.f.text, "limits"));
    close(silent[1]);
    close(behind[1]);
    end_case();
}

static void test_turns(void)
{
    struct conn *first, *second;
    int silent[2], fds[2];

    begin_case();
    g.w->turns.most = 1;
    tp_pair(silent, 1);
    serve(fds, TP_EC);
    first = open_conn(silent[0], -1, 0, W_PATH_RELAY, 5000);
    second = open_conn(fds[0], -1, 0, W_PATH_RELAY, 5000);
    for (int i = 0; i < 20; i++)
        wrig_turn(&g);
    CU_ASSERT(first && second && told.up == 0);
    cn_cancel(first);              /* its place is free: the next one begins */
    CU_ASSERT_EQUAL(told.down, 0); /* a cancelled one calls nobody */
    WRIG_UNTIL(&g, told.up);
    cn_cancel(second); /* a relay that runs goes on without an owner */
    CU_ASSERT_EQUAL(st_get(&g.w->stats->relays), 1);
    fd_close(&told.fd);
    WRIG_UNTIL(&g, st_get(&g.w->stats->relays) == 0);
    CU_ASSERT_EQUAL(told.relay_ended, 0);
    close(silent[1]);
    close(fds[1]);
    end_case();
}

/* One that waits is cancelled: from the head, the middle and the tail of the queue. */
static void test_cancel_waiting(void)
{
    struct conn *c[4];
    int fds[4][2];

    begin_case();
    g.w->turns.most = 0;
    for (int i = 0; i < 4; i++) {
        tp_pair(fds[i], 1);
        c[i] = open_conn(fds[i][0], -1, 0, W_PATH_RELAY, 5000);
    }
    CU_ASSERT_EQUAL(st_get(&g.w->stats->waiting), 4);
    cn_cancel(c[1]);
    cn_cancel(c[3]);
    CU_ASSERT(g.w->turns.first == &c[0]->turn && c[0]->turn.next == &c[2]->turn &&
              !c[2]->turn.next);
    cn_cancel(c[0]);
    cn_cancel(c[2]);
    CU_ASSERT(!g.w->turns.first && g.w->turns.end == &g.w->turns.first);
    for (int i = 0; i < 4; i++)
        close(fds[i][1]);
    end_case();
}

/* A connect that is still under way, and one that fails on the way. */
static void test_connecting(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int nobody = socket(AF_INET, SOCK_STREAM, 0), s;

    begin_case();
    bind(nobody, (struct sockaddr *)&a, n);
    getsockname(nobody, (struct sockaddr *)&a, &n);
    s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CU_ASSERT(connect(s, (struct sockaddr *)&a, n) < 0);
    if (open_conn(s, -1, 0, W_PATH_RELAY, 5000))
        WRIG_UNTIL(&g, told.down);
    CU_ASSERT(told.f.code == W_CODE_REFUSED && told.f.err == ECONNREFUSED);
    end_case();
    close(nobody);
}

static void test_cannot_begin(void)
{
    int pair[2], gate[2];

    begin_case();
    tp_pair(pair, 0);
    tp_pair(gate, 0);
    CU_ASSERT_PTR_NULL(open_conn(pair[0], gate[1], 1, W_PATH_RELAY, 5000));
    CU_ASSERT(told.f.code == W_CODE_BAD_SOCKET && told.up + told.down == 0);
    close(pair[1]);
    close(gate[0]);
    end_case(); /* both descriptors were taken over: counted there */
}

void suite_conn(void)
{
    CU_pSuite s = CU_add_suite("conn", NULL, NULL);

    CU_add_test(s, "kernel", test_kernel);
    CU_add_test(s, "kernel, gate", test_kernel_gate);
    CU_add_test(s, "kernel refuses", test_kernel_refuses);
    CU_add_test(s, "half of the keys", test_half_keys);
    CU_add_test(s, "lost", test_lost);
    CU_add_test(s, "relay", test_relay);
    CU_add_test(s, "tickets", test_tickets);
    CU_add_test(s, "relay limit", test_relay_limit);
    CU_add_test(s, "deadline", test_deadline);
    CU_add_test(s, "turns", test_turns);
    CU_add_test(s, "cancel waiting", test_cancel_waiting);
    CU_add_test(s, "connecting", test_connecting);
    CU_add_test(s, "cannot begin", test_cannot_begin);
}
