/* Fetches a page over TLS with nothing but sockets: the C example of Timecraft's hTLS page, written
 * afresh.
 *
 *     fetch ADDRESS PORT NAME
 *
 * It knows one number and no header of htls. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *a;
    char buf[4096];
    ssize_t n;
    int fd;

    if (argc != 4 || getaddrinfo(argv[1], argv[2], &hints, &a) != 0)
        return 2;
    fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        perror("connect");
        return 1;
    }
    freeaddrinfo(a);
    /* The NUL is sent too, as sizeof("example.com") would. */
    if (setsockopt(fd, 0x74696d65, 1, argv[3], (socklen_t)strlen(argv[3]) + 1) < 0) {
        perror("setsockopt");
        return 1;
    }
    n = snprintf(buf, sizeof(buf), "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", argv[3]);
    if (send(fd, buf, (size_t)n, 0) != n) {
        perror("send");
        return 1;
    }
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        fwrite(buf, 1, (size_t)n, stdout);
    if (n < 0)
        perror("recv");
    close(fd);
    return n < 0;
}
