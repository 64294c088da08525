/* The socketpair of a relay. */
#include "relay_ends.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "dispose.h"

int re_check_gate(int gate, uint32_t fill, struct failure *f)
{
    int n = -1;

    if (gate < 0)
        return 0;
    if (ioctl(gate, FIONREAD, &n) < 0 || n < 0 || (uint32_t)n < fill)
        return fl_set(f, W_CODE_BAD_REQUEST, EINVAL,
                      "the gate does not hold the bytes that were announced");
    if ((uint32_t)n > fill)
        return fl_set(f, W_CODE_BAD_REQUEST, EPROTO,
                      "the program wrote into its socket before TLS was up");
    return 0;
}

int re_make(int tcp, int gate, int *local, int *far, struct failure *f)
{
    int pair[2], flags;

    if (gate >= 0) {
        *local = gate;
        *far = -1;
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fl_set(f, W_CODE_LIMIT, errno, "no socketpair for the relay: %s", strerror(errno));
    flags = fcntl(tcp, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK))
        (void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
    *local = pair[0];
    *far = pair[1];
    return 0;
}

void re_open_gate(int local, uint32_t fill)
{
    uint8_t scratch[4096];

    while (fill > 0) {
        ssize_t n =
            di_recv(local, scratch, fill < sizeof(scratch) ? fill : sizeof(scratch), MSG_DONTWAIT);

        if (n <= 0)
            return; /* the program is gone */
        fill -= (uint32_t)n;
    }
}
