/* Secrets and descriptors that die in the function that made them.
 *
 * The one helper by which every key, traffic secret and private byte in this tree is erased, and
 * the cleanup attributes that call it on every path out of a scope. */
#ifndef HTLS_SECRET_H
#define HTLS_SECRET_H

#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* explicit_bzero (glibc >= 2.25) is the one erasure the optimiser may not remove. */
static inline void secret_wipe(void *p, size_t n)
{
    if (p)
        explicit_bzero(p, n);
}

/* `SECRET_WIPE(key);` directly under the declaration of `key` erases it on every path out of its
 * scope. The span carries the size, which a cleanup function alone would not know. */
struct secret_span {
    void *p;
    size_t n;
};
static inline void secret_span_wipe_(struct secret_span *s)
{
    secret_wipe(s->p, s->n);
}
#define SECRET_WIPE(var)                                                                           \
    struct secret_span var##_wipe_                                                                 \
        __attribute__((cleanup(secret_span_wipe_), unused)) = {&(var), sizeof(var)}

/* A file descriptor that closes itself; -1 means none (0 is a real descriptor). */
static inline void fd_cleanup_(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define _cleanup_fd_ __attribute__((cleanup(fd_cleanup_)))

/* Hands a descriptor out of a _cleanup_fd_ variable: the caller owns it from here. */
static inline int fd_steal(int *fd)
{
    int out = *fd;

    *fd = -1;
    return out;
}

/* Closes and forgets. */
static inline void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

#endif
