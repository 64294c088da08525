/* Tests of daemon/log.c: what a line looks like, what may not be in it, how many there may be. */
#include "../../daemon/log.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <sys/socket.h>

static char out[65536];
static uint64_t fake_now = 1000000;

static uint64_t fake_ms(void)
{
    return fake_now;
}

static int setup(void)
{
    now_ms = fake_ms;
    unsetenv("JOURNAL_STREAM");
    return 0;
}

static int teardown(void)
{
    now_ms = clock_ms;
    lg_open(LG_INFO, NULL);
    return 0;
}

/* What one line of a fresh log looks like. */
static const char *one(enum lg_level level, const char *message)
{
    struct capture c = capture_begin(2);

    lg_open(LG_DEBUG, "worker 0");
    lg_line(level, "%s", message);
    return capture_end(c, out, sizeof(out));
}

static void test_lines(void)
{
    struct capture c;

    CU_ASSERT_STRING_EQUAL(one(LG_INFO, "hello"), "htlsd[worker 0]: hello\n");
    CU_ASSERT_STRING_EQUAL(one(LG_ERROR, "bad"), "htlsd[worker 0]: error: bad\n");
    CU_ASSERT_STRING_EQUAL(one(LG_WARNING, "odd"), "htlsd[worker 0]: warning: odd\n");
    CU_ASSERT_STRING_EQUAL(one(LG_DEBUG, "x"), "htlsd[worker 0]: debug: x\n");
    CU_ASSERT_STRING_EQUAL(one(LG_INFO, ""), "htlsd[worker 0]: \n");
    c = capture_begin(2);
    lg_open(LG_INFO, NULL);
    lg_debug("not this");
    lg_info("this");
    CU_ASSERT_STRING_EQUAL(capture_end(c, out, sizeof(out)), "htlsd: this\n");
    c = capture_begin(2);
    lg_open(LG_ERROR, NULL);
    lg_warning("not this");
    errno = ENOENT;
    lg_error("%m");
    CU_ASSERT_EQUAL(errno, ENOENT);
    CU_ASSERT_STRING_EQUAL(capture_end(c, out, sizeof(out)),
                           "htlsd: error: No such file or directory\n");
}

static void test_escapes(void)
{
    CU_ASSERT_STRING_EQUAL(one(LG_INFO, "a\nhtlsd: forged\r\033[2J\t"),
                           "htlsd[worker 0]: a\\x0ahtlsd: forged\\x0d\\x1b[2J\\x09\n");
    CU_ASSERT_STRING_EQUAL(one(LG_INFO, "~\x7f\x80\xff\xc3\xa4 %s\\"),
                           "htlsd[worker 0]: ~\\x7f\\x80\\xff\\xc3\\xa4 %s\\\n");
}

static void test_long(void)
{
    char text[5000];
    const char *line;

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    line = one(LG_INFO, text);
    CU_ASSERT_EQUAL(strlen(line), strlen("htlsd[worker 0]: ") + MESSAGE_MAX - 1 + 1);
    CU_ASSERT_STRING_EQUAL(line + strlen(line) - 5, "a...\n");
    text[MESSAGE_MAX - 1] = '\0';
    line = one(LG_INFO, text);
    CU_ASSERT_STRING_EQUAL(line + strlen(line) - 5, "aaaa\n");
    memset(text, '\001', MESSAGE_MAX - 1);
    line = one(LG_INFO, text);
    CU_ASSERT_EQUAL(strlen(line), strlen("htlsd[worker 0]: ") + 4 * (MESSAGE_MAX - 1) + 1);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static unsigned flood(enum lg_level level, unsigned n)
{
    struct capture c = capture_begin(2);

    while (n-- > 0)
        lg_line(level, "flood");
    return lines(capture_end(c, out, sizeof(out)));
}

static void test_rate(void)
{
    lg_open(LG_DEBUG, "control");
    CU_ASSERT_EQUAL(flood(LG_INFO, 1000), 200);
    CU_ASSERT_PTR_NULL(strstr(out, "left out"));
    /* Another level has its own. */
    CU_ASSERT_EQUAL(flood(LG_WARNING, 1), 1);
    fake_now += 19;
    CU_ASSERT_EQUAL(flood(LG_INFO, 1), 0);
    fake_now += 1;
    CU_ASSERT_EQUAL(flood(LG_INFO, 10), 2);
    CU_ASSERT_STRING_EQUAL(out, "htlsd[control]: 801 lines like the next one were left out\n"
                                "htlsd[control]: flood\n");
    fake_now += 1000;
    CU_ASSERT_EQUAL(flood(LG_INFO, 1000), 51);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, ": 9 lines like"));
    fake_now += 3600000;
    CU_ASSERT_EQUAL(flood(LG_INFO, 1000), 201);
    /* What is not logged anyway costs nothing. */
    lg_open(LG_INFO, "control");
    CU_ASSERT_EQUAL(flood(LG_DEBUG, 1000), 0);
    CU_ASSERT_EQUAL(flood(LG_INFO, 1000), 200);
}

static void test_journal(void)
{
    struct capture c = capture_begin(2);
    char stream[64];
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(fstat(2, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    lg_open(LG_DEBUG, "worker 1");
    lg_error("a\n");
    lg_warning("b");
    lg_info("c");
    lg_debug("d");
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    lg_open(LG_DEBUG, "worker 1");
    lg_info("stderr went elsewhere");
    setenv("JOURNAL_STREAM", "nonsense", 1);
    lg_open(LG_DEBUG, NULL);
    lg_info("e");
    unsetenv("JOURNAL_STREAM");
    CU_ASSERT_STRING_EQUAL(capture_end(c, out, sizeof(out)),
                           "<3>worker 1: a\\x0a\n<4>worker 1: b\n<6>worker 1: c\n"
                           "<7>worker 1: d\nhtlsd[worker 1]: stderr went elsewhere\nhtlsd: e\n");
}

/* A line on a terminal, with NO_COLOR and TERM as given. */
static const char *on_terminal(const char *no_color, const char *term)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), saved = dup(2), slave;
    ssize_t n;

    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        abort();
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0 || dup2(slave, 2) < 0)
        abort();
    setenv("NO_COLOR", no_color, 1);
    setenv("TERM", term, 1);
    lg_open(LG_INFO, NULL);
    lg_error("x");
    dup2(saved, 2);
    n = read(master, out, sizeof(out) - 1);
    out[n < 0 ? 0 : n] = '\0';
    close(saved);
    close(slave);
    close(master);
    unsetenv("NO_COLOR");
    return out;
}

static void test_colours(void)
{
    CU_ASSERT_STRING_EQUAL(on_terminal("", "xterm"), "htlsd: \033[31merror: \033[0mx\r\n");
    CU_ASSERT_STRING_EQUAL(on_terminal("1", "xterm"), "htlsd: error: x\r\n");
    CU_ASSERT_STRING_EQUAL(on_terminal("", "dumb"), "htlsd: error: x\r\n");
}

/* Lines of two processes on one pipe stay whole: a line is one write. */
static void test_one_write(void)
{
    int p[2], saved = dup(2);

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p), 0);
    dup2(p[1], 2);
    lg_open(LG_INFO, "control");
    lg_error("one\ntwo");
    dup2(saved, 2);
    CU_ASSERT_EQUAL(read(p[0], out, sizeof(out)),
                    (ssize_t)strlen("htlsd[control]: error: one\\x0atwo\n"));
    close(p[0]);
    close(p[1]);
    close(saved);
}

void suite_log(void)
{
    CU_pSuite s = CU_add_suite("log", setup, teardown);

    CU_add_test(s, "lines", test_lines);
    CU_add_test(s, "control characters", test_escapes);
    CU_add_test(s, "long lines", test_long);
    CU_add_test(s, "rate limit", test_rate);
    CU_add_test(s, "journal", test_journal);
    CU_add_test(s, "colours", test_colours);
    CU_add_test(s, "one write per line", test_one_write);
}
