/* Tests of shim/gate.c: poll says nothing of a gate until its fill has been read away. */
#include "../../shim/gate.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

static short seen(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

    CU_ASSERT(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static void test_silent(void)
{
    char buf[512];
    uint32_t fill = 0, n = 0;
    int near, far, count;

    CU_ASSERT_EQUAL_FATAL(ga_make(&near, &far, &fill), 0);
    CU_ASSERT_EQUAL(fcntl(near, F_GETFD), FD_CLOEXEC);
    CU_ASSERT_EQUAL(fcntl(far, F_GETFD), FD_CLOEXEC);
    CU_ASSERT(fcntl(near, F_GETFL) & O_NONBLOCK);
    CU_ASSERT(fill > 0);
    CU_ASSERT_EQUAL(ioctl(far, FIONREAD, &count), 0);
    CU_ASSERT_EQUAL((uint32_t)count, fill); /* the daemon takes any other number for a breach */
    CU_ASSERT_EQUAL(seen(near), 0);
    CU_ASSERT_EQUAL(send(near, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
    CU_ASSERT_EQUAL(errno, EAGAIN);
    CU_ASSERT_EQUAL(recv(near, buf, 1, MSG_DONTWAIT), -1);
    while (n < fill) {
        ssize_t k = recv(far, buf, sizeof(buf), MSG_DONTWAIT);

        CU_ASSERT_FATAL(k > 0);
        n += (uint32_t)k;
    }
    CU_ASSERT_EQUAL(n, fill);
    CU_ASSERT_EQUAL(seen(near), POLLOUT);
    ga_open_wide(near);
    for (n = 0; n < 64; n++) /* what a TCP socket would take in one go */
        CU_ASSERT_EQUAL(send(near, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL), sizeof(buf));
    close(near);
    close(far);
}

static void test_failure_wakes(void)
{
    uint32_t fill;
    int near, far;

    CU_ASSERT_EQUAL_FATAL(ga_make(&near, &far, &fill), 0);
    close(far);
    CU_ASSERT(seen(near) & POLLHUP);
    close(near);
    CU_ASSERT_EQUAL_FATAL(ga_make(&near, &far, &fill), 0);
    shutdown(near, SHUT_RDWR); /* as where the daemon is silent */
    CU_ASSERT(seen(near) & POLLHUP);
    close(near);
    close(far);
}

void suite_gate(void)
{
    CU_pSuite suite = CU_add_suite("gate", NULL, NULL);

    CU_add_test(suite, "silent until it is read away", test_silent);
    CU_add_test(suite, "a failure wakes", test_failure_wakes);
}
