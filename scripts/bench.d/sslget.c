/* The alternative to htls: a short-lived program that does TLS itself, with OpenSSL.
 *
 *     sslget CA_FILE ADDRESS PORT NAME      (the request comes from standard input)
 *
 * One full handshake, verified; the answer goes to standard output. */
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(const char *address, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return -1;
    return fd;
}

static SSL *shake_hands(const char *ca, const char *name, int fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;

    /* "" is the system's bundle, as a program has it that trusts the web. */
    if (!ctx || (*ca ? SSL_CTX_load_verify_locations(ctx, ca, NULL)
                     : SSL_CTX_set_default_verify_paths(ctx)) != 1)
        return NULL;
    ssl = SSL_new(ctx);
    if (!ssl || !SSL_set1_host(ssl, name) || !SSL_set_tlsext_host_name(ssl, name) ||
        !SSL_set_fd(ssl, fd))
        return NULL;
    SSL_set_verify(ssl, *ca ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    return SSL_connect(ssl) == 1 ? ssl : NULL;
}

int main(int argc, char **argv)
{
    char buf[16384];
    SSL *ssl;
    size_t n;
    int fd, k;

    if (argc != 5)
        return 2;
    n = fread(buf, 1, sizeof(buf), stdin);
    fd = dial(argv[2], argv[3]);
    ssl = fd >= 0 ? shake_hands(argv[1], argv[4], fd) : NULL;
    if (!ssl || SSL_write(ssl, buf, (int)n) != (int)n) {
        fprintf(stderr, "sslget: no TLS with %s:%s\n", argv[2], argv[3]);
        return 1;
    }
    while ((k = SSL_read(ssl, buf, sizeof(buf))) > 0)
        fwrite(buf, 1, (size_t)k, stdout);
    return SSL_shutdown(ssl) < 0;
}
