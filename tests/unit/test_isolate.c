/* Tests of daemon/isolate.c: a child isolates itself, then tries to do what it no longer may. */
#include "../../daemon/isolate.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static struct options opts;

/* Runs `body` in a child, since isolation is for good. Returns what it returned, 0 to 255. */
static int in_child(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(10);
        _exit(body());
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return 255;
    return WEXITSTATUS(status);
}

/* True when every Cap line of /proc/self/status from `first` on is zero. The kernel's text, so that
 * the test does not lean on the library that the code leans on. */
static bool no_caps(bool bounding)
{
    static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:", "CapBnd:"};
    char text[8192] = "";
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        return false;
    close(fd);
    for (int i = 0; i < (bounding ? 5 : 4); i++) {
        const char *at = strstr(text, sets[i]);

        if (!at || strtoull(at + strlen(sets[i]), NULL, 16) != 0)
            return false;
    }
    return true;
}

/* Numbers tell which step failed. */
static int worker_body(void)
{
    bool root = geteuid() == 0;
    struct passwd *pw = getpwnam(opts.user);
    gid_t adm = 4;
    uid_t r, e, s;

    if (!pw)
        return 1;
    if (root && setgroups(1, &adm) < 0)
        return 10;
    if (iso_worker(&opts) != 0)
        return 2;
    if (getresuid(&r, &e, &s) != 0 || (root && (r != pw->pw_uid || e != r || s != r)))
        return 3;
    if (root && (getgid() != pw->pw_gid || getegid() != pw->pw_gid || getgroups(0, NULL) != 0))
        return 4;
    if (!no_caps(root))
        return 5;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 6;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 7;
    if (setuid(0) == 0 || seteuid(0) == 0 || setgroups(0, NULL) == 0)
        return 8;
    if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0)
        return 9;
    return 0;
}

/* As a user who never was root. */
static int user_body(void)
{
    struct passwd *pw = getpwnam("daemon");

    if (!pw || setgroups(0, NULL) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
        return 20;
    /* As after an exec: the change of user has just made it zero. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        return 21;
    return worker_body();
}

/* As a user who was given capabilities all the same, as AmbientCapabilities= does. */
static int ambient_body(void)
{
    struct passwd *pw = getpwnam("daemon");

    if (!pw)
        return 20;
    capng_clear(CAPNG_SELECT_ALL);
    capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, CAP_NET_ADMIN);
    if (capng_change_id((int)pw->pw_uid, (int)pw->pw_gid, CAPNG_DROP_SUPP_GRP) != 0)
        return 21;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0 || no_caps(false))
        return 22;
    return worker_body();
}

static void test_worker(void)
{
    strcpy(opts.user, "nobody");
    CU_ASSERT_EQUAL(in_child(worker_body), 0);
    if (geteuid() != 0)
        return; /* the rest changes users */
    CU_ASSERT_EQUAL(in_child(user_body), 0);
    CU_ASSERT_EQUAL(in_child(ambient_body), 0);
}

static int refused_body(void)
{
    int rc = iso_worker(&opts);

    return rc < 0 ? -rc : 0;
}

static void test_refused(void)
{
    if (geteuid() != 0)
        return; /* nobody to become */
    strcpy(opts.user, "no-such-user-here");
    CU_ASSERT_EQUAL(in_child(refused_body), ENOENT);
    strcpy(opts.user, "root");
    CU_ASSERT_EQUAL(in_child(refused_body), EINVAL);
}

/* The last look must see each right that is still there. */
static int verify_root_body(void)
{
    return verify(false) == -EPERM ? 0 : 1;
}

static int verify_dumpable_body(void)
{
    if (iso_worker(&opts) != 0)
        return 1;
    if (verify(false) != 0)
        return 2;
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        return 3;
    return verify(false) == -EPERM ? 0 : 4;
}

static int verify_no_new_privs_body(void)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (geteuid() == 0 && become("nobody") != 0)
        return 1;
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 2;
    return verify(false) == -EPERM ? 0 : 3;
}

/* Root without capabilities owns root's files still. */
static int verify_uid_body(void)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_ALL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 1;
    return verify(false) == -EPERM ? 0 : 2;
}

/* A saved uid of root is a way back. */
static int verify_saved_body(void)
{
    uid_t nobody = 65534;

    capng_clear(CAPNG_SELECT_ALL);
    if (setgroups(0, NULL) < 0 || setresuid(nobody, nobody, 0) < 0 ||
        capng_apply(CAPNG_SELECT_CAPS) < 0)
        return 1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 2;
    return verify(false) == -EPERM ? 0 : 3;
}

/* All else is in order, but a capability came along. */
static int verify_caps_body(void)
{
    capng_clear(CAPNG_SELECT_ALL);
    capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN);
    if (capng_change_id(65534, 65534, CAPNG_DROP_SUPP_GRP) != 0)
        return 1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 2;
    if (verify(false) != -EPERM)
        return 3;
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return 4;
    /* Now nothing is left, but for one who was root there is the bounding set. */
    return verify(false) == 0 && verify(true) == -EPERM ? 0 : 5;
}

static void test_verify(void)
{
    strcpy(opts.user, "nobody");
    CU_ASSERT_EQUAL(in_child(verify_dumpable_body), 0);
    CU_ASSERT_EQUAL(in_child(verify_no_new_privs_body), 0);
    if (geteuid() != 0)
        return;
    CU_ASSERT_EQUAL(in_child(verify_root_body), 0);
    CU_ASSERT_EQUAL(in_child(verify_uid_body), 0);
    CU_ASSERT_EQUAL(in_child(verify_saved_body), 0);
    CU_ASSERT_EQUAL(in_child(verify_caps_body), 0);
}

static int early_body(void)
{
    struct rlimit core, files;
    struct sigaction sa;

    close(0);
    close(2);
    if (iso_early() != 0)
        return 1;
    if (fcntl(0, F_GETFD) != 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) != 0)
        return 2;
    if (write(2, "x", 1) != 1)
        return 3;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 4;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur != files.rlim_max)
        return 5;
    if (sigaction(SIGPIPE, NULL, &sa) != 0 || sa.sa_handler != SIG_IGN)
        return 6;
    return umask(0) == 077 ? 0 : 7;
}

/* The next descriptor after iso_early() is none of the standard three, and none was leaked. */
static int early_fds_body(void)
{
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

    close(before);
    if (iso_early() != 0)
        return 1;
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return after == before && after > 2 ? 0 : 2;
}

static void test_early(void)
{
    CU_ASSERT_EQUAL(in_child(early_body), 0);
    CU_ASSERT_EQUAL(in_child(early_fds_body), 0);
}

void suite_isolate(void)
{
    CU_pSuite s = CU_add_suite("isolate", NULL, NULL);

    CU_add_test(s, "every process", test_early);
    CU_add_test(s, "a worker", test_worker);
    CU_add_test(s, "users that nobody can become", test_refused);
    CU_add_test(s, "what is left over is seen", test_verify);
}
