/* What a tested function prints, caught in memory. */
#ifndef HTLS_TESTS_CAPTURE_H
#define HTLS_TESTS_CAPTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
    int fd, saved, memory;
};

/* From here on `fd` (1 or 2) is caught, until capture_end(). One at a time per fd. */
static inline struct capture capture_begin(int fd)
{
    struct capture c = {fd, -1, -1};

    fflush(NULL);
    c.saved = dup(fd);
    c.memory = memfd_create("capture", MFD_CLOEXEC);
    if (c.saved < 0 || c.memory < 0 || dup2(c.memory, fd) < 0)
        abort();
    return c;
}

/* Gives the fd back, fills `out` with what was printed, NUL-terminated. Returns `out`. */
static inline char *capture_end(struct capture c, char *out, size_t cap)
{
    ssize_t n;

    fflush(NULL);
    if (dup2(c.saved, c.fd) < 0)
        abort();
    n = pread(c.memory, out, cap - 1, 0);
    out[n < 0 ? 0 : n] = '\0';
    close(c.saved);
    close(c.memory);
    return out;
}

#endif
