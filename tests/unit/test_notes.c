/* Tests of daemon/notes.c: control between two workers that are made up. */
#include "../../daemon/notes.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <unistd.h>

static struct notes n;
static struct census census;
static struct {
    unsigned worker, calls, drains;
    int result;
    struct in_serve note;
    size_t len;
} sent;
static struct in_kept late; /* what drain() finds waiting */

static int on_send(void *owner, unsigned worker, const void *p, size_t len, const int *fds,
                   unsigned nfds)
{
    (void)owner;
    CU_ASSERT(nfds == 2 && fds[0] >= 0 && fds[1] >= 0);
    sent.worker = worker;
    sent.calls++;
    memcpy(&sent.note, p, len);
    sent.len = len;
    return sent.result;
}

static void on_drain(void *owner)
{
    int none[2] = {-1, -1};

    (void)owner;
    sent.drains++;
    if (late.type)
        CU_ASSERT(no_take(&n, 1, &late, sizeof(late), none, 0));
}

static void begin(void)
{
    memset(&sent, 0, sizeof(sent));
    late.type = 0;
    n = (struct notes){.census = &census, .send = on_send, .drain = on_drain};
    n.flush.busy = true; /* the test turns no loop: it calls the completion */
    CU_ASSERT_EQUAL_FATAL(ce_open(&census, 2), 0);
}

static void end(void)
{
    no_free(&n);
    ce_free(&census);
}

/* A worker forwards an ATTACH about that cookie. Returns what the client hears: its code, 0 when it
 * hears nothing. */
static unsigned forward(unsigned from, uint64_t cookie, bool *good)
{
    static struct in_serve note;
    int pair[2], fds[2] = {dup(0), -1}, got[2], n_message;
    uint8_t in[2048];
    unsigned nfds;
    struct w_msg m;
    struct w_buf b;

    CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    fds[1] = pair[1];
    note = (struct in_serve){.type = IN_FORWARD, .cookie = cookie};
    w_begin(&b, note.message, sizeof(note.message), W_ATTACH, 44, 1);
    n_message = w_end(&b);
    *good =
        no_take(&n, from, &note, offsetof(struct in_serve, message) + (size_t)n_message, fds, 2);
    CU_ASSERT(fds[0] == -1 && fds[1] == -1);
    note.cookie = 0; /* the next note lies where this one was */
    on_flush(&n.flush, -ETIME);
    n_message = fm_recv(pair[0], in, sizeof(in), got, &nfds, MSG_DONTWAIT);
    close(pair[0]);
    if (n_message <= 0) /* 0: its descriptor is closed, nothing was said */
        return 0;
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, in, (size_t)n_message, nfds, W_TO_CLIENT), 0);
    CU_ASSERT(m.type == W_ERROR && m.id == 44);
    return (unsigned)w_num(&m, W_A_CODE, 0);
}

static void test_forward(void)
{
    struct in_kept kept = {.type = IN_KEPT, .cookie = 5, .netns = 1};
    int none[2] = {-1, -1};
    bool good;

    begin();
    CU_ASSERT(no_take(&n, 1, &kept, sizeof(kept), none, 0));
    CU_ASSERT_EQUAL(forward(0, 5, &good), 0);
    CU_ASSERT(good && sent.calls == 1 && sent.worker == 1);
    CU_ASSERT(sent.note.type == IN_SERVE && sent.note.cookie == 5);
    CU_ASSERT_EQUAL(sent.len, offsetof(struct in_serve, message) + W_HEADER);
    /* Its own keeper has forgotten it: no circle. */
    CU_ASSERT_EQUAL(forward(1, 5, &good), W_CODE_NO_STATE);
    CU_ASSERT(good && sent.calls == 1);
    sent.result = -EAGAIN;
    CU_ASSERT_EQUAL(forward(0, 5, &good), W_CODE_WOULD_BLOCK);
    end();
}

/* Who keeps it may have said so a moment ago. */
static void test_unheard(void)
{
    bool good;

    begin();
    CU_ASSERT_EQUAL(forward(0, 6, &good), W_CODE_NO_STATE);
    CU_ASSERT(good && sent.drains == 1 && sent.calls == 0);
    late = (struct in_kept){.type = IN_KEPT, .cookie = 6};
    CU_ASSERT_EQUAL(forward(0, 6, &good), 0);
    CU_ASSERT(sent.drains == 2 && sent.calls == 1 && sent.worker == 1);
    CU_ASSERT_EQUAL(sent.note.cookie, 6);
    end();
}

static void test_left(void)
{
    struct in_left left = {.type = IN_LEFT, .uid = 9};
    int none[2] = {-1, -1};

    begin();
    CU_ASSERT_EQUAL(ce_enter(&census, 1, 9), 0);
    CU_ASSERT(no_take(&n, 1, &left, sizeof(left), none, 0) && ce_uid(&census, 9) == 0);
    end();
}

static void test_malformed(void)
{
    static struct in_serve note;
    int fds[2] = {-1, -1};

    begin();
    for (uint32_t type = 0; type < 10; type++) {
        for (size_t len = 0; len < sizeof(struct in_kept) + 9; len++) {
            bool left = type == IN_LEFT && len == sizeof(struct in_left);
            bool kept = type == IN_KEPT && len == sizeof(struct in_kept);

            note.type = type;
            fds[0] = dup(0);
            CU_ASSERT(!no_take(&n, 0, &note, len, fds, 2));
            CU_ASSERT(fds[0] == -1);
            CU_ASSERT_EQUAL(no_take(&n, 0, &note, len, fds, 0), left || kept);
        }
    }
    end();
}

void suite_notes(void)
{
    CU_pSuite s = CU_add_suite("notes", NULL, NULL);

    CU_add_test(s, "to the worker that keeps it", test_forward);
    CU_add_test(s, "kept a moment ago", test_unheard);
    CU_add_test(s, "a client left", test_left);
    CU_add_test(s, "malformed", test_malformed);
}
