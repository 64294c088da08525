/* Tests of shim/api_kernel.c: objects whose connection is in the kernel, their processes, keys and
 * end. The kernel is a model; test_kernel_keys.c has the real one. */
#include "../../shim/api_kernel.c"

#include "keyrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <linux/tls.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sy_calls real;
static struct keyrig r; /* the daemon, and a connection */
static struct htls *h;
static int goodbyes, updates, keys;

static ssize_t model_sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (m->msg_controllen == 0)
        return real.sendmsg(fd, m, flags);
    goodbyes += m->msg_iov->iov_len == 2;
    updates += m->msg_iov->iov_len == 5;
    return (ssize_t)m->msg_iov->iov_len;
}

static int model_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level != 282)
        return real.setsockopt(fd, level, name, value, len);
    keys += name == TLS_TX;
    return 0;
}

static void begin(void)
{
    keyrig_start(&r);
    real = sy;
    sy.sendmsg = model_sendmsg;
    sy.setsockopt = model_setsockopt;
    goodbyes = updates = keys = 0;
    h = htls_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    h->fd = dup(r.tcp[0]);
    h->facts = (struct facts){.version = 0x0304,
                              .mode_tx = W_MODE_KERNEL,
                              .alert = -1,
                              .mode_rx = W_MODE_KERNEL,
                              .cookie = 1,
                              .caps = r.caps};
    ap_join(h, r.d.path);
    h->up = h->used = true;
}

static void finish(void)
{
    htls_free(h);
    CU_ASSERT_PTR_NULL(all);
    sy = real;
    keyrig_stop(&r);
}

static void test_close(void)
{
    begin();
    CU_ASSERT_PTR_NOT_NULL(h->rr.slot);
    CU_ASSERT_EQUAL(htls_close(h), 0);
    CU_ASSERT_EQUAL(goodbyes, 1);
    CU_ASSERT_EQUAL(atomic_load(&h->rr.slot->cookie), 0);
    finish();
    begin(); /* not closed: nothing is sent, and no slot is kept for ever */
    htls_free(h);
    CU_ASSERT_EQUAL(goodbyes, 0);
    h = NULL;
    finish();
}

static int in_child(int (*act)(void))
{
    pid_t child = fork();
    int status = -1;

    if (child == 0)
        _exit(act());
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int closes(void)
{
    return htls_close(h) == 0 ? goodbyes : 99;
}

static int goes_on(void)
{
    return htls_send(h, "x", 1, 0) == 1 ? 0 : 1;
}

static int exits(void)
{
    on_exit_();
    return all ? 99 : goodbyes;
}

/* The last of several processes says the end, however it comes to it. */
static void test_processes(void)
{
    begin();
    CU_ASSERT_EQUAL(in_child(closes), 0);
    CU_ASSERT_EQUAL(in_child(exits), 0);
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), 1);
    CU_ASSERT_EQUAL(htls_close(h), 0);
    CU_ASSERT_EQUAL(goodbyes, 1);
    finish();
    for (int i = 0; i < 2; i++) {
        begin();
        sh_hold(h->rr.slot); /* so that the parent's part is done before the child's */
        CU_ASSERT_FALSE(sh_drop(h->rr.slot));
        (void)sh_drop(h->rr.slot);
        CU_ASSERT_EQUAL(in_child(i ? closes : exits), 1);
        finish();
    }
}

/* What one process says holds for all. */
static void test_shutdown(void)
{
    begin();
    CU_ASSERT_EQUAL(in_child(goes_on), 0);
    atomic_fetch_or(&h->rr.slot->flags, SH_SHUT_WR);
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), -EPIPE);
    CU_ASSERT_EQUAL(htls_close(h), 0);
    CU_ASSERT_EQUAL(goodbyes, 0);
    finish();
}

static void test_exit(void)
{
    begin();
    on_exit_();
    CU_ASSERT_EQUAL(goodbyes, 1);
    finish();
    begin();
    atomic_store(&h->rr.error, EBADMSG);
    on_exit_();
    CU_ASSERT_EQUAL(goodbyes, 0);
    finish();
}

static void test_update_keys(void)
{
    struct htls *idle = htls_new();

    CU_ASSERT_EQUAL(htls_update_keys(idle, 1), -ENOTCONN);
    htls_free(idle);
    begin();
    CU_ASSERT_EQUAL(htls_update_keys(h, 1), 0);
    CU_ASSERT(updates == 1 && keys == 1);
    atomic_fetch_or(&h->rr.slot->flags, SH_OWED);
    CU_ASSERT_EQUAL(htls_send(h, "x", 1, 0), 1);
    CU_ASSERT(updates == 2 && keys == 2);
    CU_ASSERT_EQUAL(atomic_load(&h->rr.slot->sent), 1);
    atomic_store(&r.refuse, W_CODE_NO_STATE);
    CU_ASSERT_EQUAL(htls_update_keys(h, 0), -EKEYEXPIRED);
    CU_ASSERT_PTR_NOT_NULL(strstr(htls_error(h), "as the test wants it"));
    finish();
    begin();
    h->rr.follows_tx = false;
    CU_ASSERT_EQUAL(htls_update_keys(h, 1), -EOPNOTSUPP);
    finish();
}

void suite_api_kernel(void)
{
    CU_pSuite suite = CU_add_suite("api_kernel", NULL, NULL);

    CU_add_test(suite, "close", test_close);
    CU_add_test(suite, "several processes", test_processes);
    CU_add_test(suite, "after another's end", test_shutdown);
    CU_add_test(suite, "exit", test_exit);
    CU_add_test(suite, "keys", test_update_keys);
}
