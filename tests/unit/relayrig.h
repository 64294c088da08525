/* A relay on a real loop, with the test as its program and as its TLS peer. */
#ifndef HTLS_TESTS_RELAYRIG_H
#define HTLS_TESTS_RELAYRIG_H

#include "../../daemon/relay_pump.h"
#include "../../proto/secret.h"
#include "tlspeer.h"

#include <CUnit/CUnit.h>

struct rig {
    struct lp_loop *lp;
    struct st_worker stats;
    struct options o; /* the defaults, until the test changes them */
    struct rl_shared *shared;
    struct relay *relay; /* dangles once `ended` is set */
    int program, peer;   /* the test's ends */
    struct ks_dir to_relay, from_relay;
    struct rc_ctx *seal, *open; /* the peer's */
    int ended;
    bool saw_eof; /* the program's end had closed before `ended` came */
    struct failure f;
    struct lp_op stop;
    int writable[2];
};

/* One turn of the loop: whatever is ready happens. */
void rig_turn(struct rig *g);
void rig_turns(struct rig *g, int n);

/* Turns until a condition holds; fails the test when it never does. */
#define RIG_UNTIL(g, condition)                                                                    \
    do {                                                                                           \
        bool held_ = false;                                                                        \
        for (int turns_ = 0; !(held_ = (condition) != 0) && turns_ < 200000; turns_++)             \
            rig_turn(g);                                                                           \
        CU_ASSERT_FATAL(held_);                                                                    \
    } while (0)

/* buffers: of both sockets, 0 = the kernel's default. */
void rig_open(struct rig *g, uint16_t suite, bool tcp, int buffers);

/* The relay must have ended by then, or does so because both of the test's ends close. */
void rig_close(struct rig *g);

/* All of p, without waiting for anything but the relay. */
void rig_push(struct rig *g, int fd, const uint8_t *p, size_t n);
void rig_pull(struct rig *g, int fd, uint8_t *p, size_t n);

/* The next recv() on fd says EOF. */
void rig_eof(struct rig *g, int fd);

/* Seals one record as the peer; its bytes are in `out`, its length is returned. */
size_t rig_seal(struct rig *g, uint8_t type, const void *p, size_t n, uint8_t *out);
void rig_peer_says(struct rig *g, uint8_t type, const void *p, size_t n);

/* Takes the next record as the peer. Returns its length; its plaintext is in a static buffer. */
size_t rig_peer_hears_any(struct rig *g, uint8_t *type, uint8_t **plain);
size_t rig_peer_hears(struct rig *g, uint8_t want_type, uint8_t **plain);
void rig_peer_hears_text(struct rig *g, const char *want);
void rig_peer_hears_alert(struct rig *g, uint8_t level, uint8_t number);

void rig_program_says(struct rig *g, const char *text);
void rig_program_hears(struct rig *g, const char *want);

/* Says more than the relay gets rid of. Returns how many bytes. */
size_t rig_program_overflows(struct rig *g);
void rig_peer_overflows(struct rig *g);

#endif
