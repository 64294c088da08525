/* Tests of daemon/passed.c: as systemd, and as the htlsd before this one. */
#include "../../daemon/passed.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum thing { LISTENER, STREAM, DEAF, MEMORY, UNSEALED, INET };

static int make(enum thing t)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd;

    if (t == MEMORY || t == UNSEALED) {
        fd = memfd_create("m", MFD_ALLOW_SEALING);
        if (t == MEMORY)
            (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return fd;
    }
    fd = socket(t == INET ? AF_INET : AF_UNIX,
                t == LISTENER || t == DEAF ? SOCK_SEQPACKET : SOCK_STREAM, 0);
    if (t != INET && bind(fd, (struct sockaddr *)&sa, 2) < 0)
        return -1;
    return t != DEAF && listen(fd, 1) < 0 ? -1 : fd;
}

/* In a child, whose descriptors from 3 on are these things. Its exit status. */
static int in_child(const enum thing *things, int n, const char *fds, const char *pid,
                    const char *names, int (*body)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        char word[16];

        (void)close_range(FIRST, 200, 0);
        for (int i = 0; i < n; i++)
            if (make(things[i]) != FIRST + i)
                _exit(200);
        snprintf(word, sizeof(word), "%d", (int)getpid());
        setenv("LISTEN_PID", pid ? pid : word, 1);
        setenv("LISTEN_FDS", fds, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        _exit(body());
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return 255;
    return WEXITSTATUS(status);
}

/* The listener's number, 0 for none, 100 + errno; more when something is wrong. */
static int body_listener(void)
{
    char why[PS_WHY_MAX] = "";
    struct passed p;
    int r = ps_take(&p, why);

    if (getenv("LISTEN_PID") || getenv("LISTEN_FDS") || getenv("LISTEN_FDNAMES"))
        return 203;
    if ((r == -EPROTO) != (*why != '\0'))
        return 205;
    if (r < 0)
        return 100 - r;
    if (p.listener >= 0 && fcntl(p.listener, F_GETFD) != FD_CLOEXEC)
        return 204;
    ps_free(&p);
    return p.listener < 0 ? 0 : p.listener;
}

static void test_listener(void)
{
    enum thing good[] = {LISTENER}, twice[] = {LISTENER, LISTENER};

    CU_ASSERT_EQUAL(in_child(good, 1, "1", NULL, "x", body_listener), 3);
    CU_ASSERT_EQUAL(in_child(good, 1, "1", "1", "x", body_listener), 0);
    CU_ASSERT_EQUAL(in_child(good, 1, "1", "x", "x", body_listener), 0);
    CU_ASSERT_EQUAL(in_child(good, 1, "0", NULL, "", body_listener), 0);
    CU_ASSERT_EQUAL(in_child(good, 1, "1x", NULL, "", body_listener), 0);
    CU_ASSERT_EQUAL(in_child(good, 1, "99999", NULL, "", body_listener), 0);
    CU_ASSERT_EQUAL(in_child(twice, 2, "2", NULL, "a:b", body_listener), 100 + EPROTO);
    CU_ASSERT_EQUAL(in_child(good, 1, "2", NULL, "a:b", body_listener), 100 + EPROTO);
    for (enum thing t = STREAM; t <= INET; t++)
        if (t != MEMORY)
            CU_ASSERT_EQUAL(in_child(&t, 1, "1", NULL, "htls-x", body_listener), 100 + EPROTO);
}

static int body_memory(void)
{
    char why[PS_WHY_MAX], rest[PS_NAME_MAX];
    struct passed p;

    if (ps_take(&p, why) != 0 || p.n != 3 || p.listener != 4)
        return 1;
    if (ps_claim(&p, "other-", rest) != -ENOENT)
        return 2;
    if (ps_claim(&p, "t-", rest) != 3 || strcmp(rest, "0") != 0)
        return 3;
    if (ps_claim(&p, "t-", rest) != 6 || strcmp(rest, "17") != 0)
        return 4;
    if (ps_claim(&p, "t-", rest) != -ENOENT)
        return 5;
    ps_free(&p);
    if (fcntl(5, F_GETFD) >= 0 || fcntl(3, F_GETFD) < 0 || fcntl(6, F_GETFD) < 0)
        return 6;
    return 0;
}

static void test_memory(void)
{
    enum thing things[] = {MEMORY, LISTENER, MEMORY, MEMORY};

    CU_ASSERT_EQUAL(in_child(things, 4, "4", NULL, "t-0:htlsd.socket:p-1:t-17", body_memory), 0);
}

/* What is passed on is what is taken, whatever numbers it had; nothing else is open over exec. */
static int body_pass_on(void)
{
    char why[PS_WHY_MAX], rest[PS_NAME_MAX];
    struct ps_memory memories[2] = {{"t-0", make(MEMORY)}, {"p-5", make(MEMORY)}};
    struct passed out = {.own_path = true, .n = 2, .memories = memories}, in;
    struct stat before[2], after;

    out.listener = fcntl(3, F_DUPFD_CLOEXEC, 50);
    if (fstat(memories[0].fd, &before[0]) < 0 || fstat(memories[1].fd, &before[1]) < 0)
        return 1;
    if (ps_pass_on(&out) < 0)
        return 2;
    for (int fd = 3; fd < 6; fd++)
        if (fcntl(fd, F_GETFD) != 0)
            return 3;
    if (ps_take(&in, why) != 0 || in.listener != 3 || !in.own_path || in.n != 2)
        return 4;
    if (ps_claim(&in, "p-", rest) != 5 || strcmp(rest, "5") != 0)
        return 5;
    return fstat(5, &after) == 0 && after.st_ino == before[1].st_ino ? 0 : 6;
}

static void test_pass_on(void)
{
    enum thing good[] = {LISTENER};

    CU_ASSERT_EQUAL(in_child(good, 1, "1", NULL, "x", body_pass_on), 0);
}

void suite_passed(void)
{
    CU_pSuite s = CU_add_suite("passed", NULL, NULL);

    CU_add_test(s, "a listener", test_listener);
    CU_add_test(s, "memory by name", test_memory);
    CU_add_test(s, "to the next htlsd", test_pass_on);
}
