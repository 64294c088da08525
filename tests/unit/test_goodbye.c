/* Tests of shim/goodbye.c: alerts, in turn with writers. */
#include "../../shim/goodbye.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <unistd.h>

static struct sy_calls real;
static struct rr_state s;
static uint8_t sent[2], sent_type;
static int sends, polls, refuse_sends, refuse_with;

static ssize_t model_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);

    CU_ASSERT_EQUAL(fd, 7);
    CU_ASSERT_EQUAL(flags, MSG_NOSIGNAL | MSG_DONTWAIT);
    CU_ASSERT_EQUAL(m->msg_iov->iov_len, 2);
    CU_ASSERT_EQUAL(c->cmsg_level, SOL_TLS);
    CU_ASSERT_EQUAL(c->cmsg_type, TLS_SET_RECORD_TYPE);
    sends++;
    if (refuse_sends > 0) {
        refuse_sends--;
        errno = refuse_with;
        return -1;
    }
    memcpy(sent, m->msg_iov->iov_base, 2);
    sent_type = *CMSG_DATA(c);
    return 2;
}

static int model_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    CU_ASSERT_EQUAL(n, 1);
    CU_ASSERT_EQUAL(fds->events, POLLOUT);
    CU_ASSERT(timeout > 0);
    polls++;
    return 1;
}

static void fresh(void)
{
    sends = polls = refuse_sends = 0;
    rr_init(&s, 0x0304);
    s.slot = sh_claim(0, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s.slot);
}

static void finish(void)
{
    (void)sh_drop(s.slot);
    sh_free(s.slot);
}

static void test_once(void)
{
    for (int slot = 0; slot < 2; slot++) {
        fresh();
        if (!slot) {
            finish();
            s.slot = NULL;
        }
        CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0);
        CU_ASSERT_EQUAL(sent_type, ALERT);
        CU_ASSERT_EQUAL(sent[0], 1);
        CU_ASSERT_EQUAL(sent[1], 0);
        CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0);
        CU_ASSERT_EQUAL(sends, 1);
        if (!slot)
            continue;
        CU_ASSERT_TRUE(sh_flags(s.slot) & SH_SHUT_WR);
        atomic_store(&s.shut_wr, false); /* another process's view of the same connection */
        CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0);
        CU_ASSERT_EQUAL(sends, 1);
        finish();
    }
}

static void test_full(void)
{
    fresh();
    refuse_sends = 1;
    refuse_with = EAGAIN;
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 1000), 0);
    CU_ASSERT_EQUAL(sends, 2);
    CU_ASSERT_EQUAL(polls, 1);
    finish();
    fresh();
    refuse_sends = 1;
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), -EAGAIN);
    CU_ASSERT_EQUAL(polls, 0);
    CU_ASSERT_FALSE(sh_flags(s.slot) & SH_SHUT_WR);
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0); /* it is still due */
    CU_ASSERT_EQUAL(sends, 2);
    finish();
    fresh();
    refuse_sends = 1;
    refuse_with = EPIPE;
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 1000), -EPIPE);
    CU_ASSERT_EQUAL(polls, 0);
    finish();
}

static void test_fatal(void)
{
    fresh();
    gb_fatal(7, &s, 20);
    CU_ASSERT_EQUAL(sent[0], 2);
    CU_ASSERT_EQUAL(sent[1], 20);
    gb_warn(7, &s, 100);
    CU_ASSERT_EQUAL(sent[0], 1);
    CU_ASSERT_EQUAL(sent[1], 100);
    sh_fail(s.slot, EPROTO); /* nothing follows a fatal one */
    gb_fatal(7, &s, 10);
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0);
    CU_ASSERT_EQUAL(sends, 2);
    finish();
    fresh();
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0); /* nor the end */
    gb_fatal(7, &s, 10);
    CU_ASSERT_EQUAL(sends, 1);
    finish();
}

static void *close_it(void *arg)
{
    *(int *)arg = gb_close_notify(7, &s, 20);
    return NULL;
}

/* A writer waits for room, its turn never ends: who closes does not wait with it. */
static void test_behind_writer(void)
{
    pthread_t thread;
    int r = 1;

    fresh();
    CU_ASSERT_EQUAL(sh_lock(s.slot, &s.slot->tx, 0), 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, close_it, &r), 0);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(r, -EAGAIN);
    CU_ASSERT_EQUAL(sends, 0);
    CU_ASSERT_EQUAL(gb_close_notify(7, &s, 0), 0); /* the writer's own thread */
    CU_ASSERT_EQUAL(sends, 1);
    sh_unlock(&s.slot->tx);
    finish();
}

static int init(void)
{
    real = sy;
    sy.sendmsg = model_sendmsg;
    sy.poll = model_poll;
    return 0;
}

static int clean(void)
{
    sy = real;
    return 0;
}

void suite_goodbye(void)
{
    CU_pSuite suite = CU_add_suite("goodbye", init, clean);

    CU_add_test(suite, "close_notify is sent once", test_once);
    CU_add_test(suite, "close_notify into a full buffer", test_full);
    CU_add_test(suite, "other alerts", test_fatal);
    CU_add_test(suite, "behind a writer that waits", test_behind_writer);
}
