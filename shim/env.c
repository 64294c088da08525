/* Reads the environment variables of the shim and the library. */
#include "env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../proto/secret.h"
#include "../proto/wire.h"
#include "htls.h"
#include "sys.h"

/* Copies: the program may change its environment in another thread while we use them. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char socket_path[PATH_MAX];
static char ca_path[PATH_MAX];

/* One that does not fit is kept cut, and fails as a path that does not exist. */
static void copy(char *out, const char *name, const char *otherwise)
{
    const char *value = secure_getenv(name);

    if (!value || value[0] == '\0')
        value = otherwise;
    strncpy(out, value, PATH_MAX - 1);
    out[PATH_MAX - 1] = '\0';
}

static void read_all(void)
{
    copy(socket_path, "HTLS_SOCKET", HTLS_SOCKET_DEFAULT);
    copy(ca_path, "HTLS_CA_FILE", "");
}

bool en_secure(void)
{
    return getauxval(AT_SECURE) != 0;
}

const char *en_socket(void)
{
    (void)pthread_once(&once, read_all);
    return socket_path;
}

const char *en_ca_file(void)
{
    (void)pthread_once(&once, read_all);
    return ca_path[0] != '\0' ? ca_path : NULL;
}

/* One byte more than may be there is asked for, so that a file that grows is seen. */
static int read_whole(int fd, char *buf, size_t cap, size_t *n)
{
    size_t have = 0;

    while (have < cap) {
        ssize_t got = read(fd, buf + have, cap - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    if (have == cap)
        return -EFBIG;
    *n = have;
    return have > 0 ? 0 : -ENODATA;
}

int en_load(const char *path, char **pem, size_t *n)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    size_t cap;
    char *buf;
    int rc;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    /* A pipe or a device could keep the program waiting for ever. */
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > (off_t)W_TRUST_MAX)
        return -EFBIG;
    cap = (size_t)st.st_size + 1;
    buf = malloc(cap);
    if (!buf)
        return -ENOMEM;
    rc = read_whole(fd, buf, cap, n);
    if (rc < 0) {
        free(buf);
        return rc;
    }
    *pem = buf;
    return 0;
}
