/* Tests of proto/fdmsg.c: whatever is sent, descriptors are handed out exactly or closed. */
#include "../../proto/fdmsg.c"

#include "../../proto/wire.h"
#include "suites.h"

#include <CUnit/CUnit.h>
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>

static_assert(FM_FDS_MAX == W_FDS_MAX, "fdmsg carries what the protocol needs");

/* The kernel's own limit for one message (SCM_MAX_FD). */
#define MANY 253

static int ends[2];

static unsigned count_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    CU_ASSERT_FATAL(d != NULL);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

static void open_ends(int type)
{
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_ends(void)
{
    close(ends[0]);
    close(ends[1]);
}

/* Sends as no honest client would: any number of descriptors, any length. */
static void send_raw(size_t len, unsigned nfds)
{
    static char bytes[4096];
    static union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS,
                                         .cmsg_len = CMSG_LEN(nfds * sizeof(int))};
        for (unsigned i = 0; i < nfds; i++)
            memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &(int){0}, sizeof(int));
    }
    CU_ASSERT_EQUAL_FATAL(sendmsg(ends[0], &msg, 0), (ssize_t)len);
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void test_round_trip(void)
{
    unsigned before, nfds;
    int pipes[2], fds[FM_FDS_MAX];
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    before = count_open();
    for (unsigned n = 0; n <= FM_FDS_MAX; n++) {
        CU_ASSERT_EQUAL(fm_send(ends[0], "hello", 5, pipes, n, 0), 0);
        memset(buf, 0, sizeof(buf));
        fds[0] = fds[1] = -7;
        nfds = 99;
        CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), 5);
        CU_ASSERT(memcmp(buf, "hello", 6) == 0);
        CU_ASSERT_EQUAL_FATAL(nfds, n);
        CU_ASSERT_EQUAL(count_open(), before + n);
        for (unsigned i = 0; i < FM_FDS_MAX; i++) {
            if (i >= n) {
                CU_ASSERT_EQUAL(fds[i], -7);
                continue;
            }
            CU_ASSERT(same_file(fds[i], pipes[i])); /* in the order sent */
            CU_ASSERT((fcntl(fds[i], F_GETFL) & O_ACCMODE) == (i ? O_WRONLY : O_RDONLY));
            CU_ASSERT_EQUAL(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
            close(fds[i]);
        }
    }
    CU_ASSERT_EQUAL(count_open(), before);
    close(pipes[0]);
    close(pipes[1]);
    close_ends();
}

static void test_too_many(void)
{
    int fds[FM_FDS_MAX] = {-7, -7};
    unsigned before, nfds;
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    before = count_open();
    for (unsigned n = FM_FDS_MAX + 1; n <= MANY; n++) {
        nfds = 99;
        send_raw(5, n);
        CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), -EMSGSIZE);
        CU_ASSERT(nfds == 0 && fds[0] == -7 && fds[1] == -7);
        CU_ASSERT_EQUAL(count_open(), before);
    }
    send_raw(5, 0); /* the stream of messages is not disturbed */
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), 5);
    close_ends();
}

static void test_cut_datagram(void)
{
    int fds[FM_FDS_MAX];
    unsigned before, nfds;
    char buf[17];

    open_ends(SOCK_SEQPACKET);
    before = count_open();
    for (unsigned n = 0; n <= 3; n++) {
        buf[16] = 'z';
        send_raw(16, n);
        CU_ASSERT_EQUAL(fm_recv(ends[1], buf, 16, fds, &nfds, 0), n > 2 ? -EMSGSIZE : 16);
        while (nfds > 0)
            close(fds[--nfds]);
        send_raw(17, n);
        CU_ASSERT_EQUAL(fm_recv(ends[1], buf, 16, fds, &nfds, 0), -EMSGSIZE);
        CU_ASSERT(nfds == 0 && buf[16] == 'z');
        CU_ASSERT_EQUAL(count_open(), before);
    }
    close_ends();
}

/* Our own table is full: the kernel drops what does not fit and says MSG_CTRUNC. */
static void test_table_full(void)
{
    struct rlimit old, low;
    int fds[FM_FDS_MAX], probe;
    unsigned before, nfds;
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    before = count_open();
    probe = dup(ends[0]);
    CU_ASSERT_FATAL(probe >= 0);
    close(probe);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (rlim_t room = 0; room <= 2; room++) {
        send_raw(5, 2);
        low = (struct rlimit){.rlim_cur = (rlim_t)probe + room, .rlim_max = old.rlim_max};
        CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &low), 0);
        CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0),
                        room < 2 ? -EMSGSIZE : 5);
        CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
        CU_ASSERT_EQUAL(nfds, room < 2 ? 0 : 2);
        while (nfds > 0)
            close(fds[--nfds]);
        CU_ASSERT_EQUAL(count_open(), before);
    }
    close_ends();
}

static volatile sig_atomic_t noted;

static void note(int number)
{
    noted = number;
}

/* A signal in the middle of the wait is not the caller's business. */
static void test_interrupted(void)
{
    struct sigaction act = {.sa_handler = note}; /* no SA_RESTART */
    int fds[FM_FDS_MAX], status;
    pid_t parent = getpid(), child, rc;
    unsigned nfds = 99;
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    CU_ASSERT_EQUAL_FATAL(sigaction(SIGUSR1, &act, NULL), 0);
    noted = 0;
    child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        /* Signals until one has met the wait: the parent sleeps in nothing else. */
        for (unsigned i = 0; i < 50; i++) {
            (void)kill(parent, SIGUSR1);
            (void)usleep(2000);
        }
        _exit(fm_send(ends[0], "hello", 5, NULL, 0, 0) == 0 ? 0 : 1);
    }
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), 5);
    CU_ASSERT_EQUAL(noted, SIGUSR1);
    do
        rc = waitpid(child, &status, 0);
    while (rc < 0 && errno == EINTR);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)signal(SIGUSR1, SIG_DFL);
    close_ends();
}

static void test_end(void)
{
    int fds[FM_FDS_MAX];
    unsigned before, nfds = 99;
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    before = count_open();
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, MSG_DONTWAIT), -EAGAIN);
    CU_ASSERT_EQUAL(nfds, 0);
    send_raw(0, 1); /* an empty datagram looks like the end, but for what it smuggles */
    nfds = 99;
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), -EBADMSG);
    CU_ASSERT_EQUAL(nfds, 0);
    CU_ASSERT_EQUAL(count_open(), before);
    send_raw(5, 1);
    close(ends[0]);
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), 5);
    CU_ASSERT_EQUAL(nfds, 1);
    close(fds[0]);
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), 0);
    CU_ASSERT_EQUAL(nfds, 0);
    CU_ASSERT_EQUAL(fm_send(ends[1], "x", 1, NULL, 0, 0), -EPIPE);
    close(ends[1]);
    CU_ASSERT_EQUAL(fm_recv(-1, buf, sizeof(buf), fds, &nfds, 0), -EBADF);
    CU_ASSERT_EQUAL(fm_send(-1, "x", 1, NULL, 0, 0), -EBADF);
}

/* On a stream, for there alone the kernel would send the signal. */
static void test_no_sigpipe(void)
{
    open_ends(SOCK_STREAM);
    close(ends[0]);
    noted = 0;
    CU_ASSERT(signal(SIGPIPE, note) != SIG_ERR);
    CU_ASSERT_EQUAL(fm_send(ends[1], "x", 1, NULL, 0, 0), -EPIPE);
    CU_ASSERT_EQUAL(noted, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    close(ends[1]);
}

static void test_send_refuses(void)
{
    int fds[FM_FDS_MAX + 1] = {0, 0, 0};
    static char big[65536];
    unsigned sent = 0;
    int rc;

    open_ends(SOCK_SEQPACKET);
    CU_ASSERT_EQUAL(fm_send(ends[0], big, 0, NULL, 0, 0), -EINVAL);
    CU_ASSERT_EQUAL(fm_send(ends[0], big, 1, fds, FM_FDS_MAX + 1, 0), -EINVAL);
    fds[1] = -1;
    CU_ASSERT_EQUAL(fm_send(ends[0], big, 1, fds, 2, 0), -EBADF);
    CU_ASSERT_EQUAL(recv(ends[1], big, 1, MSG_DONTWAIT), -1); /* nothing of all that went out */
    do
        rc = fm_send(ends[0], big, W_MESSAGE_MAX, fds, 1, MSG_DONTWAIT);
    while (rc == 0 && ++sent < 100000);
    CU_ASSERT_EQUAL(rc, -EAGAIN);
    CU_ASSERT(sent > 0); /* the longest message fits into a default socket buffer */
    close_ends();
}

/* With SO_PASSCRED the kernel adds control data that nobody asked for. */
static void test_other_control(void)
{
    int fds[FM_FDS_MAX], on = 1;
    unsigned before, nfds = 99;
    char buf[16];

    open_ends(SOCK_SEQPACKET);
    CU_ASSERT_EQUAL(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    before = count_open();
    send_raw(5, 0);
    CU_ASSERT_EQUAL(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0), -EBADMSG);
    send_raw(5, 1);
    CU_ASSERT(fm_recv(ends[1], buf, sizeof(buf), fds, &nfds, 0) < 0);
    CU_ASSERT_EQUAL(nfds, 0);
    CU_ASSERT_EQUAL(count_open(), before);
    close_ends();
}

/* The halves that io_uring uses, on a control buffer made by hand. */
static void test_take(void)
{
    for (unsigned round = 1; round <= 2; round++) {
        struct fm_io io;
        struct cmsghdr *c;
        int fds[FM_FDS_MAX], fd;
        unsigned before = count_open(), nfds = 99;

        fm_prepare_recv(&io, NULL, 0);
        CU_ASSERT_EQUAL(io.msg.msg_controllen, sizeof(io.control));
        io.msg.msg_controllen = 0;
        CU_ASSERT_EQUAL(fm_take_fds(&io, fds, &nfds), 0);
        CU_ASSERT_EQUAL(nfds, 0);
        io.msg.msg_controllen = CMSG_SPACE(sizeof(int));
        c = &io.control.align;
        fd = dup(0);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
                              .cmsg_level = SOL_SOCKET,
                              .cmsg_type = round == 1 ? SCM_RIGHTS : SCM_RIGHTS + 1};
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        nfds = 99;
        CU_ASSERT_EQUAL(fm_take_fds(&io, fds, &nfds), round == 1 ? 0 : -EBADMSG);
        CU_ASSERT_EQUAL(nfds, round == 1 ? 1 : 0);
        CU_ASSERT_EQUAL(count_open(),
                        before + 1); /* a number that is no descriptor is not closed */
        CU_ASSERT_EQUAL(fm_take_fds(&io, fds, &nfds), 0); /* taken once, gone */
        CU_ASSERT_EQUAL(nfds, 0);
        close(fd);
    }
}

void suite_fdmsg(void)
{
    CU_pSuite s = CU_add_suite("fdmsg", NULL, NULL);

    CU_add_test(s, "there and back", test_round_trip);
    CU_add_test(s, "too many descriptors", test_too_many);
    CU_add_test(s, "datagram cut", test_cut_datagram);
    CU_add_test(s, "descriptor table full", test_table_full);
    CU_add_test(s, "signals", test_interrupted);
    CU_add_test(s, "end of the connection", test_end);
    CU_add_test(s, "no SIGPIPE", test_no_sigpipe);
    CU_add_test(s, "what cannot be sent", test_send_refuses);
    CU_add_test(s, "other control data", test_other_control);
    CU_add_test(s, "taking descriptors", test_take);
}
