/* Tests of daemon/request.c: what a CONNECT becomes, above all its plan. */
#include "../../daemon/request.c"

#include "suites.h"

#include <CUnit/CUnit.h>

static uint8_t buf[W_MESSAGE_MAX];
static struct options o;
static struct pr_caps all, nothing, no_ulp;
static const struct in_peer peer = {.uid = 1000};

static int setup(void)
{
    memset(&nothing, 0xff, sizeof(nothing)); /* -1 everywhere */
    nothing.ulp = 0;
    memset(&no_ulp, 0xff, sizeof(no_ulp));
    memset(&o, 0, sizeof(o));
    strcpy(o.path, "auto");
    o.handshake_ms = 10000;
    return 0;
}

/* What the message under construction is to hold; 0 and NULL: nothing. */
struct ask {
    uint32_t flags;
    const char *name, *alpn[3], *groups, *store;
    uint16_t min, max, suites[4];
    int verify, path;
    uint32_t timeout, fill;
};

static void message(struct w_msg *m, const struct ask *a)
{
    struct w_buf b;
    int len;

    w_begin(&b, buf, sizeof(buf), W_CONNECT, 7, a->flags & W_F_GATE ? 2 : 1);
    w_put_num(&b, W_A_FLAGS, a->flags);
    w_put_text(&b, W_A_SERVER_NAME, a->name ? a->name : "server.test");
    for (int i = 0; i < 3 && a->alpn[i]; i++)
        w_put_bytes(&b, W_A_ALPN, a->alpn[i], strlen(a->alpn[i]));
    if (a->min)
        w_put_num(&b, W_A_VERSION_MIN, a->min);
    if (a->max)
        w_put_num(&b, W_A_VERSION_MAX, a->max);
    for (int i = 0; i < 4 && a->suites[i]; i++)
        w_put_num(&b, W_A_SUITE, a->suites[i]);
    w_put_text(&b, W_A_GROUPS, a->groups);
    w_put_text(&b, W_A_TRUST_STORE, a->store);
    if (a->verify)
        w_put_num(&b, W_A_VERIFY, (uint64_t)a->verify);
    if (a->path)
        w_put_num(&b, W_A_PATH, (uint64_t)a->path);
    if (a->timeout)
        w_put_num(&b, W_A_TIMEOUT_MS, a->timeout);
    if (a->fill)
        w_put_num(&b, W_A_GATE_FILL, a->fill);
    len = w_end(&b);
    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(m, buf, (size_t)len, a->flags & W_F_GATE ? 2 : 1, W_TO_DAEMON),
                          0);
}

/* NULL when it was refused, for which *f then holds the reason. */
static struct request *request(const struct ask *a, const struct pr_caps *caps, struct failure *f)
{
    struct request *q = NULL;
    struct w_msg m;
    int r;

    *f = (struct failure){.alert = -1};
    message(&m, a);
    r = rq_read(&q, &m, &peer, &o, caps, f);
    CU_ASSERT_EQUAL(r < 0, q == NULL);
    CU_ASSERT_EQUAL(r, -f->err);
    return q;
}

static void refused(const struct ask *a, const struct pr_caps *caps, unsigned code, int err)
{
    struct failure f;
    struct request *q = request(a, caps, &f);

    CU_ASSERT(q == NULL && f.code == code && f.err == err && *f.text);
    rq_free(q);
}

static void test_fields(void)
{
    struct ask a = {.flags = W_F_READS_RECORDS | W_F_GATE,
                    .name = "a.example",
                    .alpn = {"h2", "http/1.1"},
                    .groups = "X25519:P-256",
                    .store = "corp",
                    .min = KS_TLS12,
                    .max = KS_TLS12,
                    .suites = {0xC030, 0xC02F},
                    .timeout = 77,
                    .fill = 4096};
    struct failure f;
    struct request *q = request(&a, &all, &f);

    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    CU_ASSERT_STRING_EQUAL(q->setup.name, "a.example");
    CU_ASSERT_EQUAL(q->setup.uid, peer.uid);
    CU_ASSERT(q->setup.alpn_len == 12 && memcmp(q->setup.alpn, "\2h2\10http/1.1", 12) == 0);
    CU_ASSERT_STRING_EQUAL(q->setup.groups, "X25519:P-256");
    CU_ASSERT_STRING_EQUAL(q->trust_store, "corp");
    CU_ASSERT(q->setup.version_min == KS_TLS12 && q->setup.version_max == KS_TLS12);
    CU_ASSERT(q->setup.n_suites == 2 && q->setup.suites[0]->id == 0xC030);
    CU_ASSERT(q->timeout_ms == 77 && q->gate && q->gate_fill == 4096 && q->reads_records);
    CU_ASSERT(q->setup.verify && q->setup.store == NULL && q->kernel && *q->why == '\0');
    rq_free(q);
}

static void test_defaults(void)
{
    struct failure f;
    struct request *q = request(&(struct ask){0}, &no_ulp, &f);
    size_t n;

    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    ks_suites(&n);
    CU_ASSERT(q->setup.alpn == NULL && q->setup.alpn_len == 0 && *q->setup.groups == '\0');
    CU_ASSERT(q->setup.version_min == KS_TLS12 && q->setup.version_max == KS_TLS13);
    CU_ASSERT(q->setup.n_suites == n && q->timeout_ms == 10000 && q->setup.verify);
    CU_ASSERT(!q->gate && !q->reads_records && q->path == W_PATH_AUTO && *q->trust_store == '\0');
    rq_free(q);
    rq_free(NULL);
}

static void test_refused(void)
{
    char longer[70];

    refused(&(struct ask){.suites = {0x1301, 0x002f}}, &all, W_CODE_BAD_REQUEST, EINVAL);
    refused(&(struct ask){.verify = W_VERIFY_NONE}, &all, W_CODE_DENIED, EACCES);
    memset(longer, 's', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    if (sizeof(longer) - 1 >= sizeof(((struct request *)0)->trust_store)) {
        struct w_msg m;
        struct w_val v = {.p = (const uint8_t *)longer, .n = sizeof(longer) - 1};
        struct failure f = {.alert = -1};
        struct request *q = NULL;

        message(&m, &(struct ask){.store = "x"});
        m.v[W_A_TRUST_STORE] = v; /* as if the codec allowed it */
        CU_ASSERT_EQUAL(rq_read(&q, &m, &peer, &o, &all, &f), -ENAMETOOLONG);
        CU_ASSERT(f.code == W_CODE_BAD_REQUEST && q == NULL);
    }
}

static void test_insecure(void)
{
    const struct in_peer trusted = {.uid = 0, .insecure = 1};
    struct failure f = {.alert = -1};
    struct request *q = NULL;
    struct w_msg m;

    message(&m, &(struct ask){.verify = W_VERIFY_NONE});
    CU_ASSERT_EQUAL(rq_read(&q, &m, &trusted, &o, &all, &f), 0);
    CU_ASSERT_FALSE(q->setup.verify);
    rq_free(q);
}

/* Path asked for x reads records x newest version x configuration x kernel: the plan. */
static void test_plans(void)
{
    static const char *const configured[] = {"auto", "kernel", "relay"};
    const struct pr_caps *const caps[] = {&all, &nothing, &no_ulp};

    for (unsigned i = 0; i < 3 * 2 * 2 * 3 * 3; i++) {
        int path = (int)(i % 3), reads = i / 3 % 2, v13 = i / 6 % 2, conf = (int)(i / 12 % 3);
        unsigned has = i / 36;
        struct ask a = {
            .path = path, .flags = reads ? W_F_READS_RECORDS : 0, .max = v13 ? KS_TLS13 : KS_TLS12};
        bool insists = path == W_PATH_KERNEL || (path == W_PATH_AUTO && conf == 1);
        bool can = path != W_PATH_RELAY && conf != 2 && has == 0;
        bool kernel = can && (insists || reads || !v13);
        struct failure f;
        struct request *q;

        strcpy(o.path, configured[conf]);
        q = request(&a, caps[has], &f);
        strcpy(o.path, "auto");
        if (insists && !kernel) {
            CU_ASSERT(q == NULL && f.code == W_CODE_NO_KERNEL && f.err == EOPNOTSUPP);
            continue;
        }
        CU_ASSERT_PTR_NOT_NULL_FATAL(q);
        CU_ASSERT_EQUAL(q->kernel, kernel);
        CU_ASSERT_EQUAL(*q->why == '\0', kernel); /* a relay has its reason */
        rq_free(q);
    }
}

static void why(const struct ask *a, const struct pr_caps *caps, const char *conf, const char *part)
{
    struct failure f;
    struct request *q;

    strcpy(o.path, conf);
    q = request(a, caps, &f);
    strcpy(o.path, "auto");
    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    CU_ASSERT(!q->kernel && strstr(q->why, part) != NULL);
    rq_free(q);
}

static void test_why(void)
{
    const struct ask reads = {.flags = W_F_READS_RECORDS};
    struct pr_caps only13 = nothing;

    only13.tx[1][KS_AES_128_GCM] = only13.rx[1][KS_AES_128_GCM] = 0;
    why(&(struct ask){.path = W_PATH_RELAY}, &all, "auto", "client asked for the relay");
    why(&(struct ask){.path = W_PATH_RELAY}, &all, "kernel", "client asked for the relay");
    why(&reads, &all, "relay", "path = relay");
    why(&reads, &no_ulp, "auto", "modprobe tls");
    why(&reads, &nothing, "auto", "takes no cipher");
    why(&(struct ask){0}, &all, "auto", "does not read record types");
    why(&(struct ask){.max = KS_TLS12}, &only13, "auto", "none of the suites");
    why(&(struct ask){.flags = W_F_READS_RECORDS, .suites = {0x1302}}, &only13, "auto",
        "none of the suites");
    refused(&(struct ask){.path = W_PATH_KERNEL, .suites = {0x1302}}, &only13, W_CODE_NO_KERNEL,
            EOPNOTSUPP);
}

/* What the kernel takes is offered first, else in the order that was asked for. */
static void test_order(void)
{
    struct ask a = {.flags = W_F_READS_RECORDS, .suites = {0x1301, 0x1303, 0xC02B, 0x1302}};
    struct pr_caps some = nothing;
    struct failure f;
    struct request *q;

    some.tx[1][KS_AES_256_GCM] = some.rx[1][KS_AES_256_GCM] = 0;
    some.tx[1][KS_CHACHA20] = some.rx[1][KS_CHACHA20] = 0;
    some.tx[1][KS_AES_128_GCM] = 0; /* one direction is not enough */
    q = request(&a, &some, &f);
    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    CU_ASSERT(q->setup.n_suites == 4 && q->setup.suites[0]->id == 0x1303 &&
              q->setup.suites[1]->id == 0x1302 && q->setup.suites[2]->id == 0x1301 &&
              q->setup.suites[3]->id == 0xC02B);
    rq_free(q);
    a.path = W_PATH_KERNEL;
    q = request(&a, &some, &f);
    CU_ASSERT_PTR_NOT_NULL_FATAL(q);
    CU_ASSERT(q->setup.n_suites == 2 && q->setup.suites[0]->id == 0x1303);
    CU_ASSERT(rq_no_kernel(q, "so it is", &f) == -EOPNOTSUPP && strstr(f.text, "so it is"));
    CU_ASSERT_FALSE(q->kernel);
    rq_free(q);
    a.path = W_PATH_RELAY; /* no reason to prefer anything */
    q = request(&a, &some, &f);
    CU_ASSERT(q && q->setup.n_suites == 4 && q->setup.suites[0]->id == 0x1301);
    rq_free(q);
}

void suite_request(void)
{
    CU_pSuite s = CU_add_suite("request", setup, NULL);

    CU_add_test(s, "fields", test_fields);
    CU_add_test(s, "defaults", test_defaults);
    CU_add_test(s, "refused", test_refused);
    CU_add_test(s, "insecure", test_insecure);
    CU_add_test(s, "plans", test_plans);
    CU_add_test(s, "why", test_why);
    CU_add_test(s, "order", test_order);
}
