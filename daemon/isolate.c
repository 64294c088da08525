/* What each process of the daemon gives up, so that a mistake in it stays a small one.
 *
 * Theory of operation. A process is isolated in stages, each as early as what comes after allows:
 *
 *   early    every process, first thing in main()
 *            Should: leave nothing inherited that can surprise: modes of new files, core dumps,
 *                    SIGPIPE, a closed stderr whose number a socket would get.
 *            Mustn't: give up rights. The configuration, the Unix socket and the trust stores are
 *                    not open yet.
 *
 *   worker   a worker, after the fork, before it looks at the first byte of anybody
 *            Should: become nobody: another user, no group, no capability, no way to gain one, no
 *                    memory that others may read. What it needs is open already: its socket to the
 *                    control process, trust as content; client sockets are passed to it. It goes on
 * to make sockets, memory and an io_uring, none of which asks for a right. Mustn't: open files,
 * keep a right "for later", or go on when one could not be given up. So every right is looked for
 * afterwards, with the kernel as witness.
 *
 * The control process stays what the service manager made it: it must make workers, and those
 * must be able to fall. htlsd.service limits it from outside. When the daemon was not started as
 * root there is no user to change from; all the rest is done. */
#include "isolate.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int iso_early(void)
{
    const struct rlimit no_core = {0, 0};
    struct rlimit files;
    int fd;

    /* First, or the next open() of anything could become stderr and be written to. */
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        /* The standard three are for children too. */
        if (fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) < 0)
            return -errno;
    } while (fd <= STDERR_FILENO);
    close(fd);

    umask(077);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return -errno;
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        return -errno;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    return 0;
}

/* Root becomes `name`: user, group, no other group, an empty bounding set. */
static int become(const char *name)
{
    char buf[4096];
    struct passwd pw, *found = NULL;
    int rc = getpwnam_r(name, &pw, buf, sizeof(buf), &found);

    if (rc != 0)
        return -rc;
    if (!found)
        return -ENOENT;
    if (pw.pw_uid == 0)
        return -EINVAL;
    errno = 0;
    rc = capng_change_id((int)pw.pw_uid, (int)pw.pw_gid,
                         CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT);
    if (rc != 0)
        return errno ? -errno : -EPERM;
    return 0;
}

/* The kernel's own word on every right, after they were given up. */
static int verify(bool was_root)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_get_caps_process() < 0)
        return -EPERM;
    if (capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE ||
        capng_have_capabilities(CAPNG_SELECT_AMBIENT) != CAPNG_NONE)
        return -EPERM;
    /* Only root may empty the bounding set; without a capability and with no_new_privs it is idle.
     */
    if (was_root && capng_have_capabilities(CAPNG_SELECT_BOUNDS) != CAPNG_NONE)
        return -EPERM;
    if (was_root && getgroups(0, NULL) != 0)
        return -EPERM;
    /* Also when this is still root, or may become it again by a saved uid. */
    if (setuid(0) == 0 || (was_root && setgid(0) == 0))
        return -EPERM;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return -EPERM;
    return 0;
}

int iso_worker(const struct options *o)
{
    bool root = geteuid() == 0;

    capng_clear(CAPNG_SELECT_ALL);
    if (root) {
        int rc = become(o->user);

        if (rc < 0)
            return rc;
        capng_clear(CAPNG_SELECT_ALL);
    }
    /* What is no longer permitted leaves the ambient set by itself. */
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return -EPERM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    /* After the change of user, which sets it anew. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return verify(root);
}
