/* Tests of changes of keys on the kernel itself, where it has kTLS that can change them: several
 * readers, writers, processes on one connection. */
#include "../../daemon/ktls.h"
#include "../../shim/follow.h"
#include "../../shim/goodbye.h"
#include "../../shim/turn.h"
#include "keyrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/tls.h>
#include <pthread.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static struct keyrig r;
static const uint8_t asking[] = {24, 0, 0, 1, 1};

static bool kernel_start(void)
{
    keyrig_start(&r);
    if (r.rekeys)
        return true;
    keyrig_stop(&r);
    return false;
}

#define ROUNDS 200
#define READERS 3

static atomic_long bytes_read;

static void *reader(void *arg)
{
    char buf[64];
    struct iovec iov = {buf, sizeof(buf)};
    ssize_t n;

    do {
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

        n = rr_recvmsg(r.tcp[0], &r.s, &m, 0);
        if (n > 0)
            atomic_fetch_add(&bytes_read, n);
    } while (n > 0);
    *(ssize_t *)arg = n;
    return NULL;
}

/* Several readers of one socket, and a peer that changes its key at every turn. */
static void test_kernel_readers(void)
{
    pthread_t threads[READERS];
    ssize_t ends[READERS];

    if (!kernel_start())
        return;
    atomic_store(&bytes_read, 0);
    for (int i = 0; i < READERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, reader, &ends[i]), 0);
    for (int i = 0; i < ROUNDS; i++) {
        CU_ASSERT_EQUAL(send(r.tcp[1], "0123456789", 10, 0), 10);
        keyrig_peer_update(&r, i % 2);
    }
    CU_ASSERT_EQUAL(gb_record(r.tcp[1], 21, "\1\0", 2), 0);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(ends[i], 0);
    }
    CU_ASSERT_EQUAL(atomic_load(&bytes_read), ROUNDS * 10);
    CU_ASSERT_EQUAL(fo_under(&r.s), ROUNDS);
    CU_ASSERT_EQUAL(r.e.rx_generation, ROUNDS);
    CU_ASSERT_EQUAL(atomic_load(&r.s.error), 0);
    keyrig_stop(&r);
}

static ssize_t take(void *buf, size_t n, int flags)
{
    struct iovec iov = {buf, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    return rr_recvmsg(r.tcp[0], &r.s, &m, flags);
}

/* Peeked, through a buffer of one byte, cut into pieces; a record that was damaged. */
static void test_kernel_shapes(void)
{
    char buf[16];
    int type = 0;

    if (!kernel_start())
        return;
    keyrig_peer_update(&r, true);
    CU_ASSERT_EQUAL(send(r.tcp[1], "abcdef", 6, 0), 6);
    CU_ASSERT_EQUAL(take(buf, 1, MSG_PEEK), 1);
    keyrig_peer_update(&r, true);
    CU_ASSERT_EQUAL(send(r.tcp[1], "gh", 2, 0), 2);
    CU_ASSERT_EQUAL(take(buf, 1, 0), 1);
    CU_ASSERT_EQUAL(take(buf, 7, MSG_WAITALL), 7);
    CU_ASSERT_EQUAL(memcmp(buf, "bcdefgh", 7), 0);
    CU_ASSERT_EQUAL(fo_under(&r.s), 2);
    CU_ASSERT_EQUAL(gb_record(r.tcp[1], 22, asking, 2), 0); /* a KeyUpdate in two pieces */
    CU_ASSERT_EQUAL(gb_record(r.tcp[1], 22, asking + 2, 3), 0);
    CU_ASSERT_EQUAL(ks_next(&r.peer_tx), 0);
    CU_ASSERT_EQUAL(kt_set(r.tcp[1], TLS_TX, &r.peer_tx), 0);
    CU_ASSERT_EQUAL(send(r.tcp[1], "ij", 2, 0), 2);
    CU_ASSERT_EQUAL(take(buf, 16, 0), 2);
    CU_ASSERT_EQUAL(memcmp(buf, "ij", 2), 0);
    CU_ASSERT_EQUAL(fo_under(&r.s), 3);
    CU_ASSERT_EQUAL(ks_next(&r.peer_tx), 0); /* a key that nobody was told of */
    CU_ASSERT_EQUAL(kt_set(r.tcp[1], TLS_TX, &r.peer_tx), 0);
    CU_ASSERT_EQUAL(send(r.tcp[1], "x", 1, 0), 1);
    CU_ASSERT_EQUAL(take(buf, 16, 0), -EBADMSG);
    CU_ASSERT_EQUAL(take(buf, 16, 0), -EBADMSG);
    CU_ASSERT_EQUAL(keyrig_peer_read(&r, buf, 16, &type), 2);
    CU_ASSERT(type == 21 && buf[0] == 2 && buf[1] == 20);
    keyrig_stop(&r);
}

static int child_reads(void)
{
    char buf[16];
    ssize_t n = take(buf, sizeof(buf), 0);

    if (n != 5 || memcmp(buf, "child", 5) != 0)
        return 1;
    return take(buf, sizeof(buf), 0) == 0 ? 0 : 2;
}

/* Two processes: each reads behind a KeyUpdate that the other followed; the end that one of them
 * was given is no truncation to the other. */
static void test_kernel_processes(void)
{
    char buf[16];
    int status = -1;
    pid_t child;

    if (!kernel_start())
        return;
    keyrig_peer_update(&r, false);
    CU_ASSERT_EQUAL(send(r.tcp[1], "parent", 6, 0), 6);
    CU_ASSERT_EQUAL(take(buf, sizeof(buf), 0), 6);
    keyrig_peer_update(&r, false);
    CU_ASSERT_EQUAL(send(r.tcp[1], "child", 5, 0), 5);
    CU_ASSERT_EQUAL(gb_record(r.tcp[1], 21, "\1\0", 2), 0);
    child = fork();
    if (child == 0)
        _exit(child_reads());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(fo_under(&r.s), 2);
    CU_ASSERT_EQUAL(take(buf, sizeof(buf), 0), 0);
    CU_ASSERT_EQUAL(atomic_load(&r.s.error), 0);
    keyrig_stop(&r);
}

#define WRITERS 3
#define LINES 300

static ssize_t kernel_write(const void *p, size_t n, int flags)
{
    struct tn_turn t = {.s = NULL};
    ssize_t k = tn_begin(&t, r.tcp[0], &r.s, flags);

    if (k < 0)
        return k;
    k = send(r.tcp[0], p, n, flags | MSG_NOSIGNAL);
    k = k < 0 ? -errno : k;
    tn_wrote(&t, k, 16384, 1);
    tn_end(&t);
    return k;
}

static void *writer(void *arg)
{
    for (int i = 0; i < LINES; i++)
        if (kernel_write("0123456789", 10, 0) != 10)
            return arg;
    return NULL;
}

/* Writers in turn, the keys changed under them: the peer can open every record. */
static void test_kernel_writers(void)
{
    pthread_t threads[WRITERS];
    int updates = 0, bytes = 0, type = 0;
    char buf[4096];
    void *bad;

    if (!kernel_start())
        return;
    r.s.slot->records_max = 50;
    for (int i = 0; i < WRITERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, writer, &r), 0);
    while (bytes < WRITERS * LINES * 10) {
        ssize_t n = keyrig_peer_read(&r, buf, sizeof(buf), &type);

        if (n <= 0) {
            CU_FAIL("a record that the peer cannot open");
            break;
        }
        bytes += type == 23 ? (int)n : 0;
        updates += type == 22;
        if (type == 22)
            atomic_fetch_or(&r.s.slot->flags, SH_OWED);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], &bad);
        CU_ASSERT_PTR_NULL(bad);
    }
    CU_ASSERT(updates >= WRITERS * LINES / 50 - 1);
    keyrig_stop(&r);
}

static void *blocked_writer(void *arg)
{
    static char block[200000];

    *(ssize_t *)arg = kernel_write(block, sizeof(block), 0);
    return NULL;
}

static size_t drain_peer(size_t wanted)
{
    static char buf[65536];
    size_t all = 0;
    int type = 0;

    while (all < wanted) {
        ssize_t n = keyrig_peer_read(&r, buf, sizeof(buf), &type);

        if (n <= 0)
            break;
        all += type == 23 ? (size_t)n : 0;
    }
    return all;
}

static size_t fill(void)
{
    static char block[100000];
    size_t all = 0;
    ssize_t n;

    while ((n = kernel_write(block, sizeof(block), MSG_DONTWAIT)) > 0)
        all += (size_t)n;
    CU_ASSERT_EQUAL(n, -EAGAIN);
    return all;
}

/* A full send buffer: who does not wait is told so and pays later; who waits is waited for by
 * other writers, not by readers. */
static void test_kernel_full(void)
{
    struct timeval patience = {5, 0};
    pthread_t thread;
    ssize_t wrote = 0;
    size_t filled;
    char buf[16];
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (!kernel_start())
        return;
    filled = fill();
    atomic_fetch_or(&r.s.slot->flags, SH_OWED);
    CU_ASSERT_EQUAL(kernel_write("x", 1, MSG_DONTWAIT), -EAGAIN);
    CU_ASSERT_TRUE(sh_flags(r.s.slot) & SH_OWED);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, blocked_writer, &wrote), 0);
    usleep(20000);
    keyrig_peer_update(&r, true);
    CU_ASSERT_EQUAL(send(r.tcp[1], "go on", 5, 0), 5);
    CU_ASSERT_EQUAL(setsockopt(r.tcp[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    CU_ASSERT_EQUAL(rr_recvmsg(r.tcp[0], &r.s, &m, 0), 5);
    CU_ASSERT_EQUAL(gb_close_notify(r.tcp[0], &r.s, 20), -EAGAIN); /* and does not hang */
    CU_ASSERT_EQUAL(drain_peer(filled + 200000), filled + 200000);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(wrote, 200000);
    CU_ASSERT_EQUAL(kernel_write("x", 1, 0), 1);
    CU_ASSERT_EQUAL(drain_peer(1), 1);
    CU_ASSERT_FALSE(sh_flags(r.s.slot) & SH_OWED);
    keyrig_stop(&r);
}

void suite_kernel_keys(void)
{
    CU_pSuite suite = CU_add_suite("kernel_keys", NULL, NULL);

    CU_add_test(suite, "several readers", test_kernel_readers);
    CU_add_test(suite, "shapes of reads", test_kernel_shapes);
    CU_add_test(suite, "several processes", test_kernel_processes);
    CU_add_test(suite, "several writers", test_kernel_writers);
    CU_add_test(suite, "a full send buffer", test_kernel_full);
}
