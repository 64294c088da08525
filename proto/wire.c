/* Decodes, validates and encodes every message of wire.h, driven by two tables.
 *
 * attr_rules says what a value must look like, msg_rules which message may or must carry it. To add
 * an attribute: a number in wire.h, a row in attr_rules, its bit in the msg_rules rows. There is
 * one validator: w_end runs the decoder over what was built, so an encoder cannot say what the
 * other end will refuse. */
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ATTR_HEADER 8u
#define PADDED(n) (((n) + 3u) & ~3u)
#define ATTR_SIZE(n) (ATTR_HEADER + PADDED(n))
#define BIT(attr) (UINT64_C(1) << (attr))

#define TLS_1_2 0x0303u
#define TLS_1_3 0x0304u
#define BLOB_MAX 60000u /* leaves room for the other attributes of its message */
#define RECORD_MAX 16384u
#define LIST_MAX 32u
#define ALPN_MAX 255u
#define GATE_FILL_MAX 0x1000000u

/* The longest messages. HELLO is generous, since later versions say more there. */
#define HELLO_MAX 4096u
#define TRUST_MAX (W_HEADER + ATTR_SIZE(BLOB_MAX))
#define REPORT_MAX TRUST_MAX
#define CONNECT_MAX (W_HEADER + LIST_MAX * (ATTR_SIZE(ALPN_MAX) + ATTR_SIZE(2u)) + 4096u)
#define ERROR_MAX (W_HEADER + 5u * ATTR_SIZE(4u) + ATTR_SIZE(W_TEXT_MAX))
#define CONTROL_MAX                                                                                \
    (W_HEADER + 2u * ATTR_SIZE(8u) + ATTR_SIZE(1u) + ATTR_SIZE(4u) + ATTR_SIZE(RECORD_MAX))
#define REKEY_MAX 256u /* short ones, with room to be refused for their content */
#define SHARED_MAX 256u
#define KEY_MAX 64u /* the longest struct of <linux/tls.h> that sets a key is 56 */

static_assert(W_ATTR_END <= 64, "w_msg.have has a bit per attribute");
static_assert((W_F_KNOWN & (W_F_KNOWN + 1u)) == 0, "the range 0 to W_F_KNOWN is the set of flags");
static_assert(LIST_MAX * (1u + ALPN_MAX) < 65535u, "a whole ALPN list fits into its TLS extension");
static_assert(TRUST_MAX + 4096u <= W_MESSAGE_MAX, "a RESULT with the most EARLY fits");

/* The kinds of numbers are their width in bytes. BYTES are anything; TEXT has no control
 * characters, so that it can be logged as it is; NAME is visible ASCII, as libraries parse names.
 */
enum kind { K_U8 = 1, K_U16 = 2, K_U32 = 4, K_U64 = 8, K_BYTES, K_TEXT, K_NAME };

struct attr_rule {
    enum kind kind;
    uint32_t most;     /* how often it may stand; more than once = a list */
    uint64_t min, max; /* of the number, or of the length in bytes */
};

static const struct attr_rule attr_rules[W_ATTR_END] = {
    [W_A_VERSION] = {K_U32, 1, 0, UINT32_MAX},
    [W_A_CAPS] = {K_U32, 1, 0, UINT32_MAX},
    [W_A_AGENT] = {K_TEXT, 1, 1, 255},
    [W_A_FLAGS] = {K_U32, 1, 0, W_F_KNOWN},
    [W_A_SERVER_NAME] = {K_NAME, 1, 1, W_NAME_MAX},
    [W_A_ALPN] = {K_BYTES, LIST_MAX, 1, ALPN_MAX},
    [W_A_VERSION_MIN] = {K_U16, 1, TLS_1_2, TLS_1_3},
    [W_A_VERSION_MAX] = {K_U16, 1, TLS_1_2, TLS_1_3},
    [W_A_SUITE] = {K_U16, LIST_MAX, 0, UINT16_MAX},
    [W_A_GROUPS] = {K_NAME, 1, 1, W_TEXT_MAX},
    [W_A_TRUST_STORE] = {K_TEXT, 1, 1, 255},
    [W_A_VERIFY] = {K_U8, 1, W_VERIFY_FULL, W_VERIFY_NONE},
    [W_A_PATH] = {K_U8, 1, W_PATH_AUTO, W_PATH_RELAY},
    [W_A_TIMEOUT_MS] = {K_U32, 1, 1, W_TIMEOUT_MAX},
    [W_A_GATE_FILL] = {K_U32, 1, 1, GATE_FILL_MAX},
    [W_A_PEM] = {K_BYTES, 1, 1, BLOB_MAX},
    [W_A_TLS_VERSION] = {K_U16, 1, TLS_1_2, TLS_1_3},
    [W_A_CIPHER] = {K_U16, 1, 0, UINT16_MAX},
    [W_A_ALPN_SELECTED] = {K_BYTES, 1, 1, ALPN_MAX},
    [W_A_MODE_TX] = {K_U8, 1, W_MODE_RELAY, W_MODE_NIC},
    [W_A_MODE_RX] = {K_U8, 1, W_MODE_RELAY, W_MODE_NIC},
    [W_A_WHY] = {K_TEXT, 1, 1, W_TEXT_MAX},
    [W_A_COOKIE] = {K_U64, 1, 0, UINT64_MAX},
    [W_A_EARLY] = {K_BYTES, 1, 1, BLOB_MAX},
    [W_A_GROUP] = {K_NAME, 1, 1, 255},
    [W_A_RESUMED] = {K_U8, 1, 0, 1},
    [W_A_CODE] = {K_U16, 1, W_CODE_OK + 1, W_CODE_END - 1},
    [W_A_ERRNO] = {K_U32, 1, 1, 4095},
    [W_A_ALERT] = {K_U8, 1, 0, UINT8_MAX},
    [W_A_ALERT_SENT] = {K_U8, 1, 0, 1},
    [W_A_VERIFY_CODE] = {K_U32, 1, 0, UINT32_MAX},
    [W_A_TEXT] = {K_TEXT, 1, 1, W_TEXT_MAX},
    [W_A_RECORD_TYPE] = {K_U8, 1, 21, 22},
    [W_A_RECORD] = {K_BYTES, 1, 1, RECORD_MAX},
    [W_A_REPORT] = {K_BYTES, 1, 0, BLOB_MAX},
    [W_A_POOL] = {K_U64, 1, 1, UINT64_MAX},
    [W_A_SLOT] = {K_U32, 1, 0, UINT32_MAX},
    [W_A_GENERATION] = {K_U32, 1, 0, UINT32_MAX},
    [W_A_KEY] = {K_BYTES, 1, 1, KEY_MAX},
    [W_A_OWED] = {K_U8, 1, 0, 1},
    [W_A_MOVED] = {K_U64, 1, 0, UINT64_MAX},
    [W_A_RECORDS_MAX] = {K_U64, 1, 1, UINT64_MAX},
};

/* What no single value can show. Called last, with a message that is right otherwise. */
static int check_welcome(const struct w_msg *m)
{
    return m->v[W_A_VERSION].u ? 0 : -EBADMSG;
}

static int check_connect(const struct w_msg *m)
{
    bool gate = w_num(m, W_A_FLAGS, 0) & W_F_GATE;

    if (m->nfds != (gate ? 2 : 1))
        return -EMFILE;
    if (gate && !w_has(m, W_A_GATE_FILL))
        return -ENODATA;
    if (!gate && w_has(m, W_A_GATE_FILL))
        return -EPROTO;
    if (w_num(m, W_A_VERSION_MIN, TLS_1_2) > w_num(m, W_A_VERSION_MAX, TLS_1_3))
        return -EBADMSG;
    return 0;
}

/* Half a relay does not exist: the kernel has both directions or none. */
static int check_result(const struct w_msg *m)
{
    bool tx = m->v[W_A_MODE_TX].u == W_MODE_RELAY;
    bool rx = m->v[W_A_MODE_RX].u == W_MODE_RELAY;

    return tx != rx ? -EBADMSG : 0;
}

/* The shortest legal message follows from `must`; only the longest needs a column. */
struct msg_rule {
    const char *name;
    enum w_dir dir;
    uint16_t fds_min, fds_max;
    uint32_t max; /* length of the whole message */
    bool open;    /* skips attributes unknown here, so that later versions can say more */
    int (*check)(const struct w_msg *m);
    uint64_t must, may; /* attributes, as bits */
};

// clang-format off
static const struct msg_rule msg_rules[W_TYPE_END] = {
    [W_HELLO] = {"HELLO", W_TO_DAEMON, 0, 0, HELLO_MAX, true, NULL,
        BIT(W_A_VERSION) | BIT(W_A_CAPS), BIT(W_A_AGENT)},
    [W_WELCOME] = {"WELCOME", W_TO_CLIENT, 0, 0, HELLO_MAX, true, check_welcome,
        BIT(W_A_VERSION) | BIT(W_A_CAPS), BIT(W_A_AGENT)},
    [W_TRUST] = {"TRUST", W_TO_DAEMON, 0, 0, TRUST_MAX, false, NULL,
        BIT(W_A_PEM), 0},
    [W_CONNECT] = {"CONNECT", W_TO_DAEMON, 1, 2, CONNECT_MAX, false, check_connect,
        BIT(W_A_SERVER_NAME),
        BIT(W_A_FLAGS) | BIT(W_A_ALPN) | BIT(W_A_VERSION_MIN) | BIT(W_A_VERSION_MAX) |
        BIT(W_A_SUITE) | BIT(W_A_GROUPS) | BIT(W_A_TRUST_STORE) | BIT(W_A_VERIFY) |
        BIT(W_A_PATH) | BIT(W_A_TIMEOUT_MS) | BIT(W_A_GATE_FILL)},
    [W_RESULT] = {"RESULT", W_TO_CLIENT, 0, 1, W_MESSAGE_MAX, false, check_result,
        BIT(W_A_TLS_VERSION) | BIT(W_A_CIPHER) | BIT(W_A_MODE_TX) | BIT(W_A_MODE_RX) |
        BIT(W_A_COOKIE),
        BIT(W_A_ALPN_SELECTED) | BIT(W_A_WHY) | BIT(W_A_EARLY) | BIT(W_A_GROUP) |
        BIT(W_A_RESUMED) | BIT(W_A_VERIFY_CODE) | BIT(W_A_POOL) | BIT(W_A_SLOT) |
        BIT(W_A_GENERATION) | BIT(W_A_KEY) | BIT(W_A_OWED) | BIT(W_A_RECORDS_MAX)},
    [W_ERROR] = {"ERROR", W_TO_CLIENT, 0, 0, ERROR_MAX, false, NULL,
        BIT(W_A_CODE) | BIT(W_A_ERRNO) | BIT(W_A_TEXT),
        BIT(W_A_ALERT) | BIT(W_A_ALERT_SENT) | BIT(W_A_VERIFY_CODE)},
    [W_CANCEL] = {"CANCEL", W_TO_DAEMON, 0, 0, W_HEADER, false, NULL, 0, 0},
    [W_CONTROL] = {"CONTROL", W_TO_DAEMON, 1, 1, CONTROL_MAX, false, NULL,
        BIT(W_A_RECORD_TYPE) | BIT(W_A_RECORD),
        BIT(W_A_COOKIE) | BIT(W_A_GENERATION) | BIT(W_A_MOVED)},
    [W_STATUS] = {"STATUS", W_TO_DAEMON, 0, 0, W_HEADER, false, NULL, 0, 0},
    [W_REPORT] = {"REPORT", W_TO_CLIENT, 0, 0, REPORT_MAX, false, NULL,
        BIT(W_A_REPORT), 0},
    [W_ATTACH] = {"ATTACH", W_TO_DAEMON, 1, 1, W_HEADER, false, NULL, 0, 0},
    [W_REKEY] = {"REKEY", W_TO_DAEMON, 1, 1, REKEY_MAX, false, NULL,
        BIT(W_A_GENERATION), 0},
    [W_SHARE] = {"SHARE", W_TO_DAEMON, 0, 0, W_HEADER, false, NULL, 0, 0},
    [W_SHARED] = {"SHARED", W_TO_CLIENT, 1, 1, SHARED_MAX, false, NULL,
        BIT(W_A_POOL), 0},
};
// clang-format on

static uint64_t get_le(const uint8_t *p, unsigned width)
{
    uint64_t value = 0;

    while (width-- > 0)
        value = value << 8 | p[width];
    return value;
}

static void put_le(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}

static bool is_text(const uint8_t *p, size_t n, uint8_t lowest, uint8_t highest)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] < lowest || p[i] > highest || p[i] == 0x7f)
            return false;
    }
    return true;
}

static const struct attr_rule *rule_of(unsigned attr)
{
    return attr > 0 && attr < W_ATTR_END ? &attr_rules[attr] : NULL;
}

/* Cuts one attribute off at *pos and moves *pos behind its padding. Judges the frame alone. */
static int cut_attr(const struct w_msg *m, uint32_t *pos, uint16_t *attr, struct w_val *v)
{
    const uint8_t *p = m->buf + *pos;
    uint32_t room = m->len - *pos;
    uint32_t n;

    if (room < ATTR_HEADER)
        return -EBADMSG;
    room -= ATTR_HEADER;
    n = (uint32_t)get_le(p + 4, 4);
    if (get_le(p + 2, 2) != 0 || n > room || PADDED(n) > room)
        return -EBADMSG;
    for (uint32_t i = n; i < PADDED(n); i++) {
        if (p[ATTR_HEADER + i] != 0)
            return -EBADMSG;
    }
    *attr = (uint16_t)get_le(p, 2);
    *v = (struct w_val){.p = p + ATTR_HEADER, .n = n};
    *pos += ATTR_SIZE(n);
    return 0;
}

/* Reads the number, when it is one, into v->u. */
static int check_value(const struct attr_rule *rule, struct w_val *v)
{
    uint64_t measure = v->n;

    if (rule->kind <= K_U64) {
        if (v->n != rule->kind)
            return -EBADMSG;
        measure = v->u = get_le(v->p, v->n);
    }
    if (measure < rule->min || measure > rule->max)
        return -EBADMSG;
    if (rule->kind == K_TEXT && !is_text(v->p, v->n, ' ', 0xff))
        return -EBADMSG;
    if (rule->kind == K_NAME && !is_text(v->p, v->n, '!', '~'))
        return -EBADMSG;
    return 0;
}

static int decode_attrs(struct w_msg *m, const struct msg_rule *rule)
{
    uint32_t pos = W_HEADER, run = 0;
    uint16_t attr, last = 0;
    struct w_val v;

    while (pos < m->len) {
        int rc = cut_attr(m, &pos, &attr, &v);
        if (rc < 0)
            return rc;
        if (attr == 0 || attr < last)
            return -EBADMSG;
        run = attr == last ? run + 1 : 1;
        last = attr;
        if (!rule_of(attr) && rule->open)
            continue;
        if (!rule_of(attr))
            return -EPROTONOSUPPORT;
        if (!((rule->must | rule->may) & BIT(attr)))
            return -EPROTO;
        if (run > rule_of(attr)->most)
            return -EBADMSG;
        rc = check_value(rule_of(attr), &v);
        if (rc < 0)
            return rc;
        if (run == 1)
            m->v[attr] = v;
        m->have |= BIT(attr);
    }
    return (m->have & rule->must) == rule->must ? 0 : -ENODATA;
}

int w_decode(struct w_msg *m, const void *buf, size_t len, unsigned nfds, enum w_dir dir)
{
    struct w_msg out = {.buf = buf};
    const struct msg_rule *rule;
    int rc;

    if (len < W_HEADER || get_le(out.buf, 4) != W_MAGIC)
        return -EBADMSG;
    out.type = (uint16_t)get_le(out.buf + 4, 2);
    out.nfds = (uint16_t)get_le(out.buf + 6, 2);
    out.len = (uint32_t)get_le(out.buf + 8, 4);
    out.id = (uint32_t)get_le(out.buf + 12, 4);
    if (out.len != len)
        return -EBADMSG;
    if (out.type == 0 || out.type >= W_TYPE_END)
        return -EPROTONOSUPPORT;
    rule = &msg_rules[out.type];
    if (rule->dir != dir)
        return -EPROTO;
    if (out.nfds != nfds || nfds < rule->fds_min || nfds > rule->fds_max)
        return -EMFILE;
    if (len > rule->max)
        return -EBADMSG;
    rc = decode_attrs(&out, rule);
    if (rc < 0)
        return rc;
    rc = rule->check ? rule->check(&out) : 0;
    if (rc == 0)
        *m = out;
    return rc;
}

bool w_next(const struct w_msg *m, enum w_attr a, uint32_t *pos, struct w_val *v)
{
    uint32_t at = *pos ? *pos : W_HEADER;
    struct w_val value;
    uint16_t attr;

    while (rule_of(a) && at < m->len && cut_attr(m, &at, &attr, &value) == 0) {
        if (attr != a || check_value(rule_of(a), &value) < 0)
            continue;
        *pos = at;
        *v = value;
        return true;
    }
    return false;
}

int w_text(const struct w_msg *m, enum w_attr a, char *out, size_t cap)
{
    const struct w_val *v = rule_of(a) && w_has(m, a) ? &m->v[a] : &(struct w_val){.n = 0};

    if (cap > 0)
        out[0] = '\0';
    if (v->n >= cap)
        return -ENAMETOOLONG;
    if (!is_text(v->p, v->n, ' ', 0xff))
        return -EILSEQ;
    if (v->n > 0)
        memcpy(out, v->p, v->n);
    out[v->n] = '\0';
    return 0;
}

/* The first error is the one that explains the others. */
static void fail(struct w_buf *b, int error)
{
    if (b->error == 0)
        b->error = error;
}

/* Writes an attribute's header and returns the place of its value, the padding already zero. */
static uint8_t *reserve(struct w_buf *b, enum w_attr a, uint32_t n)
{
    uint8_t *p;

    if (ATTR_SIZE(n) > b->cap - b->len) {
        fail(b, -ENOSPC);
        return NULL;
    }
    p = b->p + b->len;
    memset(p, 0, ATTR_SIZE(n));
    put_le(p, 2, a);
    put_le(p + 4, 4, n);
    b->len += ATTR_SIZE(n);
    return p + ATTR_HEADER;
}

void w_begin(struct w_buf *b, void *buf, size_t cap, enum w_type type, uint32_t id, unsigned nfds)
{
    *b = (struct w_buf){.p = buf, .cap = cap < W_MESSAGE_MAX ? (uint32_t)cap : W_MESSAGE_MAX};
    if (b->cap < W_HEADER)
        fail(b, -ENOSPC);
    else if (type >= W_TYPE_END || nfds > W_FDS_MAX)
        fail(b, -EINVAL);
    if (b->error < 0)
        return;
    put_le(b->p, 4, W_MAGIC);
    put_le(b->p + 4, 2, type);
    put_le(b->p + 6, 2, nfds);
    put_le(b->p + 8, 4, 0); /* the length, known to w_end */
    put_le(b->p + 12, 4, id);
    b->len = W_HEADER;
}

void w_put_num(struct w_buf *b, enum w_attr a, uint64_t value)
{
    const struct attr_rule *rule = rule_of(a);
    uint8_t *p;

    /* Here and not only in w_end: cutting the number to its width could make it legal. */
    if (!rule || rule->kind > K_U64 || value < rule->min || value > rule->max) {
        fail(b, -EINVAL);
        return;
    }
    p = reserve(b, a, rule->kind);
    if (p)
        put_le(p, rule->kind, value);
}

void w_put_bytes(struct w_buf *b, enum w_attr a, const void *p, size_t n)
{
    const struct attr_rule *rule = rule_of(a);
    uint8_t *to;

    if (!rule || rule->kind <= K_U64 || n < rule->min || n > rule->max) {
        fail(b, -EINVAL);
        return;
    }
    to = reserve(b, a, (uint32_t)n);
    if (to && n > 0)
        memcpy(to, p, n);
}

void w_put_text(struct w_buf *b, enum w_attr a, const char *text)
{
    if (text && text[0] != '\0')
        w_put_bytes(b, a, text, strlen(text));
}

int w_end(struct w_buf *b)
{
    struct w_msg m;
    uint64_t type;

    if (b->error < 0)
        return b->error;
    put_le(b->p + 8, 4, b->len);
    type = get_le(b->p + 4, 2);
    if (w_decode(&m, b->p, b->len, (unsigned)get_le(b->p + 6, 2), msg_rules[type].dir) < 0)
        return -EINVAL;
    return (int)b->len;
}

const char *w_type_name(unsigned type)
{
    return type > 0 && type < W_TYPE_END ? msg_rules[type].name : "unknown";
}
