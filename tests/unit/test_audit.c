/* Tests of daemon/audit.c: what the kernel has, and what it has no more. */
#include <sys/socket.h>
#include <sys/types.h>

/* Between the pieces of a dump the kernel's table changes; here it changes when a test wants. */
static void (*between)(void);
static ssize_t recv_piece(int fd, void *buf, size_t cap, int flags)
{
    ssize_t n = recv(fd, buf, cap, flags);

    if (n > 0 && between)
        between();
    return n;
}
#define recv recv_piece
#include "../../daemon/audit.c"
#undef recv

#include "netns_rig.h"
#include "suites.h"
#include "tcp_pair.h"

#include <CUnit/CUnit.h>
#include <unistd.h>

#include "../../daemon/sockfd.h"

#define NO_SOCKET 0x4e4f4e4500000001 /* a cookie that nobody has */

static struct lp_loop *lp;
static struct nl_sock *sock;
static bool no_diag;

struct trial {
    struct audit a;
    int calls, result;
};

static void on_done(struct audit *a, int result)
{
    struct trial *t = (struct trial *)(void *)a;

    t->calls++;
    t->result = result;
    lp_stop(lp);
}

static int init(void)
{
    if (lp_open(&lp, 8) < 0 || au_open_socket(&sock) < 0)
        return 1;
    no_diag = au_probe(sock) < 0;
    return 0;
}

static int cleanup(void)
{
    nl_socket_free(sock);
    lp_close(lp);
    return 0;
}

static bool skipped(const char *test)
{
    if (no_diag)
        printf("\n    SKIP audit %s: this kernel has no tcp_diag\n", test);
    return no_diag;
}

static struct trial begin(void)
{
    return (struct trial){.a = {.lp = lp, .done = on_done}};
}

static void keep(struct trial *t, uint64_t cookie)
{
    CU_ASSERT_EQUAL_FATAL(au_keep(&t->a, cookie), 0);
}

static int audit(struct trial *t)
{
    CU_ASSERT_EQUAL_FATAL(au_start(&t->a, sock), 0);
    CU_ASSERT_EQUAL(lp_run(lp), 0);
    CU_ASSERT(t->calls == 1 && !t->a.running);
    return t->result;
}

static bool missing(const struct trial *t, uint64_t cookie)
{
    uint64_t c;

    for (size_t at = 0; au_missing(&t->a, &at, &c);)
        if (c == cookie)
            return true;
    return false;
}

static unsigned how_many_missing(const struct trial *t)
{
    unsigned n = 0;
    uint64_t c;

    for (size_t at = 0; au_missing(&t->a, &at, &c);)
        n++;
    return n;
}

/* Closed so that nothing of it stays in the kernel. */
static void reset_pair(int pair[2])
{
    const struct linger now = {1, 0};

    CU_ASSERT_EQUAL(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(pair[1]);
    close(pair[0]);
}

static void test_finds(void)
{
    int four[2], six[2], gone[2];
    struct trial t = begin();
    uint64_t was;

    if (skipped("finds"))
        return;
    tcp_pair(four);
    tcp_pair6(six);
    tcp_pair(gone);
    was = sf_cookie(gone[0]);
    keep(&t, NO_SOCKET);
    for (int i = 0; i < 2; i++) {
        keep(&t, sf_cookie(four[i]));
        keep(&t, sf_cookie(six[i]));
    }
    keep(&t, was);
    reset_pair(gone);
    CU_ASSERT_EQUAL(audit(&t), 0);
    CU_ASSERT(missing(&t, was) && missing(&t, NO_SOCKET) && how_many_missing(&t) == 2);
    au_end(&t.a);
    CU_ASSERT_EQUAL(how_many_missing(&t), 0);
    /* Again, with others. */
    t.calls = 0;
    keep(&t, sf_cookie(six[0]));
    CU_ASSERT(audit(&t) == 0 && how_many_missing(&t) == 0);
    au_end(&t.a);
    t.calls = 0;
    CU_ASSERT(audit(&t) == 0 && how_many_missing(&t) == 0); /* with none */
    au_end(&t.a);
    tcp_pair_close(four);
    tcp_pair_close(six);
}

/* What is over for TCP is missing, whether a process still holds it or not; what TCP has still to
 * do for a socket that everybody closed is not. */
static void test_half_dead(void)
{
    const struct linger now = {1, 0};
    int reset[2], over[2], closed[2], full[2];
    static char bytes[65536];
    struct trial t = begin();
    uint64_t stub, sending;

    if (skipped("half dead"))
        return;
    tcp_pair(reset);
    CU_ASSERT_EQUAL(setsockopt(reset[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(reset[1]);
    tcp_pair(over); /* shut down from both sides, with data unread */
    shutdown(over[0], SHUT_WR);
    CU_ASSERT_EQUAL(send(over[1], "tail", 4, 0), 4);
    close(over[1]);
    tcp_pair(closed); /* waits for the other's FIN, without a socket */
    CU_ASSERT_EQUAL(setsockopt(closed[1], IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int)), 0);
    stub = sf_cookie(closed[0]);
    close(closed[0]);
    tcp_pair(full); /* closed with data that the other has no room for */
    sending = sf_cookie(full[0]);
    while (send(full[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    close(full[0]);
    usleep(100000); /* all of it has arrived */
    keep(&t, sf_cookie(reset[0]));
    keep(&t, sf_cookie(over[0]));
    keep(&t, stub);
    keep(&t, sf_cookie(closed[1]));
    keep(&t, sending);
    CU_ASSERT_EQUAL(audit(&t), 0);
    CU_ASSERT(missing(&t, sf_cookie(reset[0])) && missing(&t, sf_cookie(over[0])));
    CU_ASSERT(missing(&t, stub));
    CU_ASSERT(!missing(&t, sf_cookie(closed[1])) && !missing(&t, sending));
    CU_ASSERT(recv(over[0], bytes, sizeof(bytes), 0) == 4);
    au_end(&t.a);
    close(reset[0]);
    close(over[0]);
    close(closed[1]);
    close(full[1]);
}

/* Without tcp_diag the kernel's dump ends well, with nothing in it but the reason. */
static void test_no_diag(void)
{
    struct trial t = begin();

    if (!no_diag) {
        printf("\n    SKIP audit no diag: this kernel has tcp_diag (scripts/lab --without "
               "tcp_diag)\n");
        return;
    }
    CU_ASSERT_EQUAL(au_probe(sock), -ENOENT);
    keep(&t, NO_SOCKET);
    CU_ASSERT_EQUAL(audit(&t), -ENOENT);
    au_end(&t.a);
}

static int message(struct audit *a, uint16_t type, uint32_t seq, const void *data, size_t n)
{
    struct nl_msg *m = nlmsg_alloc_simple(type, 0);
    int r;

    nlmsg_append(m, (void *)(uintptr_t)data, n, NLMSG_ALIGNTO);
    nlmsg_hdr(m)->nlmsg_seq = seq;
    r = on_message(a, nlmsg_hdr(m));
    nlmsg_free(m);
    return r;
}

static void test_messages(void)
{
    struct trial t = begin();
    struct inet_diag_msg m = {.id.idiag_cookie = {1, 2}, .idiag_state = TCP_FIN_WAIT2};
    const int none = -ENOENT, fine = 0;
    struct audit *a = &t.a;

    keep(&t, 1 | 2ull << 32);
    a->unseen = 1;
    a->seq = 7;
    CU_ASSERT_EQUAL(message(a, NLMSG_DONE, 7, &none, sizeof(none)), -ENOENT);
    CU_ASSERT_EQUAL(message(a, NLMSG_DONE, 7, &fine, sizeof(fine)), 1);
    CU_ASSERT_EQUAL(message(a, NLMSG_DONE, 7, &fine, 0), -EPROTO);
    CU_ASSERT_EQUAL(message(a, NLMSG_ERROR, 7, &none, sizeof(none)), -ENOENT);
    CU_ASSERT_EQUAL(message(a, NLMSG_ERROR, 7, &fine, sizeof(fine)), -EPROTO);
    CU_ASSERT_EQUAL(message(a, NLMSG_NOOP, 7, NULL, 0), 0);
    CU_ASSERT_EQUAL(message(a, SOCK_DIAG_BY_FAMILY, 7, &m, sizeof(m) - 4), -EPROTO);
    CU_ASSERT_EQUAL(message(a, NLMSG_DONE, 6, &fine, sizeof(fine)), 0);
    CU_ASSERT_EQUAL(message(a, SOCK_DIAG_BY_FAMILY, 6, &m, sizeof(m)), 0);
    m.idiag_timer = TIMER_TIME_WAIT;
    CU_ASSERT_EQUAL(message(a, SOCK_DIAG_BY_FAMILY, 7, &m, sizeof(m)), 0);
    CU_ASSERT_EQUAL(a->unseen, 1);
    m.idiag_timer = 0;
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(message(a, SOCK_DIAG_BY_FAMILY, 7, &m, sizeof(m)), 0);
        CU_ASSERT(a->unseen == 0 && how_many_missing(&t) == 0);
    }
    au_end(a);
}

static void test_forged(void)
{
    struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = nl_socket_get_local_port(sock)};
    struct nlmsghdr done = {.nlmsg_len = sizeof(done), .nlmsg_type = NLMSG_DONE};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    CU_ASSERT(sendto(fd, &done, sizeof(done), 0, (struct sockaddr *)&to, sizeof(to)) < 0 &&
              (errno == ECONNREFUSED || errno == EPERM));
    close(fd);
}

enum { MANY = 400 }; /* pairs: more than two pieces of a dump */
static int many[MANY][2];

static void open_many(struct trial *t)
{
    for (int i = 0; i < MANY; i++) {
        tcp_pair(many[i]);
        keep(t, sf_cookie(many[i][0]));
        keep(t, sf_cookie(many[i][1]));
    }
}

static void test_rest_of_another(void)
{
    struct trial t = begin();

    if (skipped("rest of another"))
        return;
    open_many(&t);
    t.a.sock = sock;
    CU_ASSERT_EQUAL(ask(&t.a, AF_INET, ~0u), 0); /* given up at once */
    CU_ASSERT(audit(&t) == 0 && how_many_missing(&t) == 0);
    au_end(&t.a);
    for (int i = 0; i < MANY; i++)
        reset_pair(many[i]);
}

static int pieces;
/* Those that came last stand first in their chain. */
static void drop_those_before(void)
{
    if (++pieces == 1)
        for (int i = MANY - 20; i < MANY; i++)
            reset_pair(many[i]);
}

/* All in one chain of the kernel's table, and the first of them gone when half was read: the kernel
 * then leaves out living ones. */
static void test_left_out(void)
{
    static const char sysctl[] = "/proc/sys/net/ipv4/tcp_child_ehash_entries";
    struct trial t = begin();
    int back, inner, fd;

    if (skipped("left out") || !netns_possible("audit left out"))
        return;
    back = netns_new();
    fd = open(sysctl, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        printf(
            "\n    SKIP audit left out: this kernel has no tcp_child_ehash_entries (before 6.1)\n");
        netns_back(back);
        return;
    }
    CU_ASSERT_EQUAL(write(fd, "1", 1), 1);
    close(fd);
    inner = netns_new();
    CU_ASSERT_EQUAL_FATAL(au_open_socket(&t.a.sock), 0);
    open_many(&t);
    t.a.unseen = t.a.n;
    qsort(t.a.kept, t.a.n, sizeof(*t.a.kept), compare);
    pieces = 0;
    between = drop_those_before;
    CU_ASSERT_EQUAL(dump_all(&t.a), 0);
    between = NULL;
    CU_ASSERT(pieces > 4);
    for (int i = 0; i < MANY - 20; i++)
        CU_ASSERT(!missing(&t, sf_cookie(many[i][0])) && !missing(&t, sf_cookie(many[i][1])));
    for (int i = 0; i < MANY - 20; i++)
        reset_pair(many[i]);
    nl_socket_free(t.a.sock);
    au_end(&t.a);
    netns_back(inner);
    netns_back(back);
}

static void test_failures(void)
{
    struct trial t = begin();
    struct nl_sock *unconnected = nl_socket_alloc();

    keep(&t, NO_SOCKET);
    CU_ASSERT_EQUAL_FATAL(au_start(&t.a, unconnected), 0);
    CU_ASSERT_EQUAL(lp_run(lp), 0);
    CU_ASSERT(t.calls == 1 && t.result < 0);
    au_end(&t.a);
    nl_socket_free(unconnected);
}

/* A fork finds the thread on its way, and drops what it inherited of it; then the end does. */
static void test_end(void)
{
    struct lp_loop *own = NULL;
    struct trial t = begin();
    int status = 0;
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(lp_open(&own, 8), 0);
    t.a.lp = own;
    keep(&t, NO_SOCKET);
    CU_ASSERT_EQUAL_FATAL(au_start(&t.a, sock), 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int wake = t.a.wake;

        alarm(5);
        lp_forget(own);
        au_forget(&t.a);
        au_forget(&t.a);
        _exit(fcntl(wake, F_GETFD) < 0 && !t.a.running && !t.a.kept ? 0 : 1);
    }
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    au_end(&t.a);
    CU_ASSERT(!t.a.running && t.a.wake < 0 && t.calls == 0);
    lp_close(own);
}

void suite_audit(void)
{
    CU_pSuite s = CU_add_suite("audit", init, cleanup);

    CU_add_test(s, "finds", test_finds);
    CU_add_test(s, "half dead", test_half_dead);
    CU_add_test(s, "no diag", test_no_diag);
    CU_add_test(s, "messages", test_messages);
    CU_add_test(s, "forged", test_forged);
    CU_add_test(s, "rest of another", test_rest_of_another);
    CU_add_test(s, "left out", test_left_out);
    CU_add_test(s, "failures", test_failures);
    CU_add_test(s, "end", test_end);
}
