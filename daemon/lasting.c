/* Tables and pools, found again or made. */
#include "lasting.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../proto/secret.h"
#include "../proto/wire.h"
#include "log.h"
#include "notify.h"
#include "table.h"

#define TABLE "htls-table-" /* and the worker's number */
#define POOL "htls-pool-"   /* and uid-id */

static bool has_size(int fd, size_t size)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size == (off_t)size;
}

/* Only touched pages cost anything. */
static int make_table(uint32_t capacity)
{
    _cleanup_fd_ int fd = memfd_create("htls-table", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)tb_size(capacity)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return fd_steal(&fd);
}

/* A manager that keeps nothing is no reason not to serve. */
static void have_kept(const char *name, int fd)
{
    int r = nt_store(name, fd);

    if (r < 0)
        lg_warning("the service manager does not keep %s: %s", name, strerror(-r));
}

static void find_tables(struct lasting *l, const struct options *o, struct passed *passed)
{
    char rest[PS_NAME_MAX], *end;
    int fd;

    while ((fd = ps_claim(passed, TABLE, rest)) >= 0) {
        unsigned long i = strtoul(rest, &end, 10);

        if (*end || i >= l->n || l->tables[i] >= 0 || !has_size(fd, tb_size(o->connections))) {
            lg_warning("connections of an earlier run are forgotten: workers or connections of "
                       "the configuration have changed");
            close(fd);
            continue;
        }
        l->tables[i] = fd;
        l->restored = true;
    }
}

static void find_pools(struct lasting *l, struct passed *passed)
{
    char rest[PS_NAME_MAX];
    int fd;

    while ((fd = ps_claim(passed, POOL, rest)) >= 0) {
        uint32_t uid;
        uint64_t id;

        if (sscanf(rest, "%" SCNu32 "-%" SCNx64, &uid, &id) != 2 || id == 0 ||
            !has_size(fd, (size_t)l->slots * W_SLOT_SIZE))
            close(fd);
        else if (po_keep(&l->pools, uid, id, fd) < 0)
            lg_warning("no memory for the slots of uid %u", uid);
    }
}

static void pool_name(char name[PS_NAME_MAX], const struct pool *p)
{
    snprintf(name, PS_NAME_MAX, POOL "%" PRIu32 "-%" PRIx64, p->uid, p->id);
}

int la_open(struct lasting *l, const struct options *o, unsigned n, struct passed *passed)
{
    char name[PS_NAME_MAX];

    *l = (struct lasting){.n = n, .slots = o->connections * n};
    l->tables = calloc(n, sizeof(*l->tables));
    if (!l->tables)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++)
        l->tables[i] = -1;
    find_tables(l, o, passed);
    find_pools(l, passed);
    for (unsigned i = 0; i < n; i++) {
        if (l->tables[i] >= 0)
            continue;
        l->tables[i] = make_table(o->connections);
        if (l->tables[i] < 0)
            return l->tables[i];
        snprintf(name, sizeof(name), TABLE "%u", i);
        have_kept(name, l->tables[i]);
    }
    return 0;
}

const struct pool *la_pool(struct lasting *l, uint32_t uid)
{
    const struct pool *p = po_find(&l->pools, uid);
    char name[PS_NAME_MAX];

    if (p)
        return p;
    p = po_make(&l->pools, uid, l->slots);
    if (p) {
        pool_name(name, p);
        have_kept(name, p->fd);
    }
    return p;
}

int la_pass_on(const struct lasting *l, struct passed *out)
{
    out->memories = calloc(l->n + l->pools.n, sizeof(*out->memories));
    if (!out->memories)
        return -ENOMEM;
    out->n = 0;
    for (unsigned i = 0; i < l->n; i++) {
        struct ps_memory *m = &out->memories[out->n++];

        m->fd = l->tables[i];
        snprintf(m->name, sizeof(m->name), TABLE "%u", i);
    }
    for (size_t i = 0; i < l->pools.n; i++) {
        struct ps_memory *m = &out->memories[out->n++];

        m->fd = l->pools.rows[i].fd;
        pool_name(m->name, &l->pools.rows[i]);
    }
    return 0;
}

void la_free(struct lasting *l)
{
    for (unsigned i = 0; l->tables && i < l->n; i++)
        fd_close(&l->tables[i]);
    free(l->tables);
    po_free(&l->pools);
    memset(l, 0, sizeof(*l));
}
