/* libhtls: what an object is told before its handshake. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

int ap_set_string(char **out, const char *value)
{
    char *copy = value ? strdup(value) : NULL;

    if (value && !copy)
        return -ENOMEM;
    free(*out);
    *out = copy;
    return 0;
}

EXPORT int htls_set_daemon(struct htls *h, const char *path)
{
    if (path && strlen(path) >= 108) /* sun_path */
        return -ENAMETOOLONG;
    return ap_set_string(&h->daemon, path);
}

EXPORT int htls_set_alpn(struct htls *h, const char *list)
{
    if (list && cl_check_alpn(list) < 0)
        return -EINVAL;
    return ap_set_string(&h->alpn, list);
}

EXPORT int htls_set_versions(struct htls *h, uint16_t min, uint16_t max)
{
    if (min < 0x0303 || max > 0x0304 || min > max)
        return -EINVAL;
    h->version_min = min;
    h->version_max = max;
    return 0;
}

EXPORT int htls_set_suites(struct htls *h, const uint16_t *suites, size_t n)
{
    if (n > sizeof(h->suites) / sizeof(*h->suites))
        return -EINVAL;
    if (n)
        memcpy(h->suites, suites, n * sizeof(*suites));
    h->n_suites = n;
    return 0;
}

EXPORT int htls_set_groups(struct htls *h, const char *groups)
{
    return ap_set_string(&h->groups, groups);
}

EXPORT int htls_set_ca(struct htls *h, const void *pem, size_t n)
{
    char *copy = NULL;

    if (n > W_TRUST_MAX)
        return -EFBIG;
    if (n) {
        copy = malloc(n);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, pem, n);
    }
    free(h->pem);
    h->pem = copy;
    h->pem_len = n;
    return 0;
}

EXPORT int htls_set_trust_store(struct htls *h, const char *name)
{
    return ap_set_string(&h->trust_store, name);
}

EXPORT int htls_set_verify(struct htls *h, int on)
{
    h->no_verify = !on;
    return 0;
}

EXPORT int htls_set_path(struct htls *h, int path)
{
    if (path < HTLS_PATH_AUTO || path > HTLS_PATH_RELAY)
        return -EINVAL;
    h->path = path;
    return 0;
}

EXPORT int htls_set_truncation_ok(struct htls *h, int on)
{
    atomic_store(&h->rr.eof_ok, on != 0);
    return 0;
}
