/* A TLS server that can send any record: OpenSSL does its handshakes, a record layer of its own, in
 * tests/int/anypeer/, all that follows.
 *
 *     anypeer [--tls 1.2|1.3] [--suite NAME] CERT KEY
 *
 * Says "port N", then does what each line of standard input says and answers it with one line, "ok
 * …" or "fail …". "accept" comes first: one connection at a time. The commands stand above their
 * functions in sending.c and reading.c. A client that breaks the protocol makes the command fail
 * that reads of it, and all that read later. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anypeer/peer.h"

static const struct option options[] = {
    {"tls", required_argument, NULL, 't'},
    {"suite", required_argument, NULL, 's'},
    {NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
    static struct peer p;
    static char line[3 * RC_PLAIN_MAX];
    const char *suite = NULL;
    uint16_t version = 0, port = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?')
            return 2;
        if (c == 't')
            version = strcmp(optarg, "1.2") == 0 ? KS_TLS12 : KS_TLS13;
        else
            suite = optarg;
    }
    if (argc - optind != 2)
        return 2;
    p.c.w.fd = -1;
    signal(SIGPIPE, SIG_IGN);
    p.tls = tl_new(argv[optind], argv[optind + 1], version, suite);
    p.listener = wi_listen(&port);
    if (!p.tls || p.listener < 0)
        return 1;
    printf("port %u\n", port);
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin))
        pe_command(&p, line);
    return 0;
}
