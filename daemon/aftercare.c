/* What a worker does for a kernel connection whose socket it no longer holds.
 *
 * A request carries a copy of the socket, and SO_COOKIE is all that is asked of it: whoever holds a
 * socket may speak for its connection. No other call is made on it, for a socket's lock can be held
 * by a stranger who sleeps in a page fault. */
#include "aftercare.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/fdmsg.h"
#include "../proto/posths.h"
#include "../proto/secret.h"
#include "dispose.h"
#include "log.h"
#include "rekey.h"
#include "sockfd.h"

#define UNTOLD_MS 50 /* until control is told again of what its queue had no room for */

/* RFC 8446 section 5.5 for GCM; RFC 9147 section 4.5.3 reckons CCM the same way. ChaCha20-Poly1305
 * ends with its sequence numbers. */
#define GCM_RECORDS UINT64_C(23726566) /* 2^24.5 */
#define CCM_RECORDS UINT64_C(8388608)  /* 2^23 */

/* --- keeping ------------------------------------------------------------------------- */

bool ac_has_room(const struct worker *w)
{
    return tb_has_room(w->table);
}

/* Returns false when control's queue is full. */
static bool tell(struct worker *w, struct tb_entry *e, int tcp)
{
    const struct in_kept note = {.type = IN_KEPT, .cookie = e->cookie, .netns = e->netns};
    bool foreign = tcp >= 0 && e->netns != w->netns;
    int r = fm_send(w->control, &note, sizeof(note), &tcp, foreign, MSG_DONTWAIT);

    e->told = r == 0;
    return r == 0;
}

void ac_announce(struct worker *w)
{
    struct tb_entry *e;
    uint32_t at = 0;

    while ((e = tb_next(w->table, &at)))
        if (!e->told && !tell(w, e, -1)) {
            if (!w->untold.busy)
                lp_timer(w->lp, &w->untold, UNTOLD_MS);
            return;
        }
}

void ac_on_untold(struct lp_op *op, int result)
{
    if (result == -ETIME)
        ac_announce(LP_OWNER(op, struct worker, untold));
}

void ac_keep(struct worker *w, int tcp, const struct in_peer *who, const char *name,
             const struct cn_result *r, const struct ks_dir *rx, const struct ks_dir *tx)
{
    struct tb_entry *e = tb_add(w->table, sf_cookie(tcp));

    if (!e) {
        lg_error("bug: no room for a connection whose keys are in the kernel");
        return;
    }
    e->netns = sf_netns(tcp);
    e->uid = who->uid;
    e->suite = r->facts.suite->id;
    e->tx_mode = (uint8_t)r->tx;
    e->rx_mode = (uint8_t)r->rx;
    e->resumed = r->facts.resumed;
    ud_open(&e->updates, w->options->key_updates, lp_now_ms());
    e->alpn_len = (uint8_t)r->facts.alpn_len;
    memcpy(e->alpn, r->facts.alpn, r->facts.alpn_len);
    memcpy(e->rx_secret[0], rx->secret, sizeof(rx->secret));
    memcpy(e->tx_secret[0], tx->secret, sizeof(tx->secret));
    snprintf(e->name, sizeof(e->name), "%s", name);
    snprintf(e->group, sizeof(e->group), "%.23s", r->facts.group);
    st_add(&w->stats->kept, 1);
    if (!tell(w, e, tcp) && !w->untold.busy)
        lp_timer(w->lp, &w->untold, UNTOLD_MS);
}

/* --- answering ----------------------------------------------------------------------- */

static uint64_t records_max(const struct worker *w, const struct ks_suite *suite)
{
    uint64_t most = suite->aead == KS_AES_128_CCM ? CCM_RECORDS : GCM_RECORDS;

    if (suite->version != KS_TLS13)
        return 0;
    if (w->options->records_per_key)
        return w->options->records_per_key;
    return suite->aead == KS_CHACHA20 ? 0 : most;
}

/* A slot is for the processes of the uid that made the connection. */
void ac_describe(const struct worker *w, uint64_t cookie, const struct in_peer *who, uint32_t caps,
                 struct ry_result *r)
{
    const struct tb_entry *e = tb_find(w->table, cookie);
    const struct pool *pool = po_find(&w->pools, who->uid);

    if (!e)
        return;
    r->records_max = records_max(w, ks_find(e->suite));
    if (pool && e->uid == who->uid && (caps & W_CAP_SLOTS)) {
        r->pool = pool->id;
        r->slot = tb_index(w->table, e) * w->shared->workers + w->index;
    }
}

static void facts_of(const struct tb_entry *e, struct ry_result *r)
{
    r->version = ks_find(e->suite)->version;
    r->cipher = e->suite;
    r->alpn = e->alpn;
    r->alpn_len = e->alpn_len;
    r->tx = (enum w_mode)e->tx_mode;
    r->rx = (enum w_mode)e->rx_mode;
    r->group = e->group;
    r->cookie = e->cookie;
    r->resumed = e->resumed;
}

static void put_key(struct ry_result *r, const struct rk_key *key)
{
    r->has_generation = true;
    r->generation = key->generation;
    if (key->n > 0) {
        r->key = key->block;
        r->key_len = (size_t)key->n;
    }
}

static int refuse_message(struct failure *f, int alert)
{
    f->alert = alert;
    f->alert_sent = true;
    return fl_set(f, W_CODE_PROTOCOL_VIOLATION, EPROTO,
                  "the peer sent a handshake message that may not come after the handshake");
}

/* A record of handshake messages. One that does not begin with a message's head goes on with a
 * ticket that was cut. True: it ends with a KeyUpdate; *asked: that wants one in return. */
static int read_messages(const struct tb_entry *e, const struct w_val *record, bool *update,
                         bool *asked, struct failure *f)
{
    struct ph_stream s = {.have = 0};
    enum ph_event event = PH_NOTHING;
    int r;

    *update = false;
    if (ks_find(e->suite)->version == KS_TLS13 && record->p[0] != 4 &&
        !(record->n == 5 && record->p[0] == 24))
        return 0;
    r = ph_feed(&s, ks_find(e->suite)->version, record->p, record->n, &event);
    if (r < 0)
        return refuse_message(f, -r);
    *update = event != PH_NOTHING;
    *asked = event == PH_KEY_UPDATE_ASK;
    return 0;
}

/* Counts a KeyUpdate that is reported for the first time. */
static int count_update(struct worker *w, struct tb_entry *e, uint64_t moved, struct failure *f)
{
    if (moved > e->moved) {
        ud_moved(&e->updates, w->options->key_updates, moved - e->moved);
        e->moved = moved;
    }
    if (ud_take(&e->updates, w->options->key_updates, lp_now_ms()) == 0)
        return 0;
    f->alert = 10; /* unexpected_message, as the relay says it */
    f->alert_sent = true;
    return fl_set(f, W_CODE_KEY_UPDATE, EPROTO,
                  "the peer changes its key again and again and sends no data (limits: "
                  "key-updates)");
}

static int on_control(struct worker *w, struct tb_entry *e, const struct w_msg *m,
                      struct ry_result *r, struct rk_key *key, struct failure *f)
{
    uint32_t generation = (uint32_t)w_num(m, W_A_GENERATION, 0);
    const struct w_val *record = &m->v[W_A_RECORD];
    bool update, asked;
    int k;

    if (w_num(m, W_A_RECORD_TYPE, 0) != 22)
        return 0;
    k = read_messages(e, record, &update, &asked, f);
    if (k == 0 && !update) /* whether anybody still waits for it is no matter to the client */
        (void)tk_feed(w->tickets, e->cookie, record->p, record->n);
    if (k < 0 || !update)
        return k;
    if (w->caps->rekey < 0)
        return fl_set(f, W_CODE_UNSUPPORTED, EKEYEXPIRED,
                      "the peer changed its key, and this kernel cannot follow (it can from 6.14): "
                      "use the relay for this peer (htlsd: path = relay)");
    if (!w_has(m, W_A_GENERATION) || generation == e->rx_generation)
        k = count_update(w, e, w_num(m, W_A_MOVED, 0), f);
    if (k == 0)
        k = rk_received(e, w_has(m, W_A_GENERATION) ? &generation : NULL, asked, key, f);
    if (k < 0)
        return k;
    put_key(r, key);
    r->owed = e->owed;
    st_add(&w->stats->updates_received, 1);
    return 0;
}

static int on_rekey(struct worker *w, struct tb_entry *e, const struct w_msg *m,
                    struct ry_result *r, struct rk_key *key, struct failure *f)
{
    int k;

    if (w->caps->rekey < 0)
        return fl_set(f, W_CODE_UNSUPPORTED, EOPNOTSUPP,
                      "this kernel cannot change keys (it can from 6.14)");
    k = rk_sending(e, (uint32_t)w_num(m, W_A_GENERATION, 0), key, f);
    if (k < 0)
        return k;
    put_key(r, key);
    st_add(&w->stats->updates_sent, 1);
    return 0;
}

static int act(struct worker *w, struct tb_entry *e, const struct w_msg *m, struct ry_result *r,
               struct rk_key *key, struct failure *f)
{
    switch (m->type) {
    case W_CONTROL:
        return on_control(w, e, m, r, key, f);
    case W_REKEY:
        return on_rekey(w, e, m, r, key, f);
    default: /* ATTACH */
        r->owed = e->owed;
        return 0;
    }
}

static int no_state(struct worker *w, uint32_t id)
{
    struct failure f = {.alert = -1};

    fl_set(&f, W_CODE_NO_STATE, ENOKEY, "htlsd keeps no state of this connection");
    return ry_error(w->out, sizeof(w->out), id, &f);
}

int ac_answer(struct worker *w, const struct in_peer *who, uint32_t caps, const struct w_msg *m,
              int tcp)
{
    struct tb_entry *e = tb_find(w->table, sf_cookie(tcp));
    struct failure f = {.alert = -1};
    struct ry_result r = {.why = ""};
    struct rk_key key = {.n = 0};
    SECRET_WIPE(key);

    if (!e && !sf_is_tcp(tcp)) /* nobody keeps it, and control must not have to close it */
        return no_state(w, m->id);
    if (!e)
        return -ENOKEY;
    facts_of(e, &r);
    if (m->type == W_ATTACH)
        ac_describe(w, e->cookie, who, caps, &r);
    if (act(w, e, m, &r, &key, &f) < 0) {
        lg_info("control name=%s uid=%u pid=%d code=%s: %s", e->name, who->uid, who->pid,
                w_code_name(f.code), f.text);
        return ry_error(w->out, sizeof(w->out), m->id, &f);
    }
    return ry_result(w->out, sizeof(w->out), m->id, &r, 0);
}

/* --- other workers' clients, other workers' connections ------------------------------ */

int ac_forward(struct worker *w, const struct in_peer *who, uint32_t caps, const struct w_msg *m,
               int tcp, int client)
{
    static struct in_serve note; /* large, and dead after the call */
    const int fds[2] = {tcp, client};
    int r;

    if (m->len > sizeof(note.message))
        return -EMSGSIZE;
    note.type = IN_FORWARD;
    note.caps = caps;
    note.cookie = sf_cookie(tcp);
    note.who = *who;
    memcpy(note.message, m->buf, m->len);
    r = fm_send(w->control, &note, offsetof(struct in_serve, message) + m->len, fds, 2,
                MSG_DONTWAIT);
    secret_wipe(note.message, m->len); /* a ticket */
    return r;
}

bool ac_serve(struct worker *w, const void *message, size_t len, int fds[2])
{
    const struct in_serve *note = message;
    struct w_msg m;
    int n;

    if (len < offsetof(struct in_serve, message) + W_HEADER || fds[0] < 0 || fds[1] < 0 ||
        w_decode(&m, note->message, len - offsetof(struct in_serve, message), 1, W_TO_DAEMON) < 0)
        return false;
    n = ac_answer(w, &note->who, note->caps, &m, fds[0]);
    if (n == -ENOKEY)
        n = no_state(w, m.id);
    di_drop(&fds[0]); /* before the answer */
    if (n > 0)
        (void)fm_send(fds[1], w->out, (size_t)n, NULL, 0, MSG_DONTWAIT);
    secret_wipe(w->out, n > 0 ? (size_t)n : 0);
    di_drop(&fds[1]);
    return true;
}

bool ac_ended(struct worker *w, const void *message, size_t len)
{
    const struct in_ended *note = message;

    if (len < offsetof(struct in_ended, cookies) || note->n > IN_ENDED_MAX ||
        len != offsetof(struct in_ended, cookies) + note->n * sizeof(note->cookies[0]))
        return false;
    for (uint32_t i = 0; i < note->n; i++)
        if (tb_drop(w->table, note->cookies[i]))
            st_sub(&w->stats->kept, 1);
    return true;
}
