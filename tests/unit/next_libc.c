/* What shim/next.c is to the preload library, for the tests: libc's own functions. */
#include "../../shim/next.h"

#include <dlfcn.h>

void *nx_find(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}
