/* A memfd for each uid. */
#include "pools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "../proto/secret.h"
#include "../proto/wire.h"

#define OVERFLOW_UID 65534u /* /proc/sys/kernel/overflowuid, which nobody changes */

const struct pool *po_find(const struct pools *p, uint32_t uid)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->rows[i].uid == uid)
            return &p->rows[i];
    return NULL;
}

/* Sealed: a process that shrank it would kill every other that looks into it. */
static int make(uint32_t slots)
{
    _cleanup_fd_ int fd = memfd_create("htls-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)slots * W_SLOT_SIZE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return fd_steal(&fd);
}

/* Random, so that a process that outlives the daemon does not take the next one's memory for what
 * it has mapped. */
static uint64_t make_id(void)
{
    uint64_t id = 0;

    while (id == 0)
        if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
            id = 0;
    return id;
}

int po_keep(struct pools *p, uint32_t uid, uint64_t id, int fd)
{
    struct pool *rows;

    if (po_find(p, uid)) {
        close(fd);
        return 0;
    }
    rows = realloc(p->rows, (p->n + 1) * sizeof(*rows));
    if (!rows) {
        close(fd);
        return -ENOMEM;
    }
    p->rows = rows;
    p->rows[p->n++] = (struct pool){uid, id, fd};
    return 0;
}

const struct pool *po_make(struct pools *p, uint32_t uid, uint32_t slots)
{
    const struct pool *known = po_find(p, uid);
    int fd;

    if (known || uid == OVERFLOW_UID || p->n >= PO_UIDS_MAX)
        return known;
    fd = make(slots);
    if (fd < 0 || po_keep(p, uid, make_id(), fd) < 0)
        return NULL;
    return po_find(p, uid);
}

void po_free(struct pools *p)
{
    for (size_t i = 0; i < p->n; i++)
        close(p->rows[i].fd);
    free(p->rows);
    memset(p, 0, sizeof(*p));
}
