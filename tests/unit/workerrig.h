/* A worker without its process: the test turns its loop, is its clients and their TLS servers. */
#ifndef HTLS_TESTS_WORKERRIG_H
#define HTLS_TESTS_WORKERRIG_H

#include "../../daemon/aftercare.h"
#include "../../daemon/worker.h"
#include "../../proto/fdmsg.h"
#include "../../proto/secret.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRIG_ROOM 16 /* kernel connections */

struct wrig {
    struct worker *w;
    struct options o;
    struct pr_caps caps;
    int control; /* control's end */
    int table;   /* the memory of w->table */
    SSL *server; /* the one that the loop serves meanwhile, NULL = none */
    struct lp_op stop;
    int writable[2];
};

static inline void wrig_on_stop(struct lp_op *op, int result)
{
    (void)result;
    lp_stop(LP_OWNER(op, struct wrig, stop)->w->lp);
}

static inline void wrig_turn(struct wrig *g)
{
    lp_poll(g->w->lp, &g->stop, g->writable[0], POLLOUT);
    CU_ASSERT_EQUAL_FATAL(lp_run(g->w->lp), 0);
    if (g->server)
        SSL_do_handshake(g->server);
}

/* A second at least: timers are among what is waited for. */
#define WRIG_UNTIL(g, condition)                                                                   \
    do {                                                                                           \
        bool held_ = false;                                                                        \
        for (int turns_ = 0; !(held_ = (condition) != 0) && turns_ < 20000; turns_++) {            \
            wrig_turn(g);                                                                          \
            if (turns_ > 1000)                                                                     \
                usleep(100);                                                                       \
        }                                                                                          \
        CU_ASSERT_FATAL(held_);                                                                    \
    } while (0)

static inline struct tr_trust *wrig_trust(struct options *o)
{
    char path[] = "/tmp/htls-worker-XXXXXX", *pem = tp_ca_pem();
    int fd = mkstemp(path);
    struct tr_trust *t = NULL;

    CU_ASSERT_FATAL(fd >= 0 && write(fd, pem, strlen(pem)) == (ssize_t)strlen(pem));
    close(fd);
    snprintf(o->trust_file, sizeof(o->trust_file), "%s", path);
    CU_ASSERT_EQUAL_FATAL(tr_load(&t, o), 0);
    unlink(path);
    free(pem);
    return t;
}

/* A kernel without kTLS until the test says otherwise in g->caps. */
static inline void wrig_open(struct wrig *g)
{
    int pair[2];

    memset(g, 0, sizeof(*g));
    g->o.handshakes = 8;
    g->o.relays = 8;
    g->o.relay_linger_ms = 30000;
    g->o.key_updates = 64;
    g->o.handshake_ms = 5000;
    g->o.client_ca = true;
    strcpy(g->o.path, "auto");
    memset(&g->caps, 0xff, sizeof(g->caps));
    g->stop.done = wrig_on_stop;
    tp_pair(g->writable, 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    g->control = pair[0];
    g->w = calloc(1, sizeof(*g->w));
    g->w->control = pair[1];
    g->w->options = &g->o;
    g->w->caps = &g->caps;
    g->w->shared = calloc(1, sizeof(*g->w->shared) + sizeof(struct st_worker));
    g->w->shared->workers = 1;
    g->w->stats = &g->w->shared->worker[0];
    CU_ASSERT_EQUAL_FATAL(tn_open(&g->w->turns, g->w->options->handshakes), 0);
    CU_ASSERT_EQUAL_FATAL(lp_open(&g->w->lp, 64), 0);
    CU_ASSERT_EQUAL_FATAL(hs_ctx_new(&g->w->hs_ctx, -1), 0);
    CU_ASSERT_EQUAL_FATAL(tk_open(&g->w->tickets, g->w->lp), 0);
    CU_ASSERT_EQUAL_FATAL(rl_shared_new(&g->w->relays, g->w->lp, g->w->stats, &g->o), 0);
    g->w->trust = wrig_trust(&g->o);
    g->table = memfd_create("table", MFD_CLOEXEC);
    CU_ASSERT_FATAL(ftruncate(g->table, (off_t)tb_size(WRIG_ROOM)) == 0);
    CU_ASSERT_EQUAL_FATAL(tb_open(&g->w->table, g->table, WRIG_ROOM), 0);
    g->w->untold.done = ac_on_untold;
}

/* True when nothing is under way any more and every gauge is back at zero. */
static inline bool wrig_idle(const struct wrig *g)
{
    const struct st_worker *st = g->w->stats;

    return st_get(&st->peers) == 0 && st_get(&st->relays) == 0 && st_get(&st->handshakes) == 0 &&
           st_get(&st->waiting) == 0 && g->w->turns.running == 0;
}

static inline void wrig_close(struct wrig *g)
{
    WRIG_UNTIL(g, wrig_idle(g));
    for (int i = 0; i < 20; i++) /* cancelled operations come back */
        wrig_turn(g);
    rl_shared_free(g->w->relays);
    tk_close(g->w->tickets);
    hs_ctx_free(g->w->hs_ctx);
    tr_free(g->w->trust);
    tb_close(g->w->table);
    po_free(&g->w->pools);
    close(g->table);
    lp_close(g->w->lp);
    close(g->w->control);
    close(g->control);
    tn_close(&g->w->turns);
    free(g->w->shared);
    free(g->w);
    close(g->writable[0]);
    close(g->writable[1]);
}

/* All five suites of 1.3 and 1.2 that matter are taken, as far as the probe goes. */
static inline void wrig_with_kernel(struct wrig *g)
{
    memset(&g->caps, 0, sizeof(g->caps));
}

static inline int open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

#endif
