/* Tests of daemon/notify.c: as systemd's other end. */
#include "../../daemon/notify.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <sys/wait.h>

static char dir[] = "/tmp/htls-notify-XXXXXX";

static int setup(void)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void)
{
    unsetenv("NOTIFY_SOCKET");
    return rmdir(dir);
}

/* A datagram socket bound to `name`, as NOTIFY_SOCKET has it. */
static int manager(const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = sizeof(sa);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", name);
    if (name[0] == '@') { /* abstract: a NUL first, then exactly the name */
        sa.sun_path[0] = '\0';
        len = offsetof(struct sockaddr_un, sun_path) + strlen(name);
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0)
        abort();
    return fd;
}

static void told(const char *name)
{
    int fd = manager(name);
    char buf[256] = "";

    setenv("NOTIFY_SOCKET", name, 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1\nSTATUS=serving"), 0);
    CU_ASSERT_EQUAL(recv(fd, buf, sizeof(buf) - 1, 0), 22);
    CU_ASSERT_STRING_EQUAL(buf, "READY=1\nSTATUS=serving");
    close(fd);
    CU_ASSERT_EQUAL(nt_notify("STOPPING=1"), -ECONNREFUSED);
}

static void test_notify(void)
{
    char name[108];

    unsetenv("NOTIFY_SOCKET");
    CU_ASSERT_EQUAL(nt_notify("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), 0);
    snprintf(name, sizeof(name), "%s/notify", dir);
    told(name);
    unlink(name);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -ENOENT);
    snprintf(name, sizeof(name), "@htls-test-notify-%d", (int)getpid());
    told(name);
}

static void test_bad_names(void)
{
    char name[120];

    setenv("NOTIFY_SOCKET", "relative", 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", "/", 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -EINVAL);
    memset(name, 'a', sizeof(name));
    name[0] = '/';
    name[108] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -EINVAL);
    name[107] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    CU_ASSERT_EQUAL(nt_notify("READY=1"), -ENOENT);
}

/* A manager that does not read must not stop the daemon for long. */
static void test_full(void)
{
    char name[108];
    int fd, rc = 0;

    snprintf(name, sizeof(name), "@htls-test-full-%d", (int)getpid());
    fd = manager(name);
    setenv("NOTIFY_SOCKET", name, 1);
    for (int i = 0; i < 10000 && rc == 0; i++)
        rc = nt_notify("STATUS=x");
    CU_ASSERT_EQUAL(rc, -EAGAIN);
    close(fd);
}

/* What systemd does before it starts us: a child, whose fd 3 is a socket of this kind. */
static struct {
    int domain, type;
    bool listening;
    const char *fds, *pid; /* pid NULL = the right one */
} given;

static int listen_body(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char pid[16], why[NT_WHY_MAX] = "";
    int fd = socket(given.domain, given.type, 0), rc;

    if (fd < 0 || (given.domain == AF_UNIX && bind(fd, (struct sockaddr *)&sa, 2) < 0))
        return 200;
    if (given.listening && listen(fd, 1) < 0)
        return 201;
    if (fd != LISTEN_FDS_START && dup2(fd, LISTEN_FDS_START) < 0)
        return 202;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", given.pid ? given.pid : pid, 1);
    setenv("LISTEN_FDS", given.fds, 1);
    setenv("LISTEN_FDNAMES", "x", 1);
    rc = nt_listen_fd(why);
    if (getenv("LISTEN_PID") || getenv("LISTEN_FDS") || getenv("LISTEN_FDNAMES"))
        return 203;
    if (rc >= 0 && fcntl(rc, F_GETFD) != FD_CLOEXEC)
        return 204;
    if ((rc == -EPROTO) != (*why != '\0'))
        return 205;
    return rc < 0 ? -rc : rc;
}

static int listen_with(int domain, int type, bool listening, const char *fds, const char *pid)
{
    int status = 0;
    pid_t child;

    given.domain = domain;
    given.type = type;
    given.listening = listening;
    given.fds = fds;
    given.pid = pid;
    child = fork();
    if (child == 0)
        _exit(listen_body());
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return 255;
    return WEXITSTATUS(status);
}

static void test_listen(void)
{
    char why[NT_WHY_MAX];

    CU_ASSERT_EQUAL(nt_listen_fd(why), -ENOENT);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "1", NULL), 3);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "1", "1"), ENOENT);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "1", "x"), ENOENT);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "0", NULL), ENOENT);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "1x", NULL), ENOENT);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, true, "2", NULL), EPROTO);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_SEQPACKET, false, "1", NULL), EPROTO);
    CU_ASSERT_EQUAL(listen_with(AF_UNIX, SOCK_STREAM, true, "1", NULL), EPROTO);
    CU_ASSERT_EQUAL(listen_with(AF_INET, SOCK_STREAM, true, "1", NULL), EPROTO);
}

void suite_notify(void)
{
    CU_pSuite s = CU_add_suite("notify", setup, teardown);

    CU_add_test(s, "messages arrive", test_notify);
    CU_add_test(s, "addresses that are none", test_bad_names);
    CU_add_test(s, "a manager that does not read", test_full);
    CU_add_test(s, "a listener passed on", test_listen);
}
