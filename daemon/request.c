/* A CONNECT message turned into a handshake's setup, with the plan: kernel or relay. */
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int read_suites(struct request *q, const struct w_msg *m, struct failure *f)
{
    struct hs_setup *s = &q->setup;
    uint32_t pos = 0;
    struct w_val v;

    if (!w_has(m, W_A_SUITE)) {
        size_t n;
        const struct ks_suite *all = ks_suites(&n);

        for (size_t i = 0; i < n && s->n_suites < HS_SUITES_MAX; i++)
            s->suites[s->n_suites++] = &all[i];
        return 0;
    }
    while (w_next(m, W_A_SUITE, &pos, &v) && s->n_suites < HS_SUITES_MAX) {
        const struct ks_suite *suite = ks_find((uint16_t)v.u);

        if (!suite)
            return fl_set(f, W_CODE_BAD_REQUEST, EINVAL,
                          "cipher suite 0x%04x is not one that htls can use", (unsigned)v.u);
        s->suites[s->n_suites++] = suite;
    }
    return 0;
}

static int read_alpn(struct request *q, const struct w_msg *m, struct failure *f)
{
    uint32_t pos = 0;
    uint8_t *wire;
    struct w_val v;
    size_t n = 0;

    if (!w_has(m, W_A_ALPN))
        return 0;
    wire = malloc(m->len); /* each name stands in the message with more overhead than one byte */
    if (!wire)
        return fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for the ALPN list");
    while (w_next(m, W_A_ALPN, &pos, &v)) {
        wire[n++] = (uint8_t)v.n;
        memcpy(wire + n, v.p, v.n);
        n += v.n;
    }
    q->setup.alpn = wire;
    q->setup.alpn_len = n;
    return 0;
}

/* True when the kernel takes a suite that this request would offer. */
static bool kernel_has_suite(const struct hs_setup *s, const struct pr_caps *caps)
{
    for (size_t i = 0; i < s->n_suites; i++)
        if (s->suites[i]->version >= s->version_min && s->suites[i]->version <= s->version_max &&
            pr_takes(caps, s->suites[i]))
            return true;
    return false;
}

/* Suites that the kernel takes come first; a peer that picks another one is relayed. A client that
 * insists on the kernel offers no other. */
static void kernel_suites_first(struct request *q, const struct pr_caps *caps)
{
    struct hs_setup *s = &q->setup;
    const struct ks_suite *rest[HS_SUITES_MAX];
    size_t n = 0, n_rest = 0;

    for (size_t i = 0; i < s->n_suites; i++) {
        if (pr_takes(caps, s->suites[i]))
            s->suites[n++] = s->suites[i];
        else
            rest[n_rest++] = s->suites[i];
    }
    if (q->path != W_PATH_KERNEL)
        for (size_t i = 0; i < n_rest; i++)
            s->suites[n++] = rest[i];
    s->n_suites = n;
}

int rq_no_kernel(struct request *q, const char *why, struct failure *f)
{
    q->kernel = false;
    snprintf(q->why, sizeof(q->why), "%s", why);
    if (q->path == W_PATH_KERNEL)
        return fl_set(f, W_CODE_NO_KERNEL, EOPNOTSUPP,
                      "the kernel path was demanded and is not possible: %s", why);
    return 0;
}

static int make_plan(struct request *q, const struct options *o, const struct pr_caps *caps,
                     struct failure *f)
{
    q->kernel = true;
    if (strcmp(o->path, "kernel") == 0 && q->path == W_PATH_AUTO)
        q->path = W_PATH_KERNEL;
    if (q->path == W_PATH_RELAY)
        return rq_no_kernel(q, "the client asked for the relay", f);
    if (strcmp(o->path, "relay") == 0)
        return rq_no_kernel(q, "the configuration says path = relay", f);
    if (caps->ulp < 0)
        return rq_no_kernel(q, "this kernel has no TLS (CONFIG_TLS; modprobe tls)", f);
    if (!pr_any(caps))
        return rq_no_kernel(q, "this kernel's TLS takes no cipher (modprobe gcm ctr)", f);
    if (!q->reads_records && q->path == W_PATH_AUTO && q->setup.version_max >= KS_TLS13)
        return rq_no_kernel(q, "the client does not read record types, TLS 1.3 needs that", f);
    if (!kernel_has_suite(&q->setup, caps))
        return rq_no_kernel(q, "this kernel's TLS takes none of the suites that were asked for", f);
    kernel_suites_first(q, caps);
    return 0;
}

static int read_policy(struct request *q, const struct w_msg *m, const struct in_peer *peer,
                       const struct options *o, struct failure *f)
{
    q->setup.verify = w_num(m, W_A_VERIFY, W_VERIFY_FULL) == W_VERIFY_FULL;
    if (!q->setup.verify && !peer->insecure)
        return fl_set(f, W_CODE_DENIED, EACCES,
                      "unverified TLS is not allowed to uid %u: allow-insecure and insecure-users "
                      "in the configuration decide",
                      peer->uid);
    q->timeout_ms = (unsigned)w_num(m, W_A_TIMEOUT_MS, o->handshake_ms);
    if (q->timeout_ms >
        o->handshake_ms) /* a handshake takes a place from others: ours is the ceiling */
        q->timeout_ms = o->handshake_ms;
    return 0;
}

static void read_numbers(struct request *q, const struct w_msg *m)
{
    uint32_t flags = (uint32_t)w_num(m, W_A_FLAGS, 0);

    q->path = (enum w_path)w_num(m, W_A_PATH, W_PATH_AUTO);
    q->reads_records = flags & W_F_READS_RECORDS;
    q->gate = flags & W_F_GATE;
    q->gate_fill = (uint32_t)w_num(m, W_A_GATE_FILL, 0);
    q->setup.version_min = (uint16_t)w_num(m, W_A_VERSION_MIN, KS_TLS12);
    q->setup.version_max = (uint16_t)w_num(m, W_A_VERSION_MAX, KS_TLS13);
}

int rq_read(struct request **out, const struct w_msg *m, const struct in_peer *peer,
            const struct options *o, const struct pr_caps *caps, struct failure *f)
{
    struct request *q = calloc(1, sizeof(*q));
    int r;

    if (!q)
        return fl_set(f, W_CODE_INTERNAL_ERROR, ENOMEM, "no memory for a request");
    read_numbers(q, m);
    q->setup.uid = peer->uid;
    r = w_text(m, W_A_SERVER_NAME, q->setup.name, sizeof(q->setup.name));
    if (r == 0)
        r = w_text(m, W_A_GROUPS, q->setup.groups, sizeof(q->setup.groups));
    if (r == 0)
        r = w_text(m, W_A_TRUST_STORE, q->trust_store, sizeof(q->trust_store));
    if (r < 0)
        fl_set(f, W_CODE_BAD_REQUEST, EINVAL, "a name in the request is too long");
    if (r == 0)
        r = read_policy(q, m, peer, o, f);
    if (r == 0)
        r = read_suites(q, m, f);
    if (r == 0)
        r = read_alpn(q, m, f);
    if (r == 0)
        r = make_plan(q, o, caps, f);
    if (r < 0) {
        rq_free(q);
        return r;
    }
    *out = q;
    return 0;
}

void rq_free(struct request *q)
{
    if (!q)
        return;
    free((void *)q->setup.alpn);
    free(q);
}
