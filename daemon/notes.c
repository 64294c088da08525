/* Control's half of the control path: it knows which worker keeps a connection, no more. */
#include "notes.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/fdmsg.h"
#include "../proto/secret.h"
#include "../proto/wire.h"
#include "dispose.h"
#include "log.h"
#include "reply.h"

static bool on_left(struct notes *n, unsigned worker, const void *p, size_t len)
{
    const struct in_left *note = p;

    if (len != sizeof(*note))
        return false;
    ce_leave(n->census, worker, note->uid);
    return true;
}

static bool on_kept(struct notes *n, unsigned worker, const void *p, size_t len)
{
    const struct in_kept *note = p;
    const struct ow_row row = {worker, len == sizeof(*note) ? note->netns : 0};
    int r;

    if (len != sizeof(*note))
        return false;
    r = ow_set(&n->owners, note->cookie, &row);
    if (r < 0)
        lg_warning("a kernel connection of worker %u is not in the books: %s", worker,
                   strerror(-r));
    return true;
}

static void answer(int client, const void *message, size_t len, unsigned code, int err,
                   const char *text)
{
    struct failure f = {.alert = -1};
    uint8_t out[1024];
    struct w_msg m;
    int n;

    fl_set(&f, code, err, "%s", text);
    if (w_decode(&m, message, len, 1, W_TO_DAEMON) < 0)
        return;
    n = ry_error(out, sizeof(out), m.id, &f);
    if (n > 0)
        (void)fm_send(client, out, (size_t)n, NULL, 0, MSG_DONTWAIT);
}

/* The owner may have said that it is one a moment ago, and not been heard yet. */
static bool find_owner(struct notes *n, uint64_t cookie, struct ow_row *row)
{
    if (ow_get(&n->owners, cookie, row))
        return true;
    if (n->draining)
        return false;
    n->draining = true;
    n->drain(n->owner);
    n->draining = false;
    return ow_get(&n->owners, cookie, row);
}

static bool on_forward(struct notes *n, unsigned worker, void *p, size_t len, int fds[2])
{
    struct in_serve *note = p;
    size_t head = offsetof(struct in_serve, message);
    struct ow_row row;
    int r;

    if (len < head + W_HEADER || fds[0] < 0 || fds[1] < 0)
        return false;
    if (!find_owner(n, note->cookie, &row) || row.worker == worker) {
        answer(fds[1], note->message, len - head, W_CODE_NO_STATE, ENOKEY,
               "htlsd keeps no state of this connection");
        return true;
    }
    note->type = IN_SERVE;
    r = n->send(n->owner, row.worker, note, len, fds, 2);
    if (r < 0)
        answer(fds[1], note->message, len - head, W_CODE_WOULD_BLOCK, EAGAIN,
               "the worker that keeps this connection is busy or being replaced; try again");
    return true;
}

bool no_take(struct notes *n, unsigned worker, void *p, size_t len, int fds[2], unsigned nfds)
{
    uint32_t type = 0;
    bool good = false;

    if (len >= sizeof(type))
        memcpy(&type, p, sizeof(type));
    if (type == IN_LEFT && nfds == 0)
        good = on_left(n, worker, p, len);
    else if (type == IN_KEPT && nfds <= 1)
        good = on_kept(n, worker, p, len);
    else if (type == IN_FORWARD && nfds == 2)
        good = on_forward(n, worker, p, len, fds);
    di_drop(&fds[0]);
    di_drop(&fds[1]);
    return good;
}
