/* A session's secrets, from the lines that OpenSSL writes for a key log.
 *
 * That callback is the only way to them which both OpenSSL 3.0 and 3.5 have: the lines carry a
 * label, the client random, the secret, the last two in hexadecimal. */
#include "keylog.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../proto/secret.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads the last word of a line. Returns its bytes, 0 when it is none. */
static size_t secret_of(const char *line, uint8_t out[KS_SECRET_MAX])
{
    const char *p = strrchr(line, ' ');
    size_t n = 0;

    if (!p)
        return 0;
    for (p++; p[0] && p[1] && n < KS_SECRET_MAX; p += 2) {
        int hi = hex_value(p[0]), lo = hex_value(p[1]);

        if (hi < 0 || lo < 0)
            return 0;
        out[n++] = (uint8_t)(hi << 4 | lo);
    }
    return *p ? 0 : n;
}

static bool labelled(const char *line, const char *label)
{
    size_t n = strlen(label);

    return strncmp(line, label, n) == 0 && line[n] == ' ';
}

void kl_take(struct kl_secrets *s, const char *line)
{
    if (labelled(line, "CLIENT_TRAFFIC_SECRET_0"))
        s->client_len = secret_of(line, s->client);
    else if (labelled(line, "SERVER_TRAFFIC_SECRET_0"))
        s->server_len = secret_of(line, s->server);
    else if (labelled(line, "CLIENT_RANDOM"))
        s->master_len = secret_of(line, s->master);
}

void kl_write(int fd, const char *line)
{
    char out[512];
    int n = snprintf(out, sizeof(out), "%s\n", line);

    if (n > 0 && (size_t)n < sizeof(out))
        (void)!write(fd, out, (size_t)n);
    secret_wipe(out, sizeof(out));
}
