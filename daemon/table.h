/* What a worker keeps of each kernel connection after its socket has gone back: an entry by the
 * socket's cookie.
 *
 * The entries lie in a memfd that control made and that every replacement of this worker maps
 * again, so that a worker's death loses none. One process writes it at a time. The index is made
 * anew at each start. */
#ifndef HTLS_TABLE_H
#define HTLS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "../proto/wire.h"
#include "keysched.h"
#include "updates.h"

/* Secret inside: tb_drop() wipes it. A direction's traffic secret of generation g lies in
 * *_secret[g % 2]: the next one is written beside it, then the generation changes, so that a worker
 * that dies between two steps leaves a whole truth behind. */
struct tb_entry {
    uint64_t cookie; /* SO_COOKIE; 0 = the place is free */
    uint64_t netns;  /* SO_NETNS_COOKIE */
    uint32_t uid;    /* of the client that asked for the handshake */
    uint32_t next;   /* in the list of free places, index + 1 */
    uint32_t rx_generation, tx_generation;
    uint16_t suite;
    uint8_t tx_mode, rx_mode; /* enum w_mode */
    uint8_t owed;             /* the peer waits for a KeyUpdate of ours */
    uint8_t resumed;
    uint8_t alpn_len;
    uint8_t told;                                                     /* control knows of it */
    uint8_t rx_secret[2][KS_SECRET_MAX], tx_secret[2][KS_SECRET_MAX]; /* TLS 1.3 */
    struct ud_bucket updates; /* how many KeyUpdates the peer may send */
    uint64_t moved;           /* bytes of data, as the client said last */
    char name[W_NAME_MAX + 1];
    uint8_t alpn[255];
    char group[24];
};

struct table;

/* The bytes of a table with room for so many entries. */
size_t tb_size(uint32_t capacity);

/* Maps the memfd, which must have tb_size(capacity) bytes and stays the caller's; what lies in it
 * already is found again. Returns 0 or -errno. */
int tb_open(struct table **out, int memfd, uint32_t capacity);
void tb_close(struct table *t);

/* How many entries there are; whether there is room for one more. */
uint32_t tb_count(const struct table *t);
int tb_has_room(const struct table *t);

/* A zeroed entry for this cookie (one that was there before is wiped: cookies are not used twice by
 * the kernel, so it was an error). Valid until tb_drop() or tb_close(). NULL when there is no room,
 * or cookie is 0. */
struct tb_entry *tb_add(struct table *t, uint64_t cookie);

struct tb_entry *tb_find(const struct table *t, uint64_t cookie);

/* The place of an entry: 0 up to capacity - 1. */
uint32_t tb_index(const struct table *t, const struct tb_entry *e);

/* Wipes and forgets. Returns 1 when there was such an entry, else 0. */
int tb_drop(struct table *t, uint64_t cookie);

/* Walks all entries: start with *at = 0; NULL at the end. */
struct tb_entry *tb_next(const struct table *t, uint32_t *at);

#endif
