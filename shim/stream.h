/* Streams of stdio on connections. */
#ifndef HTLS_STREAM_H
#define HTLS_STREAM_H

#include <stdio.h>

/* fdopen(3) for a number that is ours: libc's own streams read by calls inside of libc, which meet
 * the records that are not data. The number is the stream's, fclose() closes it. NULL with errno
 * and the number the caller's. */
FILE *st_open(int fd, const char *mode);

/* The number of a stream that st_open() made, -1 for others. */
int st_number(FILE *f);

/* exit(3) empties streams last of all, when connections have said their end: this writes what lies
 * in them before. In a process that had threads only in streams of ours, and in none that another
 * thread holds, which may be for ever. */
void st_flush(void);

#endif
