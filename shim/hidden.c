/* Hides descriptors of ours: their numbers are in the table of the program's (fdstate.h) with a
 * state that means "ours", so that to look for them costs nothing more than to look for a
 * connection. */
#include "hidden.h"

#include <errno.h>
#include <fcntl.h>

#include "fdstate.h"
#include "sys.h"

#define FIRST 900 /* out of the low numbers that programs count on */

/* Without memory for the table the number is merely not known to be ours. */
static int hide(int fd)
{
    (void)fs_attach(fd, &fs_hidden);
    return fd;
}

int hd_dup(int fd)
{
    int r = sy.fcntl(fd, F_DUPFD_CLOEXEC, FIRST);

    if (r < 0)
        r = sy.fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return r < 0 ? -errno : hide(r);
}

int hd_move(int fd)
{
    int r = sy.fcntl(fd, F_DUPFD_CLOEXEC, FIRST);

    if (r < 0)
        return hide(fd);
    sy.close(fd);
    return hide(r);
}

void hd_lost(int fd)
{
    if (fs_find(fd) == &fs_hidden)
        (void)fs_detach(fd);
}

void hd_close(int *fd)
{
    if (*fd < 0)
        return;
    hd_lost(*fd);
    sy.close(*fd);
    *fd = -1;
}
