/* Descriptors of ours among the program's: close-on-exec, out of its way, and known to be ours. */
#ifndef HTLS_HIDDEN_H
#define HTLS_HIDDEN_H

/* All under the lock. hd_dup: a hidden duplicate of fd, which stays the caller's, or -errno.
 * hd_move: fd itself under a hidden number; the old one is closed. Where no number is free there it
 * stays where it is, and is hidden all the same. */
int hd_dup(int fd);
int hd_move(int fd);

/* Closes *fd if there is one and sets it to -1. */
void hd_close(int *fd);

/* A hidden number that was closed past us and names something else, or nothing, by now. */
void hd_lost(int fd);

#endif
