/* A handshake of ours against a server in this process, step by step in one thread. */
#ifndef HTLS_TESTS_HSLINK_H
#define HTLS_TESTS_HSLINK_H

#include "../../daemon/handshake.h"
#include "../../daemon/record.h"
#include "../../daemon/resume.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct ru_ctx *hslink_resume; /* for links opened from now on; NULL: no sessions */

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
    if (hslink_resume)
        hs_ctx_resume(l->ctx, hslink_resume);
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

/* A finished handshake with that suite; `tickets` of TLS 1.3 lie in our queue then. */
static inline void hslink_up(struct hslink *l, X509_STORE *store, const struct ks_suite *suite,
                             size_t tickets)
{
    struct hs_setup s = hslink_setup(store, "server.test");
    SSL_CTX *c = tp_ctx(strstr(suite->name, "_RSA_") ? TP_RSA : TP_EC);

    s.suites[0] = suite;
    s.n_suites = 1;
    SSL_CTX_set_num_tickets(c, tickets);
    CU_ASSERT_EQUAL_FATAL(hslink_open(l, &s, c, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(l), HS_DONE);
    CU_ASSERT_EQUAL_FATAL(SSL_do_handshake(l->server), 1);
}

/* Bytes that lie in our queue. */
static inline int hslink_unread(int fd)
{
    int n = -1;

    ioctl(fd, FIONREAD, &n);
    return n;
}

/* Opens one record that lies in our queue. */
static inline void hslink_take(struct hslink *l, struct rc_ctx *c, uint8_t want_type,
                               const char *want)
{
    uint8_t r[RC_HEADER + RC_BODY_MAX], type = 0, *plain = NULL;
    size_t n = 0;
    int len;

    CU_ASSERT_EQUAL_FATAL(recv(l->fds[0], r, RC_HEADER, 0), (ssize_t)RC_HEADER);
    len = rc_length(r);
    CU_ASSERT_EQUAL_FATAL(recv(l->fds[0], r + RC_HEADER, (size_t)len - RC_HEADER, MSG_WAITALL),
                          len - (ssize_t)RC_HEADER);
    CU_ASSERT_EQUAL_FATAL(rc_open(c, r, (size_t)len, &type, &plain, &n), 0);
    CU_ASSERT_EQUAL(type, want_type);
    if (want)
        CU_ASSERT(n == strlen(want) && memcmp(plain, want, n) == 0);
}

/* Seals one record into fd. */
static inline void hslink_give(int fd, struct rc_ctx *c, uint8_t type, const void *p, size_t n)
{
    uint8_t r[RC_HEADER + RC_BODY_MAX];
    int len = rc_seal(c, type, p, n, r);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(send(fd, r, (size_t)len, 0), len);
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
