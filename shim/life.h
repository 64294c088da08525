/* The lives of descriptor numbers: close, duplication. */
#ifndef HTLS_LIFE_H
#define HTLS_LIFE_H

/* Before a number is closed or taken over. Sends close_notify when it is a connection's last. Does
 * nothing for numbers that are not ours. */
void li_closing(int fd);
void li_closing_range(unsigned first, unsigned last);

/* After a successful duplication: to names what from names. */
void li_duplicated(int from, int to);

/* A number has just been made by another call. What we know of it is old: it was closed behind our
 * back. */
void li_made(int fd);

#endif
