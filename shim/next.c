/* Fills the table of system calls with the definitions behind this library, for the preload shim.
 */
#include "next.h"

#include <dlfcn.h>
#include <fcntl.h>

#include "hidden.h"
#include "lock.h"
#include "sys.h"

void *nx_find(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define SY_NEXT(result, name, params, args)                                                        \
    static result next_##name params                                                               \
    {                                                                                              \
        return NX(name) args;                                                                      \
    }
SY_CALLS(SY_NEXT)
#undef SY_NEXT

static int next_fcntl(int fd, int cmd, ...)
{
    __builtin_va_list ap;
    long arg;

    __builtin_va_start(ap, cmd);
    arg = __builtin_va_arg(ap, long);
    __builtin_va_end(ap);
    return NX(fcntl)(fd, cmd, arg);
}

/* A program that closes or replaces every number it can find is kept off it (hidden.h). */
static int next_hide(int fd)
{
    struct lk_saved saved;

    lk_take(&saved);
    fd = hd_move(fd);
    lk_give(&saved);
    return fd;
}

static void next_unhide(int fd)
{
    struct lk_saved saved;

    lk_take(&saved);
    hd_close(&fd);
    lk_give(&saved);
}

struct sy_calls sy = {
#define SY_ROW(result, name, params, args) .name = next_##name,
    SY_CALLS(SY_ROW)
#undef SY_ROW
        .fcntl = next_fcntl,
    .hide = next_hide,
    .unhide = next_unhide,
};
