/* The program's side of random interleavings; the peer's is anypeer's "serve" and "duplex". Under
 * the shim.
 *
 *     seqprog [OPTION…] PORT SEED
 *
 *     --way blocking|nonblocking|threads   how it reads and writes
 *     --connections N     side by side, a thread each (default 1)
 *     --sequences N       of each connection (default 100), or
 *     --seconds N         batches of sequences until then; says "tenth 1" to "tenth 10" as time
 * passes
 *     --duplex BYTES      instead: so many bytes each way at once, and
 *     --every BYTES       a KeyUpdate after so many of ours
 *
 *     --no-updates        no KeyUpdate of either end
 *
 * What it sends and what must come follow from the seed (anypeer/schedule.h). Where the option that
 * changes keys is not served it leaves its own KeyUpdates out, and says so. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "anypeer/schedule.h"
#include "htls_sockopt.h"

enum { UPDATE_KEYS = 22 }; /* int: 1 asks the peer for a KeyUpdate in return */
enum way { BLOCKING, NONBLOCKING, THREADS };

#define BLOCK 16384u
#define BATCH 10u

static const struct option options[] = {
    {"way", required_argument, NULL, 'w'},       {"connections", required_argument, NULL, 'c'},
    {"sequences", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 's'},
    {"duplex", required_argument, NULL, 'd'},    {"every", required_argument, NULL, 'e'},
    {"no-updates", no_argument, NULL, 'u'},      {NULL, 0, NULL, 0},
};

static const char *const ways[] = {"blocking", "nonblocking", "threads"};

static struct {
    enum way way;
    uint64_t connections, sequences, seconds, duplex, every, seed;
    uint16_t port;
    bool no_updates;
} plan = {.connections = 1, .sequences = 100, .every = 65536};

struct conn {
    pthread_t thread;
    int fd;
    unsigned number, flags;
    uint64_t seed, sent, got, index; /* bytes of the two streams; sequences done */
    unsigned updates;
    const struct sc_sequence *sequence; /* that a writer runs */
};

static void die(const struct conn *c, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Ends the program: the first failure is the one to look at. */
static void die(const struct conn *c, const char *format, ...)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    char text[1024] = "";
    socklen_t n = sizeof(text) - 1;
    va_list args;

    pthread_mutex_lock(&once);
    (void)getsockopt(c->fd, HTLS_LEVEL, HTLS_SO_ERROR, text, &n);
    printf("fail connection %u, seed %llu, sequence %llu: ", c->number, (unsigned long long)c->seed,
           (unsigned long long)c->index);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" (%s)\n", text);
    fflush(stdout);
    _exit(1);
}

/* --- bytes --------------------------------------------------------------------------- */

/* After a call that failed: waits where it would have blocked, else gives up. */
static void wait_or_die(const struct conn *c, short events, const char *what)
{
    struct pollfd p = {.fd = c->fd, .events = events};

    if (errno != EAGAIN && errno != EINTR)
        die(c, "%s: %s", what, strerror(errno));
    if (errno == EAGAIN)
        (void)poll(&p, 1, -1);
}

static void put(struct conn *c, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);

        if (k < 0) {
            wait_or_die(c, POLLOUT, "send");
            continue;
        }
        p += k;
        n -= (size_t)k;
    }
}

/* The next n bytes of our stream, in calls of at most `part`. */
static void send_stream(struct conn *c, uint64_t n, size_t part)
{
    uint8_t block[2 * BLOCK];

    part = part < sizeof(block) ? part : sizeof(block);
    while (n > 0) {
        size_t step = n < part ? (size_t)n : part;

        sc_fill(sc_stream(c->seed, SC_PROGRAM), c->sent, block, step);
        put(c, block, step);
        c->sent += step;
        n -= step;
    }
}

static void read_stream(struct conn *c, uint64_t n)
{
    uint8_t block[BLOCK];
    uint64_t wrong;

    while (n > 0) {
        ssize_t k = recv(c->fd, block, n < sizeof(block) ? (size_t)n : sizeof(block), 0);

        if (k < 0) {
            wait_or_die(c, POLLIN, "recv");
            continue;
        }
        if (k == 0)
            die(c, "the end instead of %llu bytes", (unsigned long long)n);
        if (!sc_same(sc_stream(c->seed, SC_PEER), c->got, block, (size_t)k, &wrong))
            die(c, "byte %llu of the peer's stream is wrong", (unsigned long long)wrong);
        c->got += (uint64_t)k;
        n -= (uint64_t)k;
    }
}

static void update_keys(struct conn *c, int ask)
{
    while (setsockopt(c->fd, HTLS_LEVEL, UPDATE_KEYS, &ask, sizeof(ask)) < 0)
        wait_or_die(c, POLLOUT, "UPDATE_KEYS");
    c->updates++;
}

/* --- sequences ----------------------------------------------------------------------- */

static void do_step(struct conn *c, const struct sc_step *s)
{
    if (s->kind == SC_UPDATE)
        update_keys(c, (int)s->n);
    else
        send_stream(c, s->n, s->kind == SC_BYTES ? 1 : SIZE_MAX);
}

static void *do_steps(void *arg)
{
    struct conn *c = arg;

    for (unsigned i = 0; i < c->sequence->count; i++)
        if (c->sequence->steps[i].side == SC_PROGRAM)
            do_step(c, &c->sequence->steps[i]);
    return NULL;
}

static void race(struct conn *c, const struct sc_sequence *s)
{
    pthread_t writer;

    c->sequence = s;
    if (plan.way == THREADS) {
        if (pthread_create(&writer, NULL, do_steps, c) != 0)
            die(c, "no thread");
        read_stream(c, s->bytes[SC_PEER]);
        pthread_join(writer, NULL);
    } else {
        do_steps(c);
        read_stream(c, s->bytes[SC_PEER]);
    }
}

static void in_lockstep(struct conn *c, const struct sc_sequence *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->steps[i].side == SC_PROGRAM)
            do_step(c, &s->steps[i]);
        else
            read_stream(c, sc_bytes(&s->steps[i]));
    }
}

static void batch(struct conn *c, uint64_t count)
{
    const struct sc_batch b = {c->seed, c->index, count, c->flags, 0};
    struct sc_sequence s;

    put(c, (const uint8_t *)&b, sizeof(b));
    for (uint64_t i = 0; i < count; i++, c->index++) {
        sc_make(&s, c->seed, c->index, c->flags);
        if (s.lockstep)
            in_lockstep(c, &s);
        else
            race(c, &s);
    }
}

static void *duplex_writer(void *arg)
{
    struct conn *c = arg;

    while (c->sent < plan.duplex) {
        uint64_t left = plan.duplex - c->sent;

        send_stream(c, left < plan.every ? left : plan.every, SIZE_MAX);
        if (c->flags & SC_PROGRAM_UPDATES)
            update_keys(c, c->sent / plan.every % 2);
    }
    return NULL;
}

static void duplex(struct conn *c)
{
    pthread_t writer;

    if (pthread_create(&writer, NULL, duplex_writer, c) != 0)
        die(c, "no thread");
    read_stream(c, plan.duplex);
    pthread_join(writer, NULL);
}

/* --- a connection -------------------------------------------------------------------- */

static void begin(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[64] = "";
    socklen_t n = sizeof(text) - 1;
    int on = 1, ask = 0;

    a.sin_port = htons(plan.port);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        die(c, "connect: %s", strerror(errno));
    /* Bytes one by one, and no waiting for each other's ACK. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (setsockopt(c->fd, HTLS_LEVEL, HTLS_SO_SERVER_NAME, "localhost", 9) < 0)
        die(c, "the upgrade: %s", strerror(errno));
    if (plan.way == NONBLOCKING)
        (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    (void)getsockopt(c->fd, HTLS_LEVEL, HTLS_SO_PROTOCOL, text, &n);
    if (strcmp(text, "TLSv1.3") == 0)
        c->flags = plan.no_updates ? SC_RECORDS_13 : SC_UPDATES | SC_RECORDS_13;
    if (c->flags & SC_UPDATES) {
        if (setsockopt(c->fd, HTLS_LEVEL, UPDATE_KEYS, &ask, sizeof(ask)) == 0)
            c->flags |= SC_PROGRAM_UPDATES;
        else if (errno == ENOPROTOOPT || errno == EOPNOTSUPP)
            printf("no updates of ours\n");
        else
            die(c, "UPDATE_KEYS: %s", strerror(errno));
    }
    n = sizeof(text) - 1;
    memset(text, 0, sizeof(text));
    (void)getsockopt(c->fd, HTLS_LEVEL, HTLS_SO_MODE, text, &n);
    printf("mode %s\n", text);
}

static void finish(struct conn *c)
{
    char byte;
    ssize_t k;

    shutdown(c->fd, SHUT_WR);
    while ((k = recv(c->fd, &byte, 1, 0)) < 0)
        wait_or_die(c, POLLIN, "recv at the end");
    if (k != 0)
        die(c, "a byte after all data");
    close(c->fd);
}

static uint64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Batches until the time is over. One connection tells the time. */
static void for_seconds(struct conn *c)
{
    uint64_t began = milliseconds(), tenth = 0, passed;

    do {
        batch(c, BATCH);
        passed = milliseconds() - began;
        for (; c->number == 0 && tenth < 10 && passed >= (tenth + 1) * plan.seconds * 100; tenth++)
            printf("tenth %llu\n", (unsigned long long)tenth + 1);
        fflush(stdout);
    } while (passed < plan.seconds * 1000);
}

static void *run(void *arg)
{
    struct conn *c = arg;

    begin(c);
    if (plan.duplex)
        duplex(c);
    else if (plan.seconds > 0)
        for_seconds(c);
    else
        batch(c, plan.sequences);
    finish(c);
    return NULL;
}

static bool take_option(int c)
{
    uint64_t n = optarg ? strtoull(optarg, NULL, 10) : 0;
    uint64_t *const numbers[] = {['c'] = &plan.connections,
                                 ['n'] = &plan.sequences,
                                 ['s'] = &plan.seconds,
                                 ['d'] = &plan.duplex,
                                 ['e'] = &plan.every};

    if (c == 'u')
        return plan.no_updates = true;
    if (c != 'w') {
        *numbers[c] = n;
        return n > 0;
    }
    for (plan.way = BLOCKING; plan.way <= THREADS; plan.way++)
        if (strcmp(optarg, ways[plan.way]) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    uint64_t sequences = 0, updates = 0;
    struct conn *all;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (c == '?' || !take_option(c))
            return 2;
    if (argc - optind != 2)
        return 2;
    plan.port = (uint16_t)atoi(argv[optind]);
    plan.seed = strtoull(argv[optind + 1], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    all = calloc(plan.connections, sizeof(*all));
    if (!all)
        return 2;
    for (unsigned i = 0; i < plan.connections; i++) {
        all[i].number = i;
        all[i].seed = plan.seed + i;
        if (pthread_create(&all[i].thread, NULL, run, &all[i]) != 0)
            die(&all[i], "no thread");
    }
    for (unsigned i = 0; i < plan.connections; i++) {
        pthread_join(all[i].thread, NULL);
        sequences += all[i].index;
        updates += all[i].updates;
    }
    printf("ok sequences=%llu updates=%llu\n", (unsigned long long)sequences,
           (unsigned long long)updates);
    free(all);
    return 0;
}
