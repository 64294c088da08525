/* A model of what the kernel answers on a socket with keys: a queue of records, read with their
 * type (kernel-notes, records). For test_records.c, which includes the source under test before it.
 */
#ifndef HTLS_TESTS_RECORD_MODEL_H
#define HTLS_TESTS_RECORD_MODEL_H

#include <CUnit/CUnit.h>
#include <string.h>

struct record {
    int type;
    const char *p;
    size_t n, at;
};

enum ending { QUIET, FIN, BROKEN };

static struct record queue[16];
static size_t n_queue, head_of_queue;
static enum ending ending;
static int broken_errno;
static int shut_how, shuts, reads, sends, polls, last_flags;
static struct sy_calls real;

static void add(int type, const char *p, size_t n)
{
    queue[n_queue++] = (struct record){type, p, n, 0};
}

static void data(const char *text)
{
    add(DATA, text, strlen(text));
}

static void ticket(void)
{
    static const char bytes[217] = {4, 0, 0, (char)213};

    add(HANDSHAKE, bytes, sizeof(bytes));
}

static void alert(char level, char description)
{
    static char bytes[8][2];
    static unsigned i;
    char *p = bytes[i++ % 8];

    p[0] = level;
    p[1] = description;
    add(ALERT, p, 2);
}

static void put_type(struct msghdr *m, int type)
{
    struct cmsghdr *c = m->msg_control;

    if (!c || m->msg_controllen < CMSG_SPACE(1)) {
        m->msg_flags |= MSG_CTRUNC;
        m->msg_controllen = 0;
        return;
    }
    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_GET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = (unsigned char)type;
    m->msg_controllen = CMSG_SPACE(1);
}

/* Copies from one record into the buffers behind `done`. */
static size_t copy_out(struct msghdr *m, size_t done, const char *p, size_t n)
{
    size_t copied = 0;

    for (size_t i = 0; i < m->msg_iovlen && copied < n; i++) {
        struct iovec v = m->msg_iov[i];
        size_t skip = done < v.iov_len ? done : v.iov_len, step = v.iov_len - skip;

        done -= skip;
        step = step < n - copied ? step : n - copied;
        memcpy((char *)v.iov_base + skip, p + copied, step);
        copied += step;
    }
    return copied;
}

static ssize_t model_recvmsg(int fd, struct msghdr *m, int flags)
{
    size_t at = head_of_queue, done = 0;
    int type = 0;

    (void)fd;
    reads++;
    last_flags = flags;
    m->msg_flags = 0;
    m->msg_namelen = 0;
    for (; at < n_queue && (!type || (type == DATA && queue[at].type == DATA)); at++) {
        struct record *r = &queue[at];
        size_t k = copy_out(m, done, r->p + r->at, r->n - r->at);

        type = r->type;
        done += k;
        m->msg_flags &= ~MSG_EOR;
        if (!(flags & MSG_PEEK))
            r->at += k;
        if (k < r->n && r->at < r->n)
            break;
        m->msg_flags |= MSG_EOR;
        if (!(flags & MSG_PEEK))
            head_of_queue = at + 1;
    }
    if (type) {
        put_type(m, type);
        return (ssize_t)done;
    }
    m->msg_controllen = 0;
    if (ending == FIN)
        return 0;
    errno = ending == BROKEN ? broken_errno : EAGAIN;
    return -1;
}

static int model_shutdown(int fd, int how)
{
    (void)fd;
    shut_how = how;
    shuts++;
    return 0;
}

static uint8_t sent[2], sent_type;
static int refuse_sends, refuse_with;

static ssize_t model_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);

    (void)fd;
    CU_ASSERT_TRUE(flags & MSG_NOSIGNAL);
    CU_ASSERT_TRUE(flags & MSG_DONTWAIT);
    CU_ASSERT_EQUAL(m->msg_iov->iov_len, 2);
    CU_ASSERT_EQUAL(c->cmsg_level, SOL_TLS);
    CU_ASSERT_EQUAL(c->cmsg_type, TLS_SET_RECORD_TYPE);
    sends++;
    if (refuse_sends > 0) {
        refuse_sends--;
        errno = refuse_with;
        return -1;
    }
    memcpy(sent, m->msg_iov->iov_base, 2);
    sent_type = *CMSG_DATA(c);
    return 2;
}

static int model_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    (void)timeout;
    polls++;
    CU_ASSERT_EQUAL(n, 1);
    CU_ASSERT_EQUAL(fds->events, POLLOUT);
    return 1;
}

#endif
