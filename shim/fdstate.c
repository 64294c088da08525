/* The table of descriptor numbers and the pool of states. */
#include "fdstate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hidden.h"
#include "keep.h"
#include "lock.h"

_Atomic(_Atomic(struct fs_state *) *) fs_chunks[FS_CHUNKS];
struct fs_state fs_hidden = {.kind = FS_HIDDEN, .shadow = -1, .sock = -1};
atomic_int fs_gates;
atomic_uint fs_settled;

static struct fs_state *pool;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int owner; /* the process whose descriptors the table describes */

static void close_hidden(struct fs_state *s)
{
    hd_close(&s->shadow);
    hd_close(&s->sock); /* also cancels a handshake that runs */
}

/* A handshake belongs to the process that began it: two cannot read one answer. */
static void disown(struct fs_state *s)
{
    close_hidden(s);
    atomic_store(&s->error, ENOTCONN);
    fs_set_kind(s, FS_FAILED);
}

static unsigned forks; /* that were begun */

/* The child will be a holder: counted before there is one, for its parent may be gone, and have
 * said the end, before it can count itself. */
static void count_child(int fd, struct fs_state *s, void *arg)
{
    (void)fd;
    (void)arg;
    if (fs_kind(s) != FS_KERNEL || !s->rr.slot || s->counted_at == forks || atomic_load(&s->left))
        return;
    s->counted_at = forks;
    sh_hold(s->rr.slot);
}

static void before_fork(void)
{
    forks++;
    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, count_child, NULL);
}

static void disown_one(int fd, struct fs_state *s, void *arg)
{
    (void)fd;
    (void)arg;
    if (fs_kind(s) == FS_GATE || fs_kind(s) == FS_BUSY)
        disown(s);
}

static void after_fork(bool child)
{
    if (!child)
        return;
    atomic_store(&owner, getpid());
    fs_each(0, FS_CHUNK * FS_CHUNKS - 1, disown_one, NULL);
}

static void uncount(int fd, struct fs_state *s, void *arg)
{
    (void)fd;
    (void)arg;
    if (fs_kind(s) != FS_KERNEL || s->counted_at != forks)
        return;
    s->counted_at = 0;
    (void)sh_drop(s->rr.slot);
}

void fs_fork_failed(void)
{
    struct lk_saved saved;

    lk_take(&saved);
    if (forks > 0)
        fs_each(0, FS_CHUNK * FS_CHUNKS - 1, uncount, NULL);
    lk_give(&saved);
}

bool fs_leave(struct fs_state *s)
{
    return !atomic_exchange(&s->left, true) && kp_end(&s->rr);
}

static void hook_fork(void)
{
    static const struct lk_hook hook = {before_fork, after_fork};

    atomic_store(&owner, getpid());
    lk_on_fork(&hook);
}

bool fs_foreign(void)
{
    return atomic_load_explicit(&owner, memory_order_relaxed) != getpid();
}

void fs_set_kind(struct fs_state *s, enum fs_kind kind)
{
    enum fs_kind was = fs_kind(s);

    if (was == FS_GATE && kind != FS_GATE) {
        s->moved_at = atomic_fetch_add(&fs_settled, 1) + 1;
        atomic_fetch_sub(&fs_gates, 1);
    }
    if (was != FS_GATE && kind == FS_GATE)
        atomic_fetch_add(&fs_gates, 1);
    atomic_store_explicit(&s->kind, kind, memory_order_release);
}

bool fs_names(int fd, const struct rr_state *rr)
{
    const struct fs_state *s = fs_find(fd);

    return s && &s->rr == rr;
}

bool fs_hold(struct fs_state *s, int fd)
{
    atomic_fetch_add(&s->users, 1);
    if (fs_find(fd) == s)
        return true;
    atomic_fetch_sub(&s->users, 1);
    return false;
}

void fs_release(struct fs_state *s)
{
    atomic_fetch_sub(&s->users, 1);
}

/* The first that no thread is inside of. */
static struct fs_state *from_pool(void)
{
    struct fs_state **at = &pool, *s;

    while (*at && atomic_load(&(*at)->users) > 0)
        at = &(*at)->next;
    s = *at;
    if (s)
        *at = s->next;
    return s;
}

struct fs_state *fs_new(enum fs_kind kind)
{
    struct fs_state *s = from_pool();

    (void)pthread_once(&once, hook_fork);
    if (!s)
        s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    memset(s, 0, offsetof(struct fs_state, users));
    rr_init(&s->rr, 0);
    s->shadow = s->sock = -1;
    s->facts.alert = -1;
    fs_set_kind(s, kind);
    return s;
}

int fs_attach(int fd, struct fs_state *s)
{
    _Atomic(struct fs_state *) *chunk;
    unsigned i = (unsigned)fd / FS_CHUNK;

    if (i >= FS_CHUNKS)
        return -EMFILE;
    chunk = atomic_load(&fs_chunks[i]);
    if (!chunk) {
        chunk = calloc(FS_CHUNK, sizeof(*chunk));
        if (!chunk)
            return -ENOMEM;
        atomic_store_explicit(&fs_chunks[i], chunk, memory_order_release);
    }
    s->numbers++;
    atomic_store_explicit(&chunk[(unsigned)fd % FS_CHUNK], s, memory_order_release);
    return 0;
}

bool fs_detach(int fd)
{
    struct fs_state *s = fs_find(fd);

    if (!s)
        return false;
    atomic_store(&atomic_load(&fs_chunks[(unsigned)fd / FS_CHUNK])[(unsigned)fd % FS_CHUNK], NULL);
    return --s->numbers == 0;
}

void fs_put(struct fs_state *s)
{
    if (fs_kind(s) == FS_KERNEL && fs_leave(s)) /* closed past us: nothing can be said any more */
        kp_free(&s->rr);
    close_hidden(s);
    fs_set_kind(s, FS_FREE);
    s->next = pool;
    pool = s;
}

void fs_each(int first, int last, void (*fn)(int fd, struct fs_state *s, void *arg), void *arg)
{
    if (last >= FS_CHUNK * FS_CHUNKS)
        last = FS_CHUNK * FS_CHUNKS - 1;
    for (int fd = first; fd <= last;) {
        struct fs_state *s;

        if (!atomic_load(&fs_chunks[(unsigned)fd / FS_CHUNK])) {
            fd = (fd / FS_CHUNK + 1) * FS_CHUNK;
            continue;
        }
        s = fs_find(fd);
        if (s)
            fn(fd, s, arg);
        fd++;
    }
}
