/* What every interposed symbol has in common. */
#ifndef HTLS_PRELOAD_H
#define HTLS_PRELOAD_H

#include <errno.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

/* -errno becomes errno and -1, as a system call says it; success leaves errno alone. */
static inline ssize_t result(ssize_t r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

#endif
