/* Tests of daemon/relay_ends.c. */
#include "../../daemon/relay_ends.c"

#include "suites.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <unistd.h>

static void test_made(void)
{
    for (int wait = 0; wait < 2; wait++) {
        struct failure f = {.alert = -1};
        int tcp[2], local = -1, far = -1;
        char c = 0;

        tp_pair(tcp, 1);
        if (!wait)
            CU_ASSERT_EQUAL(fcntl(tcp[0], F_SETFL, O_NONBLOCK), 0);
        CU_ASSERT_EQUAL_FATAL(re_make(tcp[0], -1, &local, &far, &f), 0);
        CU_ASSERT_EQUAL((fcntl(far, F_GETFL) & O_NONBLOCK) == 0, wait); /* as its TCP socket did */
        CU_ASSERT((fcntl(far, F_GETFD) & FD_CLOEXEC) && (fcntl(local, F_GETFD) & FD_CLOEXEC));
        CU_ASSERT(send(far, "x", 1, 0) == 1 && recv(local, &c, 1, 0) == 1 && c == 'x');
        close(local);
        close(far);
        close(tcp[0]);
        close(tcp[1]);
    }
}

/* A gate with `in` bytes of filler where `announced` are: is it taken? */
static int gate_of(int gate[2], size_t in, uint32_t announced, int *local, struct failure *f)
{
    static char filler[100000];
    int far = 77, r;

    *f = (struct failure){.alert = -1};
    *local = -1;
    tp_pair(gate, 0);
    CU_ASSERT_EQUAL_FATAL(send(gate[0], filler, in, 0), (ssize_t)in);
    r = re_check_gate(gate[1], announced, f);
    if (r == 0)
        r = re_make(-1, gate[1], local, &far, f);
    CU_ASSERT_EQUAL(far, r == 0 ? -1 : 77);
    CU_ASSERT_EQUAL(*local, r == 0 ? gate[1] : -1);
    return r;
}

static void test_gate(void)
{
    static const size_t sizes[] = {1, 4095, 4096, 4097, 100000};
    struct failure f;
    int gate[2], local, left = -1;
    char c;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        CU_ASSERT_EQUAL_FATAL(gate_of(gate, sizes[i], (uint32_t)sizes[i], &local, &f), 0);
        CU_ASSERT_EQUAL(send(gate[0], "data", 4, 0), 4); /* behind the filler: the program's */
        re_open_gate(local, (uint32_t)sizes[i]);
        CU_ASSERT(ioctl(local, FIONREAD, &left) == 0 && left == 4);
        CU_ASSERT(recv(local, &c, 1, 0) == 1 && c == 'd');
        close(gate[0]);
        re_open_gate(local, 100); /* gone: it returns */
        close(gate[1]);
    }
}

static void test_gate_refused(void)
{
    struct failure f;
    int gate[2], local;

    CU_ASSERT_EQUAL(re_check_gate(-1, 99, &f), 0); /* there is none */
    CU_ASSERT_EQUAL(gate_of(gate, 10, 11, &local, &f), -EINVAL);
    CU_ASSERT(f.code == W_CODE_BAD_REQUEST && f.err == EINVAL);
    close(gate[0]);
    close(gate[1]);
    CU_ASSERT_EQUAL(gate_of(gate, 11, 10, &local, &f), -EPROTO);
    CU_ASSERT(f.code == W_CODE_BAD_REQUEST && strstr(f.text, "before TLS was up"));
    close(gate[0]);
    close(gate[1]);
}

void suite_relay_ends(void)
{
    CU_pSuite s = CU_add_suite("relay_ends", NULL, NULL);

    CU_add_test(s, "made", test_made);
    CU_add_test(s, "gate", test_gate);
    CU_add_test(s, "gate refused", test_gate_refused);
}
