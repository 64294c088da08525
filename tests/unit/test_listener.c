/* Tests of daemon/listener.c: what may lie at the path, what comes to lie there. */
#include "../../daemon/listener.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>

static char dir[] = "/tmp/htls-listen-XXXXXX";
static struct options o;

static int setup(void)
{
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    if (!mkdtemp(dir))
        return -1;
    memset(&o, 0, sizeof(o));
    snprintf(o.socket, sizeof(o.socket), "%s/s", dir);
    o.socket_mode = 0666;
    return 0;
}

static int teardown(void)
{
    return rmdir(dir);
}

static int open_it(bool *own, char said[512])
{
    struct capture c = capture_begin(2);
    int fd = ls_open(&o, -1, own);

    capture_end(c, said, 512);
    return fd;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

static int dial(int type)
{
    struct sockaddr_un a;
    int fd = socket(AF_UNIX, type, 0);

    set_address(&a, o.socket);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void test_made(void)
{
    static const int modes[] = {0666, 0600, 0660, 0777, 0};
    mode_t before = umask(077), after;
    char said[512];
    bool own;

    for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        int fd, peer;

        o.socket_mode = modes[i];
        own = false;
        fd = open_it(&own, said);
        CU_ASSERT_FATAL(fd >= 0);
        CU_ASSERT(own && S_ISSOCK(mode_of(o.socket)));
        CU_ASSERT_EQUAL(mode_of(o.socket) & 07777, (mode_t)modes[i]);
        CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CU_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
        CU_ASSERT(accept(fd, NULL, NULL) < 0 && errno == EAGAIN);
        if (geteuid() == 0 || (modes[i] & 0200)) {
            peer = dial(SOCK_SEQPACKET);
            CU_ASSERT(peer >= 0);
            close(peer);
        }
        close(fd);
        unlink(o.socket);
    }
    after = umask(before);
    CU_ASSERT_EQUAL(after, 077);
    o.socket_mode = 0666;
}

static void test_stale(void)
{
    char said[512];
    bool own;
    int fd = open_it(&own, said);

    CU_ASSERT_FATAL(fd >= 0);
    close(fd); /* the daemon died: its file stays */
    CU_ASSERT(S_ISSOCK(mode_of(o.socket)));
    fd = open_it(&own, said);
    CU_ASSERT(fd >= 0 && own);
    CU_ASSERT_STRING_EQUAL(said, "");
    close(fd);
    unlink(o.socket);
}

static void test_living(void)
{
    char said[512];
    bool own = true;
    int fd = open_it(&own, said), peer;

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(open_it(&own, said), -EADDRINUSE);
    CU_ASSERT(!own && strstr(said, "another htlsd"));
    peer = dial(SOCK_SEQPACKET);
    CU_ASSERT(peer >= 0); /* it still answers */
    close(peer);
    close(fd);
    unlink(o.socket);
}

static void test_something_else(void)
{
    char said[512], target[128];
    bool own = true;
    FILE *f = fopen(o.socket, "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs("precious", f);
    fclose(f);
    CU_ASSERT_EQUAL(open_it(&own, said), -EEXIST);
    CU_ASSERT(!own && strstr(said, "no socket") && S_ISREG(mode_of(o.socket)));
    snprintf(target, sizeof(target), "%s/target", dir);
    rename(o.socket, target);
    CU_ASSERT_EQUAL(symlink(target, o.socket), 0);
    CU_ASSERT_EQUAL(open_it(&own, said), -EEXIST);
    CU_ASSERT(S_ISLNK(mode_of(o.socket)) && S_ISREG(mode_of(target)));
    unlink(o.socket);
    unlink(target);
    CU_ASSERT_EQUAL(mkdir(o.socket, 0700), 0);
    CU_ASSERT_EQUAL(open_it(&own, said), -EEXIST);
    rmdir(o.socket);
}

static void test_no_folder(void)
{
    char said[512], was[sizeof(o.socket)];
    bool own = true;

    memcpy(was, o.socket, sizeof(was));
    snprintf(o.socket, sizeof(o.socket), "%s/none/s", dir);
    CU_ASSERT_EQUAL(open_it(&own, said), -ENOENT);
    CU_ASSERT(!own && strstr(said, "folder does not exist"));
    memcpy(o.socket, was, sizeof(was));
}

/* A socket that was passed on goes before the path, and keeps its word on whose it is. */
static void test_passed(void)
{
    for (int ours = 0; ours < 2; ours++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bool own = ours;

        CU_ASSERT_EQUAL(ls_open(&o, fd, &own), fd);
        CU_ASSERT(own == (bool)ours && mode_of(o.socket) == 0);
        CU_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
        close(fd);
    }
}

void suite_listener(void)
{
    CU_pSuite s = CU_add_suite("listener", setup, teardown);

    CU_add_test(s, "made", test_made);
    CU_add_test(s, "stale", test_stale);
    CU_add_test(s, "living", test_living);
    CU_add_test(s, "something else", test_something_else);
    CU_add_test(s, "no folder", test_no_folder);
    CU_add_test(s, "passed on", test_passed);
}
