/* The text of a REPORT: the whole daemon's state, for `htls status` and `htls doctor`. */
#ifndef HTLS_REPORT_H
#define HTLS_REPORT_H

#include <stddef.h>

#include "worker.h"

/* Writes lines "key value". Returns the length, at most cap - 1. */
size_t re_write(char *out, size_t cap, const struct worker *w);

#endif
