/* The next keys of a kept TLS 1.3 connection: pure arithmetic on its entry. */
#ifndef HTLS_REKEY_H
#define HTLS_REKEY_H

#include <stdbool.h>

#include "failure.h"
#include "ktls.h"
#include "table.h"

/* A key as the client installs it. Secret: wipe it. */
struct rk_key {
    uint32_t generation;
    int n; /* bytes of block, 0 = there is none to install */
    uint8_t block[KT_BLOCK_MAX];
};

/* The peer's KeyUpdate was read under receiving generation *generation (NULL: the client does not
 * say, it is the one in use). The entry goes on one generation and *key is the next receiving key.
 * A report of the generation before is a second report of the same record, or the same one once
 * more: it changes nothing and gets the same key. An older one gets none. `asked`: the peer wants
 * one in return, which is then owed. Returns 0, or -errno with *f filled and nothing changed. */
int rk_received(struct tb_entry *e, const uint32_t *generation, bool asked, struct rk_key *key,
                struct failure *f);

/* The client is about to send a KeyUpdate; it sends under `generation` now. *key is the next one.
 * That a client uses generation g + 1 is how the daemon learns that it has installed it: asking
 * again under g gets the same key. Returns as rk_received(). */
int rk_sending(struct tb_entry *e, uint32_t generation, struct rk_key *key, struct failure *f);

#endif
