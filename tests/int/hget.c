/* Fetches a page with libhtls: its header, and nothing else of htls.
 *
 *     hget [--nonblock] [--path auto|kernel|relay] [--ca FILE] [--alpn LIST] [--put BYTES] ADDRESS
 * PORT NAME
 *
 * The page goes to standard output; standard error has one line of facts, or of the error. --put
 * sends that many bytes first, in both cases followed by the end of our stream; the server's answer
 * is taken to its end. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "htls.h"

static const struct option options[] = {
    {"nonblock", no_argument, NULL, 'n'},  {"path", required_argument, NULL, 'p'},
    {"ca", required_argument, NULL, 'c'},  {"alpn", required_argument, NULL, 'a'},
    {"put", required_argument, NULL, 'u'}, {"timeout", required_argument, NULL, 't'},
    {"insecure", no_argument, NULL, 'k'},  {NULL, 0, NULL, 0},
};

static bool nonblock;
static long put;

static int fail(const struct htls *h, const char *what, long r)
{
    fprintf(stderr, "%s: %s (%s): %s; alert %d, verify %d\n", what, strerror((int)-r),
            h ? htls_error_name(h) : "", h ? htls_error(h) : "", h ? htls_alert(h) : -1,
            h ? htls_verify_code(h) : 0);
    return 1;
}

static int wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 30000) == 1 ? 0 : -ETIMEDOUT;
}

static int dial(const char *address, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *a;
    int fd;

    if (getaddrinfo(address, port, &hints, &a) != 0)
        return -1;
    fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(a);
    return fd;
}

static int handshake(struct htls *h, int fd, const char *name, int timeout_ms)
{
    int r;

    if (!nonblock)
        return htls_connect(h, fd, name, timeout_ms);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    r = htls_start(h, fd, name, timeout_ms);
    while (r == 0 && (r = htls_finish(h)) == -EAGAIN)
        r = wait_for(htls_pollfd(h), POLLIN);
    return r;
}

static int send_all(struct htls *h, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = htls_send(h, p, n, 0);

        if (k == -EAGAIN && (k = wait_for(htls_fd(h), POLLOUT)) == 0)
            continue;
        if (k < 0)
            return (int)k;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static int send_request(struct htls *h, const char *name)
{
    static char block[65536];
    char head[512];
    int n, r;

    if (put == 0) {
        n = snprintf(head, sizeof(head), "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", name);
        return send_all(h, head, (size_t)n);
    }
    for (long left = put; left > 0; left -= n) {
        n = left < (long)sizeof(block) ? (int)left : (int)sizeof(block);
        r = send_all(h, block, (size_t)n);
        if (r < 0)
            return r;
    }
    do
        r = htls_shutdown(h);
    while (r == -EAGAIN && (r = wait_for(htls_fd(h), POLLOUT)) == 0);
    return r;
}

static int receive(struct htls *h)
{
    char buf[8192];

    for (;;) {
        ssize_t n = htls_recv(h, buf, sizeof(buf), 0);

        if (n == -EAGAIN && (n = wait_for(htls_fd(h), POLLIN)) == 0)
            continue;
        if (n <= 0)
            return (int)n;
        fwrite(buf, 1, (size_t)n, stdout);
    }
}

static void load_ca(struct htls *h, const char *path)
{
    static char pem[65536];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(pem, 1, sizeof(pem), f) : 0;

    if (f)
        fclose(f);
    if (n == 0 || htls_set_ca(h, pem, n) < 0)
        exit(2);
}

static int path_of(const char *name)
{
    return strcmp(name, "kernel") == 0
               ? HTLS_PATH_KERNEL
               : (strcmp(name, "relay") == 0 ? HTLS_PATH_RELAY : HTLS_PATH_AUTO);
}

int main(int argc, char **argv)
{
    struct htls *h = htls_new();
    int c, fd, r, timeout_ms = 0;

    if (!h)
        return 2;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?')
            return 2;
        nonblock = nonblock || c == 'n';
        if (c == 'p')
            (void)htls_set_path(h, path_of(optarg));
        else if (c == 'c')
            load_ca(h, optarg);
        else if (c == 'a' && htls_set_alpn(h, optarg) < 0)
            return 2;
        else if (c == 'u')
            put = atol(optarg);
        else if (c == 't')
            timeout_ms = atoi(optarg);
        else if (c == 'k')
            (void)htls_set_verify(h, 0);
    }
    if (argc - optind != 3)
        return 2;
    fd = dial(argv[optind], argv[optind + 1]);
    if (fd < 0) {
        perror("connect");
        return 1;
    }
    r = handshake(h, fd, argv[optind + 2], timeout_ms);
    if (r < 0)
        return fail(h, "handshake", r);
    fprintf(stderr, "%s %s alpn=%s group=%s tx=%s rx=%s\n", htls_version(h), htls_cipher(h),
            htls_alpn(h), htls_group(h), htls_mode_name(htls_mode_tx(h)),
            htls_mode_name(htls_mode_rx(h)));
    r = send_request(h, argv[optind + 2]);
    if (r < 0)
        return fail(h, "send", r);
    r = receive(h);
    if (r < 0)
        return fail(h, "receive", r);
    r = htls_close(h);
    if (r < 0)
        return fail(h, "close", r);
    htls_free(h);
    return 0;
}
