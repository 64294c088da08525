/* Tests of daemon/notify.c: as systemd's other end. */
#include "../../daemon/notify.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/stat.h>

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

/* A descriptor travels with its name. */
static void test_store(void)
{
    char text[128] = "", control[64];
    struct iovec iov = {text, sizeof(text) - 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
    struct stat sent, got;
    char name[108];
    int fd, passed;

    snprintf(name, sizeof(name), "@htls-test-store-%d", (int)getpid());
    fd = manager(name);
    setenv("NOTIFY_SOCKET", name, 1);
    CU_ASSERT_EQUAL(nt_store("htls-x", 1), 0);
    m.msg_controllen = sizeof(control);
    CU_ASSERT(recvmsg(fd, &m, MSG_DONTWAIT) > 0);
    CU_ASSERT_STRING_EQUAL(text, "FDSTORE=1\nFDNAME=htls-x");
    CU_ASSERT_FATAL(CMSG_FIRSTHDR(&m) != NULL);
    memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(passed));
    CU_ASSERT(fstat(1, &sent) == 0 && fstat(passed, &got) == 0 && sent.st_ino == got.st_ino);
    close(passed);
    close(fd);
}

void suite_notify(void)
{
    CU_pSuite s = CU_add_suite("notify", setup, teardown);

    CU_add_test(s, "messages arrive", test_notify);
    CU_add_test(s, "addresses that are none", test_bad_names);
    CU_add_test(s, "a manager that does not read", test_full);
    CU_add_test(s, "a descriptor to keep", test_store);
}
