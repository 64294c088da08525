/* The io_uring loop: submission, completion, cancellation. It knows no TLS and no protocol.
 *
 * Sockets are read and written by plain non-blocking calls once the ring says that they are ready:
 * O_NONBLOCK of a client's socket must not be changed (the open file is shared with the client), a
 * handshake must never take a byte too many, and no buffer may lie in wait for an idle connection.
 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct lp_loop {
    struct io_uring ring;
    bool stop;
};

static_assert(sizeof(struct __kernel_timespec) == sizeof(((struct lp_op *)0)->timespec_),
              "a timer's place in lp_op");

int lp_open(struct lp_loop **out, unsigned entries)
{
    struct lp_loop *lp = calloc(1, sizeof(*lp));
    int r;

    if (!lp)
        return -ENOMEM;
    /* The completion ring is what bounds a burst: every idle relay holds one operation. */
    struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                                         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                .cq_entries = entries * 8};

    r = io_uring_queue_init_params(entries, &lp->ring, &p);
    if (r == -EINVAL) { /* before 6.1 */
        p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                     .cq_entries = entries * 8};
        r = io_uring_queue_init_params(entries, &lp->ring, &p);
    }
    if (r < 0) {
        free(lp);
        return r;
    }
    /* A ring belongs to one process; a forked copy of its pages is of no use, and in User Mode
     * Linux 7.2 unmapping that copy corrupts the kernel's page counts. */
    r = io_uring_ring_dontfork(&lp->ring);
    if (r < 0) {
        lp_close(lp);
        return r;
    }
    *out = lp;
    return 0;
}

void lp_close(struct lp_loop *lp)
{
    if (!lp)
        return;
    io_uring_queue_exit(&lp->ring);
    free(lp);
}

void lp_forget(struct lp_loop *lp)
{
    if (!lp)
        return;
    close(lp->ring.ring_fd);
    free(lp);
}

void lp_stop(struct lp_loop *lp)
{
    lp->stop = true;
}

/* A place in the submission ring; a full one is handed to the kernel first. Without SQPOLL the
 * kernel takes all of it in that call, so the second try cannot fail but for a broken ring. */
static struct io_uring_sqe *take_sqe(struct lp_loop *lp)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&lp->ring);

    if (!sqe) {
        io_uring_submit(&lp->ring);
        sqe = io_uring_get_sqe(&lp->ring);
    }
    if (!sqe)
        abort();
    return sqe;
}

static void start(struct lp_op *op, struct io_uring_sqe *sqe)
{
    io_uring_sqe_set_data(sqe, op);
    op->busy = true;
}

void lp_poll(struct lp_loop *lp, struct lp_op *op, int fd, unsigned mask)
{
    struct io_uring_sqe *sqe = take_sqe(lp);

    io_uring_prep_poll_add(sqe, fd, mask);
    start(op, sqe);
}

void lp_watch_end(struct lp_loop *lp, struct lp_op *op, int fd)
{
    struct io_uring_sqe *sqe = take_sqe(lp);

    io_uring_prep_poll_multishot(sqe, fd, 0);
    start(op, sqe);
}

void lp_timer(struct lp_loop *lp, struct lp_op *op, unsigned ms)
{
    struct io_uring_sqe *sqe = take_sqe(lp);
    struct __kernel_timespec *ts = (struct __kernel_timespec *)(void *)op->timespec_;

    ts->tv_sec = ms / 1000;
    ts->tv_nsec = (long long)(ms % 1000) * 1000000;
    io_uring_prep_timeout(sqe, ts, 0, 0);
    start(op, sqe);
}

uint64_t lp_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void lp_cancel(struct lp_loop *lp, struct lp_op *op)
{
    struct io_uring_sqe *sqe;

    if (!op->busy)
        return;
    sqe = take_sqe(lp);
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
}

int lp_run(struct lp_loop *lp)
{
    while (!lp->stop) {
        struct io_uring_cqe *cqe;
        int r = io_uring_submit_and_wait(&lp->ring, 1);

        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
            return r;
        /* One at a time: done() may submit, and a full submission ring is flushed meanwhile. */
        while (io_uring_peek_cqe(&lp->ring, &cqe) == 0) {
            struct lp_op *op = io_uring_cqe_get_data(cqe);
            int result = cqe->res;
            bool more = cqe->flags & IORING_CQE_F_MORE;

            io_uring_cqe_seen(&lp->ring, cqe);
            if (!op)
                continue;
            op->busy = more;
            op->done(op, result);
        }
    }
    lp->stop = false;
    return 0;
}
