/* Puts another open file under descriptor numbers. */
#include "swap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "next.h"
#include "sys.h"

atomic_bool sw_dups;

#define SETS_MAX 64

/* Numbers that were given to epoll sets; some may name something else by now. Under no lock: a slot
 * is claimed once and only ever looked at. */
static atomic_int sets[SETS_MAX]; /* number + 1, 0 = free */
static atomic_bool sets_full;

static bool is_set(int fd)
{
    char path[64], target[64];
    ssize_t k;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    k = readlink(path, target, sizeof(target) - 1);
    if (k < 0)
        return false;
    target[k] = '\0';
    return strcmp(target, "anon_inode:[eventpoll]") == 0;
}

void sw_new_set(int epfd)
{
    for (int round = 0; epfd >= 0 && round < 2; round++) {
        for (int i = 0; i < SETS_MAX; i++) {
            int was = 0;

            if (atomic_load(&sets[i]) == epfd + 1 ||
                atomic_compare_exchange_strong(&sets[i], &was, epfd + 1))
                return;
        }
        for (int i = 0; i < SETS_MAX; i++) /* full: numbers that name no set any more make room */
            if (!is_set(atomic_load(&sets[i]) - 1))
                atomic_store(&sets[i], 0);
    }
    atomic_store(&sets_full, epfd >= 0);
}

#define INHERITED_MAX 256

/* Once: a program may be started with one socket under two numbers, as inetd and its like do. One
 * that was forgotten would go on in the clear. */
static void look_for_inherited(void)
{
    ino_t seen[INHERITED_MAX];
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;
    struct stat st;
    int n = 0;

    while (dir && !atomic_load(&sw_dups) && (e = readdir(dir))) {
        if (e->d_name[0] == '.' || fstat(atoi(e->d_name), &st) < 0 || !S_ISSOCK(st.st_mode))
            continue;
        for (int i = 0; i < n; i++)
            if (seen[i] == st.st_ino)
                atomic_store(&sw_dups, true);
        if (n == INHERITED_MAX) /* too many to compare: every upgrade looks for itself */
            atomic_store(&sw_dups, true);
        else
            seen[n++] = st.st_ino;
    }
    if (dir)
        closedir(dir);
}

int sw_aliases(int fd, int *list, int max)
{
    static pthread_once_t first = PTHREAD_ONCE_INIT;
    struct stat want, st;
    struct dirent *e;
    int n = 1;
    DIR *dir;

    list[0] = fd;
    (void)pthread_once(&first, look_for_inherited);
    if (!atomic_load(&sw_dups) || fstat(fd, &want) < 0)
        return n;
    dir = opendir("/proc/self/fd");
    if (!dir)
        return n;
    while (n < max && (e = readdir(dir))) {
        int other = atoi(e->d_name);

        if (e->d_name[0] == '.' || other == fd || other == dirfd(dir) || fstat(other, &st) < 0)
            continue;
        if (st.st_ino == want.st_ino && st.st_dev == want.st_dev)
            list[n++] = other;
    }
    closedir(dir);
    return n;
}

/* The kernel lists a set's members: "tfd: 5 events: 19 data: 7f...". */
static unsigned read_set(int epfd, const struct fs_state *s, struct fs_reg *regs, unsigned max)
{
    char path[64], line[256];
    unsigned found = 0;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epfd);
    in = fopen(path, "re");
    if (!in)
        return 0;
    while (found < max && fgets(line, sizeof(line), in)) {
        unsigned long long data;
        unsigned events;
        int tfd;

        if (sscanf(line, "tfd: %d events: %x data: %llx", &tfd, &events, &data) != 3 ||
            fs_find(tfd) != s)
            continue;
        regs[found++] = (struct fs_reg){epfd, tfd, {.events = events, .data.u64 = data}};
    }
    fclose(in);
    return found;
}

/* More sets than we keep count of: every descriptor is looked at. */
static unsigned read_all_sets(const struct fs_state *s, struct fs_reg *regs, unsigned max)
{
    unsigned found = 0;
    struct dirent *e;
    DIR *dir = opendir("/proc/self/fd");

    if (!dir)
        return 0;
    while (found < max && (e = readdir(dir)))
        if (e->d_name[0] != '.' && is_set(atoi(e->d_name)))
            found += read_set(atoi(e->d_name), s, regs + found, max - found);
    closedir(dir);
    return found;
}

unsigned sw_find_regs(const struct fs_state *s, struct fs_reg *regs, unsigned max)
{
    unsigned found = 0;

    if (atomic_load(&sets_full))
        return read_all_sets(s, regs, max);
    for (int i = 0; i < SETS_MAX && found < max; i++) {
        int epfd = atomic_load(&sets[i]) - 1;

        if (epfd >= 0 && is_set(epfd))
            found += read_set(epfd, s, regs + found, max - found);
    }
    return found;
}

struct replacement {
    const struct fs_state *s;
    int by, error;
};

static void replace_one(int fd, struct fs_state *s, void *arg)
{
    struct replacement *r = arg;
    int flags;

    if (s != r->s)
        return;
    flags = sy.fcntl(fd, F_GETFD);
    if (sy.dup3(r->by, fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) < 0)
        r->error = -errno;
}

int sw_replace(const struct fs_state *s, const struct fs_reg *regs, unsigned n_regs, int by)
{
    struct replacement r = {.s = s, .by = by};

    for (unsigned i = 0; i < n_regs; i++)
        (void)NX(epoll_ctl)(regs[i].epfd, EPOLL_CTL_DEL, regs[i].fd, NULL);
    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, replace_one, &r);
    for (unsigned i = 0; i < n_regs && r.error == 0; i++) {
        struct epoll_event event = regs[i].event;

        (void)NX(epoll_ctl)(regs[i].epfd, EPOLL_CTL_ADD, regs[i].fd, &event);
    }
    return r.error;
}

struct lookup {
    int epfd;
    uint64_t data;
    unsigned since;
    struct fs_reg *reg;
};

static void find_moved(int fd, struct fs_state *s, void *arg)
{
    struct lookup *l = arg;

    (void)fd;
    if (fs_kind(s) != FS_KERNEL || (int)(s->moved_at - l->since) <= 0)
        return;
    for (unsigned i = 0; i < s->n_regs; i++)
        if (s->regs[i].epfd == l->epfd && s->regs[i].event.data.u64 == l->data)
            l->reg = &s->regs[i];
}

bool sw_moved(int epfd, uint64_t data, unsigned since, struct fs_reg *reg)
{
    struct lookup l = {epfd, data, since, NULL};
    struct lk_saved saved;

    lk_take(&saved);
    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, find_moved, &l);
    if (l.reg)
        *reg = *l.reg;
    lk_give(&saved);
    return l.reg != NULL;
}
