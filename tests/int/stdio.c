/* A program that talks over its connection with stdio: fdopen, fprintf, fgets, fread, fclose.
 *
 *   stdio HOST PORT [later]     later: the socket is non-blocking when TLS begins, the streams are
 * made while the handshake runs
 *
 * The server says "greeting" and echoes. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "htls_sockopt.h"

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            printf("line %d: %s (%s)\n", __LINE__, #what, strerror(errno));                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define LINES 2000

static int dial(const char *host, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(inet_pton(AF_INET, host, &a.sin_addr) == 1);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    return fd;
}

static void lines(FILE *in, FILE *out)
{
    char line[100], want[100];

    for (int i = 0; i < LINES; i++) {
        CHECK(fprintf(out, "line %d\n", i) > 0);
        if (i % 100 == 99)
            CHECK(fflush(out) == 0);
    }
    for (int i = 0; i < LINES; i++) {
        snprintf(want, sizeof(want), "line %d\n", i);
        CHECK(fgets(line, sizeof(line), in) && strcmp(line, want) == 0);
    }
}

static void block(FILE *in, FILE *out)
{
    static char sent[60000], got[60000];

    memset(sent, 'x', sizeof(sent));
    CHECK(fwrite(sent, 1, sizeof(sent), out) == sizeof(sent) && fflush(out) == 0);
    CHECK(fread(got, 1, sizeof(got), in) == sizeof(got));
    CHECK(memcmp(sent, got, sizeof(sent)) == 0);
}

int main(int argc, char **argv)
{
    int fd = dial(argv[1], argv[2]), other = dup(fd);
    char text[64] = "";
    socklen_t n = sizeof(text) - 1;
    FILE *in, *out;

    if (argc > 3)
        CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(setsockopt(fd, HTLS_LEVEL, HTLS_SO_SERVER_NAME, "localhost", 9) == 0);
    CHECK((in = fdopen(other, "r")) && (out = fdopen(fd, "w")));
    CHECK(fileno(in) == other && fileno(out) == fd && fileno_unlocked(out) == fd);
    CHECK(fileno(stdout) == 1);
    if (argc > 3)
        CHECK(fcntl(fileno(out), F_SETFL, 0) == 0);
    CHECK(fread(text, 1, 8, in) == 8 && strcmp(text, "greeting") == 0); /* behind the tickets */
    CHECK(getsockopt(fileno(in), HTLS_LEVEL, HTLS_SO_MODE, text, &n) == 0);
    printf("mode %s\n", text);
    lines(in, out);
    block(in, out);
    CHECK(ftell(in) == -1 && errno == ESPIPE);
    CHECK(shutdown(fileno(out), SHUT_WR) == 0);
    CHECK(fgetc(in) == EOF && feof(in) && !ferror(in));
    CHECK(fclose(out) == 0 && fclose(in) == 0);
    CHECK(fcntl(fd, F_GETFD) < 0 && fcntl(other, F_GETFD) < 0);
    return 0;
}
