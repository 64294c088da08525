/* A program that reads to the end of its connection in one of many ways, and tells what it met.
 *
 *     evprog [--lib CA-FILE] WAY PORT
 *
 * It connects to 127.0.0.1:PORT, upgrades by the socket option (under the shim) or with libhtls,
 * says "hello", and reads. For every "???" that comes it writes a '!'. At the end it prints:
 *
 *     got BYTES CRC32   idle N (it was woken and nothing was there)
 *     end 0|ERRNO       again 0|ERRNO (another read)       text …
 *
 * After an orderly end it still writes "bye", then closes. Waits have no limit but one alarm: a
 * program that hangs dies of it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "htls.h"
#include "htls_sockopt.h"

#define LIMIT_S 20
#define ROOM 4096

static struct htls *h; /* NULL: under the shim */
static int fd = -1, set = -1, pipe_fds[2], answers[2];
static unsigned idle;

struct way {
    const char *name;
    bool nonblock;
    ssize_t (*get)(char *p, size_t n);     /* under the shim; one call; -errno */
    ssize_t (*get_lib)(char *p, size_t n); /* with libhtls; NULL: not a way of its */
    void (*wait)(void);                    /* until it may be readable */
};

static ssize_t of(ssize_t n)
{
    return n < 0 ? -errno : n;
}

/* --- reading ------------------------------------------------------------------------- */

static ssize_t by_read(char *p, size_t n)
{
    return of(read(fd, p, n));
}

static ssize_t by_recv(char *p, size_t n)
{
    return of(recv(fd, p, n, 0));
}

static ssize_t by_recvmsg(char *p, size_t n)
{
    struct iovec iov[3] = {{p, 1}, {p + 1, 0}, {p + 1, n - 1}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

    return of(recvmsg(fd, &m, 0));
}

static ssize_t by_byte(char *p, size_t n)
{
    (void)n;
    return of(recv(fd, p, 1, 0));
}

/* What is there by the second look is what the first one showed. */
static ssize_t taken_again(const char *seen, ssize_t n, const char *p, ssize_t k)
{
    if (k == n && memcmp(seen, p, (size_t)n) == 0)
        return n;
    fprintf(stderr, "MSG_PEEK showed %zd bytes, then came %zd\n", n, k);
    exit(3);
}

static ssize_t by_peek(char *p, size_t n)
{
    char seen[ROOM];
    ssize_t k = of(recv(fd, seen, n, MSG_PEEK));

    return k <= 0 ? k : taken_again(seen, k, p, of(recv(fd, p, (size_t)k, 0)));
}

static ssize_t by_splice(char *p, size_t n)
{
    ssize_t k = of(splice(fd, NULL, pipe_fds[1], NULL, n, 0));

    return k <= 0 ? k : of(read(pipe_fds[0], p, (size_t)k));
}

static ssize_t lib_recv(char *p, size_t n)
{
    return htls_recv(h, p, n, 0);
}

static ssize_t lib_readv(char *p, size_t n)
{
    struct iovec iov[3] = {{p, 1}, {p + 1, 0}, {p + 1, n - 1}};

    return htls_readv(h, iov, 3, 0);
}

static ssize_t lib_byte(char *p, size_t n)
{
    (void)n;
    return htls_recv(h, p, 1, 0);
}

static ssize_t lib_peek(char *p, size_t n)
{
    char seen[ROOM];
    ssize_t k = htls_recv(h, seen, n, MSG_PEEK);

    return k <= 0 ? k : taken_again(seen, k, p, htls_recv(h, p, (size_t)k, 0));
}

/* --- waiting ------------------------------------------------------------------------- */

static void by_poll(void)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    (void)poll(&p, 1, -1);
}

static void by_select(void)
{
    fd_set in;

    FD_ZERO(&in);
    FD_SET(fd, &in);
    (void)select(fd + 1, &in, NULL, NULL, NULL);
}

static void by_epoll_flags(unsigned flags)
{
    struct epoll_event e = {.events = EPOLLIN | flags};

    if (set < 0) {
        set = epoll_create1(EPOLL_CLOEXEC);
        (void)epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
    }
    (void)epoll_wait(set, &e, 1, -1);
}

static void by_epoll(void)
{
    by_epoll_flags(0);
}

static void by_edge(void)
{
    by_epoll_flags(EPOLLET);
}

static const struct way ways[] = {
    {"read", false, by_read, NULL, NULL},
    {"recv", false, by_recv, lib_recv, NULL},
    {"recvmsg", false, by_recvmsg, lib_readv, NULL},
    {"poll", true, by_recv, lib_recv, by_poll},
    {"select", true, by_read, NULL, by_select},
    {"epoll", true, by_recv, lib_recv, by_epoll},
    {"edge", true, by_recv, lib_recv, by_edge},
    {"threads", false, by_recv, lib_recv, NULL},
    {"bytes", false, by_byte, lib_byte, NULL},
    {"peek", false, by_peek, lib_peek, NULL},
    {"splice", false, by_splice, NULL, NULL},
};

/* Until there is something: data, the end, an error. Edge-triggered sets tell once, so reading
 * comes before waiting, always. */
static ssize_t get(const struct way *w, char *p, size_t n)
{
    for (;;) {
        ssize_t k = h ? w->get_lib(p, n) : w->get(p, n);

        if (k != -EAGAIN || !w->wait)
            return k;
        idle++;
        w->wait();
    }
}

/* --- writing ------------------------------------------------------------------------- */

static ssize_t put(const char *text)
{
    size_t n = strlen(text);

    return h ? htls_send(h, text, n, 0) : of(send(fd, text, n, MSG_NOSIGNAL));
}

/* Writes from a thread of its own, for a reader that sleeps in the kernel meanwhile. */
static void *writer(void *arg)
{
    char c;

    while (read(answers[0], &c, 1) == 1)
        (void)put("!");
    return arg;
}

static void answer(const struct way *w)
{
    if (strcmp(w->name, "threads") == 0)
        (void)!write(answers[1], "!", 1);
    else
        (void)put("!");
}

/* --- one connection ------------------------------------------------------------------ */

static unsigned crc(unsigned c, const char *p, size_t n)
{
    for (c = ~c; n > 0; n--) {
        c ^= (unsigned char)*p++;
        for (int i = 0; i < 8; i++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static int dial(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);

    a.sin_port = htons((uint16_t)atoi(port));
    if (connect(s, (struct sockaddr *)&a, sizeof(a)) < 0) {
        perror("connect");
        exit(2);
    }
    return s;
}

static void upgrade(const char *ca)
{
    static char pem[65536];
    FILE *f = ca ? fopen(ca, "re") : NULL;
    char mode[64] = "";
    socklen_t n = sizeof(mode) - 1;
    int r;

    if (f) {
        size_t len = fread(pem, 1, sizeof(pem), f);

        fclose(f);
        h = htls_new();
        r = htls_set_ca(h, pem, len);
        if (r == 0)
            r = htls_connect(h, fd, "localhost", 0);
        snprintf(mode, sizeof(mode), "tx=%s rx=%s", htls_mode_name(htls_mode_tx(h)),
                 htls_mode_name(htls_mode_rx(h)));
    } else {
        r = setsockopt(fd, HTLS_LEVEL, HTLS_SO_SERVER_NAME, "localhost", 9) < 0 ? -errno : 0;
        (void)getsockopt(fd, HTLS_LEVEL, HTLS_SO_MODE, mode, &n);
    }
    if (r < 0) {
        printf("failed %s\n", strerrorname_np(-r));
        exit(2);
    }
    printf("mode %s\n", mode);
}

static const char *outcome(ssize_t k)
{
    return k == 0 ? "0" : (k > 0 ? "data" : strerrorname_np((int)-k));
}

static void report(const struct way *w, ssize_t end, size_t total, unsigned sum)
{
    char text[1024] = "", c[ROOM];
    socklen_t n = sizeof(text) - 1;
    ssize_t again = h ? w->get_lib(c, sizeof(c)) : w->get(c, sizeof(c));

    if (h)
        snprintf(text, sizeof(text), "%s", htls_error(h));
    else
        (void)getsockopt(fd, HTLS_LEVEL, HTLS_SO_ERROR, text, &n);
    printf("got %zu %u\nidle %u\nend %s\nagain %s\ntext %s\n", total, sum, idle, outcome(end),
           outcome(again), text);
    fflush(stdout);
}

static void finish(ssize_t end)
{
    if (end == 0 && put("bye") != 3)
        printf("no bye: %s\n", strerror(errno));
    if (h) {
        (void)htls_close(h);
        htls_free(h);
    } else {
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static void run(const struct way *w)
{
    size_t total = 0;
    unsigned sum = 0, marks = 0;
    char p[ROOM];
    pthread_t t;
    ssize_t k;

    if (pipe(pipe_fds) < 0 || pipe(answers) < 0 || pthread_create(&t, NULL, writer, NULL) != 0)
        exit(2);
    (void)put("hello");
    while ((k = get(w, p, sizeof(p))) > 0) {
        sum = crc(sum, p, (size_t)k);
        total += (size_t)k;
        for (ssize_t i = 0; i < k; i++) {
            marks = p[i] == '?' ? marks + 1 : 0;
            if (marks == 3)
                answer(w);
        }
    }
    close(answers[1]);
    pthread_join(t, NULL);
    report(w, k, total, sum);
    finish(k);
}

int main(int argc, char **argv)
{
    const char *ca = argc == 5 && strcmp(argv[1], "--lib") == 0 ? argv[2] : NULL;
    const char *patience = getenv("HTLS_TEST_PATIENCE");
    const struct way *w = NULL;

    if (argc != 3 && !ca)
        return 2;
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        if (strcmp(ways[i].name, argv[argc - 2]) == 0)
            w = &ways[i];
    if (!w || (ca && !w->get_lib))
        return 2;
    alarm(LIMIT_S * (unsigned)(patience ? atoi(patience) : 1));
    fd = dial(argv[argc - 1]);
    upgrade(ca);
    if (w->nonblock && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return 2;
    run(w);
    return 0;
}
