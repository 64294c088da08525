/* A client of peer.c on a socketpair, its TLS server beside it. */
#include "peerrig.h"

#include "../../daemon/peer.h"
#include "capture.h"

struct wrig prig;
int prig_client;
static int fds_before;
static struct capture log_lines;

void prig_begin(void)
{
    const struct in_peer who = {.uid = 1234, .pid = 1};
    int pair[2];

    log_lines = capture_begin(2);
    fds_before = open_fds();
    wrig_open(&prig);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    prig_client = pair[0];
    CU_ASSERT_EQUAL_FATAL(pe_open(prig.w, pair[1], &who), 0);
    CU_ASSERT_EQUAL(st_get(&prig.w->stats->peers), 1);
}

void prig_end(void)
{
    static char said[65536];
    struct in_left gone = {0};

    fd_close(&prig_client);
    WRIG_UNTIL(&prig, wrig_idle(&prig));
    CU_ASSERT_EQUAL(recv(prig.control, &gone, sizeof(gone), MSG_DONTWAIT), (ssize_t)sizeof(gone));
    CU_ASSERT_EQUAL(gone.uid, 1234);
    CU_ASSERT(recv(prig.control, &gone, sizeof(gone), MSG_DONTWAIT) < 0);
    if (prig.server)
        SSL_free(prig.server);
    prig.server = NULL;
    wrig_close(&prig);
    CU_ASSERT_EQUAL(open_fds(), fds_before);
    capture_end(log_lines, said, sizeof(said));
    CU_ASSERT_PTR_NULL(strstr(said, "bug:"));
}

void prig_send(struct w_buf *b, const int *fds, unsigned nfds)
{
    int len = w_end(b);

    CU_ASSERT_FATAL(len > 0);
    CU_ASSERT_EQUAL(fm_send(prig_client, b->p, (size_t)len, fds, nfds, MSG_DONTWAIT), 0);
}

void prig_hello(uint32_t version)
{
    static uint8_t out[256];
    struct w_buf b;

    w_begin(&b, out, sizeof(out), W_HELLO, 1, 0);
    w_put_num(&b, W_A_VERSION, version);
    w_put_num(&b, W_A_CAPS, 0);
    prig_send(&b, NULL, 0);
}

struct w_msg prig_hear(int fds[FM_FDS_MAX], unsigned want)
{
    static uint8_t in[W_MESSAGE_MAX];
    unsigned nfds = 0;
    struct w_msg m = {0};
    int n = -EAGAIN;

    fds[0] = fds[1] = -1;
    WRIG_UNTIL(&prig,
               (n = fm_recv(prig_client, in, sizeof(in), fds, &nfds, MSG_DONTWAIT)) != -EAGAIN);
    CU_ASSERT_FATAL(n > 0);
    CU_ASSERT_EQUAL_FATAL(w_decode(&m, in, (size_t)n, nfds, W_TO_CLIENT), 0);
    CU_ASSERT_EQUAL(m.type, want);
    return m;
}

void prig_hear_error(uint32_t id, unsigned code, int err)
{
    int fds[FM_FDS_MAX];
    struct w_msg m = prig_hear(fds, W_ERROR);
    char text[W_TEXT_MAX + 1];

    CU_ASSERT(m.id == id && w_num(&m, W_A_CODE, 0) == code);
    CU_ASSERT_EQUAL(w_num(&m, W_A_ERRNO, 0), (uint64_t)err);
    CU_ASSERT(w_text(&m, W_A_TEXT, text, sizeof(text)) == 0 && *text);
}

void prig_hear_end(void)
{
    char c;
    ssize_t n = -1;

    WRIG_UNTIL(&prig, (n = recv(prig_client, &c, 1, MSG_DONTWAIT)) >= 0);
    CU_ASSERT_EQUAL(n, 0);
}

void prig_greet(void)
{
    int fds[FM_FDS_MAX];

    prig_hello(W_VERSION);
    prig_hear(fds, W_WELCOME);
}

void prig_connect(uint32_t id, int *tcp, int gate, uint32_t fill, uint32_t flags, int path,
                  const char *store)
{
    static uint8_t out[1024];
    const int fds[2] = {*tcp, gate};
    struct w_buf b;

    w_begin(&b, out, sizeof(out), W_CONNECT, id, gate >= 0 ? 2 : 1);
    w_put_num(&b, W_A_FLAGS, flags | (gate >= 0 ? W_F_GATE : 0));
    w_put_text(&b, W_A_SERVER_NAME, "server.test");
    w_put_text(&b, W_A_TRUST_STORE, store);
    if (path)
        w_put_num(&b, W_A_PATH, (uint64_t)path);
    if (gate >= 0)
        w_put_num(&b, W_A_GATE_FILL, fill);
    prig_send(&b, fds, gate >= 0 ? 2 : 1);
    fd_close(tcp);
}

void prig_serve(int fds[2], enum tp_cert which)
{
    prig.server = tp_server(tp_ctx(which), fds, 1);
}

void prig_hear_result(int got[FM_FDS_MAX], unsigned mode)
{
    struct w_msg m = prig_hear(got, W_RESULT);

    CU_ASSERT_EQUAL(m.id, 7);
    CU_ASSERT_EQUAL(w_num(&m, W_A_MODE_TX, 0), mode);
    CU_ASSERT_EQUAL(w_num(&m, W_A_MODE_RX, 0), mode);
    CU_ASSERT_EQUAL(w_num(&m, W_A_TLS_VERSION, 0), KS_TLS13);
    CU_ASSERT_NOT_EQUAL(w_num(&m, W_A_COOKIE, 0), 0);
    CU_ASSERT_EQUAL(w_has(&m, W_A_WHY), mode == W_MODE_RELAY);
}

void prig_talk(int end)
{
    char got[8] = "";
    int n = -1;

    CU_ASSERT_EQUAL(send(end, "ping", 4, 0), 4);
    WRIG_UNTIL(&prig, (n = SSL_read(prig.server, got, sizeof(got))) > 0);
    CU_ASSERT(n == 4 && memcmp(got, "ping", 4) == 0);
    CU_ASSERT_EQUAL(SSL_write(prig.server, "pong!", 5), 5);
    WRIG_UNTIL(&prig, recv(end, got, sizeof(got), MSG_DONTWAIT) == 5);
    CU_ASSERT_EQUAL(memcmp(got, "pong!", 5), 0);
}
