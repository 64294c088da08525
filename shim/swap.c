/* Puts another open file under descriptor numbers. */
#include "swap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int sw_aliases(int fd, int *list, int max)
{
    struct stat want, st;
    struct dirent *e;
    int n = 1;
    DIR *dir;

    list[0] = fd;
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

static bool is_one_of(int fd, const int *numbers, int n)
{
    for (int i = 0; i < n; i++)
        if (numbers[i] == fd)
            return true;
    return false;
}

/* The kernel lists a set's members: "tfd: 5 events: 19 data: 7f...". */
static unsigned read_set(int epfd, const int *numbers, int n, struct fs_reg *regs, unsigned max)
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
            !is_one_of(tfd, numbers, n))
            continue;
        regs[found++] = (struct fs_reg){epfd, tfd, {.events = events, .data.u64 = data}};
    }
    fclose(in);
    return found;
}

/* More sets than we keep count of: every descriptor is looked at. */
static unsigned read_all_sets(const int *numbers, int n, struct fs_reg *regs, unsigned max)
{
    unsigned found = 0;
    struct dirent *e;
    DIR *dir = opendir("/proc/self/fd");

    if (!dir)
        return 0;
    while (found < max && (e = readdir(dir)))
        if (e->d_name[0] != '.' && is_set(atoi(e->d_name)))
            found += read_set(atoi(e->d_name), numbers, n, regs + found, max - found);
    closedir(dir);
    return found;
}

unsigned sw_find_regs(const int *numbers, int n, struct fs_reg *regs, unsigned max)
{
    unsigned found = 0;

    if (atomic_load(&sets_full))
        return read_all_sets(numbers, n, regs, max);
    for (int i = 0; i < SETS_MAX && found < max; i++) {
        int epfd = atomic_load(&sets[i]) - 1;

        if (epfd >= 0 && is_set(epfd))
            found += read_set(epfd, numbers, n, regs + found, max - found);
    }
    return found;
}

int sw_replace(const int *numbers, int n, const struct fs_reg *regs, unsigned n_regs, int by)
{
    for (unsigned i = 0; i < n_regs; i++)
        (void)NX(epoll_ctl)(regs[i].epfd, EPOLL_CTL_DEL, regs[i].fd, NULL);
    for (int i = 0; i < n; i++) {
        int flags = sy.fcntl(numbers[i], F_GETFD);

        if (sy.dup3(by, numbers[i], flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) < 0)
            return -errno;
    }
    for (unsigned i = 0; i < n_regs; i++) {
        struct epoll_event event = regs[i].event;

        (void)NX(epoll_ctl)(regs[i].epfd, EPOLL_CTL_ADD, regs[i].fd, &event);
    }
    return 0;
}
