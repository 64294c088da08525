/* A relay on a real loop, with the test as its program and as its TLS peer. */
#include "relayrig.h"

#include "../../daemon/options_table.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static void rig_on_stop(struct lp_op *op, int result)
{
    (void)result;
    lp_stop(LP_OWNER(op, struct rig, stop)->lp);
}

static void rig_on_ended(void *owner, const struct failure *f)
{
    struct rig *g = owner;
    struct pollfd p = {.fd = g->program, .events = POLLRDHUP};

    g->ended++;
    g->f = *f;
    g->saw_eof = poll(&p, 1, 0) == 1;
}

void rig_turn(struct rig *g)
{
    lp_poll(g->lp, &g->stop, g->writable[0], POLLOUT);
    CU_ASSERT_EQUAL_FATAL(lp_run(g->lp), 0);
}

void rig_turns(struct rig *g, int n)
{
    while (n-- > 0)
        rig_turn(g);
}

static void rig_keys(struct rig *g, const struct ks_suite *suite)
{
    uint8_t secret[KS_SECRET_MAX];

    for (int i = 0; i < 2; i++) {
        struct ks_dir *d = i ? &g->from_relay : &g->to_relay;

        memset(secret, 0x11 * (i + 1), sizeof(secret));
        if (suite->version == KS_TLS13) {
            CU_ASSERT_EQUAL_FATAL(ks_tls13(d, suite, secret, suite->secret_len), 0);
        } else {
            *d = (struct ks_dir){.suite = suite, .seq = 1};
            memcpy(d->key, secret, sizeof(d->key));
            memcpy(d->iv, secret, sizeof(d->iv));
        }
    }
}

void rig_open(struct rig *g, uint16_t suite, bool tcp, int buffers)
{
    const struct rl_owner owner = {.ended = rig_on_ended, .owner = g};
    int net[2], local[2];

    memset(g, 0, sizeof(*g));
    op_defaults(&g->o);
    CU_ASSERT_FATAL(lp_open(&g->lp, 64) == 0 &&
                    rl_shared_new(&g->shared, g->lp, &g->stats, &g->o) == 0);
    tp_pair(g->writable, 0);
    tp_pair(net, tcp);
    tp_pair(local, 0);
    for (int i = 0; i < 2 && buffers; i++) {
        setsockopt(net[i], SOL_SOCKET, SO_SNDBUF, &buffers, sizeof(buffers));
        setsockopt(local[i], SOL_SOCKET, SO_SNDBUF, &buffers, sizeof(buffers));
    }
    g->peer = net[1];
    g->program = local[1];
    g->stop.done = rig_on_stop;
    rig_keys(g, ks_find(suite));
    CU_ASSERT_EQUAL_FATAL(rc_new(&g->seal, &g->to_relay, 1), 0);
    CU_ASSERT_EQUAL_FATAL(rc_new(&g->open, &g->from_relay, 0), 0);
    CU_ASSERT_EQUAL_FATAL(
        rl_start(&g->relay, g->shared, net[0], local[0], &g->to_relay, &g->from_relay, &owner), 0);
    CU_ASSERT_EQUAL(st_get(&g->stats.relays), 1);
}

void rig_close(struct rig *g)
{
    fd_close(&g->program);
    fd_close(&g->peer);
    RIG_UNTIL(g, st_get(&g->stats.relays) == 0);
    CU_ASSERT_EQUAL(g->ended, 1);
    rc_free(g->seal);
    rc_free(g->open);
    rl_shared_free(g->shared);
    lp_close(g->lp);
    close(g->writable[0]);
    close(g->writable[1]);
}

void rig_push(struct rig *g, int fd, const uint8_t *p, size_t n)
{
    for (int turns = 0; n > 0; turns++) {
        CU_ASSERT_FATAL(turns < 100000);
        ssize_t k = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k < 0) {
            CU_ASSERT_EQUAL_FATAL(errno, EAGAIN);
            rig_turn(g);
            continue;
        }
        p += k;
        n -= (size_t)k;
    }
}

void rig_pull(struct rig *g, int fd, uint8_t *p, size_t n)
{
    for (int turns = 0; n > 0; turns++) {
        CU_ASSERT_FATAL(turns < 100000);
        ssize_t k = recv(fd, p, n, MSG_DONTWAIT);

        CU_ASSERT_FATAL(k > 0 || (k < 0 && errno == EAGAIN));
        if (k < 0) {
            rig_turn(g);
            continue;
        }
        p += k;
        n -= (size_t)k;
    }
}

void rig_eof(struct rig *g, int fd)
{
    char c;
    ssize_t k = -1;

    RIG_UNTIL(g, (k = recv(fd, &c, 1, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    CU_ASSERT_EQUAL(k, 0);
}

size_t rig_seal(struct rig *g, uint8_t type, const void *p, size_t n, uint8_t *out)
{
    int len = rc_seal(g->seal, type, p, n, out);

    CU_ASSERT_FATAL(len > 0);
    return (size_t)len;
}

void rig_peer_says(struct rig *g, uint8_t type, const void *p, size_t n)
{
    static uint8_t record[RC_HEADER + RC_BODY_MAX];

    rig_push(g, g->peer, record, rig_seal(g, type, p, n, record));
}

size_t rig_peer_hears_any(struct rig *g, uint8_t *type, uint8_t **plain)
{
    static uint8_t record[RC_HEADER + RC_BODY_MAX];
    size_t n = 0;
    int len;

    rig_pull(g, g->peer, record, RC_HEADER);
    len = rc_length(record);
    CU_ASSERT_FATAL(len > (int)RC_HEADER);
    rig_pull(g, g->peer, record + RC_HEADER, (size_t)len - RC_HEADER);
    CU_ASSERT_EQUAL_FATAL(rc_open(g->open, record, (size_t)len, type, plain, &n), 0);
    return n;
}

size_t rig_peer_hears(struct rig *g, uint8_t want_type, uint8_t **plain)
{
    uint8_t type = 0;
    size_t n = rig_peer_hears_any(g, &type, plain);

    CU_ASSERT_EQUAL_FATAL(type, want_type);
    return n;
}

void rig_peer_hears_text(struct rig *g, const char *want)
{
    uint8_t *p;
    size_t n = rig_peer_hears(g, RC_DATA, &p);

    CU_ASSERT(n == strlen(want) && memcmp(p, want, n) == 0);
}

void rig_peer_hears_alert(struct rig *g, uint8_t level, uint8_t number)
{
    uint8_t *p = NULL;
    size_t n = rig_peer_hears(g, RC_ALERT, &p);

    CU_ASSERT(n == 2 && p[0] == level && p[1] == number);
}

void rig_program_says(struct rig *g, const char *text)
{
    rig_push(g, g->program, (const uint8_t *)text, strlen(text));
}

void rig_program_hears(struct rig *g, const char *want)
{
    uint8_t got[256];

    rig_pull(g, g->program, got, strlen(want));
    CU_ASSERT(memcmp(got, want, strlen(want)) == 0);
}

size_t rig_program_overflows(struct rig *g)
{
    static uint8_t bytes[1 << 16];
    size_t n = 0;

    for (int idle = 0; idle < 20; idle++) {
        ssize_t k = send(g->program, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (k > 0) {
            n += (size_t)k;
            idle = 0;
        }
        rig_turn(g);
    }
    CU_ASSERT_FATAL(g->relay->to_tcp.n > 0);
    return n;
}

void rig_peer_overflows(struct rig *g)
{
    static uint8_t bytes[4000];

    for (int k = 0; k < 100 && g->relay->to_local.n == 0; k++)
        rig_peer_says(g, RC_DATA, bytes, sizeof(bytes));
    CU_ASSERT_FATAL(g->relay->to_local.n > 0);
}
