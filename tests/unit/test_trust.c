/* Tests of daemon/trust.c: which store answers, what is kept, what is refused. */
#include "../../daemon/trust.c"

#include "capture.h"
#include "suites.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/htls-trust-XXXXXX";
static char *pem; /* the CA's */

static int setup(void)
{
    pem = tp_ca_pem();
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void)
{
    free(pem);
    unsetenv("SSL_CERT_FILE");
    return rmdir(dir);
}

static const char *path_of(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static int certs_in(X509_STORE *s)
{
    return s ? sk_X509_OBJECT_num(X509_STORE_get0_objects(s)) : -1;
}

/* What tr_load() says, and its log lines in `said`. */
static int load(struct tr_trust **t, const struct options *o, char said[512])
{
    struct capture c = capture_begin(2);
    int r = tr_load(t, o);

    capture_end(c, said, 512);
    CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    return r;
}

static uint8_t digest[TR_DIGEST]; /* of the store that get() found last */

static X509_STORE *get(struct tr_trust *t, const char *name, const char *text)
{
    struct failure f = {.alert = -1};
    X509_STORE *s = NULL;

    CU_ASSERT_EQUAL(tr_get(t, name, text, text ? strlen(text) : 0, &s, digest, &f), 0);
    CU_ASSERT_EQUAL(f.code, 0);
    return s;
}

static void test_which(void)
{
    static struct options o;
    struct failure f = {.alert = -1};
    struct tr_trust *t;
    X509_STORE *s[4] = {0};
    char *other = tp_other_pem(1), two[8192], said[512];

    snprintf(two, sizeof(two), "some words before\n%s\nand between\n%s and behind\n", pem, other);
    write_file("default", pem);
    write_file("two", two);
    snprintf(o.trust_file, sizeof(o.trust_file), "%s", path_of("default"));
    snprintf(o.stores[0].name, sizeof(o.stores[0].name), "pair");
    snprintf(o.stores[0].file, sizeof(o.stores[0].file), "%s", path_of("two"));
    o.n_stores = 1;
    CU_ASSERT_EQUAL_FATAL(load(&t, &o, said), 0);
    s[0] = get(t, "", NULL);
    s[1] = get(t, "pair", NULL);
    s[2] = get(t, "", other);
    s[3] = get(t, "pair", pem); /* what the client brings goes before a name */
    CU_ASSERT(certs_in(s[0]) == 1 && certs_in(s[1]) == 2);
    CU_ASSERT(certs_in(s[2]) == 1 && certs_in(s[3]) == 1);
    CU_ASSERT(s[3] != s[1] && s[3] != s[0]);
    CU_ASSERT_EQUAL(tr_get(t, "none", NULL, 0, &s[0], digest, &f), -ENOENT);
    CU_ASSERT(f.code == W_CODE_BAD_REQUEST && strstr(f.text, "[trust none]"));
    for (int i = 0; i < 4; i++)
        X509_STORE_free(s[i]);
    tr_free(t);
    tr_free(NULL);
    free(other);
    unlink(path_of("default"));
    unlink(path_of("two"));
}

/* Stores with other certificates have other digests, also where they bear the same name. */
static void test_digests(void)
{
    static struct options o;
    static uint8_t seen[6][TR_DIGEST];
    char *other = tp_other_pem(1), said[512];

    for (int i = 0; i < 2; i++) {
        struct tr_trust *t;
        const char *const names[] = {"", "pair"};

        write_file("default", i ? other : pem);
        write_file("two", i ? pem : other);
        snprintf(o.trust_file, sizeof(o.trust_file), "%s", path_of("default"));
        snprintf(o.stores[0].name, sizeof(o.stores[0].name), "pair");
        snprintf(o.stores[0].file, sizeof(o.stores[0].file), "%s", path_of("two"));
        o.n_stores = 1;
        CU_ASSERT_EQUAL_FATAL(load(&t, &o, said), 0);
        for (int k = 0; k < 3; k++) {
            X509_STORE_free(get(t, k < 2 ? names[k] : "", k < 2 ? NULL : other));
            memcpy(seen[i * 3 + k], digest, sizeof(digest));
        }
        X509_STORE_free(get(t, "", other)); /* remembered */
        CU_ASSERT_EQUAL(memcmp(digest, seen[2], sizeof(digest)), 0);
        tr_free(t);
    }
    CU_ASSERT(memcmp(seen[0], seen[1], TR_DIGEST) != 0 && memcmp(seen[0], seen[3], TR_DIGEST) != 0);
    CU_ASSERT(memcmp(seen[1], seen[4], TR_DIGEST) != 0 && memcmp(seen[0], seen[4], TR_DIGEST) == 0);
    CU_ASSERT(memcmp(seen[2], seen[3], TR_DIGEST) == 0 && memcmp(seen[2], seen[5], TR_DIGEST) == 0);
    free(other);
    unlink(path_of("default"));
    unlink(path_of("two"));
}

static void test_load_refused(void)
{
    static struct options o;
    static const char *const bad[] = {"", "no certificate\n",
                                      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END "
                                      "CERTIFICATE-----\n"};
    struct tr_trust *t = NULL;
    char said[512];

    snprintf(o.trust_file, sizeof(o.trust_file), "%s", path_of("missing"));
    CU_ASSERT_EQUAL(load(&t, &o, said), -ENOENT);
    CU_ASSERT(strstr(said, "missing") && strstr(said, "No such file"));
    for (size_t i = 0; i < 3; i++) {
        write_file("bad", bad[i]);
        snprintf(o.trust_file, sizeof(o.trust_file), "%s", path_of("bad"));
        CU_ASSERT(load(&t, &o, said) < 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, "no certificate in it, or a damaged one"));
    }
    write_file("good", pem);
    snprintf(o.trust_file, sizeof(o.trust_file), "%s", path_of("good"));
    snprintf(o.stores[0].name, sizeof(o.stores[0].name), "ours");
    snprintf(o.stores[0].file, sizeof(o.stores[0].file), "%s", path_of("bad"));
    o.n_stores = 1;
    CU_ASSERT(load(&t, &o, said) < 0);
    CU_ASSERT(strstr(said, "trust store ours") && t == NULL);
    unlink(path_of("bad"));
    unlink(path_of("good"));
}

static void test_system(void)
{
    static struct options o;
    struct tr_trust *t;
    X509_STORE *s;
    char said[512];

    write_file("bundle", pem);
    setenv("SSL_CERT_FILE", path_of("bundle"), 1);
    CU_ASSERT_EQUAL_FATAL(load(&t, &o, said), 0);
    s = get(t, "", NULL);
    CU_ASSERT_EQUAL(certs_in(s), 1);
    X509_STORE_free(s);
    tr_free(t);
    unlink(path_of("bundle"));
    /* A store that is not there is no reason not to start: it trusts nobody. */
    CU_ASSERT_EQUAL_FATAL(load(&t, &o, said), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "no system trust store"));
    s = get(t, "", NULL);
    CU_ASSERT_EQUAL(certs_in(s), 0);
    X509_STORE_free(s);
    tr_free(t);
}

static struct tr_trust *with_default(struct options *o)
{
    struct tr_trust *t = NULL;
    char said[512];

    write_file("default", pem);
    snprintf(o->trust_file, sizeof(o->trust_file), "%s", path_of("default"));
    CU_ASSERT_EQUAL_FATAL(load(&t, o, said), 0);
    unlink(path_of("default"));
    return t;
}

/* The same text is the same store; one byte of difference is another. Of seventeen the one whose
 * last use is longest ago makes way. */
static void test_kept(void)
{
    static struct options o;
    struct tr_trust *t = with_default(&o);
    X509_STORE *kept[KEPT + 1], *again;
    char *text[KEPT + 1], more[4096];

    for (unsigned i = 0; i <= KEPT; i++)
        text[i] = tp_other_pem(i);
    for (unsigned i = 0; i < KEPT; i++)
        kept[i] = get(t, "", text[i]);
    for (unsigned i = 0; i < KEPT; i++) {
        again = get(t, "", text[i]);
        CU_ASSERT_EQUAL(again, kept[i]);
        X509_STORE_free(again);
    }
    X509_STORE_free(get(t, "", text[0])); /* now number 1 is the oldest */
    kept[KEPT] = get(t, "", text[KEPT]);
    for (unsigned i = 0; i <= KEPT; i++) {
        bool there = false;

        for (unsigned k = 0; k < KEPT; k++)
            there |= t->kept[k].store.x509 == kept[i];
        CU_ASSERT_EQUAL(there, i != 1);
    }
    CU_ASSERT_EQUAL(certs_in(kept[1]), 1); /* who still uses it keeps it */
    snprintf(more, sizeof(more), "%s\n", text[2]);
    again = get(t, "", more);
    CU_ASSERT_NOT_EQUAL(again, kept[2]);
    X509_STORE_free(again);
    for (unsigned i = 0; i <= KEPT; i++) {
        X509_STORE_free(kept[i]);
        free(text[i]);
    }
    tr_free(t);
}

static void test_bad_pem(void)
{
    static struct options o;
    static char big[W_TRUST_MAX + 1];
    struct tr_trust *t = with_default(&o);
    char damaged[4096], then[8192], cut[4096];
    const char *const bad[] = {"x", "-----BEGIN CERTIFICATE-----\n", damaged, then, cut};

    snprintf(damaged, sizeof(damaged), "%s", pem);
    damaged[100] = '!';
    snprintf(then, sizeof(then), "%s%s", pem, damaged); /* a good one does not excuse a bad one */
    snprintf(cut, sizeof(cut), "%.*s", (int)strlen(pem) - 30, pem);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct failure f = {.alert = -1};
        X509_STORE *s = NULL;

        CU_ASSERT_EQUAL(tr_get(t, "", bad[i], strlen(bad[i]), &s, digest, &f), -EINVAL);
        CU_ASSERT(s == NULL && f.code == W_CODE_BAD_REQUEST && strstr(f.text, "give PEM text"));
        CU_ASSERT_EQUAL(ERR_peek_error(), 0);
    }
    {
        struct failure f = {.alert = -1};
        X509_STORE *s = NULL;

        CU_ASSERT(tr_get(t, "", big, sizeof(big), &s, digest, &f) < 0 && s == NULL);
    }
    for (unsigned i = 0; i < KEPT; i++)
        CU_ASSERT_PTR_NULL(t->kept[i].store.x509);
    tr_free(t);
}

void suite_trust(void)
{
    CU_pSuite s = CU_add_suite("trust", setup, teardown);

    CU_add_test(s, "which", test_which);
    CU_add_test(s, "digests", test_digests);
    CU_add_test(s, "load refused", test_load_refused);
    CU_add_test(s, "system", test_system);
    CU_add_test(s, "kept", test_kept);
    CU_add_test(s, "bad PEM", test_bad_pem);
}
