/* A handshake of ours against a server in this process, step by step in one thread. */
#ifndef HTLS_TESTS_HSLINK_H
#define HTLS_TESTS_HSLINK_H

#include "../../daemon/handshake.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct hslink {
    struct hs_ctx *ctx;
    struct hs *h;
    SSL *server; /* NULL: the test itself writes what the peer says */
    int fds[2];  /* ours, the server's */
    enum hs_want want;
    struct failure f;
};

/* Every suite, both versions, verified against the test CA. The store is the caller's. */
static inline struct hs_setup hslink_setup(X509_STORE *store, const char *name)
{
    struct hs_setup s = {
        .version_min = KS_TLS12, .version_max = KS_TLS13, .store = store, .verify = true};
    size_t n;
    const struct ks_suite *all = ks_suites(&n);

    snprintf(s.name, sizeof(s.name), "%s", name);
    for (size_t i = 0; i < n; i++)
        s.suites[s.n_suites++] = &all[i];
    return s;
}

/* server NULL: no TLS at the other end. Its reference is taken over. Returns what hs_new_client()
 * says. */
static inline int hslink_open(struct hslink *l, const struct hs_setup *s, SSL_CTX *server, int tcp)
{
    memset(l, 0, sizeof(*l));
    l->f.alert = -1;
    l->want = HS_WANT_READ;
    CU_ASSERT_EQUAL_FATAL(hs_ctx_new(&l->ctx, -1), 0);
    if (server)
        l->server = tp_server(server, l->fds, tcp);
    else
        tp_pair(l->fds, tcp);
    return hs_new_client(&l->h, l->ctx, l->fds[0], s, &l->f);
}

/* Steps both ends until ours has finished or failed, then the server once more. Returns how ours
 * ended. */
static inline enum hs_want hslink_run(struct hslink *l)
{
    for (int i = 0; i < 100 && l->want != HS_DONE && l->want != HS_FAILED; i++) {
        l->want = hs_step(l->h, &l->f);
        if (l->server)
            SSL_do_handshake(l->server);
    }
    ERR_clear_error();
    return l->want;
}

/* Closes the server's end only. */
static inline void hslink_hang_up(struct hslink *l)
{
    if (l->fds[1] >= 0)
        close(l->fds[1]);
    l->fds[1] = -1;
}

static inline void hslink_close(struct hslink *l)
{
    hs_free(l->h);
    hs_ctx_free(l->ctx);
    SSL_free(l->server);
    close(l->fds[0]);
    hslink_hang_up(l);
    ERR_clear_error();
}

#endif
