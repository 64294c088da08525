/* Tests of shim/follow.c: with a daemon that derives real keys, on a model of the kernel
 * (test_kernel_keys.c has the kernel itself). */
#include "../../shim/follow.c"

#include "../../daemon/ktls.h"
#include "keyrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t update[] = {24, 0, 0, 1, 0}, asking[] = {24, 0, 0, 1, 1};
static const uint8_t ticket[] = {4, 0, 0, 3, 1, 2, 3};

/* --- the model: one receiving key, alerts that went out ---------------------------------- */

static struct sy_calls real;
static struct keyrig r;
static uint8_t rx_key[LN_KEY_MAX], alerts[8][2];
static size_t rx_len;
static int sets, refuse_set, n_alerts, shut_how, so_errors;

static int model_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level != SOL_TLS)
        return real.setsockopt(fd, level, name, value, len);
    CU_ASSERT_EQUAL(name, TLS_RX);
    sets++;
    if (refuse_set) {
        errno = refuse_set;
        return -1;
    }
    memcpy(rx_key, value, len);
    rx_len = len;
    return 0;
}

static int model_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    so_errors += level == SOL_SOCKET && name == SO_ERROR;
    if (level != SOL_TLS)
        return real.getsockopt(fd, level, name, value, len);
    if (*len > rx_len)
        *len = (socklen_t)rx_len;
    memcpy(value, rx_key, *len);
    return 0;
}

static ssize_t model_sendmsg(int fd, const struct msghdr *m, int flags)
{
    (void)fd;
    (void)flags;
    CU_ASSERT_EQUAL(m->msg_iov->iov_len, 2);
    memcpy(alerts[n_alerts++ % 8], m->msg_iov->iov_base, 2);
    return 2;
}

static int model_shutdown(int fd, int how)
{
    (void)fd;
    shut_how = how;
    return 0;
}

static void begin(void)
{
    uint8_t block[KT_BLOCK_MAX];

    keyrig_start(&r);
    real = sy;
    sy.setsockopt = model_setsockopt;
    sy.getsockopt = model_getsockopt;
    sy.sendmsg = model_sendmsg;
    sy.shutdown = model_shutdown;
    rx_len = (size_t)kt_block(&r.peer_tx, block);
    memcpy(rx_key, block, rx_len);
    sets = refuse_set = n_alerts = so_errors = 0;
    shut_how = -1;
}

static void finish(void)
{
    sy = real;
    keyrig_stop(&r);
}

/* The key that is in is the peer's of so many changes. */
static void key_is(int changes)
{
    struct ks_dir d = r.peer_tx;
    uint8_t block[KT_BLOCK_MAX];
    int n;

    while (changes-- > 0)
        CU_ASSERT_EQUAL(ks_next(&d), 0);
    n = kt_block(&d, block);
    CU_ASSERT_EQUAL(rx_len, (size_t)n);
    CU_ASSERT_EQUAL(memcmp(block, rx_key, rx_len), 0);
}

static ssize_t give(const void *p, size_t n)
{
    return fo_handshake(r.tcp[0], &r.s, p, n, fo_under(&r.s));
}

static void eventually(atomic_int *n, int wanted)
{
    for (int i = 0; i < 2000 && atomic_load(n) < wanted; i++)
        usleep(1000);
    CU_ASSERT_EQUAL(atomic_load(n), wanted);
}

/* --- keys -------------------------------------------------------------------------------- */

static void test_update(void)
{
    begin();
    CU_ASSERT_EQUAL(give(update, 5), 1);
    key_is(1);
    CU_ASSERT_EQUAL(fo_under(&r.s), 1);
    CU_ASSERT_FALSE(sh_flags(r.s.slot) & SH_OWED);
    atomic_store(&r.s.slot->moved, 12345);
    CU_ASSERT_EQUAL(give(asking, 5), 1);
    key_is(2);
    CU_ASSERT_TRUE(sh_flags(r.s.slot) & SH_OWED);
    CU_ASSERT_EQUAL(r.moved, 12345);
    CU_ASSERT_EQUAL(sets, 2);
    CU_ASSERT_EQUAL(n_alerts, 0);
    finish();
}

/* Two readers tell of one KeyUpdate: one with the record, one who saw EKEYEXPIRED alone. */
static void test_told_twice(void)
{
    begin();
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, MSG_DONTWAIT, 0), 1); /* the record's reader died */
    key_is(1);
    CU_ASSERT_TRUE(sh_flags(r.s.slot) & SH_OWED);                   /* it may have asked */
    CU_ASSERT_EQUAL(fo_handshake(r.tcp[0], &r.s, update, 5, 0), 1); /* or was only slow */
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, 0, 0), 1);
    key_is(1);
    CU_ASSERT_EQUAL(sets, 1);
    CU_ASSERT_EQUAL(atomic_load(&r.updates), 1);
    finish();
}

static void *read_record(void *arg)
{
    *(ssize_t *)arg = give(update, 5);
    return NULL;
}

/* The record's reader waits for the daemon: who may wait too does, who may not is told so. */
static void test_in_progress(void)
{
    pthread_t thread;
    ssize_t got = -1;

    begin();
    atomic_store(&r.delay_ms, 300);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, read_record, &got), 0);
    while (sh_lock(r.s.slot, &r.s.slot->rx, 0) == 0) { /* until the thread has it */
        sh_unlock(&r.s.slot->rx);
        usleep(500);
    }
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, MSG_DONTWAIT, 0), -EAGAIN);
    CU_ASSERT_EQUAL(fo_under(&r.s), 0);
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, 0, 0), 1);
    CU_ASSERT_EQUAL(fo_under(&r.s), 1);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(sets, 1);
    CU_ASSERT_EQUAL(atomic_load(&r.updates), 1);
    finish();
}

/* The one who changed the key died behind setsockopt, before he could say so: the key is not set a
 * second time, for its records are counted already. */
static void test_installed_by_the_dead(void)
{
    struct ks_dir d;
    uint8_t block[KT_BLOCK_MAX];
    int n;

    begin();
    d = r.peer_tx;
    CU_ASSERT_EQUAL(ks_next(&d), 0);
    n = kt_block(&d, block);
    CU_ASSERT_EQUAL(give(update, 5), 1);
    atomic_store(&r.s.slot->rx_generation, 0);
    rx_key[n - 1] = 9; /* nine records have come */
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, MSG_DONTWAIT, 0), 1);
    CU_ASSERT_EQUAL(sets, 1);
    CU_ASSERT_EQUAL(rx_key[n - 1], 9);
    CU_ASSERT_EQUAL(fo_under(&r.s), 1);
    finish();
}

/* And one who died before it: the daemon gives the same key again. */
static void test_asked_by_the_dead(void)
{
    struct ln_request q = {.type = W_CONTROL, .record_type = 22, .record = update, .n = 5};
    struct ln_answer a;
    pid_t child;

    begin();
    q.fd = r.tcp[0];
    child = fork();
    if (child == 0)
        _exit(sh_lock(r.s.slot, &r.s.slot->rx, 0) || ln_ask(r.s.daemon, &q, 5000, true, &a));
    CU_ASSERT_EQUAL(waitpid(child, NULL, 0), child);
    CU_ASSERT_EQUAL(atomic_load(&r.updates), 1);
    CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, 0, 0), 1);
    key_is(1);
    CU_ASSERT_EQUAL(fo_under(&r.s), 1);
    finish();
}

static void test_cannot(void)
{
    static const struct {
        unsigned code;
        int error, alerts;
    } rows[] = {{W_CODE_NO_STATE, EKEYEXPIRED, 0}, {W_CODE_KEY_UPDATE, EPROTO, 1}};

    for (size_t i = 0; i < 2; i++) {
        begin();
        atomic_store(&r.refuse, (int)rows[i].code);
        CU_ASSERT_EQUAL(give(update, 5), -rows[i].error);
        CU_ASSERT_EQUAL(sh_error(r.s.slot), rows[i].error);
        CU_ASSERT_EQUAL(atomic_load(&r.s.error), rows[i].error);
        CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&r.s), "as the test wants it"));
        CU_ASSERT_EQUAL(n_alerts, rows[i].alerts);
        CU_ASSERT(n_alerts == 0 || (alerts[0][0] == 2 && alerts[0][1] == 10));
        CU_ASSERT_EQUAL(shut_how, SHUT_RDWR);
        CU_ASSERT_EQUAL(sets, 0);
        atomic_store(&r.s.error, 0); /* another process */
        CU_ASSERT_EQUAL(fo_stalled(r.tcp[0], &r.s, 0, 0), -rows[i].error);
        finish();
    }
    begin();
    refuse_set = EOPNOTSUPP;
    CU_ASSERT_EQUAL(give(update, 5), -EKEYEXPIRED);
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&r.s), "kernel refuses"));
    finish();
}

static void test_cannot_at_all(void)
{
    begin();
    r.s.follows_rx = false;
    CU_ASSERT_EQUAL(give(asking, 5), -EKEYEXPIRED);
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&r.s), "6.14"));
    CU_ASSERT_EQUAL(atomic_load(&r.updates), 0);
    finish();
    begin();
    atomic_store(&r.s.closing, true); /* nobody will read what comes under the next key */
    CU_ASSERT_EQUAL(give(asking, 5), -EKEYEXPIRED);
    CU_ASSERT_EQUAL(atomic_load(&r.s.error), 0);
    CU_ASSERT_EQUAL(atomic_load(&r.updates), 0);
    finish();
}

/* --- other messages ---------------------------------------------------------------------- */

static void test_tickets(void)
{
    begin();
    atomic_store(&r.delay_ms, 100); /* nobody waits for the answer */
    CU_ASSERT_EQUAL(give(ticket, sizeof(ticket)), 1);
    CU_ASSERT_EQUAL(atomic_load(&r.controls), 0);
    atomic_store(&r.delay_ms, 0);
    CU_ASSERT_EQUAL(give(ticket, sizeof(ticket)), 1);
    eventually(&r.controls, 2);
    r.s.controls = false;
    CU_ASSERT_EQUAL(give(ticket, sizeof(ticket)), 1);
    usleep(2000);
    CU_ASSERT_EQUAL(atomic_load(&r.controls), 2);
    CU_ASSERT_EQUAL(sets, 0);
    finish();
}

/* Cut where the kernel takes the piece for a KeyUpdate: it waits for a key, and gets the old one.
 */
static void test_cut(void)
{
    static const uint8_t head[] = {4, 0, 0, 5, 1, 2}, rest[] = {24, 0, 0};

    begin();
    CU_ASSERT_EQUAL(give(head, sizeof(head)), 1);
    CU_ASSERT_EQUAL(sets, 0);
    CU_ASSERT_EQUAL(give(rest, sizeof(rest)), 1);
    CU_ASSERT_EQUAL(sets, 1);
    key_is(0);
    CU_ASSERT_EQUAL(give(asking, 3), 1); /* half a KeyUpdate */
    CU_ASSERT_EQUAL(sets, 2);
    key_is(0);
    CU_ASSERT_EQUAL(give(asking + 3, 2), 1);
    key_is(1);
    CU_ASSERT_TRUE(sh_flags(r.s.slot) & SH_OWED);
    finish();
}

static void test_behind_ticket(void)
{
    uint8_t both[sizeof(ticket) + sizeof(asking)];

    begin();
    memcpy(both, ticket, sizeof(ticket));
    memcpy(both + sizeof(ticket), asking, sizeof(asking));
    CU_ASSERT_EQUAL(give(both, sizeof(both)), 1);
    key_is(1);
    CU_ASSERT_EQUAL(atomic_load(&r.controls), 2);
    finish();
}

static void test_unexpected(void)
{
    static const struct {
        uint8_t p[6];
        size_t n;
        uint8_t alert;
    } rows[] = {{{13, 0, 0, 0}, 4, 10},                      /* CertificateRequest: never offered */
                {{0, 0, 0, 0}, 4, 10},                       /* HelloRequest in TLS 1.3 */
                {{24, 0, 0, 1, 2}, 5, 47},                   /* neither asks nor does not */
                {{24, 0, 0, 1, 0, 4}, 6, 10},                /* something behind a KeyUpdate */
                {{24, 0, 0, 2, 0, 0}, 6, 50}, {{0}, 0, 10}}; /* nothing */

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        begin();
        CU_ASSERT_EQUAL(give(rows[i].p, rows[i].n), -EPROTO);
        CU_ASSERT_EQUAL(n_alerts, 1);
        CU_ASSERT_EQUAL(alerts[0][0], 2);
        CU_ASSERT_EQUAL(alerts[0][1], rows[i].alert);
        CU_ASSERT_EQUAL(sh_error(r.s.slot), EPROTO);
        CU_ASSERT_EQUAL(shut_how, SHUT_RDWR);
        finish();
    }
    begin();
    CU_ASSERT_EQUAL(fo_unexpected(r.tcp[0], &r.s), -EPROTO);
    CU_ASSERT_EQUAL(alerts[0][1], 10);
    finish();
}

static void test_hello_request(void)
{
    static const uint8_t hello[] = {0, 0, 0, 0};

    begin();
    r.s.version = 0x0303;
    CU_ASSERT_EQUAL(give(hello, 4), 1);
    CU_ASSERT_EQUAL(n_alerts, 1);
    CU_ASSERT(alerts[0][0] == 1 && alerts[0][1] == 100);
    CU_ASSERT_EQUAL(give(hello, 4), 1);
    CU_ASSERT_EQUAL(n_alerts, 1);
    CU_ASSERT_EQUAL(give(update, 5), -EPROTO);
    finish();
}

static void test_unreadable(void)
{
    static const struct {
        int error;
        uint8_t alert;
    } rows[] = {{EBADMSG, 20}, {EMSGSIZE, 22}};

    for (size_t i = 0; i < 2; i++) {
        begin();
        CU_ASSERT_EQUAL(fo_unreadable(r.tcp[0], &r.s, rows[i].error), -EBADMSG);
        CU_ASSERT_EQUAL(so_errors, 1); /* or the alert would not go out */
        CU_ASSERT(n_alerts == 1 && alerts[0][0] == 2 && alerts[0][1] == rows[i].alert);
        CU_ASSERT_EQUAL(sh_error(r.s.slot), EBADMSG);
        finish();
    }
}

static void test_alerts(void)
{
    begin();
    CU_ASSERT_EQUAL(fo_alert(r.tcp[0], &r.s, (const uint8_t *)"\1\0", 2), 0);
    CU_ASSERT_TRUE(atomic_load(&r.s.eof));
    CU_ASSERT_TRUE(sh_flags(r.s.slot) & SH_EOF);
    CU_ASSERT_EQUAL(shut_how, SHUT_RD);
    finish();
    begin();
    CU_ASSERT_EQUAL(fo_alert(r.tcp[0], &r.s, (const uint8_t *)"\2\x28", 2), -EPROTO);
    CU_ASSERT_EQUAL(atomic_load(&r.s.alert), 40);
    CU_ASSERT_EQUAL(sh_error(r.s.slot), EPROTO);
    CU_ASSERT_EQUAL(n_alerts, 0);
    finish();
    begin();
    CU_ASSERT_EQUAL(fo_alert(r.tcp[0], &r.s, (const uint8_t *)"\2", 1), -EPROTO);
    CU_ASSERT(n_alerts == 1 && alerts[0][1] == 50);
    finish();
}

void suite_follow(void)
{
    CU_pSuite suite = CU_add_suite("follow", NULL, NULL);

    CU_add_test(suite, "KeyUpdate", test_update);
    CU_add_test(suite, "told twice", test_told_twice);
    CU_add_test(suite, "a change in progress", test_in_progress);
    CU_add_test(suite, "installed by one who died", test_installed_by_the_dead);
    CU_add_test(suite, "asked for by one who died", test_asked_by_the_dead);
    CU_add_test(suite, "no next key", test_cannot);
    CU_add_test(suite, "no next key, ever", test_cannot_at_all);
    CU_add_test(suite, "tickets", test_tickets);
    CU_add_test(suite, "messages cut into pieces", test_cut);
    CU_add_test(suite, "a KeyUpdate behind a ticket", test_behind_ticket);
    CU_add_test(suite, "what may not come", test_unexpected);
    CU_add_test(suite, "HelloRequest", test_hello_request);
    CU_add_test(suite, "records that cannot be read", test_unreadable);
    CU_add_test(suite, "alerts", test_alerts);
}
