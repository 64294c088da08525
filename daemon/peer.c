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
    struct conn *conn; /* a CONNECT that runs, or the relay that came of the last one */
    uint32_t conn_id;  /* its id */
    bool busy;         /* the CONNECT has no answer yet */
    uint8_t *pem;      /* TRUST messages for the next CONNECT */
    size_t pem_len;
};

static void release(struct peer *p)
{
    struct in_gone gone = {.uid = p->who.uid};

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

/* Sends what was built in w->out. A client that does not read its answers loses its connection.
 * Returns 0 or, without that, -ETOOMANYREFS: the kernel carries no more descriptors for our user.
 */
static int answer(struct peer *p, struct w_buf *b, const int *fds, unsigned nfds)
{
    int r = w_end(b);

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

/* An error text comes from many hands, a peer's too: on the wire it is plain printable text. */
static void put_text(struct w_buf *b, enum w_attr a, const char *text)
{
    char clean[W_TEXT_MAX];
    size_t n = strnlen(text, sizeof(clean) - 1);

    for (size_t i = 0; i < n; i++) {
        clean[i] = text[i];
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            clean[i] = '?';
    }
    clean[n] = '\0';
    w_put_text(b, a, clean);
}

static void answer_error(struct peer *p, uint32_t id, const struct failure *f)
{
    struct w_buf b;

    begin(p, &b, W_ERROR, id, 0);
    w_put_num(&b, W_A_CODE, f->code);
    w_put_num(&b, W_A_ERRNO, f->err > 0 ? (uint64_t)f->err : EIO);
    if (f->alert >= 0) {
        w_put_num(&b, W_A_ALERT, (uint64_t)f->alert);
        w_put_num(&b, W_A_ALERT_SENT, f->alert_sent);
    }
    if (f->verify)
        w_put_num(&b, W_A_VERIFY_CODE, (uint64_t)f->verify);
    put_text(&b, W_A_TEXT, *f->text ? f->text : w_code_text(f->code));
    answer(p, &b, NULL, 0);
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
    struct w_buf b;

    p->busy = false;
    if (r->tx != W_MODE_RELAY)
        p->conn = NULL;
    begin(p, &b, W_RESULT, p->conn_id, r->fd >= 0);
    w_put_num(&b, W_A_TLS_VERSION, r->facts.suite->version);
    w_put_num(&b, W_A_CIPHER, r->facts.suite->id);
    if (r->facts.alpn_len)
        w_put_bytes(&b, W_A_ALPN_SELECTED, r->facts.alpn, r->facts.alpn_len);
    w_put_num(&b, W_A_MODE_TX, r->tx);
    w_put_num(&b, W_A_MODE_RX, r->rx);
    put_text(&b, W_A_WHY, r->why);
    w_put_num(&b, W_A_COOKIE, r->cookie);
    put_text(&b, W_A_GROUP, r->facts.group);
    w_put_num(&b, W_A_RESUMED, r->facts.resumed);
    return answer(p, &b, &r->fd, r->fd >= 0);
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
    uint32_t version = (uint32_t)w_num(m, W_A_VERSION, 0), can = 0;
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
    lp_cancel(p->w->lp, &p->hello_timer);
    if (caps->ulp == 0 && pr_any(caps))
        can |= W_CAP_KERNEL;
    if (caps->rekey == 0 && caps->ulp == 0)
        can |= W_CAP_REKEY;
    begin(p, &b, W_WELCOME, m->id, 0);
    w_put_num(&b, W_A_VERSION, version < W_VERSION ? version : W_VERSION);
    w_put_num(&b, W_A_CAPS, can);
    w_put_text(&b, W_A_AGENT, "htlsd " HTLS_VERSION);
    answer(p, &b, NULL, 0);
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
        r = tr_get(p->w->trust, q->trust_store, p->pem, p->pem_len, &store, f);
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

static void on_control(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    (void)fds;
    refuse(p, m->id, W_CODE_UNSUPPORTED, EOPNOTSUPP,
           "this htlsd does not act on control records (no W_CAP_CONTROL)");
}

static void on_status(struct peer *p, const struct w_msg *m, int fds[FM_FDS_MAX])
{
    static char text[32768];
    size_t n = re_write(text, sizeof(text), p->w);
    struct w_buf b;

    (void)fds;
    begin(p, &b, W_REPORT, m->id, 0);
    w_put_bytes(&b, W_A_REPORT, text, n);
    answer(p, &b, NULL, 0);
}

/* What a client may send; the codec has refused all else. To add a message: a row. */
static void (*const handlers[W_TYPE_END])(struct peer *, const struct w_msg *, int[FM_FDS_MAX]) = {
    [W_HELLO] = on_hello,   [W_TRUST] = on_trust,     [W_CONNECT] = on_connect,
    [W_CANCEL] = on_cancel, [W_CONTROL] = on_control, [W_STATUS] = on_status,
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
