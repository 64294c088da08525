/* Putting another open file under the numbers of a connection, epoll sets included. */
#ifndef HTLS_SWAP_H
#define HTLS_SWAP_H

#include "fdstate.h"

#define SW_NUMBERS_MAX 64

/* Set when this process has duplicated a socket: only then are there aliases to look for. */
extern atomic_bool sw_dups;

/* A new epoll set has this number (negative: ignored). Sets that came over exec are not known. */
void sw_new_set(int epfd);

/* All numbers of this process that name the same socket as fd, fd first. Returns how many (at most
 * max). */
int sw_aliases(int fd, int *list, int max);

/* Where epoll sets watch a number of s. Returns how many were found (at most max). */
unsigned sw_find_regs(const struct fs_state *s, struct fs_reg *regs, unsigned max);

/* Puts `by` under each number of s (close-on-exec as it was) and moves the registrations over: out
 * of the sets before, back in after, for a set keeps watching the old file else. `by` stays the
 * caller's. Under the lock. Returns 0 or -errno. */
int sw_replace(const struct fs_state *s, const struct fs_reg *regs, unsigned n_regs, int by);

/* True when, after fs_settled was `since`, a registration in this set with this data has moved from
 * a gate to the TCP socket: *reg is it. What was seen of it before is void. */
bool sw_moved(int epfd, uint64_t data, unsigned since, struct fs_reg *reg);

#endif
