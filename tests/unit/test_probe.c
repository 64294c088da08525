/* Tests of daemon/probe.c: what it believes, what it says.
 *
 * On a kernel with kTLS the real probe has to find it working; on one without, absent. */
#include "../../daemon/probe.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <unistd.h>

/* The kernel that kt_setsockopt plays. */
static int fake_ulp, fake_key, n_keys;

static int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int err = level == IPPROTO_TCP ? fake_ulp : fake_key;

    (void)fd;
    (void)name;
    (void)value;
    (void)len;
    n_keys += level != IPPROTO_TCP;
    if (err == 0)
        return 0;
    errno = err;
    return -1;
}

static void probe_fake(struct pr_caps *caps, int ulp, int key)
{
    fake_ulp = ulp;
    fake_key = key;
    n_keys = 0;
    kt_setsockopt = fake_setsockopt;
    memset(caps, 0x55, sizeof(*caps));
    pr_probe(caps);
    kt_setsockopt = setsockopt;
}

static void expect_all(const struct pr_caps *caps, int err)
{
    for (int v = 0; v < 2; v++) {
        for (int a = 0; a < KS_AEADS; a++) {
            CU_ASSERT_EQUAL(caps->tx[v][a], err);
            CU_ASSERT_EQUAL(caps->rx[v][a], err);
        }
    }
    CU_ASSERT_FALSE(pr_any(caps));
}

static int open_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_real(void)
{
    struct pr_caps caps;
    bool loaded = access("/proc/net/tls_stat", F_OK) == 0;
    int before = open_fds();

    memset(&caps, 0x55, sizeof(caps));
    pr_probe(&caps);
    CU_ASSERT_EQUAL(open_fds(), before);
    CU_ASSERT_EQUAL(caps.ulp == 0, loaded || access("/proc/net/tls_stat", F_OK) == 0);
    if (caps.ulp == 0) {
        CU_ASSERT(pr_any(&caps));
        CU_ASSERT(caps.rekey == 0 || caps.rekey == -EBUSY);
    } else {
        expect_all(&caps, caps.ulp);
        CU_ASSERT_EQUAL(caps.rekey, caps.ulp);
        CU_ASSERT_EQUAL(caps.ulp, -ENOENT);
    }
}

static void test_no_ulp(void)
{
    struct pr_caps caps;

    probe_fake(&caps, EACCES, 0);
    CU_ASSERT_EQUAL(caps.ulp, -EACCES);
    CU_ASSERT_EQUAL(caps.rekey, -EACCES);
    expect_all(&caps, -EACCES);
    CU_ASSERT_EQUAL(n_keys, 0);
}

static void test_keys_refused(void)
{
    struct pr_caps caps;

    probe_fake(&caps, 0, ENOENT);
    CU_ASSERT_EQUAL(caps.ulp, 0);
    CU_ASSERT_EQUAL(caps.rekey, -EOPNOTSUPP);
    expect_all(&caps, -ENOENT);
    CU_ASSERT_EQUAL(n_keys, 2 * KS_AEADS);
    probe_fake(&caps, 0, EINVAL);
    expect_all(&caps, -EINVAL);
    CU_ASSERT_EQUAL(n_keys, 4 * KS_AEADS);
}

/* A kernel that takes every key, but sends plaintext and reads ciphertext: not believed. */
static void test_lying_kernel(void)
{
    struct pr_caps caps;
    int before = open_fds();
    int64_t start_ms = now_ms();

    probe_fake(&caps, 0, 0);
    CU_ASSERT_EQUAL(caps.ulp, 0);
    expect_all(&caps, -EBADMSG);
    CU_ASSERT_EQUAL(caps.rekey, -EOPNOTSUPP);
    CU_ASSERT_EQUAL(open_fds(), before);
    CU_ASSERT(now_ms() - start_ms < BUDGET_MS);
}

/* A connection on which nothing comes costs the budget once, not once for each wait. */
static void test_budget(void)
{
    struct lobby l;
    int near, far;
    uint8_t byte;
    int64_t start_ms;

    CU_ASSERT_EQUAL_FATAL(open_lobby(&l), 0);
    CU_ASSERT_EQUAL_FATAL(open_pair(&l, &near, &far), 0);
    l.budget = 30;
    start_ms = now_ms();
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(recv_all(&l, near, &byte, 1), -ETIMEDOUT);
    CU_ASSERT(now_ms() - start_ms < 90);
    close(far);
    CU_ASSERT(recv_all(&l, near, &byte, 1) == -ECONNRESET);
    close(near);
    close(l.fd);
}

/* Somebody else who connects to the probe's port is not taken for its own end. */
static void test_stranger(void)
{
    struct lobby l;
    int near, far, stranger;
    struct sockaddr_storage a = {0}, b = {0};
    socklen_t len = sizeof(a);

    CU_ASSERT_EQUAL_FATAL(open_lobby(&l), 0);
    stranger = socket(l.addr.ss_family, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(connect(stranger, (struct sockaddr *)&l.addr, l.addr_len), 0);
    CU_ASSERT_EQUAL_FATAL(open_pair(&l, &near, &far), 0);
    CU_ASSERT_EQUAL(getpeername(far, (struct sockaddr *)&a, &len), 0);
    len = sizeof(b);
    CU_ASSERT_EQUAL(getsockname(near, (struct sockaddr *)&b, &len), 0);
    CU_ASSERT(memcmp(&a, &b, sizeof(a)) == 0);
    close(near);
    close(far);
    close(stranger);
    close(l.fd);
}

static void test_takes(void)
{
    struct pr_caps caps = {0};
    size_t n;
    const struct ks_suite *s = ks_suites(&n);

    for (size_t i = 0; i < n; i++)
        CU_ASSERT(pr_takes(&caps, &s[i]));
    caps.tx[0][KS_CHACHA20] = -ENOENT;
    caps.rx[1][KS_AES_128_CCM] = -ENOENT;
    CU_ASSERT_FALSE(pr_takes(&caps, ks_find(0xCCA8)));
    CU_ASSERT(pr_takes(&caps, ks_find(0x1303)));
    CU_ASSERT_FALSE(pr_takes(&caps, ks_find(0x1304)));
    CU_ASSERT(pr_takes(&caps, ks_find(0xC0AC)));
    set_all(&caps, -ENOENT);
    CU_ASSERT_FALSE(pr_any(&caps));
    caps.tx[0][KS_AES_256_GCM] = 0;
    CU_ASSERT_FALSE(pr_any(&caps));
    caps.rx[0][KS_AES_256_GCM] = 0;
    CU_ASSERT(pr_any(&caps));
}

static void test_report(void)
{
    struct pr_caps caps = {0};
    char out[2048], small[60];
    size_t len, lines = 0;

    len = pr_report(&caps, out, sizeof(out));
    CU_ASSERT_EQUAL(len, strlen(out));
    for (const char *p = out; *p; p++)
        lines += *p == '\n';
    CU_ASSERT_EQUAL(lines, 2 + 4 * KS_AEADS);
    CU_ASSERT_PTR_EQUAL(strstr(out, "ktls.ulp yes\n"), out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\nktls.tls13.aes-128-gcm.tx yes\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\nktls.tls12.chacha20-poly1305.rx yes\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\nktls.rekey yes\n"));
    caps.rekey = -EBUSY;
    caps.tx[1][KS_CHACHA20] = -ENOENT;
    caps.rx[0][KS_AES_128_CCM] = -EINVAL;
    caps.rx[1][KS_AES_128_GCM] = -EBADMSG;
    caps.rx[1][KS_AES_256_GCM] = -EPERM;
    pr_report(&caps, out, sizeof(out));
    CU_ASSERT_PTR_NOT_NULL(strstr(out,
                                  "\nktls.tls13.chacha20-poly1305.tx no (ENOENT: cipher module "
                                  "missing; modprobe -a chacha20poly1305 crypto-chacha20)\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(out, "tls12.aes-128-ccm.rx no (EINVAL: not known to this kernel)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "tls13.aes-128-gcm.rx no (EBADMSG: the key is taken, but"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "aes-256-gcm.rx no (EPERM: Operation not permitted)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\nktls.rekey no (EBUSY: kernel before 6.14)\n"));
    /* What does not fit is left out by whole lines. */
    len = pr_report(&caps, small, sizeof(small));
    CU_ASSERT(len < sizeof(small) && len == strlen(small) && small[len - 1] == '\n');
    CU_ASSERT_EQUAL(pr_report(&caps, small, 1), 0);
    CU_ASSERT_EQUAL(pr_report(&caps, small, 0), 0);
    set_all(&caps, -ENOENT);
    pr_report(&caps, out, sizeof(out));
    CU_ASSERT_PTR_EQUAL(strstr(out, "ktls.ulp no (ENOENT: module missing; modprobe tls)\n"), out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\nktls.rekey no (ENOENT: no tls ULP)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "tls12.aes-128-gcm.tx no (ENOENT: no tls ULP)\n"));
}

static void test_summary(void)
{
    struct pr_caps caps = {0};
    char out[256];

    pr_summary(&caps, out, sizeof(out));
    CU_ASSERT_STRING_EQUAL(out,
                           "kTLS: AES-128-GCM AES-256-GCM CHACHA20-POLY1305 AES-128-CCM, rekey");
    caps.rekey = -EBUSY;
    caps.tx[1][KS_AES_128_CCM] = -EINVAL;
    caps.rx[0][KS_AES_256_GCM] = -EINVAL;
    caps.rx[0][KS_CHACHA20] = caps.rx[1][KS_CHACHA20] = -ENOENT;
    pr_summary(&caps, out, sizeof(out));
    CU_ASSERT_STRING_EQUAL(
        out, "kTLS: AES-128-GCM AES-256-GCM (1.3 only) AES-128-CCM (1.2 only), no rekey");
    set_all(&caps, -ENOENT);
    pr_summary(&caps, out, sizeof(out));
    CU_ASSERT_STRING_EQUAL(out, "kTLS: no (ENOENT: module missing; modprobe tls)");
    caps.ulp = 0;
    caps.tx[1][KS_AES_128_GCM] = 0; /* one direction is none */
    pr_summary(&caps, out, sizeof(out));
    CU_ASSERT_STRING_EQUAL(out, "kTLS: no (ENOENT: cipher module missing; modprobe -a gcm ctr)");
    pr_summary(&caps, out, 10);
    CU_ASSERT(strlen(out) < 10);
    pr_summary(&caps, out, 0);
}

void suite_probe(void)
{
    CU_pSuite s = CU_add_suite("probe", NULL, NULL);

    CU_add_test(s, "this kernel", test_real);
    CU_add_test(s, "no ULP", test_no_ulp);
    CU_add_test(s, "keys refused", test_keys_refused);
    CU_add_test(s, "a kernel that only says yes", test_lying_kernel);
    CU_add_test(s, "waiting has a budget", test_budget);
    CU_add_test(s, "a stranger on the port", test_stranger);
    CU_add_test(s, "takes", test_takes);
    CU_add_test(s, "report", test_report);
    CU_add_test(s, "summary", test_summary);
}
