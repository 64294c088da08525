/* The names of errors and modes, for logs and people. */
#include "wire.h"

static const struct {
    const char *name, *text;
} codes[W_CODE_END] = {[W_CODE_OK] = {"ok", "no error"},
#define CODE_ROW(name, number, text, sentence) [number] = {text, sentence},
                       W_CODES(CODE_ROW)
#undef CODE_ROW
};

const char *w_code_name(unsigned code)
{
    return code < W_CODE_END ? codes[code].name : "unknown";
}

const char *w_code_text(unsigned code)
{
    return code < W_CODE_END ? codes[code].text : "an error that this version does not know";
}

const char *w_mode_name(unsigned mode)
{
    static const char *const names[] = {
        [W_MODE_RELAY] = "relay", [W_MODE_KERNEL] = "kernel", [W_MODE_NIC] = "nic"};

    return mode >= W_MODE_RELAY && mode <= W_MODE_NIC ? names[mode] : "unknown";
}
