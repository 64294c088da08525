/* Builds a log line in one buffer, so that lines of several processes never mix.
 *
 * A line is one write(2) to stderr. The state is per process and a worker calls lg_open() anew, so
 * that a flood in one worker leaves the others their say. One thread per process: no lock. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BURST 200u     /* lines that may come at once, per level */
#define PER_SECOND 50u /* and then how many a second */
#define MESSAGE_MAX 1024
#define LINE_MAX_BYTES (4 * MESSAGE_MAX + 256) /* all of it escaped, its front and "\n" */

static const struct {
    int priority; /* syslog's, for the journal */
    const char *word, *colour;
} levels[LG_LEVELS] = {
    [LG_ERROR] = {3, "error: ", "\033[31m"},
    [LG_WARNING] = {4, "warning: ", "\033[33m"},
    [LG_INFO] = {6, "", ""},
    [LG_DEBUG] = {7, "debug: ", ""},
};

struct bucket {
    uint64_t used_ms; /* the time at which the bucket would be full again, see allowed() */
    unsigned left_out;
};

static struct {
    enum lg_level most;
    const char *process; /* the caller's, static */
    bool journal, colours;
    struct bucket buckets[LG_LEVELS];
} state = {.most = LG_INFO};

static uint64_t clock_ms(void)
{
    struct timespec ts = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Replaceable, so that a test need not wait. */
static uint64_t (*now_ms)(void) = clock_ms;

/* JOURNAL_STREAM names the device and inode of the stream that systemd gave us: stderr may since
 * have gone elsewhere. */
static bool is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    struct stat st;
    char ours[64];

    if (!text || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(text, ours) == 0;
}

static bool wants_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDERR_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void lg_open(enum lg_level most, const char *process)
{
    memset(&state, 0, sizeof(state));
    state.most = most;
    state.process = process;
    state.journal = is_journal();
    state.colours = !state.journal && wants_colours();
}

/* A bucket as one number: each line moves the time at which everything is forgotten by 1/50 s, and
 * that time may lie at most 200 lines ahead. */
static bool allowed(struct bucket *b)
{
    uint64_t now = now_ms();
    uint64_t step = 1000u / PER_SECOND;

    if (b->used_ms < now)
        b->used_ms = now;
    if (b->used_ms + step > now + BURST * step) {
        if (b->left_out < UINT32_MAX)
            b->left_out++;
        return false;
    }
    b->used_ms += step;
    return true;
}

/* Nothing of a message may end the line, move the cursor or forge another line. Bytes from 0x7f
 * up are escaped too: what they mean depends on whose terminal it is. */
static size_t escape(char *out, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c < 0x7f) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return n;
}

static size_t front(char *out, size_t cap, enum lg_level level)
{
    const char *word = levels[level].word, *colour = levels[level].colour;
    const char *process = state.process ? state.process : "";
    int n;

    if (state.journal)
        n = snprintf(out, cap, "<%d>%.64s%s", levels[level].priority, process,
                     *process ? ": " : "");
    else
        n = snprintf(out, cap, "htlsd%s%.64s%s: %s%s%s", *process ? "[" : "", process,
                     *process ? "]" : "", state.colours ? colour : "", word,
                     state.colours && *colour ? "\033[0m" : "");
    return n < 0 ? 0 : (size_t)n;
}

static void put(enum lg_level level, const char *message)
{
    char line[LINE_MAX_BYTES];
    size_t n = front(line, sizeof(line), level);

    n += escape(line + n, message);
    line[n++] = '\n';
    /* A log that cannot be written has nobody to be told. */
    while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
        ;
}

void lg_line(enum lg_level level, const char *format, ...)
{
    char message[MESSAGE_MAX];
    int saved = errno;
    struct bucket *b = &state.buckets[level];
    va_list args;
    int n;

    if (level > state.most)
        return;
    if (!allowed(b)) {
        errno = saved;
        return;
    }
    if (b->left_out) {
        snprintf(message, sizeof(message), "%u lines like the next one were left out", b->left_out);
        b->left_out = 0;
        put(level, message);
    }
    errno = saved; /* for %m */
    va_start(args, format);
    n = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (n >= MESSAGE_MAX)
        memcpy(message + MESSAGE_MAX - 4, "...", 4);
    if (n >= 0)
        put(level, message);
    errno = saved;
}
