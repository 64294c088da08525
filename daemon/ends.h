/* How the control process learns that TCP sockets are gone whose descriptor it no longer holds. */
#ifndef HTLS_ENDS_H
#define HTLS_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct ends;

/* Who keeps connections, by their sockets' cookies. */
struct en_owner {
    /* closed: the kernel has freed this socket, no process holds it. Said of every TCP socket of
     * the namespaces that are listened to, most of which are nobody's here: to be ignored.
     * Not closed: an audit did not find this one. TCP has ended for it. Either the event was among
     * those that were lost, and nothing follows; or a process still holds it, and may read what
     * came before the end, and "closed" follows when it lets go. */
    void (*gone)(void *owner, uint64_t cookie, bool closed);
    /* The next from *at (at first 0) of all connections that are kept, each once; false behind the
     * last. Nothing is added or dropped between the calls of one round. */
    bool (*each)(void *owner, size_t *at, uint64_t *cookie, uint64_t *netns);
    /* Takes in every connection that workers have announced: called between reading events and
     * telling them. A worker that announces before it closes its own descriptor is so never
     * overtaken by the end of what it announced. May be NULL. */
    void (*catch_up)(void *owner);
    void *owner;
};

/* One per process, before the first fork or forgotten in the child. Listens in the process's own
 * network namespace; where the kernel has no sock_diag for TCP that is logged, and no connection
 * can be watched. Returns 0 or -ENOMEM. */
int en_open(struct ends **out, struct lp_loop *lp, const struct en_owner *o);

/* When the loop turns no more. */
void en_close(struct ends *e);
/* In a child after fork: drops what it inherited. */
void en_forget(struct ends *e);

/* A connection of that network namespace is kept from now on: somebody listens there. tcp_fd is a
 * socket of it, open still; -1 will do where somebody listens already. Returns 0, or -errno and
 * nobody will tell its end: -ENOENT no tcp_diag, -EPERM no right to enter that namespace, -EMFILE
 * too many of them, -EBADF no tcp_fd, -EXDEV tcp_fd is not of that namespace. */
int en_watch(struct ends *e, uint64_t netns, int tcp_fd);

/* One connection less is kept there. A foreign namespace, which lives as long as somebody listens
 * in it, is left some seconds after the last. */
void en_unwatch(struct ends *e, uint64_t netns);

/* Events of that namespace may have been missed (what is kept is older than this process): compares
 * all its sockets with all that is kept of it. Returns 0, and gone() will be called for those that
 * are not there, or -ENOENT: nobody listens there. After an overflow this is done unasked. */
int en_audit(struct ends *e, uint64_t netns);

#endif
