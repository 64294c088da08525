/* The io_uring loop that every process of the daemon turns in.
 *
 * One thread, one ring. Each pending operation is a struct lp_op inside the object that wants it;
 * its done() runs once, from lp_run(), with the result as the kernel gives it (a count or -errno).
 * An object may only be freed when none of its operations is busy: cancel them and wait for their
 * done(). That rule takes the place of generation numbers: a late completion always finds its
 * object.
 *
 * Concurrency of the whole daemon: a process here has one thread; workers share nothing but the
 * counters in stats.h (atomics) and the session cache. That has the one lock that exists: it is
 * held for a few copies, and nobody waits longer than 5 ms for it (sessions.h). */
#ifndef HTLS_LOOP_H
#define HTLS_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_loop;

struct lp_op {
    void (*done)(struct lp_op *op, int result);
    bool busy;              /* submitted, done() still to come */
    long long timespec_[2]; /* of a timer; the kernel reads it at submission */
};

/* The object that embeds an operation. */
#define LP_OWNER(op, type, member) ((type *)(void *)((char *)(op)-offsetof(type, member)))

/* Makes a ring for about `entries` operations per turn. Returns 0 or -errno (-EPERM: io_uring is
 * disabled by kernel.io_uring_disabled, -ENOSYS: the kernel has none). */
int lp_open(struct lp_loop **out, unsigned entries);
void lp_close(struct lp_loop *lp);

/* In a child after fork: drops what it inherited of its parent's loop. The ring's memory is never
 * inherited. */
void lp_forget(struct lp_loop *lp);

/* Turns until lp_stop(). Returns 0, or -errno when the ring itself fails. May be called again. */
int lp_run(struct lp_loop *lp);
void lp_stop(struct lp_loop *lp);

/* Waits until fd has one of the poll(2) events in mask, HUP or ERR; the result is the events. */
void lp_poll(struct lp_loop *lp, struct lp_op *op, int fd, unsigned mask);

/* Watches for the end of fd alone: done() runs whenever HUP, ERR or RDHUP changes, and the
 * operation stays busy until it is cancelled or fails. The result may be RDHUP alone: the ring
 * always reports it, so that a plain lp_poll() with an empty mask would fire for ever on a
 * half-closed socket. */
void lp_watch_end(struct lp_loop *lp, struct lp_op *op, int fd);

/* A timer: the result is -ETIME when it ran out, -ECANCELED when it was cancelled. */
void lp_timer(struct lp_loop *lp, struct lp_op *op, unsigned ms);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t lp_now_ms(void);

/* Asks for a busy operation's end; its done() comes with -ECANCELED, or with the real result if
 * that was faster. Does nothing when the operation is not busy. */
void lp_cancel(struct lp_loop *lp, struct lp_op *op);

#endif
