/* Tests of daemon/ends.c in other network namespaces, other processes, without rights. Included by
 * test_ends.c. */
#ifndef HTLS_TESTS_ENDS_NETNS_H
#define HTLS_TESTS_ENDS_NETNS_H

/* A pair in a new network namespace, which lives by it. */
static void foreign_pair(int pair[2])
{
    int back = netns_new();

    tcp_pair(pair);
    netns_back(back);
}

static void test_foreign(void)
{
    struct kept *k, *here;
    int pair[2], own[2];

    if (!netns_possible("ends foreign"))
        return;
    foreign_pair(pair);
    tcp_pair(own);
    here = rig_keep(own[0]);
    k = rig_keep(pair[0]);
    CU_ASSERT(k->netns != rig.own && find(rig.ends, k->netns) == &rig.ends->ears[1]);
    close(pair[0]);
    rig_turn_until(1);
    CU_ASSERT(k->closed == 1 && here->closed == 0);
    /* It is not left at once: the next may be there without a descriptor. */
    CU_ASSERT_EQUAL(en_watch(rig.ends, k->netns, -1), 0);
    rig_add(NO_SOCKET, k->netns);
    rig_add(NO_SOCKET + 1, rig.own);
    CU_ASSERT_EQUAL(en_audit(rig.ends, k->netns), 0);
    rig_turn_until(2);
    CU_ASSERT(rig.told == 2 && rig.kept[2].missing == 1);
    close(pair[1]);
    tcp_pair_close(own);
}

static void test_leave(void)
{
    struct ear *r = &rig.ends->ears[1];
    struct kept *k, *last;
    int pair[2], again[2];

    if (!netns_possible("ends leave"))
        return;
    foreign_pair(pair);
    k = rig_keep(pair[0]);
    last = rig_keep(pair[1]);
    tcp_pair_close(pair);
    rig_turn_until(2);
    CU_ASSERT(k->closed == 1 && last->closed == 1 && r->kept == 0);
    CU_ASSERT(rig.ends->tick.busy);
    on_tick(&rig.ends->tick, -ETIME);
    CU_ASSERT_PTR_NOT_NULL(r->events);
    r->idle_ms -= LEAVE_MS;
    rig.ends->audited = r; /* whose thread uses a socket of it */
    on_tick(&rig.ends->tick, -ETIME);
    CU_ASSERT_PTR_NOT_NULL(r->events);
    rig.ends->audited = NULL;
    r->lost = r->audit_wanted = true;
    r->audit_ms = lp_now_ms() + AUDIT_RETRY_MS;
    on_tick(&rig.ends->tick, -ETIME);
    CU_ASSERT(!r->events && r->hear.busy);
    rig_turn(20);
    CU_ASSERT_FALSE(r->hear.busy);
    CU_ASSERT_EQUAL(en_watch(rig.ends, k->netns, -1), -EBADF);
    /* The place is used again. */
    foreign_pair(again);
    k = rig_keep(again[0]);
    CU_ASSERT(k->netns == r->netns && r->kept == 1);
    CU_ASSERT(!r->lost && !r->audit_wanted && r->audit_ms == 0);
    tcp_pair_close(again);
    rig_turn_until(3);
    CU_ASSERT_EQUAL(k->closed, 1);
    en_unwatch(rig.ends, k->netns); /* one too many */
    CU_ASSERT_EQUAL(r->kept, 0);
}

static void test_refused(void)
{
    uint64_t netns = 0;
    int pair[2], own[2];

    tcp_pair(own);
    CU_ASSERT_EQUAL(en_watch(rig.ends, rig.own, -1), 0);
    if (netns_possible("ends refused")) {
        foreign_pair(pair);
        CU_ASSERT_EQUAL(ns_cookie(pair[0], &netns), 0);
        CU_ASSERT_EQUAL(en_watch(rig.ends, netns, -1), -EBADF);
        CU_ASSERT_EQUAL(en_watch(rig.ends, netns, own[0]), -EXDEV);
        CU_ASSERT_PTR_NULL(rig.ends->ears[1].events);
        for (int i = 1; i <= FOREIGN_MAX; i++)
            rig.ends->ears[i].hear.busy = true;
        CU_ASSERT_EQUAL(en_watch(rig.ends, netns, pair[0]), -EMFILE);
        for (int i = 1; i <= FOREIGN_MAX; i++)
            rig.ends->ears[i].hear.busy = false;
        tcp_pair_close(pair);
    }
    tcp_pair_close(own);
}

/* In the namespace of a container its root can make events. */
static void test_forged_there(void)
{
    struct kept *k;
    int pair[2], own[2], back;

    if (!netns_possible("ends forged there"))
        return;
    tcp_pair(own);
    back = netns_new();
    tcp_pair(pair);
    k = rig_keep(own[0]);
    rig_keep(pair[0]);
    CU_ASSERT(forge(&rig.ends->ears[1], k->cookie) > 0);
    netns_back(back);
    rig_turn(30);
    CU_ASSERT_EQUAL(k->closed, 0);
    tcp_pair_close(pair);
    tcp_pair_close(own);
}

/* --- rights, forks ------------------------------------------------------------------- */

/* Runs test() in a child as nobody; it returns a bit per mistake. */
static void as_nobody(unsigned (*test)(int foreign), int foreign)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        alarm(20);
        lp_forget(rig.lp);
        en_forget(rig.ends);
        if (geteuid() == 0 && setuid(65534) < 0)
            _exit(128);
        _exit((int)test(foreign));
    }
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

static unsigned hears_its_own(int foreign)
{
    unsigned wrong = 0;
    uint64_t netns = 0;
    int pair[2];

    rig_begin();
    wrong |= rig.ends->deaf ? 1 : 0;
    tcp_pair(pair);
    rig_keep(pair[0]);
    rig_add(NO_SOCKET, rig.own);
    wrong |= en_audit(rig.ends, rig.own) ? 2 : 0;
    close(pair[0]);
    rig_turn_until(2);
    wrong |= rig.kept[0].closed != 1 || rig.kept[1].missing != 1 ? 4 : 0;
    if (foreign >= 0)
        wrong |= ns_cookie(foreign, &netns) || en_watch(rig.ends, netns, foreign) != -EPERM ? 8 : 0;
    rig_end();
    return wrong;
}

static void test_no_right(void)
{
    int pair[2] = {-1, -1};

    if (netns_possible("ends no right, of a foreign namespace"))
        foreign_pair(pair);
    as_nobody(hears_its_own, pair[0]);
    tcp_pair_close(pair);
}

/* A child gives up what it inherited, and the parent still hears. */
static void test_fork(void)
{
    int status = 0, pair[2];
    struct kept *k;
    pid_t pid;

    tcp_pair(pair);
    k = rig_keep(pair[0]);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int fd[3] = {nl_socket_get_fd(rig.ends->ears[0].events),
                     nl_socket_get_fd(rig.ends->ears[0].dumps), rig.ends->audit.wake};

        alarm(5);
        lp_forget(rig.lp);
        en_forget(rig.ends);
        for (int i = 0; i < 3; i++)
            if (fcntl(fd[i], F_GETFD) >= 0)
                _exit(1);
        _exit(0);
    }
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(pair[0]);
    rig_turn_until(1);
    CU_ASSERT_EQUAL(k->closed, 1);
    close(pair[1]);
    CU_ASSERT_EQUAL(en_audit(rig.ends, rig.own), 0); /* ended by rig_end() */
}

#endif
