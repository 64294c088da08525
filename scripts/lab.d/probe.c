/*
 * probe: what kTLS can do on the kernel it runs on, found by doing it on a loopback connection.
 * scripts/lab --list builds it, runs it once on each kernel and keeps the line that it prints: ulp
 * aes128gcm aes256gcm chacha20 aes128ccm rekey device io_uring, each "yes" or "no".
 */
#include <linux/io_uring.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

struct cipher {
    unsigned short type;
    socklen_t size; /* of its crypto_info */
};

static const struct cipher ciphers[] = {
    {TLS_CIPHER_AES_GCM_128, sizeof(struct tls12_crypto_info_aes_gcm_128)},
    {TLS_CIPHER_AES_GCM_256, sizeof(struct tls12_crypto_info_aes_gcm_256)},
    {TLS_CIPHER_CHACHA20_POLY1305, sizeof(struct tls12_crypto_info_chacha20_poly1305)},
    {TLS_CIPHER_AES_CCM_128, sizeof(struct tls12_crypto_info_aes_ccm_128)},
};

/* ends[0] and ends[1]: a connected pair, TCP because the ULP refuses everything else. */
static bool tcp_pair(int ends[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    ends[1] = -1;
    if (bind(listener, (struct sockaddr *)&addr, len) == 0 && listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&addr, &len) == 0 &&
        connect(ends[0], (struct sockaddr *)&addr, len) == 0)
        ends[1] = accept(listener, NULL, NULL);
    close(listener);
    return ends[1] >= 0;
}

static bool attach_ulp(int fd)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0;
}

/* A key of zeros: what counts is whether the kernel takes it. */
static bool set_tx(int fd, const struct cipher *cipher)
{
    union {
        struct tls_crypto_info info;
        unsigned char room[128];
    } key;

    memset(&key, 0, sizeof(key));
    key.info.version = TLS_1_3_VERSION;
    key.info.cipher_type = cipher->type;
    return setsockopt(fd, SOL_TLS, TLS_TX, &key, cipher->size) == 0;
}

/* The peer without keys sees the wire: a record header must be there, else the bytes went out in
 * the clear. */
static bool record_arrives(const int ends[2])
{
    static const unsigned char header[] = {23, 3, 3, 0, 4 + 1 + 16};
    unsigned char wire[64];

    return write(ends[0], "ping", 4) == 4 && recv(ends[1], wire, 26, MSG_WAITALL) == 26 &&
           memcmp(wire, header, sizeof(header)) == 0;
}

static bool cipher_works(const struct cipher *cipher)
{
    int ends[2];
    bool works =
        tcp_pair(ends) && attach_ulp(ends[0]) && set_tx(ends[0], cipher) && record_arrives(ends);

    close(ends[0]);
    close(ends[1]);
    return works;
}

static bool ulp_works(void)
{
    int ends[2];
    bool works = tcp_pair(ends) && attach_ulp(ends[0]);

    close(ends[0]);
    close(ends[1]);
    return works;
}

static bool rekey_works(void)
{
    int ends[2];
    bool works = tcp_pair(ends) && attach_ulp(ends[0]) && set_tx(ends[0], ciphers) &&
                 set_tx(ends[0], ciphers);

    close(ends[0]);
    close(ends[1]);
    return works;
}

/* The counters in /proc/net/tls_stat are there in any case; this function only with
 * CONFIG_TLS_DEVICE. */
static bool has_tls_device(void)
{
    FILE *symbols = fopen("/proc/kallsyms", "re");
    char line[512];
    bool found = false;

    if (!symbols)
        return false;
    while (!found && fgets(line, sizeof(line), symbols))
        found =
            strstr(line, " tls_set_device_offload\t") || strstr(line, " tls_set_device_offload\n");
    fclose(symbols);
    return found;
}

static bool has_io_uring(void)
{
    struct io_uring_params params;
    long fd;

    memset(&params, 0, sizeof(params));
    fd = syscall(__NR_io_uring_setup, 1, &params);
    if (fd >= 0)
        close((int)fd);
    return fd >= 0;
}

static void say(bool yes)
{
    printf("%s ", yes ? "yes" : "no");
}

int main(void)
{
    say(ulp_works());
    for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++)
        say(cipher_works(&ciphers[i]));
    say(rekey_works());
    say(has_tls_device());
    say(has_io_uring());
    printf("\n");
    return 0;
}
