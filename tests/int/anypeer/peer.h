/* The peer as its commands see it, and their answers. */
#ifndef ANYPEER_PEER_H
#define ANYPEER_PEER_H

#include "layer.h"
#include "tls.h"

#define PE_ARGS 4

struct peer {
    int listener;
    struct tl_context *tls;
    struct tl_session *session; /* NULL: no connection is up */
    struct la_conn c;
    uint8_t cut[RC_PLAIN_MAX + RC_HEADER + RC_OVERHEAD]; /* the second half of a record */
    size_t cut_n;
};

/* Each command prints one line, "ok …" or "fail …". */
void pe_ok(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pe_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The answer to a command that only sends: k is 0 or -errno. */
void pe_done(const struct peer *p, int k);
/* The end of the stream, or an error, where a record was waited for. */
void pe_no_record(const struct peer *p, int k);

/* Runs one line. */
void pe_command(struct peer *p, char *line);

/* --- what the tables of commands are made of --- */

struct pe_command {
    const char *name;
    int least, most; /* arguments */
    void (*run)(struct peer *p, char **args);
    int up; /* needs a connection */
};

extern const struct pe_command pe_sending[], pe_reading[]; /* end with a NULL name */

/* Reads hexadecimal, "-" for nothing. Returns the number of bytes or -1. */
int pe_hex(const char *text, uint8_t *out, size_t room);
/* A decimal number, or `otherwise` when text is NULL. */
uint64_t pe_number(const char *text, uint64_t otherwise);

#endif
