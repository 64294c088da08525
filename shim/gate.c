/* Makes gates. A small send buffer keeps the filling cheap. */
#include "gate.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "sys.h"

#define WIDE 106496 /* net.core.wmem_default's usual half: the kernel doubles it */

int ga_make(int *near, int *far, uint32_t *fill)
{
    static const char filler[1024];
    int pair[2], small = 1;
    uint32_t n = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    (void)sy.setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (size_t step = sizeof(filler); step > 0;) {
        struct iovec iov = {(void *)(uintptr_t)filler, step};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t k = sy.sendmsg(pair[0], &m, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (k > 0)
            n += (uint32_t)k;
        else
            step /= 32; /* the last bytes too: any room would be a sign */
    }
    *near = pair[0];
    *far = pair[1];
    *fill = n;
    return 0;
}

void ga_open_wide(int near)
{
    int wide = WIDE;

    (void)sy.setsockopt(near, SOL_SOCKET, SO_SNDBUF, &wide, sizeof(wide));
}
