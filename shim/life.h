/* The lives of descriptor numbers: close, duplication. */
#ifndef HTLS_LIFE_H
#define HTLS_LIFE_H

#include <stdbool.h>
#include <sys/socket.h>

/* Before a number is closed. Sends close_notify when it is a connection's last. Returns 0, or
 * -EBADF when the number is a hidden one of ours: the program closes what it has not opened. */
int li_closing(int fd);

/* Before dup2 puts something else under the number: as li_closing(), but a hidden one of ours makes
 * room. Returns 0, -EBUSY when another thread waits on it just now, or -errno. */
int li_replacing(int fd);

/* The numbers of a range that are connections, before all of it is closed but for the hidden ones:
 * li_hidden_in() gives the first of these in *fd, false when there is none. */
void li_closing_range(unsigned first, unsigned last);
bool li_hidden_in(unsigned first, unsigned last, unsigned *fd);

/* The process ends by exit(). Connections that it is the last to hold are ended in order. */
void li_exiting(void);

/* After a successful duplication: to names what from names. */
void li_duplicated(int from, int to);

/* A number has just been made by another call. What we know of it is old: it was closed behind our
 * back. */
void li_made(int fd);

/* Numbers that came with a message (SCM_RIGHTS), or one from another process: they are new, and may
 * be second numbers of sockets that we have. */
void li_received(const struct msghdr *msg);
void li_taken(int fd);

#endif
