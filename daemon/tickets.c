/* Session tickets that come when the handshake is over. */
#include "tickets.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include "../proto/secret.h"
#include "handshake_state.h"
#include "posths.h"
#include "record.h"

#define DRAIN_MAX 16 /* tickets taken at most; a peer must not keep us here */

/* True for a record that holds whole tickets and nothing else. One that ends in the middle of a
 * message belongs to whoever reads the records behind it, and a KeyUpdate is no business of the SSL
 * object, which would change its keys without us. */
static bool only_tickets(const uint8_t *plain, size_t n)
{
    struct ph_stream s = {.have = 0};
    enum ph_event event;

    return ph_feed(&s, KS_TLS13, plain, n, &event) == 0 && event == PH_NOTHING && s.have == 0;
}

/* True when the record at the head of the queue, whole, opens to session tickets. */
static bool ticket_waits(struct hs *h, const struct ks_dir *rx)
{
    uint8_t record[RC_HEADER + RC_BODY_MAX];
    struct rc_ctx *c;
    uint8_t type, *plain;
    size_t n;
    bool yes;
    int len;

    if (recv(h->io.fd, record, RC_HEADER, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)RC_HEADER)
        return false;
    len = rc_length(record);
    if (len < 0 || record[0] != RC_DATA ||
        recv(h->io.fd, record, (size_t)len, MSG_PEEK | MSG_DONTWAIT) != len)
        return false;
    if (rc_new(&c, rx, 0) < 0)
        return false;
    yes = rc_open(c, record, (size_t)len, &type, &plain, &n) == 0 && type == RC_HANDSHAKE &&
          only_tickets(plain, n);
    rc_free(c);
    secret_wipe(record, sizeof(record)); /* may be the program's data, opened on trial */
    return yes;
}

int tk_drain(struct hs *h, struct failure *f)
{
    struct ks_dir rx, tx;
    SECRET_WIPE(rx);
    SECRET_WIPE(tx);
    char none;
    int r;

    if (SSL_version(h->ssl) != TLS1_3_VERSION)
        return 0; /* TLS 1.2 sends its ticket before the Finished */
    for (int i = 0; i < DRAIN_MAX; i++) {
        r = hs_keys(h, &rx, &tx, f);
        if (r < 0)
            return r;
        if (!ticket_waits(h, &rx))
            return 0;
        h->io.allow = 1;
        ERR_clear_error();
        r = SSL_read(h->ssl, &none, 1);
        if (r > 0 || SSL_get_error(h->ssl, r) != SSL_ERROR_WANT_READ) {
            te_failure(f, h->ssl, SSL_get_error(h->ssl, r), &h->io, &h->alerts, h->name);
            return -f->err;
        }
    }
    return 0;
}
