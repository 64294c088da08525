/* A session cache, a server with one memory for all its connections, connections one by one. */
#ifndef HTLS_TESTS_RESUMERIG_H
#define HTLS_TESTS_RESUMERIG_H

#include "../../daemon/handshake_state.h"
#include "../../daemon/tickets.h"
#include "hslink.h"

#include <time.h>

static struct ru_ctx ru;
static struct st_worker stats;
static X509_STORE *store;
static struct hs_setup want; /* of the next connection */
static SSL_CTX *server;      /* the peer of all of a case's connections */
static uint8_t key[SE_KEY];  /* of the last connection's sessions */

static int setup(void)
{
    store = tp_store();
    return 0;
}

static int teardown(void)
{
    X509_STORE_free(store);
    return 0;
}

static inline void only(uint16_t suite)
{
    want.suites[0] = ks_find(suite);
    want.n_suites = 1;
}

static inline void begin_case(uint16_t suite, enum tp_cert cert)
{
    memset(&stats, 0, sizeof(stats));
    ru = (struct ru_ctx){.stats = &stats, .lifetime = 7200};
    CU_ASSERT_EQUAL_FATAL(se_new(&ru.cache, 64, 100), 0);
    hslink_resume = &ru;
    want = hslink_setup(store, "server.test");
    want.uid = 1000;
    want.port = 443;
    only(suite);
    server = tp_ctx(cert);
}

static inline void end_case(void)
{
    SSL_CTX_free(server);
    se_free(ru.cache);
    hslink_resume = NULL;
}

static inline bool counted(unsigned hits, unsigned misses, unsigned stored, unsigned refused)
{
    bool ok = st_get(&stats.sessions_hits) == hits && st_get(&stats.sessions_misses) == misses &&
              st_get(&stats.sessions_stored) == stored &&
              st_get(&stats.sessions_refused) == refused;

    if (!ok)
        printf("\n  hits %lu misses %lu stored %lu refused %lu", st_get(&stats.sessions_hits),
               st_get(&stats.sessions_misses), st_get(&stats.sessions_stored),
               st_get(&stats.sessions_refused));
    return ok;
}

/* Data goes both ways with the keys of this handshake. */
static inline void speak(struct hslink *l)
{
    struct rc_ctx *in = NULL, *out = NULL;
    struct ks_dir rx, tx;
    char got[16];

    CU_ASSERT_EQUAL_FATAL(hs_keys(l->h, &rx, &tx, &l->f), 0);
    CU_ASSERT(rc_new(&in, &rx, 0) == 0 && rc_new(&out, &tx, 1) == 0);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(SSL_write(l->server, "to us", 5), 5);
        hslink_take(l, in, RC_DATA, "to us");
        hslink_give(l->fds[0], out, RC_DATA, "to them", 7);
        CU_ASSERT_EQUAL(SSL_read(l->server, got, sizeof(got)), 7);
    }
    rc_free(in);
    rc_free(out);
}

/* One connection from the first byte to the last. True when it was resumed, as both ends say. */
static inline bool connects(void)
{
    struct hs_facts facts;
    struct hslink l;

    SSL_CTX_up_ref(server);
    CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &want, server, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hslink_run(&l), HS_DONE);
    CU_ASSERT_EQUAL_FATAL(SSL_do_handshake(l.server), 1);
    CU_ASSERT_EQUAL(tk_drain(l.h, &l.f), 0);
    hs_facts(l.h, &facts);
    CU_ASSERT_EQUAL(facts.resumed, SSL_session_reused(l.server) == 1);
    CU_ASSERT_PTR_EQUAL(facts.suite, want.suites[0]);
    speak(&l);
    memcpy(key, l.h->resume.key, sizeof(key));
    /* Or a server that keeps sessions would forget this one. */
    SSL_set_shutdown(l.server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    hslink_close(&l);
    return facts.resumed;
}

/* The session that would be offered next; it stays in the cache. */
static inline struct se_session next_session(void)
{
    struct se_session s = {.n = 0};

    CU_ASSERT_EQUAL_FATAL(se_take(ru.cache, key, (uint64_t)time(NULL), &s), 0);
    if (s.once)
        CU_ASSERT_EQUAL(se_put(ru.cache, key, &s, (uint64_t)time(NULL)), 0);
    return s;
}

/* Puts a session where the last connection's lie. */
static inline void put_back(const struct se_session *s)
{
    CU_ASSERT_EQUAL(se_put(ru.cache, key, s, (uint64_t)time(NULL)), 0);
}

#endif
