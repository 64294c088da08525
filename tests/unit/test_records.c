/* Tests of shim/records.c against a model of what the kernel answers (kernel-notes, records). */
#include "../../shim/records.c"

#include "record_model.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct rr_state s;
static char buf[64];

static void fresh(uint16_t version, enum ending end)
{
    n_queue = head_of_queue = 0;
    ending = end;
    shuts = reads = sends = polls = refuse_sends = 0;
    memset(buf, '#', sizeof(buf));
    if (s.slot)
        sh_free(s.slot);
    rr_init(&s, version);
    s.slot = sh_claim(0, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s.slot);
}

static ssize_t take(size_t n, int flags)
{
    struct iovec iov = {buf, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    return rr_recvmsg(7, &s, &m, flags);
}

static void expect(const char *text, size_t n, int flags)
{
    CU_ASSERT_EQUAL(take(n, flags), (ssize_t)strlen(text));
    CU_ASSERT_EQUAL(memcmp(buf, text, strlen(text)), 0);
}

/* --- the rows of the table ------------------------------------------------------------------- */

static void test_data(void)
{
    fresh(0x0304, QUIET);
    data("one ");
    data("two");
    expect("one t", 5, 0);
    expect("wo", 64, 0);
    CU_ASSERT_EQUAL(take(64, 0), -EAGAIN);
    data("three");
    expect("three", 64, 0);
}

static void test_ticket(void)
{
    fresh(0x0304, QUIET);
    ticket();
    ticket();
    data("behind");
    expect("behind", 64, 0);
    data("before");
    ticket();
    data("after");
    expect("before", 64, 0);
    expect("after", 64, 0);
    ticket();
    CU_ASSERT_EQUAL(take(64, MSG_DONTWAIT), -EAGAIN);
}

/* A message may begin in one record and end in another: what stands at a record's head need not be
 * a message's. */
static void test_split_ticket(void)
{
    static const char whole[] = {4, 0, 0, 8, 24, 0, 0, 1, 0, 0, 0, 24};

    for (size_t first = 1; first < 11; first++) {
        size_t n = first & 1 ? 1 : 64; /* the program's buffer may be smaller */

        fresh(0x0304, QUIET);
        add(HANDSHAKE, whole, first);
        add(HANDSHAKE, whole + first, 1);
        add(HANDSHAKE, whole + first + 1, 11 - first);
        data("on");
        expect(n == 1 ? "o" : "on", n, first & 2 ? MSG_PEEK : 0);
        CU_ASSERT_EQUAL(atomic_load(&s.slot->messages) >> 32, 0); /* between two of them */
    }
}

/* A control record is longer than the program's buffer: nothing of its rest is taken for data. */
static void test_ticket_small_buffer(void)
{
    fresh(0x0304, QUIET);
    ticket();
    data("ab");
    ticket();
    alert(1, 0);
    expect("a", 1, 0);
    expect("b", 1, 0);
    CU_ASSERT_EQUAL(take(1, 0), 0);
    CU_ASSERT_TRUE(atomic_load(&s.eof));
}

static void test_ticket_into_many_buffers(void)
{
    char a[1], b[3], c[40];
    struct iovec iov[3] = {{a, 1}, {b, 3}, {c, sizeof(c)}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

    fresh(0x0304, QUIET);
    ticket();
    data("0123456789");
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, 0), 10);
    CU_ASSERT(a[0] == '0' && memcmp(b, "123", 3) == 0 && memcmp(c, "456789", 6) == 0);
}

static void test_close_notify(void)
{
    fresh(0x0304, QUIET);
    data("last");
    alert(1, 0);
    expect("last", 64, 0);
    CU_ASSERT_EQUAL(take(64, 0), 0);
    CU_ASSERT(shuts == 1 && shut_how == SHUT_RD);
    reads = 0;
    ending = FIN;
    CU_ASSERT_EQUAL(take(64, 0), 0); /* and stays, whatever the kernel would say */
    CU_ASSERT_EQUAL(reads, 0);
}

/* What some peers say before close_notify (RFC 8446 section 6.1). */
static void test_user_canceled(void)
{
    fresh(0x0304, QUIET);
    alert(1, 90);
    alert(1, 0);
    CU_ASSERT_EQUAL(take(64, 0), 0);
    CU_ASSERT_TRUE(atomic_load(&s.eof));
    CU_ASSERT_EQUAL(atomic_load(&s.alert), -1);
}

static void test_fatal_alert(void)
{
    fresh(0x0304, QUIET);
    alert(2, 20);
    data("never");
    for (int i = 0; i < 2; i++)
        CU_ASSERT(take(64, 0) == -EPROTO && atomic_load(&s.alert) == 20);
    CU_ASSERT_FALSE(atomic_load(&s.eof));
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&s), "alert 20"));
    CU_ASSERT(shut_how == SHUT_RDWR && sends == 0); /* an alert is not answered */
}

/* A warning means nothing in TLS 1.3 (all but two alerts are fatal there), and something in 1.2. */
static void test_warning(void)
{
    fresh(0x0304, QUIET);
    alert(1, 100);
    CU_ASSERT_EQUAL(take(64, 0), -EPROTO);
    fresh(0x0303, QUIET);
    alert(1, 100);
    data("on");
    expect("on", 64, 0);
    alert(2, 100);
    CU_ASSERT_EQUAL(take(64, 0), -EPROTO);
}

static void test_key_update(void)
{
    fresh(0x0304, QUIET);
    add(HANDSHAKE, "\x18\0\0\1\1", 5);
    data("under the next key");
    CU_ASSERT_EQUAL(take(64, 0), -EKEYEXPIRED);
    reads = 0;
    CU_ASSERT_EQUAL(take(64, 0), -EKEYEXPIRED);
    CU_ASSERT_EQUAL(reads, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&s), "key"));
}

static void test_other_records(void)
{
    static const struct {
        int type;
        const char *p;
        size_t n;
    } rows[] = {{HANDSHAKE, "\x0d\0\0\0", 4},           /* CertificateRequest */
                {HANDSHAKE, "\4\0\0\1\7\x0d\0\0\0", 9}, /* the same, behind a ticket */
                {HANDSHAKE, "\0\0\0\0", 4},             /* HelloRequest, which 1.3 has not */
                {HANDSHAKE, "", 0},
                {ALERT, "\1", 1},
                {20, "\1", 1}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        fresh(0x0304, QUIET);
        add(rows[i].type, rows[i].p, rows[i].n);
        alert(1, 0);
        CU_ASSERT_EQUAL(take(i + 1, 0), -EPROTO);
        CU_ASSERT_EQUAL(take(64, 0), -EPROTO);
    }
    fresh(0x0303, QUIET); /* RFC 5246 section 7.4.1.1: may be ignored */
    add(HANDSHAKE, "\0\0\0\0", 4);
    data("on");
    expect("on", 64, 0);
}

static void test_truncation(void)
{
    fresh(0x0304, FIN);
    data("half");
    expect("half", 64, 0);
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
    ending = QUIET;
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
    fresh(0x0304, FIN); /* the program has shut reading: it made the end itself */
    atomic_store(&s.shut_rd, true);
    CU_ASSERT_EQUAL(take(64, 0), 0);
    fresh(0x0304, FIN); /* for this program any end is one; a reset is none */
    atomic_store(&s.eof_ok, true);
    CU_ASSERT(take(64, 0) == 0 && take(64, 0) == 0 && !atomic_load(&s.error));
    ending = BROKEN;
    broken_errno = ECONNRESET;
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
    atomic_store(&s.eof_ok, false);
}

/* What another process was given is gone from the kernel: its slot tells. */
static void test_other_holders(void)
{
    fresh(0x0304, FIN);
    atomic_fetch_or(&s.slot->flags, SH_EOF);
    CU_ASSERT(take(64, 0) == 0 && atomic_load(&s.eof));
    fresh(0x0304, FIN);
    sh_fail(s.slot, EBADMSG);
    CU_ASSERT_EQUAL(take(64, 0), -EBADMSG);
    CU_ASSERT_PTR_NOT_NULL(strstr(rr_why(&s), "authenticate"));
    fresh(0x0304, BROKEN);
    broken_errno = ECONNRESET;
    data("twelve bytes");
    expect("tw", 2, MSG_PEEK);
    expect("twelve bytes", 64, 0);
    CU_ASSERT_EQUAL(atomic_load(&s.slot->moved), 12);
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
    CU_ASSERT_EQUAL(sh_error(s.slot), ECONNRESET);
}

static void test_errors(void)
{
    static const struct {
        int from_kernel, to_program;
        bool sticks;
    } rows[] = {
        {EBADMSG, EBADMSG, true}, {EMSGSIZE, EBADMSG, true}, {EAGAIN, EAGAIN, false},
        {EINTR, EINTR, false},    {EFAULT, EFAULT, false},   {ENOMEM, ENOMEM, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        fresh(0x0304, BROKEN);
        broken_errno = rows[i].from_kernel;
        CU_ASSERT_EQUAL(take(64, 0), -rows[i].to_program);
        data("x");
        CU_ASSERT_EQUAL(take(64, 0), rows[i].sticks ? -rows[i].to_program : 1);
    }
    /* after a reset the kernel says it once, then gives what looks like an orderly end */
    fresh(0x0304, BROKEN);
    broken_errno = ECONNRESET;
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
    ending = FIN;
    CU_ASSERT_EQUAL(take(64, 0), -ECONNRESET);
}

static void test_empty_record(void)
{
    fresh(0x0304, QUIET);
    add(DATA, "", 0);
    ticket(); /* so that the model returns the empty record alone */
    data("on");
    expect("on", 64, 0);
}

/* --- flags ----------------------------------------------------------------------------------- */

static void test_peek(void)
{
    fresh(0x0304, QUIET);
    ticket();
    data("peeked");
    ticket();
    data("read");
    expect("pee", 3, MSG_PEEK);
    expect("peeked", 64, MSG_PEEK);
    expect("peeked", 64, 0);
    expect("r", 1, MSG_PEEK);
    expect("read", 64, 0);
    alert(1, 0);
    CU_ASSERT_EQUAL(take(64, MSG_PEEK), 0);
    CU_ASSERT_EQUAL(take(64, 0), 0);
}

static void test_waitall(void)
{
    fresh(0x0304, QUIET);
    ticket();
    data("1234");
    ticket();
    data("5678");
    data("9");
    expect("12345678", 8, MSG_WAITALL);
    expect("9", 1, MSG_WAITALL);
    data("ab");
    alert(1, 0);
    expect("ab", 8, MSG_WAITALL); /* what there is; the end comes with the next call */
    CU_ASSERT_EQUAL(take(8, MSG_WAITALL), 0);
}

/* The kernel returns less at a signal or a time limit too: then the rest is not waited for. */
static void test_waitall_interrupted(void)
{
    fresh(0x0304, QUIET);
    data("ab");
    expect("ab", 8, MSG_WAITALL);
    CU_ASSERT_EQUAL(reads, 2);
    CU_ASSERT_TRUE(last_flags & MSG_DONTWAIT);
}

static void test_trunc(void)
{
    struct iovec iov = {NULL, 6};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    fresh(0x0304, QUIET);
    ticket();
    data("gone!");
    ticket();
    data("!kept");
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, MSG_TRUNC), 6);
    expect("kept", 64, 0);
    data("all of it");
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, MSG_TRUNC | MSG_PEEK), 6);
    expect("all of it", 64, 0);
    alert(1, 0);
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, MSG_TRUNC), 0);
}

static void test_waitall_many_buffers(void)
{
    char a[3], b[4];
    struct iovec iov[2] = {{a, 3}, {b, 4}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    fresh(0x0304, QUIET);
    data("01");
    ticket();
    data("23456");
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, MSG_WAITALL), 7);
    CU_ASSERT(memcmp(a, "012", 3) == 0 && memcmp(b, "3456", 4) == 0);
    CU_ASSERT(iov[0].iov_len == 3 && iov[1].iov_len == 4); /* the program's own, as they were */
}

static bool closed_meanwhile(int fd, const struct rr_state *of)
{
    (void)fd;
    (void)of;
    return false;
}

/* The number may name another socket by now: nothing is read from it, nothing shut. */
static void test_closed_meanwhile(void)
{
    fresh(0x0304, QUIET);
    s.names = closed_meanwhile;
    ticket();
    data("a stranger's");
    CU_ASSERT_EQUAL(take(64, 0), -EBADF);
    CU_ASSERT_EQUAL(reads, 1);
    fresh(0x0304, QUIET);
    s.names = closed_meanwhile;
    alert(1, 0);
    CU_ASSERT_EQUAL(take(64, 0), -EBADF);
    CU_ASSERT_EQUAL(shuts, 0);
}

static void test_nothing_asked(void)
{
    fresh(0x0304, FIN);
    CU_ASSERT_EQUAL(take(0, 0), 0);
    CU_ASSERT_EQUAL(atomic_load(&s.error), 0);
    CU_ASSERT_EQUAL(take(64, MSG_OOB), -EINVAL);
}

static void test_callers_header(void)
{
    char name[16], control[64];
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    m.msg_name = name;
    m.msg_namelen = sizeof(name);
    m.msg_control = control;
    m.msg_controllen = sizeof(control);
    fresh(0x0304, QUIET);
    data("x");
    CU_ASSERT_EQUAL(rr_recvmsg(7, &s, &m, 0), 1);
    CU_ASSERT_EQUAL(m.msg_namelen, 0);
    CU_ASSERT_EQUAL(m.msg_controllen, 0); /* record types are ours, not the program's */
    CU_ASSERT_EQUAL(m.msg_flags & (MSG_EOR | MSG_CTRUNC), 0);
    CU_ASSERT(m.msg_control == control && m.msg_iov == &iov);
}

static int init(void)
{
    real = sy;
    sy.recvmsg = model_recvmsg;
    sy.sendmsg = model_sendmsg;
    sy.shutdown = model_shutdown;
    sy.poll = model_poll;
    return 0;
}

static int clean(void)
{
    sy = real;
    return 0;
}

void suite_records(void)
{
    CU_pSuite suite = CU_add_suite("records", init, clean);

    CU_add_test(suite, "data", test_data);
    CU_add_test(suite, "tickets", test_ticket);
    CU_add_test(suite, "a ticket in several records", test_split_ticket);
    CU_add_test(suite, "a ticket longer than the buffer", test_ticket_small_buffer);
    CU_add_test(suite, "a ticket over several buffers", test_ticket_into_many_buffers);
    CU_add_test(suite, "close_notify", test_close_notify);
    CU_add_test(suite, "user_canceled", test_user_canceled);
    CU_add_test(suite, "a fatal alert", test_fatal_alert);
    CU_add_test(suite, "warnings", test_warning);
    CU_add_test(suite, "KeyUpdate", test_key_update);
    CU_add_test(suite, "other records", test_other_records);
    CU_add_test(suite, "the end without close_notify", test_truncation);
    CU_add_test(suite, "what another holder met", test_other_holders);
    CU_add_test(suite, "errors of the kernel", test_errors);
    CU_add_test(suite, "an empty record", test_empty_record);
    CU_add_test(suite, "MSG_PEEK", test_peek);
    CU_add_test(suite, "MSG_WAITALL", test_waitall);
    CU_add_test(suite, "MSG_WAITALL cut short", test_waitall_interrupted);
    CU_add_test(suite, "MSG_TRUNC", test_trunc);
    CU_add_test(suite, "MSG_WAITALL over several buffers", test_waitall_many_buffers);
    CU_add_test(suite, "closed while it waits", test_closed_meanwhile);
    CU_add_test(suite, "nothing asked for, MSG_OOB", test_nothing_asked);
    CU_add_test(suite, "the caller's header", test_callers_header);
}
