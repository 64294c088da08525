/* Network namespaces for tests. */
#ifndef HTLS_TESTS_NETNS_RIG_H
#define HTLS_TESTS_NETNS_RIG_H

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Says why a test is left out where network namespaces cannot be made. */
static inline bool netns_possible(const char *test)
{
    int status = 1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNET) == 0 ? 0 : 1);
    waitpid(pid, &status, 0);
    if (status != 0)
        printf("\n    SKIP %s: network namespaces cannot be made here (root can)\n", test);
    return status == 0;
}

/* From here on this thread is in a new network namespace, with lo up. Returns what netns_back()
 * takes. */
static inline int netns_new(void)
{
    int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), fd;
    struct ifreq lo = {.ifr_flags = IFF_UP};

    strcpy(lo.ifr_name, "lo");
    CU_ASSERT_FATAL(here >= 0 && unshare(CLONE_NEWNET) == 0);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
    close(fd);
    return here;
}

static inline void netns_back(int here)
{
    CU_ASSERT_EQUAL_FATAL(setns(here, CLONE_NEWNET), 0);
    close(here);
}

#endif
