/* Descriptors that whoever started us passed on: a listener, memory of an earlier run
 * (sd_listen_fds(3)). */
#ifndef HTLS_PASSED_H
#define HTLS_PASSED_H

#include <stdbool.h>
#include <stddef.h>

#define PS_WHY_MAX 192
#define PS_NAME_MAX 64

struct passed {
    int listener;  /* -1 = none */
    bool own_path; /* it was made by an htlsd that has become this one: its path is ours */
    size_t n;
    struct ps_memory {
        char name[PS_NAME_MAX];
        int fd; /* -1 = claimed */
    } * memories;
};

/* Takes what was passed on, close-on-exec. Returns 0 (also when it was nothing), -ENOMEM, or
 * -EPROTO: something that is neither, `why` says what and what to do. The variables (LISTEN_PID,
 * LISTEN_FDS, ...) are removed from the environment in each case. */
int ps_take(struct passed *p, char why[PS_WHY_MAX]);

/* The next memory whose name begins with `prefix`, the caller's from here; the rest of its name in
 * rest. -ENOENT when there is none left. */
int ps_claim(struct passed *p, const char *prefix, char rest[PS_NAME_MAX]);

/* Closes what nobody claimed. The listener stays. */
void ps_free(struct passed *p);

/* For the program that this process becomes: the descriptors go to numbers 3 and up, open over
 * exec, the environment says what they are. `out` is as ps_take() will give it; its descriptors are
 * used up. Returns 0 or -errno. */
int ps_pass_on(const struct passed *out);

#endif
