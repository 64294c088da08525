/* Tests of shim/turn.c: with a daemon that derives real keys, on a model of the kernel
 * (test_kernel_keys.c has the kernel itself). */
#include "../../shim/turn.c"

#include "../../daemon/ktls.h"
#include "keyrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

/* --- the model: what went out, in order -------------------------------------------------- */

static struct sy_calls real;
static struct keyrig r;
static char went[32]; /* u: KeyUpdate, U: one that asks, K: key, e: close_notify */
static uint8_t tx_key[LN_KEY_MAX];
static size_t tx_len;
static int full, broken, refuse_key, polls, nobody;

static void note(char c)
{
    size_t n = strlen(went);

    if (n + 1 < sizeof(went))
        went[n] = c;
}

static ssize_t model_sendmsg(int fd, const struct msghdr *m, int flags)
{
    const uint8_t *p = m->msg_iov->iov_base;

    (void)fd;
    CU_ASSERT_EQUAL(flags, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (full > 0 || broken) {
        full -= full > 0;
        errno = broken ? EPIPE : EAGAIN;
        return -1;
    }
    CU_ASSERT_TRUE(m->msg_iov->iov_len == 2 || sh_flags(r.s.slot) & SH_PAYING);
    note(m->msg_iov->iov_len == 2 ? 'e' : p[4] ? 'U' : 'u');
    return (ssize_t)m->msg_iov->iov_len;
}

static int model_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level != SOL_TLS)
        return real.setsockopt(fd, level, name, value, len);
    CU_ASSERT_EQUAL(name, TLS_TX);
    note('K');
    memcpy(tx_key, value, len);
    tx_len = len;
    errno = EOPNOTSUPP;
    return refuse_key ? -1 : 0;
}

static int model_poll(struct pollfd *p, nfds_t n, int timeout)
{
    if (n != 1 || p->events != POLLOUT || p->fd != r.tcp[0])
        return real.poll(p, n, timeout);
    polls++;
    return full > 0 && timeout >= 0 ? 0 : 1;
}

static int model_shutdown(int fd, int how)
{
    (void)fd;
    (void)how;
    return 0;
}

static void begin(void)
{
    keyrig_start(&r);
    real = sy;
    sy.sendmsg = model_sendmsg;
    sy.setsockopt = model_setsockopt;
    sy.poll = model_poll;
    sy.shutdown = model_shutdown;
    memset(went, 0, sizeof(went));
    full = broken = refuse_key = polls = nobody = 0;
}

static void finish(void)
{
    sy = real;
    keyrig_stop(&r);
}

static void owe(void)
{
    atomic_fetch_or(&r.s.slot->flags, SH_OWED);
}

/* A write of n bytes. */
static int put(ssize_t n, int flags)
{
    struct tn_turn t = {.s = NULL};
    int k = tn_begin(&t, r.tcp[0], &r.s, flags);

    if (k < 0) {
        CU_ASSERT_FALSE(t.held);
        return k;
    }
    tn_wrote(&t, n, 16384, 1);
    tn_end(&t);
    return 0;
}

static uint32_t sent(void)
{
    return atomic_load(&r.s.slot->sent);
}

static bool is_free(pthread_mutex_t *m)
{
    if (sh_lock(r.s.slot, m, 0) < 0)
        return false;
    sh_unlock(m);
    return true;
}

/* --- turns -------------------------------------------------------------------------------- */

static void *try_it(void *arg)
{
    *(bool *)arg = is_free(&r.s.slot->tx);
    return NULL;
}

static bool is_free_to_others(void)
{
    pthread_t thread;
    bool is = false;

    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, try_it, &is), 0);
    pthread_join(thread, NULL);
    return is;
}

static void test_plain(void)
{
    struct tn_turn t = {.s = NULL};

    begin();
    CU_ASSERT_EQUAL(tn_begin(&t, r.tcp[0], &r.s, 0), 0);
    CU_ASSERT_FALSE(is_free_to_others());
    tn_end(&t);
    CU_ASSERT_TRUE(is_free_to_others());
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_EQUAL(put(16384 * 3, 0), 0);
    CU_ASSERT_EQUAL(put(-1, 0), 0);
    CU_ASSERT_EQUAL(sent(), 1 + 4);
    CU_ASSERT_EQUAL(atomic_load(&r.s.slot->moved), 1 + 16384 * 3);
    CU_ASSERT_STRING_EQUAL(went, "");
    CU_ASSERT_EQUAL(atomic_load(&r.rekeyed), 0);
    finish();
}

static void test_forbidden(void)
{
    begin();
    atomic_fetch_or(&r.s.slot->flags, SH_SHUT_WR); /* by another process */
    CU_ASSERT_EQUAL(put(1, 0), -EPIPE);
    sh_fail(r.s.slot, EBADMSG);
    CU_ASSERT_EQUAL(put(1, 0), -EBADMSG);
    CU_ASSERT_TRUE(is_free_to_others());
    finish();
}

static void test_without_slot(void)
{
    struct rr_state s;
    struct tn_turn t = {.s = NULL};

    rr_init(&s, 0x0304);
    CU_ASSERT_EQUAL(tn_begin(&t, 7, &s, 0), 0);
    tn_wrote(&t, 100, 16384, 1);
    tn_end(&t);
    CU_ASSERT_EQUAL(tn_update(7, &s, true), -EOPNOTSUPP);
}

/* --- paying ------------------------------------------------------------------------------- */

static void key_is(int changes)
{
    struct ks_dir d = r.peer_rx;
    uint8_t block[KT_BLOCK_MAX];
    int n;

    while (changes-- > 0)
        CU_ASSERT_EQUAL(ks_next(&d), 0);
    n = kt_block(&d, block);
    CU_ASSERT_EQUAL(tx_len, (size_t)n);
    CU_ASSERT_EQUAL(memcmp(block, tx_key, tx_len), 0);
}

static void test_owed(void)
{
    begin();
    atomic_store(&r.s.slot->sent, 55);
    owe();
    owe(); /* two that are due are paid by one */
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_STRING_EQUAL(went, "uK");
    key_is(1);
    CU_ASSERT_EQUAL(sh_flags(r.s.slot), SH_READY);
    CU_ASSERT_EQUAL(atomic_load(&r.s.slot->tx_generation), 1);
    CU_ASSERT_EQUAL(sent(), 1);
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_STRING_EQUAL(went, "uK");
    owe();
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_STRING_EQUAL(went, "uKuK");
    key_is(2);
    finish();
}

static void test_limit(void)
{
    begin();
    r.s.slot->records_max = 3;
    for (int i = 0; i < 7; i++)
        CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_STRING_EQUAL(went, "uKuK"); /* before the fourth and the seventh */
    CU_ASSERT_EQUAL(sent(), 1);
    finish();
}

static void test_update(void)
{
    begin();
    CU_ASSERT_EQUAL(tn_update(r.tcp[0], &r.s, true), 0);
    CU_ASSERT_EQUAL(tn_update(r.tcp[0], &r.s, false), 0);
    CU_ASSERT_STRING_EQUAL(went, "UKuK");
    CU_ASSERT_TRUE(is_free_to_others());
    r.s.follows_tx = false;
    CU_ASSERT_EQUAL(tn_update(r.tcp[0], &r.s, false), -EOPNOTSUPP);
    finish();
}

/* No room for the KeyUpdate: nothing has happened yet. */
static void test_full(void)
{
    struct timeval limit = {0, 30000}, none = {0, 0};

    begin();
    owe();
    full = 1;
    CU_ASSERT_EQUAL(put(1, MSG_DONTWAIT), -EAGAIN);
    CU_ASSERT_EQUAL(sh_flags(r.s.slot), SH_READY | SH_OWED);
    CU_ASSERT_EQUAL(polls, 0);
    full = 2;
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_EQUAL(polls, 2);
    CU_ASSERT_STRING_EQUAL(went, "uK");
    key_is(1); /* the same one, however often it was asked for */
    CU_ASSERT_EQUAL(atomic_load(&r.s.slot->tx_generation), 1);
    owe();
    full = 1000;
    CU_ASSERT_EQUAL(setsockopt(r.tcp[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
    CU_ASSERT_EQUAL(put(1, 0), -EAGAIN);
    CU_ASSERT_EQUAL(setsockopt(r.tcp[0], SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none)), 0);
    full = 0;
    broken = 1;
    CU_ASSERT_EQUAL(put(1, 0), -EPIPE);
    CU_ASSERT_EQUAL(sh_flags(r.s.slot), SH_READY | SH_OWED);
    CU_ASSERT_TRUE(is_free_to_others());
    finish();
}

static void test_key_refused(void)
{
    begin();
    owe();
    refuse_key = 1;
    CU_ASSERT_EQUAL(put(1, 0), -EKEYEXPIRED); /* and nothing can be sent any more */
    CU_ASSERT_EQUAL(put(1, 0), -EKEYEXPIRED);
    CU_ASSERT_EQUAL(sh_error(r.s.slot), EKEYEXPIRED);
    CU_ASSERT_STRING_EQUAL(went, "uK");
    finish();
}

/* What can be read goes on. */
static void worn(void)
{
    CU_ASSERT_EQUAL(put(1, 0), -EKEYEXPIRED);
    CU_ASSERT_EQUAL(put(1, 0), -EKEYEXPIRED);
    CU_ASSERT_STRING_EQUAL(went, "e");
    CU_ASSERT_EQUAL(sh_error(r.s.slot), 0);
    CU_ASSERT_EQUAL(atomic_load(&r.s.error), 0);
    CU_ASSERT_TRUE(strlen(rr_why(&r.s)) > 20);
    CU_ASSERT_TRUE(is_free_to_others());
}

static void test_worn(void)
{
    begin();
    owe();
    atomic_store(&r.refuse, W_CODE_NO_STATE);
    worn();
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&r.s), "as the test wants it"));
    finish();
    begin();
    r.s.follows_tx = false;
    r.s.slot->records_max = 2;
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_EQUAL(put(1, 0), 0);
    worn();
    CU_ASSERT_EQUAL(atomic_load(&r.rekeyed), 0);
    finish();
}

/* --- whose turn --------------------------------------------------------------------------- */

static bool closed_meanwhile(int fd, const struct rr_state *of)
{
    (void)fd;
    (void)of;
    return nobody == 0;
}

static void *hold(void *arg)
{
    CU_ASSERT_EQUAL(sh_lock(r.s.slot, &r.s.slot->tx, -1), 0);
    atomic_store((atomic_int *)arg, 1);
    while (atomic_load((atomic_int *)arg) == 1)
        usleep(500);
    sh_unlock(&r.s.slot->tx);
    return NULL;
}

static void *let_go(void *arg)
{
    usleep(30000);
    atomic_store((atomic_int *)arg, 2);
    return NULL;
}

static void test_behind_another(void)
{
    atomic_int held = 0;
    pthread_t thread, second;

    begin();
    r.s.names = closed_meanwhile;
    for (int i = 0; i < 2; i++) {
        uint64_t began;

        atomic_store(&held, 0);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, hold, &held), 0);
        while (!atomic_load(&held))
            usleep(100);
        began = cl_now();
        CU_ASSERT_EQUAL(put(1, MSG_DONTWAIT), -EAGAIN);
        CU_ASSERT(cl_now() - began >= TURN_MS && cl_now() - began < 5000);
        nobody = i; /* the number is closed while we wait */
        CU_ASSERT_EQUAL_FATAL(pthread_create(&second, NULL, let_go, &held), 0);
        CU_ASSERT_EQUAL(put(1, 0), i ? -EBADF : 0);
        pthread_join(thread, NULL);
        pthread_join(second, NULL);
        CU_ASSERT_TRUE(is_free_to_others());
    }
    finish();
}

static volatile int handlers_result;

static void on_signal(int number)
{
    (void)number;
    handlers_result = put(1, 0);
}

/* A handler that writes in the middle of its own thread's write. */
static void test_signal_handler(void)
{
    struct tn_turn t = {.s = NULL};

    begin();
    signal(SIGUSR1, on_signal);
    CU_ASSERT_EQUAL(tn_begin(&t, r.tcp[0], &r.s, 0), 0);
    handlers_result = 1;
    raise(SIGUSR1);
    CU_ASSERT_EQUAL(handlers_result, 0);
    CU_ASSERT_FALSE(is_free_to_others());
    tn_end(&t);
    CU_ASSERT_TRUE(is_free_to_others());
    signal(SIGUSR1, SIG_DFL);
    finish();
}

static void *write_for_ever(void *arg)
{
    struct tn_turn t = {.s = NULL};

    CU_ASSERT_EQUAL(tn_begin(&t, r.tcp[0], &r.s, 0), 0);
    atomic_store((atomic_int *)arg, 1);
    for (;;)
        (void)poll(NULL, 0, 1000);
    return NULL;
}

static void test_cancelled(void)
{
    atomic_int held = 0;
    pthread_t thread;

    begin();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, write_for_ever, &held), 0);
    while (!atomic_load(&held))
        usleep(100);
    CU_ASSERT_FALSE(is_free(&r.s.slot->tx));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(put(1, 0), 0);
    CU_ASSERT_EQUAL(sh_error(r.s.slot), 0);
    finish();
}

void suite_turn(void)
{
    CU_pSuite suite = CU_add_suite("turn", NULL, NULL);

    CU_add_test(suite, "a turn", test_plain);
    CU_add_test(suite, "what was said forbids to write", test_forbidden);
    CU_add_test(suite, "no slot", test_without_slot);
    CU_add_test(suite, "a KeyUpdate that is owed", test_owed);
    CU_add_test(suite, "so many records", test_limit);
    CU_add_test(suite, "a change that is asked for", test_update);
    CU_add_test(suite, "a full send buffer", test_full);
    CU_add_test(suite, "a key that is refused", test_key_refused);
    CU_add_test(suite, "a key that is used up", test_worn);
    CU_add_test(suite, "behind another writer", test_behind_another);
    CU_add_test(suite, "a signal handler", test_signal_handler);
    CU_add_test(suite, "a thread cancelled in its turn", test_cancelled);
}
