/* The interposed symbols of stdio. */
#include <stdio.h>

#include "io.h"
#include "life.h"
#include "next.h"
#include "preload.h"
#include "stream.h"

EXPORT FILE *fdopen(int fd, const char *mode)
{
    struct fs_state *s = fs_find(fd);

    return !s || io_plain(s) ? NX(fdopen)(fd, mode) : st_open(fd, mode);
}

EXPORT int fileno(FILE *f)
{
    int fd = st_number(f);

    return fd >= 0 ? fd : NX(fileno)(f);
}

EXPORT int fileno_unlocked(FILE *f)
{
    int fd = st_number(f);

    return fd >= 0 ? fd : NX(fileno_unlocked)(f);
}

/* libc's own streams, made before the upgrade, close past close(); ours do not, and have no number
 * for libc. */
EXPORT int fclose(FILE *f)
{
    int own = errno, fd = f ? NX(fileno)(f) : -1;

    if (fd >= 0 && fs_find(fd)) {
        (void)fflush(f);
        (void)li_closing(fd);
    }
    errno = own;
    return NX(fclose)(f);
}
