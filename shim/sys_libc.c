/* Fills the table of system calls with libc's functions, for libhtls. */
#include "sys.h"

#include <fcntl.h>

struct sy_calls sy = {
#define SY_LIBC(result, name, params, args) .name = name,
    SY_CALLS(SY_LIBC)
#undef SY_LIBC
        .fcntl = fcntl,
};
