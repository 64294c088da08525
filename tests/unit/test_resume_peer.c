/* Tests of daemon/resume.c with the ways in which a server remembers: tickets, session ids. */
#include "resumerig.h"
#include "suites.h"

/* --- TLS 1.3 ------------------------------------------------------------------------- */

static void test_tickets(void)
{
    static const uint16_t suites[] = {0x1301, 0x1302, 0x1303, 0x1304};

    for (size_t i = 0; i < 4; i++) {
        begin_case(suites[i], TP_EC);
        CU_ASSERT_FALSE(connects());
        CU_ASSERT(counted(0, 1, 2, 0) && se_count(ru.cache) == 2);
        SSL_CTX_set_num_tickets(server, 0);
        CU_ASSERT(connects() && connects());
        CU_ASSERT_FALSE(connects()); /* each was good for one connection */
        CU_ASSERT(counted(2, 2, 2, 0) && se_count(ru.cache) == 0);
        end_case();
    }
}

/* Tickets of resumed connections resume, on and on, and prove no more than the first handshake. */
static void test_chain(void)
{
    struct se_session s;
    uint64_t proven;

    begin_case(0x1302, TP_RSA);
    SSL_CTX_set_num_tickets(server, 1);
    CU_ASSERT_FALSE(connects());
    s = next_session();
    proven = s.proven - 5; /* as if the first handshake had been a while ago */
    CU_ASSERT(s.once && s.uid == 1000 && proven <= (uint64_t)time(NULL) + 3600);
    for (int i = 0; i < 4; i++) {
        se_drop(ru.cache, key);
        s.proven = proven;
        put_back(&s);
        CU_ASSERT_TRUE(connects());
        s = next_session();
        CU_ASSERT(s.proven == proven && s.until <= proven);
    }
    end_case();
}

/* --- TLS 1.2 ------------------------------------------------------------------------- */

static void test_tls12_ticket(void)
{
    struct se_session first, then;

    begin_case(0xC02B, TP_EC);
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(counted(0, 1, 1, 0));
    first = next_session();
    CU_ASSERT_FALSE(first.once);
    CU_ASSERT(connects() && connects() && connects());
    CU_ASSERT_EQUAL(se_count(ru.cache), 1);
    then = next_session();
    CU_ASSERT_EQUAL(then.proven, first.proven);
    CU_ASSERT(counted(3, 1, 1, 0));
    end_case();
}

static int renew(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n,
                 SSL_TICKET_STATUS status, void *arg)
{
    (void)ssl, (void)session, (void)name, (void)n, (void)arg;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE_RENEW
                                        : SSL_TICKET_RETURN_IGNORE_RENEW;
}

/* A server that gives a new ticket with each resumption: the new one takes the old one's place and
 * inherits its proof. */
static void test_tls12_renewed(void)
{
    struct se_session s;

    begin_case(0xC02F, TP_RSA);
    SSL_CTX_set_session_ticket_cb(server, NULL, renew, NULL);
    CU_ASSERT_FALSE(connects());
    for (int i = 0; i < 3; i++) {
        struct se_session before = next_session();

        before.proven -= 5;
        put_back(&before);
        CU_ASSERT_TRUE(connects());
        s = next_session();
        CU_ASSERT(s.proven == before.proven && s.until <= s.proven);
        CU_ASSERT(s.n != before.n || memcmp(s.bytes, before.bytes, s.n) != 0);
    }
    CU_ASSERT_EQUAL(se_count(ru.cache), 1);
    end_case();
}

static void test_tls12_id(void)
{
    begin_case(0xCCA8, TP_RSA);
    SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_id_context(server, (const uint8_t *)"x", 1);
    CU_ASSERT_FALSE(connects());
    CU_ASSERT(connects() && connects());
    SSL_CTX_flush_sessions(server, (long)time(NULL) + 100000); /* it forgets */
    CU_ASSERT_FALSE(connects());
    CU_ASSERT_TRUE(connects());
    CU_ASSERT(counted(3, 2, 2, 0) && se_count(ru.cache) == 1);
    SSL_CTX_flush_sessions(server, (long)time(NULL) + 100000);
    SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
    CU_ASSERT_FALSE(connects());
    CU_ASSERT_EQUAL(se_count(ru.cache), 0); /* what it does not know is not offered again */
    end_case();
}

/* A handshake that fails, or is given up, takes with it what it offered. */
static void test_failed(void)
{
    for (int i = 0; i < 2; i++) {
        struct hslink l;

        begin_case(0xC02B, TP_EC);
        CU_ASSERT_FALSE(connects());
        CU_ASSERT_EQUAL(se_count(ru.cache), 1);
        CU_ASSERT_EQUAL_FATAL(hslink_open(&l, &want, NULL, 0), 0);
        CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_WANT_READ);
        if (i == 0) {
            hslink_hang_up(&l);
            CU_ASSERT_EQUAL(hs_step(l.h, &l.f), HS_FAILED);
        }
        CU_ASSERT_EQUAL(se_count(ru.cache), 1);
        hslink_close(&l);
        CU_ASSERT_EQUAL(se_count(ru.cache), 0);
        CU_ASSERT_FALSE(connects());
        end_case();
    }
}

void suite_resume_peer(void)
{
    CU_pSuite s = CU_add_suite("resume_peer", setup, teardown);

    CU_add_test(s, "tickets", test_tickets);
    CU_add_test(s, "chain", test_chain);
    CU_add_test(s, "TLS 1.2, ticket", test_tls12_ticket);
    CU_add_test(s, "TLS 1.2, renewed", test_tls12_renewed);
    CU_add_test(s, "TLS 1.2, id", test_tls12_id);
    CU_add_test(s, "failed", test_failed);
}
