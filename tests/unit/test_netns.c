/* Tests of daemon/netns.c; most need root, who alone may enter a namespace. */
#include "../../daemon/netns.c"

#include "netns_rig.h"
#include "suites.h"
#include "tcp_pair.h"

#include <CUnit/CUnit.h>
#include <dirent.h>

static void test_cookie(void)
{
    uint64_t one = 0, other = 0;
    int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    tcp_pair(pair);
    CU_ASSERT_EQUAL(ns_cookie(pair[0], &one), 0);
    CU_ASSERT_EQUAL(ns_cookie(pair[1], &other), 0);
    CU_ASSERT(one != 0 && one == other);
    CU_ASSERT(ns_cookie(-1, &one) == -EBADF && ns_cookie(file, &one) == -ENOTSOCK);
    CU_ASSERT_EQUAL(one, other);
    close(file);
    tcp_pair_close(pair);
}

/* The namespace of a socket that is made here. */
static int ask_where(void *arg)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    r = ns_cookie(fd, arg);
    close(fd);
    return r;
}

static int refuse(void *arg)
{
    (void)arg;
    return -EXDEV;
}

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_call(void)
{
    uint64_t here = 0, there = 0, seen = 0, after = 0;
    unsigned fds;
    int pair[2], back;

    if (!netns_possible("netns call"))
        return;
    CU_ASSERT_EQUAL(ask_where(&here), 0);
    back = netns_new();
    tcp_pair(pair);
    netns_back(back);
    CU_ASSERT(ns_cookie(pair[0], &there) == 0 && there != here);
    fds = open_fds();
    CU_ASSERT_EQUAL(ns_call(pair[0], ask_where, &seen), 0);
    CU_ASSERT_EQUAL(seen, there);
    CU_ASSERT(ask_where(&after) == 0 && after == here);
    CU_ASSERT_EQUAL(ns_call(pair[1], refuse, NULL), -EXDEV);
    CU_ASSERT_EQUAL(ns_call(-1, refuse, NULL), -EBADF);
    CU_ASSERT_EQUAL(open_fds(), fds);
    tcp_pair_close(pair);
}

/* In a child, which can give up its rights. */
static void test_no_right(void)
{
    int pair[2], status = 0;
    pid_t pid;

    tcp_pair(pair);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setuid(65534) < 0)
            _exit(2);
        _exit(ns_call(pair[0], refuse, NULL) == -EPERM ? 0 : 1);
    }
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tcp_pair_close(pair);
}

void suite_netns(void)
{
    CU_pSuite s = CU_add_suite("netns", NULL, NULL);

    CU_add_test(s, "cookie", test_cookie);
    CU_add_test(s, "call", test_call);
    CU_add_test(s, "no right", test_no_right);
}
