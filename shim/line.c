/* Keeps the line to the daemon: one request after the other, answers told apart by their ids. */
#include "line.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "../proto/fdmsg.h"
#include "client.h"
#include "lock.h"
#include "sys.h"

#define TELL_MS 50    /* how long a ticket may wait for room in the line */
#define SETTLE_MS 200 /* an answer takes far less, or the daemon is not well */
#define RETRY_MS 20   /* between two looks for a daemon that is not there */
#define OUT_MAX 17000 /* CONTROL with the longest record */
#define ID_HELLO 1
#define BROKEN (-ENOLINK) /* inside this file: the line is dead, a new one may do better */

/* All under this mutex. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct {
    int sock;
    pid_t owner;
    struct stat file; /* of sock: a program may have closed and reused the number */
    char daemon[108]; /* sun_path */
    uint32_t last_id;
    unsigned untold; /* what was told and has no answer yet */
} line = {.sock = -1};

static uint8_t out[OUT_MAX], in[W_MESSAGE_MAX];

/* Another thread's request may have been under way: nothing of it lives in the child, and the
 * parent's answers are not for us. */
static void after_fork(bool child)
{
    if (child)
        (void)pthread_mutex_init(&mutex, NULL);
}

static void hook_fork(void)
{
    static const struct lk_hook hook = {.after = after_fork};
    struct lk_saved saved;

    lk_take(&saved);
    lk_on_fork(&hook);
    lk_give(&saved);
}

static bool is_ours(void)
{
    struct stat st;

    return fstat(line.sock, &st) == 0 && st.st_ino == line.file.st_ino &&
           st.st_dev == line.file.st_dev;
}

static void hang_up(void)
{
    if (line.sock >= 0 && is_ours())
        sy.unhide(line.sock);
    line.sock = -1;
    line.untold = 0;
}

static int say_hello(uint64_t deadline)
{
    struct w_buf b;

    w_begin(&b, out, sizeof(out), W_HELLO, ID_HELLO, 0);
    w_put_num(&b, W_A_VERSION, W_VERSION);
    w_put_num(&b, W_A_CAPS, W_CAP_SLOTS);
    w_put_text(&b, W_A_AGENT, "libhtls " HTLS_VERSION " line");
    return cl_send(line.sock, &b, NULL, 0, deadline);
}

/* Returns 1 when the line was there already, 0 when it is new, or -errno. */
static int open_line(const char *daemon, uint64_t deadline, bool patient, struct facts *f)
{
    int sock = -1, r;

    if (line.sock >= 0 && line.owner == getpid() && strcmp(line.daemon, daemon) == 0 && is_ours())
        return 1;
    hang_up();
    for (;;) {
        r = cl_reach(daemon, deadline, &sock, f);
        if (!patient || (r != -ENOENT && r != -ECONNREFUSED) || cl_now() >= deadline)
            break;
        (void)sy.poll(NULL, 0, RETRY_MS);
    }
    if (r < 0)
        return r;
    line.sock = sy.hide(sock);
    line.owner = getpid();
    line.last_id = ID_HELLO;
    memcpy(line.daemon, daemon, strlen(daemon) + 1); /* cl_reach has judged its length */
    if (fstat(line.sock, &line.file) == 0 && say_hello(deadline) == 0)
        return 0;
    hang_up();
    return cl_failed(f, W_CODE_NO_DAEMON, EPIPE, "htlsd at %s does not listen", daemon);
}

/* --- one request ------------------------------------------------------------------------ */

static void build(struct w_buf *b, const struct ln_request *q, uint32_t id)
{
    w_begin(b, out, sizeof(out), q->type, id, q->type != W_SHARE);
    if (q->type == W_CONTROL) {
        w_put_num(b, W_A_RECORD_TYPE, q->record_type);
        w_put_bytes(b, W_A_RECORD, q->record, q->n);
    }
    if (q->type == W_CONTROL || q->type == W_REKEY)
        w_put_num(b, W_A_GENERATION, q->generation);
    if (q->type == W_CONTROL)
        w_put_num(b, W_A_MOVED, q->moved);
}

static void take(const struct w_msg *m, struct ln_answer *a)
{
    const struct w_val *key = &m->v[W_A_KEY];

    if (m->type == W_SHARED)
        a->facts.pool = w_num(m, W_A_POOL, 0);
    else
        cl_facts(m, &a->facts);
    a->has_generation = w_has(m, W_A_GENERATION);
    a->generation = (uint32_t)w_num(m, W_A_GENERATION, 0);
    a->owed = w_num(m, W_A_OWED, 0) != 0;
    if (w_has(m, W_A_KEY) && key->n <= sizeof(a->key)) {
        memcpy(a->key, key->p, key->n);
        a->key_len = key->n;
    }
}

/* One message, if one is there: what has come in answer to others is passed over. Returns 0 with
 * the answer to `id`, 1 after another message, -EAGAIN, BROKEN, or the daemon's -errno. */
static int take_one(uint32_t id, struct ln_answer *a)
{
    int fds[FM_FDS_MAX], len, r;
    unsigned nfds = 0;
    struct w_msg m;

    len = fm_recv(line.sock, in, sizeof(in), fds, &nfds, MSG_DONTWAIT);
    if (len == -ECONNRESET) /* something of ours lay unread there; what was said lies behind it */
        len = fm_recv(line.sock, in, sizeof(in), fds, &nfds, MSG_DONTWAIT);
    if (len == -EAGAIN)
        return -EAGAIN;
    if (len <= 0)
        return BROKEN;
    r = w_decode(&m, in, (size_t)len, nfds, W_TO_CLIENT) < 0 ? BROKEN : 1;
    if (r == 1 && m.type == W_ERROR && (m.id == id || m.id == 0) && a) {
        r = cl_error(&m, &a->facts);
    } else if (r == 1 && m.id == id && a) {
        take(&m, a);
        r = 0;
    }
    if (r == 1 && m.type != W_WELCOME && line.untold > 0)
        line.untold--;
    if (r == 0 && nfds == 1)
        a->fd = fds[--nfds];
    while (nfds > 0)
        sy.close(fds[--nfds]);
    secret_wipe(in, (size_t)len);
    return r;
}

static int drain(void)
{
    int r;

    do
        r = take_one(0, NULL);
    while (r == 1);
    return r == -EAGAIN ? 0 : r;
}

static int await(uint32_t id, uint64_t deadline, struct ln_answer *a)
{
    for (;;) {
        int r = take_one(id, a);

        if (r == -EAGAIN)
            r = cl_wait_for(line.sock, POLLIN, deadline) < 0 ? -ETIMEDOUT : 1;
        if (r != 1)
            return r;
    }
}

static int try_once(const struct ln_request *q, uint64_t deadline, struct ln_answer *a)
{
    int r = drain(); /* a line that has been closed is known before anything is sent into it */
    struct w_buf b;

    if (r < 0)
        return BROKEN;
    build(&b, q, ++line.last_id);
    r = cl_send(line.sock, &b, &q->fd, q->type != W_SHARE, deadline);
    if (r == -EINVAL || r == -ETIMEDOUT)
        return r;
    if (r < 0)
        return BROKEN;
    return a ? await(line.last_id, deadline, a) : 0;
}

/* Once more on a new line, where the old one had broken. What is asked twice is answered twice the
 * same: the generation tells. */
static int converse(const char *daemon, const struct ln_request *q, int wait_ms, bool patient,
                    struct ln_answer *a, struct facts *f)
{
    uint64_t deadline = cl_now() + (uint64_t)wait_ms;
    int r = BROKEN;
    bool fresh;

    for (bool again = true; r == BROKEN && again;) {
        r = open_line(daemon, deadline, patient, f);
        if (r < 0)
            return r;
        fresh = r == 0;
        again = !fresh || (patient && cl_now() < deadline);
        r = try_once(q, deadline, a);
        if (r == BROKEN || r == -ETIMEDOUT)
            hang_up();
        if (r == BROKEN && fresh && again) /* it is on its way down, or up */
            (void)sy.poll(NULL, 0, RETRY_MS);
    }
    if (r == BROKEN)
        return cl_failed(f, W_CODE_NO_DAEMON, EPIPE, "htlsd went away; its log says why");
    if (r == -ETIMEDOUT && f->code == W_CODE_OK)
        return cl_failed(f, W_CODE_TIMEOUT, ETIMEDOUT, "htlsd did not answer in time");
    return r;
}

int ln_ask(const char *daemon, const struct ln_request *q, int wait_ms, bool patient,
           struct ln_answer *a)
{
    struct lk_saved saved;
    int r;

    *a = (struct ln_answer){.facts.alert = -1, .fd = -1};
    (void)pthread_once(&once, hook_fork);
    lk_enter(&mutex, &saved);
    r = converse(daemon, q, wait_ms, patient, a, &a->facts);
    lk_leave(&mutex, &saved);
    return r;
}

void ln_tell(const char *daemon, const struct ln_request *q)
{
    struct facts f = {.alert = -1};
    struct lk_saved saved;

    (void)pthread_once(&once, hook_fork);
    lk_enter(&mutex, &saved);
    if (converse(daemon, q, TELL_MS, false, NULL, &f) == 0)
        line.untold++;
    lk_leave(&mutex, &saved);
}

void ln_settle(void)
{
    uint64_t deadline = cl_now() + SETTLE_MS;
    struct lk_saved saved;
    int r = 1;

    (void)pthread_once(&once, hook_fork);
    lk_enter(&mutex, &saved);
    while (line.untold > 0 && line.owner == getpid() && line.sock >= 0 && is_ours() && r == 1) {
        r = take_one(0, NULL);
        if (r == -EAGAIN)
            r = cl_wait_for(line.sock, POLLIN, deadline) < 0 ? -ETIMEDOUT : 1;
        else if (r < 0)
            hang_up();
    }
    lk_leave(&mutex, &saved);
}

void ln_leave(int fd)
{
    struct lk_saved saved;

    lk_enter(&mutex, &saved);
    if (line.sock == fd)
        hang_up();
    lk_leave(&mutex, &saved);
}
