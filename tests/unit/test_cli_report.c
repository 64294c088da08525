/* Tests of shim/cli_report.c: against a daemon that says what the test wants. */
#include "../../shim/cli_report.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <signal.h>
#include <sys/wait.h>

static char dir[] = "/tmp/htls-cli-XXXXXX";
static char path[64];
static struct cl_report report;
static char why[CL_WHY_MAX];

static int setup(void)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/sock", dir);
    return 0;
}

static int teardown(void)
{
    unlink(path);
    return rmdir(dir);
}

/* What the fake daemon does. */
static struct {
    const char *report; /* NULL = answer STATUS with an ERROR */
    uint32_t id_off;    /* is added to the ids of answers */
    int silent;         /* say nothing and wait; else: 1 = close at once */
    int hang_up;
} fake;

static void answer(int fd, const struct w_msg *m)
{
    static uint8_t buf[W_MESSAGE_MAX];
    struct w_buf b;
    uint32_t id = m->id + fake.id_off;

    if (m->type == W_HELLO) {
        w_begin(&b, buf, sizeof(buf), W_WELCOME, id, 0);
        w_put_num(&b, W_A_VERSION, W_VERSION);
        w_put_num(&b, W_A_CAPS, 0);
        w_put_text(&b, W_A_AGENT, "fake 1.0");
    } else if (fake.report) {
        w_begin(&b, buf, sizeof(buf), W_REPORT, id, 0);
        w_put_bytes(&b, W_A_REPORT, fake.report, strlen(fake.report));
    } else {
        w_begin(&b, buf, sizeof(buf), W_ERROR, id, 0);
        w_put_num(&b, W_A_CODE, W_CODE_DENIED);
        w_put_num(&b, W_A_ERRNO, EACCES);
        w_put_text(&b, W_A_TEXT, "not for you");
    }
    if (fm_send(fd, buf, (size_t)w_end(&b), NULL, 0, 0) < 0)
        _exit(1);
}

static void serve(int listener)
{
    static uint8_t buf[W_MESSAGE_MAX];
    int fd = accept(listener, NULL, NULL), fds[FM_FDS_MAX], n;
    unsigned nfds;
    struct w_msg m;

    alarm(20);
    if (fake.hang_up)
        return;
    if (fake.silent)
        pause();
    while ((n = fm_recv(fd, buf, sizeof(buf), fds, &nfds, 0)) > 0) {
        if (w_decode(&m, buf, (size_t)n, nfds, W_TO_DAEMON) < 0)
            _exit(2);
        answer(fd, &m);
    }
}

/* cl_ask() of a fake daemon on `path`. */
static int ask_fake(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), rc, status;
    pid_t pid;

    memcpy(sa.sun_path, path, strlen(path));
    unlink(path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(listener, 1) < 0)
        abort();
    pid = fork();
    if (pid == 0) {
        serve(listener);
        _exit(0);
    }
    rc = cl_ask(path, &report, why);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(listener);
    return rc;
}

static void test_good(void)
{
    memset(&fake, 0, sizeof(fake));
    fake.report = "a 1\nb \033[2J\x7f\xc3\xa4\n";
    CU_ASSERT_EQUAL(ask_fake(), 0);
    CU_ASSERT_STRING_EQUAL(report.agent, "fake 1.0");
    CU_ASSERT_EQUAL(report.uid, geteuid());
    CU_ASSERT_EQUAL(report.pid, getpid()); /* who made the socket */
    CU_ASSERT_STRING_EQUAL(report.text, "a 1\nb ?[2J?\xc3\xa4\n");
    fake.report = "";
    CU_ASSERT_EQUAL(ask_fake(), 0);
    CU_ASSERT_STRING_EQUAL(report.text, "");
}

static void test_refusals(void)
{
    memset(&fake, 0, sizeof(fake));
    strcpy(report.text, "untouched");
    CU_ASSERT_EQUAL(ask_fake(), -EACCES);
    CU_ASSERT_STRING_EQUAL(why, "htlsd: not for you");
    fake.report = "a 1\n";
    fake.id_off = 1;
    CU_ASSERT_EQUAL(ask_fake(), -EPROTO);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "of another version"));
    fake.hang_up = 1;
    CU_ASSERT(ask_fake() < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "closed the connection"));
    CU_ASSERT_STRING_EQUAL(report.text, "untouched");
}

static void test_nobody(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char longer[200];
    int fd;

    unlink(path);
    CU_ASSERT_EQUAL(cl_ask(path, &report, why), -ENOENT);
    CU_ASSERT_EQUAL(strncmp(why, path, strlen(path)), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "systemctl start htlsd"));
    memset(longer, 'a', sizeof(longer));
    longer[108] = '\0';
    CU_ASSERT_EQUAL(cl_ask(longer, &report, why), -ENAMETOOLONG);
    longer[107] = '\0';
    CU_ASSERT_EQUAL(cl_ask(longer, &report, why), -ENOENT);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(sa.sun_path, path, strlen(path));
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
    CU_ASSERT_EQUAL(cl_ask(path, &report, why), -EPROTOTYPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "another program's socket"));
    close(fd);
    CU_ASSERT(cl_ask(path, &report, why) < 0);
}

/* A deadline of 5 seconds stands on each wait: looked up, not waited for. */
static void test_deadline(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd = -1;
    struct timeval send_wait, recv_wait;
    socklen_t len = sizeof(send_wait);

    unlink(path);
    memcpy(sa.sun_path, path, strlen(path));
    CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
    CU_ASSERT_EQUAL(open_socket(path, &fd), 0);
    CU_ASSERT_EQUAL(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_wait, &len), 0);
    CU_ASSERT_EQUAL(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &recv_wait, &len), 0);
    CU_ASSERT_EQUAL(send_wait.tv_sec, 5);
    CU_ASSERT_EQUAL(recv_wait.tv_sec, 5);
    close(fd);
    close(listener);
    CU_ASSERT_PTR_NOT_NULL(strstr(remedy(EAGAIN), "5 seconds"));
}

static void test_lines(void)
{
    const char *p = "\nkey value with blanks\n\nalone\nlast   x";
    struct cl_line l;

    CU_ASSERT_TRUE(cl_next(&p, &l));
    CU_ASSERT(l.key_len == 3 && l.value_len == 17 && memcmp(l.value, "value", 5) == 0);
    CU_ASSERT_TRUE(cl_next(&p, &l));
    CU_ASSERT(l.key_len == 5 && l.value_len == 0);
    CU_ASSERT_TRUE(cl_next(&p, &l));
    CU_ASSERT(l.key_len == 4 && l.value_len == 1 && *l.value == 'x');
    CU_ASSERT_FALSE(cl_next(&p, &l));
    CU_ASSERT_TRUE(cl_find("ab 1\na 2\n", "a", &l));
    CU_ASSERT_EQUAL(*l.value, '2');
    CU_ASSERT_FALSE(cl_find("ab 1\nb a\n", "a", &l));
    CU_ASSERT_FALSE(cl_find("", "a", &l));
}

void suite_cli_report(void)
{
    CU_pSuite s = CU_add_suite("cli_report", setup, teardown);

    CU_add_test(s, "a daemon's report", test_good);
    CU_add_test(s, "refusals", test_refusals);
    CU_add_test(s, "nobody there", test_nobody);
    CU_add_test(s, "deadlines", test_deadline);
    CU_add_test(s, "lines of a report", test_lines);
}
