/* Tests of shim/stream.c: streams that read and write by the program's own calls. (Here these are
 * libc's; on connections: tests/int/test_shim_life.py.) */
#include "../../shim/stream.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

static int pair[2];

static FILE *begin(const char *mode)
{
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    return st_open(pair[0], mode);
}

static void test_both_ways(void)
{
    FILE *f = begin("r+"), *other = fopen("/dev/null", "re");
    char line[32];

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(st_number(f), pair[0]);
    CU_ASSERT_EQUAL(st_number(other), -1);
    CU_ASSERT_EQUAL(st_number(NULL), -1);
    CU_ASSERT(fputs("question\n", f) >= 0 && fflush(f) == 0);
    CU_ASSERT_EQUAL(read(pair[1], line, sizeof(line)), 9);
    CU_ASSERT_EQUAL(write(pair[1], "answer\nmore", 11), 11);
    CU_ASSERT_EQUAL(shutdown(pair[1], SHUT_WR), 0);
    CU_ASSERT(fgets(line, sizeof(line), f) && strcmp(line, "answer\n") == 0);
    CU_ASSERT(fgets(line, sizeof(line), f) && strcmp(line, "more") == 0);
    CU_ASSERT(!fgets(line, sizeof(line), f) && feof(f) && !ferror(f));
    errno = 0;
    CU_ASSERT(ftell(f) == -1 && errno == ESPIPE);
    CU_ASSERT_EQUAL(fclose(f), 0);
    CU_ASSERT_PTR_NULL(atomic_load(&atomic_load(&streams)->f)); /* its address may come again */
    CU_ASSERT_EQUAL(fcntl(pair[0], F_GETFD), -1);
    fclose(other);
    close(pair[1]);
}

static void test_errors(void)
{
    static char much[200000];
    FILE *f = begin("w");
    int small = 5000;

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    signal(SIGPIPE, SIG_IGN);
    CU_ASSERT_EQUAL(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    CU_ASSERT_EQUAL(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    CU_ASSERT(fwrite(much, 1, sizeof(much), f) < sizeof(much) || fflush(f) == EOF);
    CU_ASSERT(errno == EAGAIN && ferror(f));
    close(pair[1]);
    CU_ASSERT(fputs("x", f) >= 0 || ferror(f));
    CU_ASSERT_EQUAL(fclose(f), EOF);
    CU_ASSERT_EQUAL(fcntl(pair[0], F_GETFD), -1);
    signal(SIGPIPE, SIG_DFL);
    CU_ASSERT_PTR_NULL(begin("?"));
    CU_ASSERT_EQUAL(errno, EINVAL);
    close(pair[0]);
    close(pair[1]);
}

/* A place in the list is used again, whatever was open at the same time. */
static void test_reuse(void)
{
    FILE *f[3];
    unsigned n = 0;

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            f[i] = st_open(dup(0), "r");
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < i; k++)
                CU_ASSERT(st_number(f[i]) != st_number(f[k]));
        for (int i = 0; i < 3; i++)
            CU_ASSERT_EQUAL(fclose(f[i]), 0);
    }
    for (struct stream *s = atomic_load(&streams); s; s = s->next)
        n++;
    CU_ASSERT_EQUAL(n, 3);
}

static atomic_int holding;

static void *hold(void *f)
{
    flockfile(f);
    atomic_store(&holding, 1);
    while (atomic_load(&holding) == 1)
        usleep(500);
    funlockfile(f);
    return NULL;
}

/* What lies in a stream goes out before the connection's end; what another thread holds stays. */
static void test_flush(void)
{
    pthread_t thread;
    FILE *f = begin("r+"), *g;
    int other[2];
    char got[8];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
    g = st_open(other[0], "w");
    CU_ASSERT(fputs("said", f) >= 0 && fputs("held", g) >= 0);
    atomic_store(&holding, 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, hold, g), 0);
    while (atomic_load(&holding) == 0)
        usleep(500);
    st_flush();
    CU_ASSERT_EQUAL(recv(pair[1], got, sizeof(got), MSG_DONTWAIT), 4);
    CU_ASSERT_EQUAL(recv(other[1], got, sizeof(got), MSG_DONTWAIT), -1);
    atomic_store(&holding, 2);
    pthread_join(thread, NULL);
    st_flush();
    CU_ASSERT_EQUAL(recv(other[1], got, sizeof(got), MSG_DONTWAIT), 4);
    CU_ASSERT_EQUAL(fclose(f), 0);
    CU_ASSERT_EQUAL(fclose(g), 0);
    close(pair[1]);
    close(other[1]);
}

void suite_stream(void)
{
    CU_pSuite suite = CU_add_suite("stream", NULL, NULL);

    CU_add_test(suite, "both ways", test_both_ways);
    CU_add_test(suite, "errors", test_errors);
    CU_add_test(suite, "places are used again", test_reuse);
    CU_add_test(suite, "emptied before the end", test_flush);
}
