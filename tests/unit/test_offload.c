/* Tests of daemon/offload.c: the question's bytes, the answers' bytes. */
#include "../../daemon/offload.c"

#include "suites.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <unistd.h>

static void close_pair(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void test_request(void)
{
    struct inet_diag_req_v2 r;
    struct sockaddr_in us, them;
    socklen_t n = sizeof(us);
    uint64_t cookie;
    int fds[2];

    tp_pair(fds, 1);
    getsockname(fds[0], (struct sockaddr *)&us, &n);
    getpeername(fds[0], (struct sockaddr *)&them, &n);
    n = sizeof(cookie);
    getsockopt(fds[0], SOL_SOCKET, SO_COOKIE, &cookie, &n);
    memset(&r, 0xff, sizeof(r));
    CU_ASSERT_EQUAL(fill_request(&r, fds[0]), 0);
    CU_ASSERT(r.sdiag_family == AF_INET && r.sdiag_protocol == IPPROTO_TCP && r.pad == 0);
    CU_ASSERT(r.idiag_ext == 1 << (INET_DIAG_INFO - 1) && r.idiag_states == ~0u);
    CU_ASSERT(r.id.idiag_sport == us.sin_port && r.id.idiag_dport == them.sin_port);
    CU_ASSERT(r.id.idiag_src[0] == us.sin_addr.s_addr && r.id.idiag_src[1] == 0);
    CU_ASSERT(r.id.idiag_dst[0] == them.sin_addr.s_addr && r.id.idiag_if == 0);
    CU_ASSERT_EQUAL((uint64_t)r.id.idiag_cookie[1] << 32 | r.id.idiag_cookie[0], cookie);
    close_pair(fds);
    CU_ASSERT_EQUAL(fill_request(&r, -1), -EBADF);
}

static void test_addresses(void)
{
    struct sockaddr_storage a = {.ss_family = AF_INET6};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&a;
    __be32 out[4] = {0};
    __be16 port = 0;

    inet_pton(AF_INET6, "2001:db8::1:2", &in6->sin6_addr);
    in6->sin6_port = htons(443);
    fill_addr(out, &port, &a);
    CU_ASSERT(memcmp(out, &in6->sin6_addr, 16) == 0 && port == htons(443));
}

/* An answer with these TLS_INFO_ attributes; -1 leaves one out. */
static struct nl_msg *answer_of(int txconf, int rxconf)
{
    struct inet_diag_msg head = {.idiag_family = AF_INET};
    struct nl_msg *m = nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, 0);
    struct nlattr *ulp, *tls;

    nlmsg_append(m, &head, sizeof(head), NLMSG_ALIGNTO);
    nla_put_string(m, INET_DIAG_CONG, "cubic");
    ulp = nla_nest_start(m, INET_DIAG_ULP_INFO);
    nla_put_string(m, INET_ULP_INFO_NAME, "tls");
    tls = nla_nest_start(m, INET_ULP_INFO_TLS);
    nla_put_u16(m, TLS_INFO_VERSION, TLS_1_3_VERSION);
    if (txconf >= 0)
        nla_put_u16(m, TLS_INFO_TXCONF, (uint16_t)txconf);
    if (rxconf >= 0)
        nla_put_u16(m, TLS_INFO_RXCONF, (uint16_t)rxconf);
    nla_nest_end(m, tls);
    nla_nest_end(m, ulp);
    return m;
}

static struct answer parse(struct nl_msg *m)
{
    struct answer a = {0};

    CU_ASSERT_EQUAL(on_message(m, &a), NL_OK);
    nlmsg_free(m);
    return a;
}

static void test_answers(void)
{
    struct answer a = parse(answer_of(TLS_CONF_HW, TLS_CONF_SW));

    CU_ASSERT(a.txconf == TLS_CONF_HW && a.rxconf == TLS_CONF_SW);
    CU_ASSERT(mode_of(a.txconf) == W_MODE_NIC && mode_of(a.rxconf) == W_MODE_KERNEL);
    a = parse(answer_of(-1, TLS_CONF_HW));
    CU_ASSERT(a.txconf == 0 && a.rxconf == TLS_CONF_HW);
    CU_ASSERT_EQUAL(mode_of(a.txconf), W_MODE_KERNEL);
    a = parse(answer_of(TLS_CONF_HW_RECORD, -1)); /* a NIC that does the whole record layer */
    CU_ASSERT(a.txconf == TLS_CONF_HW_RECORD && a.rxconf == 0);
}

/* Cut anywhere, an answer says less, never something else. */
static void test_cut_answers(void)
{
    struct nl_msg *m = answer_of(TLS_CONF_HW, TLS_CONF_HW);
    uint32_t whole = nlmsg_hdr(m)->nlmsg_len;

    for (uint32_t n = NLMSG_HDRLEN; n < whole; n++) {
        struct nl_msg *cut = nlmsg_alloc_size(4096);
        struct answer a;

        memcpy(nlmsg_hdr(cut), nlmsg_hdr(m), n);
        nlmsg_hdr(cut)->nlmsg_len = n;
        a = parse(cut);
        CU_ASSERT(a.txconf == 0 || a.txconf == TLS_CONF_HW);
        CU_ASSERT(a.rxconf == 0 || a.rxconf == TLS_CONF_HW);
    }
    nlmsg_free(m);
}

static void test_without(void)
{
    enum w_mode tx = W_MODE_RELAY, rx = W_MODE_RELAY;

    of_confirm(NULL, -1, &tx, &rx);
    CU_ASSERT(tx == W_MODE_KERNEL && rx == W_MODE_KERNEL);
    of_close(NULL);
}

/* The real kernel, asked several times: each question takes all of its own answer, or the next one
 * would be told about another socket. */
static void test_real(void)
{
    struct of_diag *d = NULL;
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(of_open(&d), 0);
    tp_pair(fds, 1);
    for (int i = 0; i < 3; i++) {
        enum w_mode tx = W_MODE_RELAY, rx = W_MODE_RELAY;
        struct answer a = {0};
        char rest;

        CU_ASSERT_EQUAL(ask(d, i == 1 ? -1 : fds[0], &a), i == 1 ? -EBADF : 0);
        CU_ASSERT(recv(nl_socket_get_fd(d->sock), &rest, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
        of_confirm(d, i == 1 ? -1 : fds[i / 2], &tx, &rx);
        CU_ASSERT(tx == W_MODE_KERNEL && rx == W_MODE_KERNEL);
    }
    close_pair(fds);
    of_close(d);
}

void suite_offload(void)
{
    CU_pSuite s = CU_add_suite("offload", NULL, NULL);

    CU_add_test(s, "request", test_request);
    CU_add_test(s, "addresses", test_addresses);
    CU_add_test(s, "answers", test_answers);
    CU_add_test(s, "cut answers", test_cut_answers);
    CU_add_test(s, "without", test_without);
    CU_add_test(s, "real", test_real);
}
