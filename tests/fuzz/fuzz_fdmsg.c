/* Fuzzes the receiving of descriptors: whatever arrives, none leaks and none is closed twice.
 *
 * Input: one datagram per three bytes: descriptors sent, its length, room of the receiver (in whose
 * top bit: SO_PASSCRED). The sender goes round fdmsg.c, as an attacker would. */
#include "../../proto/fdmsg.c"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        __builtin_trap();
}

static void send_any(int sock, unsigned nfds, size_t len)
{
    static char bytes[256];
    static union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(256 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        memset(&control, 0, sizeof(control)); /* each descriptor is 0 */
        control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS,
                                         .cmsg_len = CMSG_LEN(nfds * sizeof(int))};
    }
    must(sendmsg(sock, &msg, 0) == (ssize_t)len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2], fds[FM_FDS_MAX], lowest;
    unsigned nfds;
    char buf[128];

    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    lowest = fcntl(0, F_DUPFD, ends[1] + 1);
    must(lowest >= 0 && close(lowest) == 0);
    for (; size >= 3; data += 3, size -= 3) {
        size_t room = data[2] & 127;
        int credentials = data[2] >> 7, rc;
        unsigned sent = data[0] % 254; /* the kernel carries 253 */

        must(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &credentials, sizeof(int)) == 0);
        send_any(ends[0], sent, data[1]);
        rc = fm_recv(ends[1], buf, room, fds, &nfds, MSG_DONTWAIT);
        if (rc < 0)
            must(nfds == 0);
        else
            must(nfds == sent && rc == data[1] && (size_t)rc <= room && !credentials);
        while (nfds > 0)
            must(close(fds[--nfds]) == 0);
        /* The next free number is the same as before: nothing is open that was not. */
        must(fcntl(0, F_DUPFD, ends[1] + 1) == lowest && close(lowest) == 0);
    }
    must(close(ends[0]) == 0 && close(ends[1]) == 0);
    return 0;
}
