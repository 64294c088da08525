/* Bytes that a socket would not take yet. */
#include "rest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../proto/secret.h"

void rs_free(struct rest *q)
{
    secret_wipe(q->p, q->at + q->n);
    free(q->p);
    memset(q, 0, sizeof(*q));
}

int rs_add(struct rest *q, const uint8_t *p, size_t n)
{
    uint8_t *all;

    if (n == 0)
        return 0;
    all = malloc(q->n + n);
    if (!all)
        return -ENOMEM;
    if (q->n)
        memcpy(all, q->p + q->at, q->n);
    memcpy(all + q->n, p, n);
    n += q->n;
    rs_free(q);
    q->p = all;
    q->n = n;
    return 0;
}

/* Returns what the socket took, 0 when it is full, or -errno. */
static ssize_t send_some(int fd, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = send(fd, p + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (k < 0)
            return -errno;
        done += (size_t)k;
    }
    return (ssize_t)done;
}

int rs_flush(struct rest *q, int fd)
{
    ssize_t k;

    if (q->n == 0)
        return 1;
    k = send_some(fd, q->p + q->at, q->n);
    if (k < 0)
        return (int)k;
    q->at += (size_t)k;
    q->n -= (size_t)k;
    if (q->n)
        return 0;
    rs_free(q);
    return 1;
}

int rs_pass(struct rest *q, int fd, const uint8_t *p, size_t n)
{
    ssize_t k = 0;

    if (q->n == 0 && n > 0)
        k = send_some(fd, p, n);
    if (k < 0)
        return (int)k;
    if (rs_add(q, p + k, n - (size_t)k) < 0)
        return -ENOMEM;
    return q->n == 0;
}
