/* One client's connection: decode by the table, act, answer.
 *
 * The client is hostile until shown otherwise: what is malformed ends its connection, what it may
 * make grow is bounded (one CONNECT at a time, W_TRUST_MAX bytes of certificates), an answer that
 * it does not read is not waited for. */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "aftercare.h"
#include "conn.h"
#include "dispose.h"
#include "log.h"
#include "report.h"

struct peer {
    struct worker *w;
    struct in_peer who;
    int fd;
    struct lp_op in, hello_timer, reap;
    bool greeted, closing;
    uint32_t caps;     /* what it said in HELLO */
    struct conn *conn; /* a CONNECT that runs, or the relay that came of the last one */
    uint32_t conn_id;  /* its id */
    bool busy;         /* the CONNECT has no answer yet */
    uint8_t *pem;      /* TRUST messages for the next CONNECT */
    size_t pem_len;
};

static void release(struct peer *p)
{
    struct in_left gone = {.type = IN_LEFT, .uid = p->who.uid};

    if (p->in.busy || p->hello_timer.busy || p->reap.busy)
        return;
    di_close_unix(p->fd);
    free(p->pem);
    st_sub(&p->w->stats->peers, 1);
    /* A lost note would only make control count one too many; its queue is far longer than any
     * burst. */
    if (fm_send(p->w->control, &gone, sizeof(gone), NULL, 0, MSG_DONTWAIT) < 0)
        lg_warning("control was not told that a client of uid %u left", p->who.uid);
    free(p);
}

static void close_peer(struct peer *p)
{
    struct conn *c = p->conn;

    if (p->closing)
        return;
    p->closing = true;
    p->conn = NULL;
    if (c)
        cn_cancel(c);
    shutdown(p->fd, SHUT_RDWR);
    lp_cancel(p->w->lp, &p->in);
    lp_cancel(p->w->lp, &p->hello_timer);
    lp_timer(p->w->lp, &p->reap, 0); /* freed from the loop, never under a caller's feet */
}

/* --- answers ------------------------------------------------------------------------- */

/* Sends the len bytes that were built in w->out. A client that does not read its answers loses its
 * connection. Returns 0 or, without that, -ETOOMANYREFS: the kernel carries no more descriptors for
 * our user. */
static int answer(struct peer *p, int len, const int *fds, unsigned nfds)
{
    int r = len;

    if (r < 0)
        lg_error("bug: an answer to uid %u could not be built: %s", p->who.uid, strerror(-r));
    else
        r = fm_send(p->fd, p->w->out, (size_t)r, fds, nfds, MSG_DONTWAIT);
    if (r == -ETOOMANYREFS)
        return r;
    if (r < 0)
        close_peer(p);
    return 0;
}

static void begin(struct peer *p, struct w_buf *b, enum w_type type, uint32_t id, unsigned nfds)
{
    w_begin(b, p->w->out, sizeof(p->w->out), type, id, nfds);
}

static void answer_error(struct peer *p, uint32_t id, const struct failure *f)
{
    answer(p, ry_error(p->w->out, sizeof(p->w->out), id, f), NULL, 0);
}

/* Refuses a request; the connection goes on. */
static void refuse(struct peer *p, uint32_t id, unsigned code, int err, const char *text)
{
    struct failure f = {.alert = -1};

    fl_set(&f, code, err, "%s", text);
    st_add(&p->w->stats->refused, 1);
    lg_info("refused uid=%u pid=%d code=%s: %s", p->who.uid, p->who.pid, w_code_name(code), text);
    answer_error(p, id, &f);
}

/* Refuses a message that breaks the protocol; nothing more of this client is believed. */
static void refuse_and_close(struct peer *p, uint32_t id, int err, const char *text)
{
    unsigned code = W_CODE_BAD_REQUEST;

    if (err == EPROTONOSUPPORT)
        code = W_CODE_UNSUPPORTED;
    else if (err == EACCES)
        code = W_CODE_DENIED;
    else if (err == EFBIG || err == EMFILE || err == ENOMEM)
        code = W_CODE_LIMIT;
    refuse(p, id, code, err, text);
    close_peer(p);
}

/* --- what a connection tells us ------------------------------------------------------ */

static int on_up(void *owner, const struct cn_result *r)
{
    struct peer *p = owner;
    struct ry_result result = {.version = r->facts.suite->version,
                               .cipher = r->facts.suite->id,
                               .alpn = (const uint8_t *)r->facts.alpn,
                               .alpn_len = r->facts.alpn_len,
                               .tx = r->tx,
                               .rx = r->rx,
                               .why = r->why,
                               .group = r->facts.group,
                               .cookie = r->cookie,
                               .resumed = r->facts.resumed};
    unsigned nfds = r->fd >= 0;

    p->busy = false;
    if (r->tx != W_MODE_RELAY) {
        p->conn = NULL;
        ac_describe(p->w, r->cookie, &p->who, p->caps, &result);
    }
    return answer(p, ry_result(p->w->out, sizeof(p->w->out), p->conn_id, &result, nfds), &r->fd,
                  nfds);
}

static void on_down(void *owner, const struct failure *f)
{
    struct peer *p = owner;

    p->busy = false;
    p->conn = NULL;
    answer_error(p, p->conn_id, f);
}

/* A relay's end that was not an orderly one is told under the CONNECT's id, to whoever still
 * listens. */
static void on_relay_ended(void *owner, const struct failure *f)
{
    struct peer *p = owner;

    p->conn = NULL;
    if (f->code)
        answer_error(p, p->conn_id, f);
}

/* --- messages ------------------------------------------------------------------------ */

static void on_hello(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    const struct pr_caps *caps = p->w->caps;
    uint32_t version = (uint32_t)w_num(m, W_A_VERSION, 0), can = W_CAP_CONTROL;
    struct w_buf b;

    (void)fds;
    if (p->greeted) {
        refuse_and_close(p, m->id, EPROTO, "a second HELLO");
        return;
    }
    if (version < 1) {
        refuse_and_close(p, m->id, EPROTONOSUPPORT, "protocol version 0: this htlsd speaks 1");
        return;
    }
    p->greeted = true;
    p->caps = (uint32_t)w_num(m, W_A_CAPS, 0);
    lp_cancel(p->w->lp, &p->hello_timer);
    if (caps->ulp == 0 && pr_any(caps))
        can |= W_CAP_KERNEL;
    if (caps->rekey == 0 && caps->ulp == 0)
        can |= W_CAP_REKEY;
    begin(p, &b, W_WELCOME, m->id, 0);
    w_put_num(&b, W_A_VERSION, version < W_VERSION ? version : W_VERSION);
    w_put_num(&b, W_A_CAPS, can);
    w_put_text(&b, W_A_AGENT, "htlsd " HTLS_VERSION);
    answer(p, w_end(&b), NULL, 0);
}

static void on_trust(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    const struct w_val *v = &m->v[W_A_PEM];
    uint8_t *all;

    (void)fds;
    if (!p->w->options->client_ca) {
        refuse_and_close(p, m->id, EACCES, "CA certificates of clients are not allowed: client-ca");
        return;
    }
    if (p->pem_len + v->n > W_TRUST_MAX) {
        refuse_and_close(p, m->id, EFBIG, "more than 1 MiB of CA certificates");
        return;
    }
    all = realloc(p->pem, p->pem_len + v->n);
    if (!all) {
        refuse_and_close(p, m->id, ENOMEM, "no memory for the CA certificates");
        return;
    }
    memcpy(all + p->pem_len, v->p, v->n);
    p->pem = all;
    p->pem_len += v->n;
}

static void forget_trust(struct peer *p)
{
    free(p->pem);
    p->pem = NULL;
    p->pem_len = 0;
}

/* Reads the request, finds its trust, opens the connection. The descriptors are used up either way.
 */
static int start(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX], struct failure *f)
{
    const struct cn_owner owner = {on_up, on_down, on_relay_ended, p};
    _cleanup_fd_ int tcp = fd_steal(&fds[0]), gate = fd_steal(&fds[1]);
    X509_STORE *store = NULL;
    struct request *q;
    int r = rq_read(&q, m, &p->who, p->w->options, p->w->caps, f);

    if (r == 0) {
        r = tr_get(p->w->trust, q->trust_store, p->pem, p->pem_len, &store, q->setup.trust, f);
        if (r < 0)
            rq_free(q);
    }
    forget_trust(p);
    if (r < 0) {
        shutdown(tcp, SHUT_RDWR); /* TLS was asked for: nothing may follow in the clear */
        di_drop(&tcp);
        di_drop(&gate);
        return r;
    }
    return cn_open(&p->conn, p->w, &owner, fd_steal(&tcp), fd_steal(&gate), q, store, &p->who, f);
}

static void on_connect(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    struct failure f = {.alert = -1};

    if (p->busy) {
        refuse_and_close(p, m->id, EBUSY, "a CONNECT while another one is under way");
        return;
    }
    if (p->conn) /* the relay of the CONNECT before: from here on it has no ear */
        cn_cancel(p->conn);
    p->conn = NULL;
    p->conn_id = m->id;
    if (start(p, m, fds, &f) < 0) {
        st_add(&p->w->stats->refused, 1);
        lg_info("refused uid=%u pid=%d code=%s: %s", p->who.uid, p->who.pid, w_code_name(f.code),
                f.text);
        answer_error(p, m->id, &f);
        return;
    }
    p->busy = true;
    cn_start_waiting(p->w);
}

static void on_cancel(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    struct failure f = {.alert = -1};
    struct conn *c = p->conn;

    (void)fds;
    if (!p->busy || m->id != p->conn_id)
        return; /* its answer is on the way already */
    p->busy = false;
    p->conn = NULL;
    cn_cancel(c);
    fl_set(&f, W_CODE_CANCELLED, ECANCELED, "cancelled by the client");
    answer_error(p, m->id, &f);
}

/* CONTROL, REKEY, ATTACH: about a kernel connection that this worker or another one keeps. */
static void on_control(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    int n = ac_answer(p->w, &p->who, p->caps, m, fds[0]);

    if (n == -ENOKEY)
        n = ac_forward(p->w, &p->who, p->caps, m, fds[0], p->fd);
    di_drop(&fds[0]); /* before the answer: who has it may close the socket, and count on that */
    if (n > 0)
        answer(p, n, NULL, 0);
    if (n > 0)
        secret_wipe(p->w->out, (size_t)n);
    if (n < 0)
        refuse(p, m->id, W_CODE_WOULD_BLOCK, EAGAIN, "htlsd is busy; try again");
}

static void on_share(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    const struct pool *pool = po_find(&p->w->pools, p->who.uid);
    struct w_buf b;

    (void)fds;
    if (!pool) {
        refuse(p, m->id, W_CODE_UNSUPPORTED, EOPNOTSUPP, "this user's processes share no memory");
        return;
    }
    begin(p, &b, W_SHARED, m->id, 1);
    w_put_num(&b, W_A_POOL, pool->id);
    answer(p, w_end(&b), &pool->fd, 1);
}

static void on_status(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    static char text[32768];
    size_t n = re_write(text, sizeof(text), p->w);
    struct w_buf b;

    (void)fds;
    begin(p, &b, W_REPORT, m->id, 0);
    w_put_bytes(&b, W_A_REPORT, text, n);
    answer(p, w_end(&b), NULL, 0);
}

/* What a client may send; the codec has refused all else. To add a message: a row. */
static void (*const handlers[W_TYPE_END])(struct peer *, const struct w_msg *, int[FM_FDS_MAX]) = {
    [W_HELLO] = on_hello,    [W_TRUST] = on_trust,     [W_CONNECT] = on_connect,
    [W_CANCEL] = on_cancel,  [W_CONTROL] = on_control, [W_STATUS] = on_status,
    [W_ATTACH] = on_control, [W_REKEY] = on_control,   [W_SHARE] = on_share,
};

static const char *decode_error(int r)
{
    switch (r) {
    case -EMFILE:
        return "malformed message: the wrong number of descriptors";
    case -ENODATA:
        return "malformed message: an attribute is missing";
    case -EPROTO:
        return "malformed message: a type or attribute that may not come here";
    case -EPROTONOSUPPORT:
        return "malformed message: a type or attribute that this version does not know";
    default:
        return "malformed message: its lengths, order, padding or a value are wrong";
    }
}

static void on_message(struct peer *p, size_t len, int fds[FM_FDS_MAX], unsigned nfds)
{
    struct w_msg m;
    int r = w_decode(&m, p->w->in, len, nfds, W_TO_DAEMON);

    if (r < 0) {
        refuse_and_close(p, 0, EBADMSG, decode_error(r));
    } else if (!p->greeted && m.type != W_HELLO) {
        refuse_and_close(p, m.id, EPROTO, "the first message must be HELLO");
    } else {
        handlers[m.type](p, &m, fds);
    }
    for (unsigned i = 0; i < FM_FDS_MAX; i++)
        di_drop(&fds[i]);
}

static void on_in(struct lp_op *op, int result)
{
    struct peer *p = LP_OWNER(op, struct peer, in);

    (void)result;
    /* Four messages a turn: HELLO, TRUST, CONNECT often come together, one client may not stay
     * longer. */
    for (int i = 0; i < 4 && !p->closing; i++) {
        int fds[FM_FDS_MAX] = {-1, -1};
        unsigned nfds = 0;
        int n = fm_recv(p->fd, p->w->in, sizeof(p->w->in), fds, &nfds, MSG_DONTWAIT);

        if (n == -EAGAIN)
            break;
        if (n == -EMSGSIZE)
            refuse_and_close(p, 0, EMFILE,
                             "message cut: too long, too many descriptors, or htlsd has none left");
        else if (n <= 0)
            close_peer(p);
        else
            on_message(p, (size_t)n, fds, nfds);
    }
    if (p->closing)
        release(p);
    else
        lp_poll(p->w->lp, &p->in, p->fd, POLLIN);
}

static void on_hello_timer(struct lp_op *op, int result)
{
    struct peer *p = LP_OWNER(op, struct peer, hello_timer);

    if (p->closing)
        release(p);
    else if (result == -ETIME && !p->greeted)
        close_peer(p);
}

static void on_reap(struct lp_op *op, int result)
{
    (void)result;
    release(LP_OWNER(op, struct peer, reap));
}

int pe_open(struct worker *w, int fd, const struct in_peer *who)
{
    struct peer *p = calloc(1, sizeof(*p));

    if (!p) {
        di_close_unix(fd);
        return -ENOMEM;
    }
    p->w = w;
    p->who = *who;
    p->fd = fd;
    p->in.done = on_in;
    p->hello_timer.done = on_hello_timer;
    p->reap.done = on_reap;
    st_add(&w->stats->peers, 1);
    lp_poll(w->lp, &p->in, fd, POLLIN);
    lp_timer(w->lp, &p->hello_timer, w->options->handshake_ms);
    return 0;
}
