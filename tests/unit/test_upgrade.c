/* Tests of shim/upgrade.c: from a plain number to one that speaks TLS, or to a dead one. */
#include "../../shim/upgrade.c"

#include "../../proto/secret.h"
#include "../../shim/life.h"
#include "shimrig.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct rig r;

/* Before anything asks for it. */
__attribute__((constructor)) static void point(void)
{
    setenv("HTLS_SOCKET", RIG_SOCKET, 1);
}

static void act_kernel(struct fake *d, int sock)
{
    fake_take(d, sock);
    fake_welcome(d, sock);
    sem_wait(&rig_of(d)->go);
    fake_result(d, sock, W_MODE_KERNEL, d->nfds == 2 ? d->fds[0] : -1, NULL, 0);
    if (d->nfds == 2)
        fd_close(&d->fds[1]);
}

static void act_relay(struct fake *d, int sock)
{
    int pair[2] = {-1, -1};
    char buf[4096];

    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    if (d->nfds == 2) {
        fake_result(d, sock, W_MODE_RELAY, -1, NULL, 0);
        while (recv(d->fds[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
            ;
        (void)send(d->fds[1], "relay", 5, MSG_NOSIGNAL);
    } else {
        CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        (void)send(pair[0], "relay", 5, MSG_NOSIGNAL);
        fake_result(d, sock, W_MODE_RELAY, pair[1], NULL, 0);
    }
    sem_wait(&rig_of(d)->go);
    fd_close(&pair[0]);
    fd_close(&pair[1]);
}

static void act_refuse(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    fake_error(d, sock, W_CODE_CERTIFICATE_EXPIRED, EKEYREJECTED, "it has expired");
    if (d->nfds == 2)
        fd_close(&d->fds[1]);
}

static void act_die(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    if (d->nfds == 2) /* the gate first: nobody promises an order */
        fd_close(&d->fds[1]);
    (void)poll(NULL, 0, 50);
}

static void act_silent(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
}

/* A mode that does not go with its descriptor. */
static void act_confused(struct fake *d, int sock)
{
    fake_take(d, sock);
    sem_wait(&rig_of(d)->go);
    fake_result(d, sock, d->nfds == 2 ? W_MODE_KERNEL : W_MODE_RELAY, -1, NULL, 0);
}

static struct fs_state *state(void)
{
    return fs_find(r.tcp[0]);
}

static int upgrade(bool waiting)
{
    if (waiting)
        rig_go(&r);
    else
        (void)fcntl(r.tcp[0], F_SETFL, O_NONBLOCK);
    return up_client(r.tcp[0], "host.test", 9);
}

static bool is_tcp(int fd)
{
    int domain = 0;
    socklen_t n = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_INET;
}

/* Nothing can be sent, and who waits is woken. */
static void is_dead(int error)
{
    CU_ASSERT_EQUAL(fs_kind(state()), FS_FAILED);
    CU_ASSERT_EQUAL(atomic_load(&state()->error), error);
    CU_ASSERT_EQUAL(atomic_load(&state()->so_error), error);
    CU_ASSERT(strlen(state()->facts.text) > 0);
    CU_ASSERT_EQUAL(state()->sock, -1);
    CU_ASSERT(rig_poll(r.tcp[0], 0) & POLLHUP);
    CU_ASSERT_EQUAL(recv(r.tcp[1], &(char){0}, 1, MSG_DONTWAIT), 0); /* FIN, no byte before it */
    CU_ASSERT_EQUAL(up_client(r.tcp[0], "host.test", 9), -EINVAL);
}

static void test_names(void)
{
    char name[W_NAME_MAX + 1], longest[W_NAME_MAX + 2];

    memset(longest, 'x', sizeof(longest));
    CU_ASSERT_EQUAL(read_name("a", 0, name), -EINVAL);
    CU_ASSERT_EQUAL(read_name("", 1, name), -EINVAL);
    CU_ASSERT_EQUAL(read_name("a\0b", 3, name), -EINVAL);
    CU_ASSERT_EQUAL(read_name("ab\0\0", 4, name), -EINVAL);
    CU_ASSERT_EQUAL(read_name(longest, W_NAME_MAX + 1, name), -EINVAL);
    CU_ASSERT_EQUAL(read_name(longest, W_NAME_MAX, name), 0);
    CU_ASSERT_EQUAL(strlen(name), W_NAME_MAX);
    CU_ASSERT_EQUAL(read_name("host", 4, name), 0);
    CU_ASSERT_STRING_EQUAL(name, "host");
    CU_ASSERT_EQUAL(read_name("other", 6, name), 0);
    CU_ASSERT_STRING_EQUAL(name, "other");
}

static void test_waiting(void)
{
    rig_start(&r, act_kernel);
    CU_ASSERT_EQUAL(upgrade(true), 0);
    CU_ASSERT_EQUAL(fs_kind(state()), FS_KERNEL);
    CU_ASSERT(state()->sock == -1 && state()->shadow == -1);
    CU_ASSERT_EQUAL(state()->facts.version, 0x0304);
    CU_ASSERT_STRING_EQUAL(state()->name, "host.test");
    CU_ASSERT_EQUAL(r.d.nfds, 1);
    CU_ASSERT_EQUAL(up_client(r.tcp[0], "host.test", 9), -EINVAL);
    rig_stop(&r, li_closing);

    rig_start(&r, act_relay);
    CU_ASSERT_EQUAL(upgrade(true), 0);
    CU_ASSERT_EQUAL(fs_kind(state()), FS_RELAY);
    CU_ASSERT(!is_tcp(r.tcp[0]) && is_tcp(state()->shadow));
    CU_ASSERT(state()->shadow >= 900 && state()->sock >= 900);
    CU_ASSERT_PTR_EQUAL(fs_find(state()->shadow), &fs_hidden);
    CU_ASSERT_PTR_EQUAL(fs_find(state()->sock), &fs_hidden);
    CU_ASSERT_EQUAL(fcntl(r.tcp[0], F_GETFD), FD_CLOEXEC);
    CU_ASSERT_EQUAL(recv(r.tcp[0], (char[8]){0}, 8, 0), 5);
    rig_stop(&r, li_closing);
}

/* The program finds its SO_LINGER on what the number names afterwards, whatever that is. */
static void test_linger(void)
{
    static void (*const acts[])(struct fake *, int) = {act_kernel, act_relay, act_refuse};
    const struct linger mine = {1, 7};

    for (int i = 0; i < 6; i++) {
        struct linger l = {0};
        socklen_t n = sizeof(l);

        rig_start(&r, acts[i / 2]);
        CU_ASSERT_EQUAL(setsockopt(r.tcp[0], SOL_SOCKET, SO_LINGER, &mine, sizeof(mine)), 0);
        (void)upgrade(i & 1);
        if (!(i & 1)) {
            rig_go(&r);
            up_wait(state(), r.tcp[0]);
        }
        CU_ASSERT_EQUAL(fs_kind(state()), i < 2 ? FS_KERNEL : i < 4 ? FS_RELAY : FS_FAILED);
        CU_ASSERT_EQUAL(getsockopt(r.tcp[0], SOL_SOCKET, SO_LINGER, &l, &n), 0);
        CU_ASSERT(l.l_onoff == 1 && l.l_linger == 7);
        if (state()->shadow >= 0) { /* the daemon has this one too */
            CU_ASSERT_EQUAL(getsockopt(state()->shadow, SOL_SOCKET, SO_LINGER, &l, &n), 0);
            CU_ASSERT_EQUAL(l.l_onoff, 0);
        }
        rig_stop(&r, li_closing);
    }
}

static void test_waiting_fails(void)
{
    static const struct {
        void (*act)(struct fake *d, int sock);
        int error;
    } rows[] = {{act_refuse, EKEYREJECTED}, {act_die, EPIPE}, {act_confused, EPROTO}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rig_start(&r, rows[i].act);
        CU_ASSERT_EQUAL(upgrade(true), -rows[i].error);
        is_dead(rows[i].error);
        rig_stop(&r, li_closing);
    }
}

static void test_later(void)
{
    struct timeval limit = {7, 0}, seen;
    socklen_t n = sizeof(seen);

    rig_start(&r, act_kernel);
    CU_ASSERT_EQUAL(upgrade(false), 0);
    CU_ASSERT_EQUAL(fs_kind(state()), FS_GATE);
    CU_ASSERT(!is_tcp(r.tcp[0]) && is_tcp(state()->shadow));
    CU_ASSERT_EQUAL(rig_poll(r.tcp[0], 0), 0);
    CU_ASSERT_FALSE(up_settle(state()));
    CU_ASSERT_EQUAL(setsockopt(r.tcp[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    rig_go(&r);
    CU_ASSERT(rig_poll(r.tcp[0], 5000) & POLLHUP);
    CU_ASSERT_TRUE(up_settle(state()));
    CU_ASSERT_EQUAL(fs_kind(state()), FS_KERNEL);
    CU_ASSERT(is_tcp(r.tcp[0]));
    CU_ASSERT(state()->sock == -1 && state()->shadow == -1);
    CU_ASSERT_EQUAL(rig_poll(r.tcp[0], 0), POLLOUT);
    CU_ASSERT_EQUAL(getsockopt(r.tcp[0], SOL_SOCKET, SO_RCVTIMEO, &seen, &n), 0);
    CU_ASSERT_EQUAL(seen.tv_sec, 7); /* set on the gate, meant for the connection */
    rig_stop(&r, li_closing);

    rig_start(&r, act_relay);
    CU_ASSERT_EQUAL(upgrade(false), 0);
    CU_ASSERT_EQUAL(rig_poll(r.tcp[0], 0), 0);
    rig_go(&r);
    CU_ASSERT_EQUAL(rig_poll(r.tcp[0], 5000) & POLLHUP, 0);
    up_wait(state(), r.tcp[0]);
    CU_ASSERT_EQUAL(fs_kind(state()), FS_RELAY);
    CU_ASSERT(!is_tcp(r.tcp[0]));
    rig_stop(&r, li_closing);
}

static void test_later_fails(void)
{
    static const struct {
        void (*act)(struct fake *d, int sock);
        int error;
    } rows[] = {{act_refuse, EKEYREJECTED}, {act_die, EPIPE}, {act_confused, EPROTO}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rig_start(&r, rows[i].act);
        CU_ASSERT_EQUAL(upgrade(false), 0);
        rig_go(&r);
        up_wait(state(), r.tcp[0]);
        is_dead(rows[i].error);
        rig_stop(&r, li_closing);
    }
}

/* A daemon that says nothing for ever: the deadline ends it, and wakes who waits on the gate. */
static void test_silence(void)
{
    rig_start(&r, act_silent);
    CU_ASSERT_EQUAL(upgrade(false), 0);
    CU_ASSERT_FALSE(up_settle(state()));
    CU_ASSERT_EQUAL(rig_poll(r.tcp[0], 0), 0);
    state()->deadline = cl_now();
    CU_ASSERT_TRUE(up_settle(state()));
    is_dead(ETIMEDOUT);
    rig_stop(&r, li_closing);
}

static void test_no_daemon(void)
{
    for (int waiting = 0; waiting < 2; waiting++) {
        rig_start(&r, act_silent);
        unlink(RIG_SOCKET);
        CU_ASSERT_EQUAL(upgrade(waiting), -ENOENT);
        is_dead(ENOENT);
        rig_stop(&r, li_closing);
    }
}

/* A connect that is under way would go on after shutdown(): it is given up. */
static void test_connecting(void)
{
    struct sockaddr_in a;
    int listener = tcp_listener(&a, 0), fd[3];

    for (int i = 0; i < 3; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fd[i], (struct sockaddr *)&a, sizeof(a));
    }
    unlink(RIG_SOCKET);
    CU_ASSERT_EQUAL(tg_check(fd[2]), 0);
    CU_ASSERT_EQUAL(up_client(fd[2], "host.test", 9), -ENOENT);
    CU_ASSERT_EQUAL(tg_check(fd[2]), -ENOTCONN);
    for (int i = 0; i < 3; i++) {
        li_closing(fd[i]);
        close(fd[i]);
    }
    close(listener);
}

static void test_aliases(void)
{
    int dups[SW_NUMBERS_MAX];

    atomic_store(&sw_dups, true);
    rig_start(&r, act_kernel);
    for (int i = 0; i < 10; i++)
        dups[i] = dup(r.tcp[0]);
    CU_ASSERT_EQUAL(upgrade(false), 0);
    for (int i = 0; i < 10; i++)
        CU_ASSERT_PTR_EQUAL(fs_find(dups[i]), state());
    rig_go(&r);
    up_wait(state(), r.tcp[0]);
    for (int i = 0; i < 10; i++) {
        CU_ASSERT(is_tcp(dups[i]));
        li_closing(dups[i]);
        close(dups[i]);
    }
    CU_ASSERT_EQUAL(fs_kind(state()), FS_KERNEL);
    rig_stop(&r, li_closing);

    rig_start(&r, act_silent); /* one more than can be followed: it would go on in the clear */
    for (int i = 0; i < SW_NUMBERS_MAX - 1; i++)
        dups[i] = dup(r.tcp[0]);
    CU_ASSERT_EQUAL(upgrade(true), -EMFILE);
    CU_ASSERT_PTR_NULL(state());
    CU_ASSERT_EQUAL(send(dups[9], "x", 1, MSG_NOSIGNAL), -1);
    for (int i = 0; i < SW_NUMBERS_MAX - 1; i++)
        close(dups[i]);
    rig_stop(&r, li_closing);
    atomic_store(&sw_dups, false);
}

static void *close_it(void *arg)
{
    (void)arg;
    while (fs_kind(state()) != FS_BUSY || r.d.nfds == 0)
        (void)poll(NULL, 0, 1);
    li_closing(r.tcp[0]);
    return NULL;
}

/* The number is closed while its upgrade waits: an end, and the state is used by nobody else
 * before. */
static void test_closed_meanwhile(void)
{
    pthread_t closer;
    struct fs_state *s;
    struct lk_saved saved;

    rig_start(&r, act_silent);
    lk_take(&saved);
    s = fs_new(FS_CONFIG);
    CU_ASSERT_EQUAL(fs_attach(r.tcp[0], s), 0);
    lk_give(&saved);
    pthread_create(&closer, NULL, close_it, NULL);
    CU_ASSERT_EQUAL(up_client(r.tcp[0], "host.test", 9), -EBADF);
    pthread_join(closer, NULL);
    CU_ASSERT_PTR_NULL(state());
    CU_ASSERT_EQUAL(fs_kind(s), FS_FREE);
    rig_stop(&r, li_closing);
}

/* The set of pending upgrades is made at the first and stays: not a leak of the test that comes
 * first. */
static int warm_up(void)
{
    struct fs_state first = {.sock = socket(AF_UNIX, SOCK_STREAM, 0)};
    struct lk_saved saved;

    lk_take(&saved);
    pd_add(&first);
    pd_remove(&first);
    lk_give(&saved);
    close(first.sock);
    return 0;
}

void suite_upgrade(void)
{
    CU_pSuite suite = CU_add_suite("upgrade", warm_up, NULL);

    CU_add_test(suite, "names", test_names);
    CU_add_test(suite, "waiting", test_waiting);
    CU_add_test(suite, "waiting, in vain", test_waiting_fails);
    CU_add_test(suite, "not waiting", test_later);
    CU_add_test(suite, "not waiting, in vain", test_later_fails);
    CU_add_test(suite, "SO_LINGER", test_linger);
    CU_add_test(suite, "a silent daemon", test_silence);
    CU_add_test(suite, "no daemon", test_no_daemon);
    CU_add_test(suite, "still connecting", test_connecting);
    CU_add_test(suite, "aliases", test_aliases);
    CU_add_test(suite, "closed meanwhile", test_closed_meanwhile);
}
