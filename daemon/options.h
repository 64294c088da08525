/* The daemon's configuration: one table for the file and the command line. */
#ifndef HTLS_OPTIONS_H
#define HTLS_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define OP_STORES_MAX 32
#define OP_CONFIG_DEFAULT "/etc/htls/htls.conf"

/* A named trust store: section [trust NAME] of the file. */
struct op_store {
    char name[64];
    char file[PATH_MAX]; /* PEM file of CA certificates */
};

/* Everything main() hands on, as a const pointer; nothing else in the daemon is global. */
struct options {
    char socket[108]; /* path of the Unix socket */
    int socket_mode;  /* its permission bits, default 0666: who may connect decides the folder */
    char config[PATH_MAX];
    bool config_given;
    unsigned workers;       /* 0 = one per CPU this process may run on */
    unsigned handshake_ms;  /* deadline of a handshake, default 10000 */
    unsigned handshakes;    /* most handshakes at once per worker, default 1024 */
    unsigned peers_per_uid; /* most client connections of one uid (root: no limit), default 8192 */
    unsigned relays;        /* most relayed connections per worker, default 16384 */
    unsigned connections;   /* most kernel connections kept per worker, default 65536 */
    unsigned records_per_key;  /* records under one sending key, 0 = what the cipher bears */
    unsigned key_updates;      /* most KeyUpdates of a peer at once without data, default 64 */
    unsigned relay_linger_ms;  /* patience with a peer whose program is gone, default 30000 */
    bool allow_insecure;       /* verify = none is allowed ... */
    char insecure_users[512];  /* ... to these users: names or uids, comma-separated; "*" all */
    bool client_ca;            /* a client may bring its own CA certificates, default yes */
    char trust_file[PATH_MAX]; /* default trust: this PEM file; empty = the system's store */
    char key_log[PATH_MAX];    /* NSS key log file, empty = none */
    char user[64];             /* workers become this user when started as root, default "nobody" */
    unsigned session_cache;    /* most sessions kept for resumption, 0 = none, default 4096 */
    unsigned session_ms;       /* how long a peer's certificate, once seen, is relied on; 2 hours */
    unsigned session_share;    /* one user's share of them, percent, default 25 */
    char path[8];      /* "auto", "kernel", "relay": the best path that is offered to anybody */
    int log_level;     /* enum lg_level */
    bool check_config; /* --check-config */
    bool print_config; /* --print-config */
    unsigned n_stores;
    struct op_store stores[OP_STORES_MAX];
};

/* Reads defaults, then the file (--config, or OP_CONFIG_DEFAULT when it exists), then argv, which
 * wins. Errors are said on stderr as "htlsd: FILE:LINE: cause". Returns 0 to go on, 1 when
 * everything is done
 * (--help, --version), -EINVAL when something is wrong. */
int op_parse(struct options *o, int argc, char **argv);

/* Writes the effective configuration as an INI file that op_parse() reads back to the same. */
void op_print(const struct options *o);

/* True when `uid` may ask for verify = none. */
bool op_insecure_allowed(const struct options *o, uid_t uid);

/* The trust store's file by name (n bytes, not terminated), NULL when there is none. */
const char *op_store_file(const struct options *o, const uint8_t *name, size_t n);

#endif
