/* The table of options, each with the way its text becomes a value.
 *
 * To add an option: a field in options.h, a row here, its line in htls.conf, its words in the man
 * pages. The reader of the file, the command line, --help and --print-config follow from the row;
 * the unit tests say which of the rest is missing. To add a kind: a setter, a getter, a line in
 * kinds[]. */
#include "options_table.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field)

// clang-format off
static const struct op_row rows[] = {
    {"daemon", "socket", OP_TEXT, AT(socket), 1, 107, "/run/htls/htls.sock", "PATH",
     "Unix socket on which clients are served"},
    {"daemon", "socket-mode", OP_MODE, AT(socket_mode), 0, 0777, "0666", "MODE",
     "permission bits of that socket, octal"},
    {"daemon", "user", OP_TEXT, AT(user), 1, 63, "nobody", "NAME",
     "user that workers become when started as root"},
    {"daemon", "workers", OP_COUNT, AT(workers), 0, 256, "0", "N",
     "worker processes; 0 is one per CPU"},
    {"daemon", "log-level", OP_INDEX, AT(log_level), 0, 0, "info", "error|warning|info|debug",
     "the least important lines that are logged"},
    {"limits", "handshake-timeout", OP_DURATION, AT(handshake_ms), 100, 3600000, "10s", "TIME",
     "deadline of a handshake, as 10s or 500ms"},
    {"limits", "handshakes", OP_COUNT, AT(handshakes), 1, 65536, "1024", "N",
     "most handshakes at once per worker"},
    {"limits", "peers-per-uid", OP_COUNT, AT(peers_per_uid), 1, 1048576, "8192", "N",
     "most client connections of one user"},
    {"limits", "relays", OP_COUNT, AT(relays), 0, 1048576, "16384", "N",
     "most relayed connections per worker"},
    {"limits", "connections", OP_COUNT, AT(connections), 1, 1048576, "65536", "N",
     "most kernel connections kept per worker"},
    {"limits", "records-per-key", OP_COUNT, AT(records_per_key), 0, 4294967295, "0", "N",
     "records under one key; 0 is what the cipher bears"},
    {"limits", "relay-linger", OP_DURATION, AT(relay_linger_ms), 100, 3600000, "30s", "TIME",
     "patience with a peer once its program is gone"},
    {"limits", "key-updates", OP_COUNT, AT(key_updates), 1, 65536, "64", "N",
     "most KeyUpdates of a peer at once without data"},
    {"tls", "trust-file", OP_TEXT, AT(trust_file), 0, PATH_MAX - 1, "", "FILE",
     "trusted CA certificates instead of the system's"},
    {"tls", "client-ca", OP_BOOL, AT(client_ca), 0, 0, "yes", "yes|no",
     "clients may bring CA certificates of their own"},
    {"tls", "allow-insecure", OP_BOOL, AT(allow_insecure), 0, 0, "no", "yes|no",
     "clients may switch certificate checks off"},
    {"tls", "insecure-users", OP_USERS, AT(insecure_users), 0, 511, "*", "LIST",
     "who may: names or uids with commas, or * for all"},
    {"tls", "key-log", OP_TEXT, AT(key_log), 0, PATH_MAX - 1, "", "FILE",
     "append the TLS secrets here, for debugging only"},
    {"tls", "path", OP_WORD, AT(path), 0, 0, "auto", "auto|kernel|relay",
     "the data path that is offered"},
    {"sessions", "session-cache", OP_COUNT, AT(session_cache), 0, 262144, "4096", "N",
     "most TLS sessions kept for resumption; 0 is none"},
    {"sessions", "session-lifetime", OP_DURATION, AT(session_ms), 1000, 604800000, "7200s", "TIME",
     "how long a peer need not show its certificate again"},
    {"sessions", "session-share", OP_COUNT, AT(session_share), 1, 100, "25", "PERCENT",
     "the most of them that are one user's"},
};
// clang-format on
#define ROWS (sizeof(rows) / sizeof(rows[0]))

const struct op_row *op_rows(size_t *n)
{
    *n = ROWS;
    return rows;
}

void op_say(const char *where, int line, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (line > 0)
        fprintf(stderr, "htlsd: %s:%d: %s\n", where, line, text);
    else
        fprintf(stderr, "htlsd: %s: %s\n", where, text);
}

/* --- one setter and one getter per kind ---------------------------------------------- */

/* Digits of the base and nothing before them. *end is what follows. */
static int read_number(const char *text, int base, unsigned long *out, const char **end)
{
    char *stop;
    unsigned long value;

    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    errno = 0;
    value = strtoul(text, &stop, base);
    if (errno)
        return -EINVAL;
    *out = value;
    *end = stop;
    return 0;
}

/* What is accepted here can be printed into a file that is read back to the same. */
static int set_text(const struct op_row *r, void *at, const char *text, char *why)
{
    size_t n = strlen(text);

    if (n < r->min || n > r->max) {
        snprintf(why, OP_WHY_MAX, "must be %lu to %lu bytes long, this is %zu", r->min, r->max, n);
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        bool edge = i == 0 || i == n - 1;

        if (iscntrl((unsigned char)text[i]) || (edge && text[i] == ' ')) {
            snprintf(why, OP_WHY_MAX, "must not hold control characters or begin or end blank");
            return -EINVAL;
        }
        if (text[i] == ';' && (i == 0 || text[i - 1] == ' ')) {
            snprintf(why, OP_WHY_MAX, "must not hold ';' after a blank: there a comment begins");
            return -EINVAL;
        }
    }
    memcpy(at, text, n + 1);
    return 0;
}

static void get_text(const struct op_row *r, const void *at, char *out, size_t cap)
{
    (void)r;
    snprintf(out, cap, "%s", (const char *)at);
}

static int set_count(const struct op_row *r, void *at, const char *text, char *why)
{
    unsigned long value;
    const char *end;

    if (read_number(text, 10, &value, &end) < 0 || *end || value < r->min || value > r->max) {
        snprintf(why, OP_WHY_MAX, "must be a number from %lu to %lu", r->min, r->max);
        return -EINVAL;
    }
    *(unsigned *)at = (unsigned)value;
    return 0;
}

static void get_count(const struct op_row *r, const void *at, char *out, size_t cap)
{
    (void)r;
    snprintf(out, cap, "%u", *(const unsigned *)at);
}

static int set_mode(const struct op_row *r, void *at, const char *text, char *why)
{
    unsigned long value;
    const char *end;

    if (read_number(text, 8, &value, &end) < 0 || *end || value > r->max) {
        snprintf(why, OP_WHY_MAX, "must be permission bits in octal, 0 to 0%lo", r->max);
        return -EINVAL;
    }
    *(int *)at = (int)value;
    return 0;
}

static void get_mode(const struct op_row *r, const void *at, char *out, size_t cap)
{
    (void)r;
    snprintf(out, cap, "%04o", (unsigned)*(const int *)at);
}

static int set_duration(const struct op_row *r, void *at, const char *text, char *why)
{
    unsigned long value, unit = 0;
    const char *end;

    if (read_number(text, 10, &value, &end) == 0) {
        if (!*end || strcmp(end, "ms") == 0)
            unit = 1;
        else if (strcmp(end, "s") == 0)
            unit = 1000;
    }
    /* unit 0 = not understood; the division is the multiplication that cannot overflow. */
    if (!unit || value > r->max / unit || value * unit < r->min) {
        snprintf(why, OP_WHY_MAX, "must be a time from %lums to %lus, such as 10s or 500ms", r->min,
                 r->max / 1000);
        return -EINVAL;
    }
    *(unsigned *)at = (unsigned)(value * unit);
    return 0;
}

static void get_duration(const struct op_row *r, const void *at, char *out, size_t cap)
{
    unsigned ms = *(const unsigned *)at;

    (void)r;
    if (ms % 1000 == 0)
        snprintf(out, cap, "%us", ms / 1000);
    else
        snprintf(out, cap, "%ums", ms);
}

static int set_bool(const struct op_row *r, void *at, const char *text, char *why)
{
    bool yes = strcmp(text, "yes") == 0;

    (void)r;
    if (!yes && strcmp(text, "no") != 0) {
        snprintf(why, OP_WHY_MAX, "must be yes or no");
        return -EINVAL;
    }
    *(bool *)at = yes;
    return 0;
}

static void get_bool(const struct op_row *r, const void *at, char *out, size_t cap)
{
    (void)r;
    snprintf(out, cap, "%s", *(const bool *)at ? "yes" : "no");
}

/* The number of a word in "one|two|three", or -1. */
static int find_word(const char *choices, const char *text)
{
    size_t n = strlen(text);

    for (int i = 0; *choices; i++) {
        size_t word = strcspn(choices, "|");

        if (word == n && memcmp(choices, text, n) == 0)
            return i;
        choices += word + (choices[word] == '|');
    }
    return -1;
}

static int set_index(const struct op_row *r, void *at, const char *text, char *why)
{
    int i = find_word(r->value, text);

    if (i < 0) {
        snprintf(why, OP_WHY_MAX, "must be one of %s", r->value);
        return -EINVAL;
    }
    *(int *)at = i;
    return 0;
}

static void get_index(const struct op_row *r, const void *at, char *out, size_t cap)
{
    const char *p = r->value;

    for (int i = *(const int *)at; i > 0; i--)
        p += strcspn(p, "|") + 1;
    snprintf(out, cap, "%.*s", (int)strcspn(p, "|"), p);
}

static int set_word(const struct op_row *r, void *at, const char *text, char *why)
{
    int i;
    int rc = set_index(r, &i, text, why);

    if (rc < 0)
        return rc;
    snprintf(at, r->size, "%s", text);
    return 0;
}

static int uid_of(const char *name, unsigned long *uid)
{
    char buf[4096];
    struct passwd pw, *found = NULL;
    const char *end;

    if (read_number(name, 10, uid, &end) == 0 && !*end && *uid < UINT32_MAX)
        return 0;
    if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) != 0 || !found)
        return -ENOENT;
    *uid = pw.pw_uid;
    return 0;
}

/* Names become numbers here, once: who asks later may be a worker, which opens no /etc/passwd. */
static int set_users(const struct op_row *r, void *at, const char *text, char *why)
{
    char list[512] = "", copy[512];
    size_t n = 0;
    char *rest = copy, *name;

    if (strcmp(text, "*") == 0) {
        memcpy(at, "*", 2);
        return 0;
    }
    if (strlen(text) > r->max) {
        snprintf(why, OP_WHY_MAX, "must be at most %lu bytes long", r->max);
        return -EINVAL;
    }
    memcpy(copy, text, strlen(text) + 1);
    while ((name = strsep(&rest, ",")) && *text) {
        unsigned long uid;

        name += strspn(name, " ");
        name[strcspn(name, " ")] = '\0';
        if (uid_of(name, &uid) < 0) {
            snprintf(why, OP_WHY_MAX, "no such user: \"%.64s\"", name);
            return -EINVAL;
        }
        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%lu", n ? "," : "", uid);
        if (n >= sizeof(list)) {
            snprintf(why, OP_WHY_MAX, "has too many users for %zu bytes of uids", sizeof(list));
            return -EINVAL;
        }
    }
    memcpy(at, list, n + 1);
    return 0;
}

static const struct {
    int (*set)(const struct op_row *r, void *at, const char *text, char *why);
    void (*get)(const struct op_row *r, const void *at, char *out, size_t cap);
} kinds[] = {
    [OP_TEXT] = {set_text, get_text},    [OP_COUNT] = {set_count, get_count},
    [OP_MODE] = {set_mode, get_mode},    [OP_DURATION] = {set_duration, get_duration},
    [OP_BOOL] = {set_bool, get_bool},    [OP_WORD] = {set_word, get_text},
    [OP_INDEX] = {set_index, get_index}, [OP_USERS] = {set_users, get_text},
};

int op_set(struct options *o, const struct op_row *row, const char *text, char why[OP_WHY_MAX])
{
    return kinds[row->kind].set(row, (char *)o + row->offset, text, why);
}

void op_get(const struct options *o, const struct op_row *row, char *out, size_t cap)
{
    kinds[row->kind].get(row, (const char *)o + row->offset, out, cap);
}

void op_defaults(struct options *o)
{
    char why[OP_WHY_MAX];

    memset(o, 0, sizeof(*o));
    /* A default that its own setter refuses would be a mistake in the table: a test looks. */
    for (size_t i = 0; i < ROWS; i++)
        (void)op_set(o, &rows[i], rows[i].fallback, why);
}
