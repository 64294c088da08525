/* Tests of shim/line.c: requests over one hidden connection, whatever becomes of it. */
#include "../../shim/line.c"

#include "fake_daemon.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the daemon saw. */
static struct seen {
    atomic_int connections, hellos;
    int n;
    struct w_msg m[64];
    uint8_t raw[64][OUT_MAX];
    uint32_t caps;
} * seen;

static void send_to(int sock, struct w_buf *b, const int *fds, unsigned nfds)
{
    int len = w_end(b);

    CU_ASSERT_FATAL(len > 0);
    (void)fm_send(sock, b->p, (size_t)len, fds, nfds, 0);
}

static void welcome(int sock, uint32_t id)
{
    uint8_t buf[64];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_WELCOME, id, 0);
    w_put_num(&b, W_A_VERSION, 1);
    w_put_num(&b, W_A_CAPS, W_CAP_CONTROL | W_CAP_REKEY);
    send_to(sock, &b, NULL, 0);
}

static void key(int sock, uint32_t id, uint32_t generation)
{
    uint8_t buf[256];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_RESULT, id, 0);
    w_put_num(&b, W_A_TLS_VERSION, 0x0304);
    w_put_num(&b, W_A_CIPHER, 0x1301);
    w_put_num(&b, W_A_MODE_TX, W_MODE_KERNEL);
    w_put_num(&b, W_A_MODE_RX, W_MODE_KERNEL);
    w_put_num(&b, W_A_COOKIE, 99);
    w_put_num(&b, W_A_GENERATION, generation);
    w_put_bytes(&b, W_A_KEY, "0123456789012345678901234567890123456789", 40);
    w_put_num(&b, W_A_OWED, 1);
    send_to(sock, &b, NULL, 0);
}

static void shared(int sock, uint32_t id)
{
    int memory = memfd_create("pool", MFD_CLOEXEC);
    uint8_t buf[64];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_SHARED, id, 1);
    w_put_num(&b, W_A_POOL, 1234);
    send_to(sock, &b, &memory, 1);
    close(memory);
}

static void refuse(int sock, uint32_t id)
{
    uint8_t buf[256];
    struct w_buf b;

    w_begin(&b, buf, sizeof(buf), W_ERROR, id, 0);
    w_put_num(&b, W_A_CODE, W_CODE_KEY_UPDATE);
    w_put_num(&b, W_A_ERRNO, EPROTO);
    w_put_num(&b, W_A_ALERT, 10);
    w_put_text(&b, W_A_TEXT, "too many");
    send_to(sock, &b, NULL, 0);
}

/* One message. Returns false when the client is gone. A CONTROL whose record is empty of meaning
 * ("e") is refused; REKEY of generation 7 gets no answer. */
static bool serve_one(int sock)
{
    static uint8_t raw[W_MESSAGE_MAX];
    struct w_msg *m = &seen->m[seen->n];
    int fds[2], len;
    unsigned nfds;

    len = fm_recv(sock, raw, sizeof(raw), fds, &nfds, 0);
    if (len <= 0)
        return false;
    CU_ASSERT_FATAL((size_t)len <= sizeof(seen->raw[0]));
    memcpy(seen->raw[seen->n], raw, (size_t)len);
    CU_ASSERT_EQUAL_FATAL(w_decode(m, seen->raw[seen->n], (size_t)len, nfds, W_TO_DAEMON), 0);
    for (unsigned i = 0; i < nfds; i++)
        close(fds[i]);
    seen->n += m->type != W_HELLO && seen->n < 63; /* before the answer, behind which we are read */
    if (m->type == W_HELLO) {
        seen->caps = (uint32_t)w_num(m, W_A_CAPS, 0);
        atomic_fetch_add(&seen->hellos, 1);
        welcome(sock, m->id);
    } else if (m->type == W_SHARE) {
        shared(sock, m->id);
    } else if (m->type == W_CONTROL && m->v[W_A_RECORD].p[0] == 'e') {
        refuse(sock, m->id);
    } else if (w_num(m, W_A_GENERATION, 0) != 7) {
        key(sock, m->id, (uint32_t)w_num(m, W_A_GENERATION, 0) + 1);
    }
    return true;
}

/* Client after client, until the test ends. arg: how many messages each gets. */
static void act(struct fake *d, int sock)
{
    int turns = d->arg ? *(int *)d->arg : 1000;

    while (sock >= 0) {
        int left = turns;

        atomic_fetch_add(&seen->connections, 1);
        while (left-- > 0 && serve_one(sock))
            ;
        close(sock);
        sock = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
    }
}

static struct fake d;

static void begin(int *turns)
{
    free(seen);
    seen = calloc(1, sizeof(*seen));
    CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
    d.arg = turns;
    d.talks_on_lines = true;
    fake_start(&d, act);
}

static void finish(void)
{
    struct facts f;

    (void)open_line("/nowhere", 0, false, &f); /* hangs up */
    CU_ASSERT_EQUAL(line.sock, -1);
    fake_stop(&d);
}

static int rekey(uint32_t generation, int wait_ms, struct ln_answer *a)
{
    struct ln_request q = {.type = W_REKEY, .fd = 0, .generation = generation};

    return ln_ask(d.path, &q, wait_ms, true, a);
}

static void test_ask(void)
{
    struct ln_request q = {.type = W_CONTROL,
                           .fd = 0,
                           .record_type = 22,
                           .record = (const void *)"\x18\0\0\1\1",
                           .n = 5,
                           .moved = 77,
                           .generation = 3};
    struct ln_answer a;

    begin(NULL);
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 5000, true, &a), 0);
    CU_ASSERT_EQUAL(a.generation, 4);
    CU_ASSERT_TRUE(a.has_generation && a.owed);
    CU_ASSERT_EQUAL(a.key_len, 40);
    CU_ASSERT_EQUAL(memcmp(a.key, "01234567890", 11), 0);
    CU_ASSERT_EQUAL(a.facts.cookie, 99);
    CU_ASSERT_EQUAL(a.fd, -1);
    CU_ASSERT_EQUAL(seen->m[0].type, W_CONTROL);
    CU_ASSERT_EQUAL(w_num(&seen->m[0], W_A_RECORD_TYPE, 0), 22);
    CU_ASSERT_EQUAL(seen->m[0].v[W_A_RECORD].n, 5);
    CU_ASSERT_EQUAL(w_num(&seen->m[0], W_A_GENERATION, 0), 3);
    CU_ASSERT_EQUAL(w_num(&seen->m[0], W_A_MOVED, 0), 77);
    CU_ASSERT_EQUAL(seen->caps, W_CAP_SLOTS);
    for (size_t i = 0; i < sizeof(in); i++) /* nothing of a key stays behind */
        if (in[i])
            CU_FAIL_FATAL("the line keeps what came");
    CU_ASSERT_EQUAL(rekey(8, 5000, &a), 0);
    CU_ASSERT_EQUAL(a.generation, 9);
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 1);
    CU_ASSERT(line.sock >= 900 && (fcntl(line.sock, F_GETFD) & FD_CLOEXEC));
    finish();
}

static void test_share(void)
{
    struct ln_request q = {.type = W_SHARE};
    struct ln_answer a;

    begin(NULL);
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 5000, false, &a), 0);
    CU_ASSERT_EQUAL(a.facts.pool, 1234);
    CU_ASSERT(a.fd >= 0);
    close(a.fd);
    CU_ASSERT_EQUAL(atomic_load(&seen->hellos), 1);
    finish();
}

/* What was told is answered some time; who must know waits for it. */
static void test_settle(void)
{
    struct ln_request q = {
        .type = W_CONTROL, .record_type = 22, .record = (const uint8_t *)"ticket", .n = 6};

    ln_settle(); /* nothing was told: no daemon is looked for */
    begin(NULL);
    q.fd = 0;
    ln_tell(d.path, &q);
    ln_tell(d.path, &q);
    CU_ASSERT(line.untold > 0);
    ln_settle();
    CU_ASSERT_EQUAL(line.untold, 0);
    finish();
}

static void test_refusal(void)
{
    struct ln_request q = {.type = W_CONTROL, .record_type = 22, .n = 1};
    struct ln_answer a;

    begin(NULL);
    q.record = (const void *)"e";
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 5000, true, &a), -EPROTO);
    CU_ASSERT_EQUAL(a.facts.code, W_CODE_KEY_UPDATE);
    CU_ASSERT_EQUAL(a.facts.alert, 10);
    CU_ASSERT_STRING_EQUAL(a.facts.text, "too many");
    CU_ASSERT_EQUAL(a.key_len, 0);
    CU_ASSERT_EQUAL(rekey(1, 5000, &a), 0); /* the line is as good as before */
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 1);
    finish();
}

/* Nobody waits for the answers of what is only told; they do not become the next one's. */
static void test_tell(void)
{
    struct ln_request q = {.type = W_CONTROL, .record_type = 22, .n = 1};
    struct ln_answer a;

    begin(NULL);
    for (int i = 0; i < 20; i++) {
        q.record = (const void *)(i % 2 ? "e" : "t");
        ln_tell(d.path, &q);
    }
    CU_ASSERT_EQUAL(rekey(20, 5000, &a), 0);
    CU_ASSERT_EQUAL(a.generation, 21);
    CU_ASSERT_EQUAL(seen->n, 21);
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 1);
    finish();
}

/* The daemon was restarted: the line is dead before, or behind, what is sent into it. */
static void test_broken(void)
{
    int turns = 2; /* HELLO and one request */
    struct ln_answer a;

    begin(&turns);
    for (uint32_t i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(rekey(10 + i, 5000, &a), 0);
        CU_ASSERT_EQUAL(a.generation, 11 + i);
    }
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 5);
    finish();
    turns = 1; /* closes on every request */
    begin(&turns);
    CU_ASSERT(rekey(1, 100, &a) < 0);
    CU_ASSERT(a.facts.code == W_CODE_NO_DAEMON || a.facts.code == W_CODE_TIMEOUT);
    CU_ASSERT(atomic_load(&seen->connections) > 1 && atomic_load(&seen->connections) < 20);
    finish();
}

static void test_silence(void)
{
    struct ln_answer a;
    uint64_t began;

    begin(NULL);
    began = cl_now();
    CU_ASSERT_EQUAL(rekey(7, 40, &a), -ETIMEDOUT);
    CU_ASSERT(cl_now() - began < 2000);
    CU_ASSERT_EQUAL(a.facts.code, W_CODE_TIMEOUT);
    CU_ASSERT_EQUAL(line.sock, -1); /* its answer would come too late for ever */
    CU_ASSERT_EQUAL(rekey(8, 5000, &a), 0);
    finish();
}

static void *come_later(void *arg)
{
    usleep(60000);
    CU_ASSERT_EQUAL(rename(arg, d.path), 0);
    return NULL;
}

/* A daemon that is being restarted: its socket is not there for a moment. */
static void test_patience(void)
{
    struct ln_request q = {.type = W_REKEY};
    struct ln_answer a;
    pthread_t thread;
    char away[80];

    begin(NULL);
    snprintf(away, sizeof(away), "%s.away", d.path);
    CU_ASSERT_EQUAL(rename(d.path, away), 0);
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 5000, false, &a), -ENOENT);
    CU_ASSERT_EQUAL(a.facts.code, W_CODE_NO_DAEMON);
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 30, true, &a), -ENOENT);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, come_later, away), 0);
    CU_ASSERT_EQUAL(ln_ask(d.path, &q, 5000, true, &a), 0);
    pthread_join(thread, NULL);
    finish();
}

/* The program closes what it does not own, and opens something else there. */
static void test_number_lost(void)
{
    struct ln_answer a;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), number;

    begin(NULL);
    CU_ASSERT_EQUAL(rekey(1, 5000, &a), 0);
    number = line.sock;
    CU_ASSERT_EQUAL(dup3(null, number, O_CLOEXEC), number);
    CU_ASSERT_EQUAL(rekey(2, 5000, &a), 0);
    CU_ASSERT_NOT_EQUAL(line.sock, number);
    CU_ASSERT(fcntl(number, F_GETFD) >= 0); /* the program's own stays open */
    close(number);
    close(null);
    finish();
}

static void test_leave(void)
{
    struct ln_answer a;
    int number;

    begin(NULL);
    CU_ASSERT_EQUAL(rekey(1, 5000, &a), 0);
    number = line.sock;
    ln_leave(number + 1);
    CU_ASSERT_EQUAL(line.sock, number);
    ln_leave(number);
    CU_ASSERT_EQUAL(fcntl(number, F_GETFD), -1);
    CU_ASSERT_EQUAL(rekey(2, 5000, &a), 0);
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 2);
    finish();
}

static int child_of_fork(void)
{
    struct ln_answer a;
    int parents = line.sock;

    if (rekey(30, 5000, &a) || a.generation != 31)
        return 1;
    return line.owner == getpid() && line.sock == parents ? 0 : 2;
}

static void act_forked(struct fake *f, int sock)
{
    int second;

    while (seen->n < 1)
        (void)serve_one(sock);
    atomic_store(&seen->connections, 1);
    second = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    atomic_store(&seen->connections, 2);
    while (serve_one(second))
        ;
    close(second);
    while (serve_one(sock))
        ;
}

/* A child opens its own; the parent's goes on. */
static void test_fork(void)
{
    struct ln_answer a;
    int status = -1;
    pid_t child;

    begin(NULL);
    fake_stop(&d);
    d.arg = NULL;
    fake_start(&d, act_forked);
    CU_ASSERT_EQUAL(rekey(1, 5000, &a), 0);
    child = fork();
    if (child == 0)
        _exit(child_of_fork());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(rekey(2, 5000, &a), 0);
    CU_ASSERT_EQUAL(a.generation, 3);
    CU_ASSERT_EQUAL(atomic_load(&seen->connections), 2);
    finish();
}

void suite_line(void)
{
    CU_pSuite suite = CU_add_suite("line", NULL, NULL);

    CU_add_test(suite, "a question", test_ask);
    CU_add_test(suite, "memory and capabilities", test_share);
    CU_add_test(suite, "settled", test_settle);
    CU_add_test(suite, "a refusal", test_refusal);
    CU_add_test(suite, "what is only told", test_tell);
    CU_add_test(suite, "a daemon that is restarted", test_broken);
    CU_add_test(suite, "a daemon that says nothing", test_silence);
    CU_add_test(suite, "a daemon that is not there yet", test_patience);
    CU_add_test(suite, "a number that the program took", test_number_lost);
    CU_add_test(suite, "a number that the program wants", test_leave);
    CU_add_test(suite, "fork", test_fork);
}
