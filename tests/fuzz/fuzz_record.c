/* Fuzzes daemon/record.c with arbitrary records, arbitrary inner plaintexts, damaged records.
 *
 * Linked with daemon/keysched.c. The first bytes choose; the rest is the record or its content. */
#include "../../daemon/record.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t record[RC_PLAIN_MAX + RC_HEADER + RC_BODY_MAX];

/* Whatever rc_open says, it says it about bytes inside the record. */
static int open_record(const struct ks_dir *d, size_t len, uint8_t *type, uint8_t **plain,
                       size_t *n)
{
    struct rc_ctx *c;
    int r;

    if (rc_new(&c, d, 0) < 0)
        abort();
    r = rc_open(c, record, len, type, plain, n);
    if (r == 0 && (*plain < record || *plain + *n > record + len || *n > RC_PLAIN_MAX ||
                   rc_seq(c) != d->seq + 1))
        abort();
    if (r != 0 && (rc_seq(c) != d->seq || ERR_peek_error() != 0))
        abort();
    rc_free(c);
    return r;
}

/* Seals the input as it stands, then changes one byte of it, perhaps by nothing. */
static void seal_and_damage(const struct ks_dir *d, const uint8_t *data, size_t size)
{
    uint8_t type = data[0], change = data[1], seen = 0, *plain = NULL;
    size_t at = (size_t)data[2] << 8 | data[3], n = 0;
    struct rc_ctx *c;
    int len, r;

    data += 4;
    size -= 4;
    if (size > RC_PLAIN_MAX)
        size = RC_PLAIN_MAX;
    if (rc_new(&c, d, 1) < 0)
        abort();
    len = rc_seal(c, type, data, size, record);
    rc_free(c);
    if (len < 0 || (size_t)len > size + RC_HEADER + RC_OVERHEAD)
        abort();
    record[at % (size_t)len] ^= change;
    r = open_record(d, (size_t)len, &seen, &plain, &n);
    if (change != 0 ? r == 0 : r == 0 && memcmp(plain, data, n) != 0)
        abort();
    if (change == 0 && type >= RC_ALERT && type <= RC_DATA && size > 0 &&
        (r != 0 || seen != type || n != size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n_suites, n;
    const struct ks_suite *s = ks_suites(&n_suites);
    struct ks_dir d = {.seq = 7};
    uint8_t type, *plain;

    if (size < 6)
        return 0;
    d.suite = &s[data[0] % n_suites];
    if (data[1] & 1) {
        seal_and_damage(&d, data + 2, size - 2);
        return 0;
    }
    size = size - 2 < sizeof(record) ? size - 2 : sizeof(record);
    memcpy(record, data + 2, size);
    if (size >= RC_HEADER)
        rc_length(record);
    open_record(&d, size, &type, &plain, &n);
    return 0;
}
