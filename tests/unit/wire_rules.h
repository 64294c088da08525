/* PROTOCOL.md's tables once more, by hand: wire.c must not judge itself. */
#ifndef HTLS_TESTS_WIRE_RULES_H
#define HTLS_TESTS_WIRE_RULES_H

#include "../../proto/wire.h"

/* PROTOCOL.md's attribute table; host is a message that carries it. */
static const struct {
    enum w_attr a;
    char kind; /* 1 2 4 8: width; b t n: bytes, text, name */
    uint64_t min, max;
    unsigned most;
    enum w_type host;
} attrs[] = {
    {W_A_VERSION, 4, 0, 0xffffffff, 1, W_HELLO},
    {W_A_CAPS, 4, 0, 0xffffffff, 1, W_HELLO},
    {W_A_AGENT, 't', 1, 255, 1, W_HELLO},
    {W_A_FLAGS, 4, 0, 1, 1, W_CONNECT}, /* 2 and 3 want a gate: cross_checks */
    {W_A_SERVER_NAME, 'n', 1, 253, 1, W_CONNECT},
    {W_A_ALPN, 'b', 1, 255, 32, W_CONNECT},
    {W_A_VERSION_MIN, 2, 0x303, 0x304, 1, W_CONNECT},
    {W_A_VERSION_MAX, 2, 0x303, 0x304, 1, W_CONNECT},
    {W_A_SUITE, 2, 0, 0xffff, 32, W_CONNECT},
    {W_A_GROUPS, 'n', 1, 1024, 1, W_CONNECT},
    {W_A_TRUST_STORE, 't', 1, 255, 1, W_CONNECT},
    {W_A_VERIFY, 1, 0, 1, 1, W_CONNECT},
    {W_A_PATH, 1, 0, 2, 1, W_CONNECT},
    {W_A_TIMEOUT_MS, 4, 1, 3600000, 1, W_CONNECT},
    {W_A_PEM, 'b', 1, 60000, 1, W_TRUST},
    {W_A_TLS_VERSION, 2, 0x303, 0x304, 1, W_RESULT},
    {W_A_CIPHER, 2, 0, 0xffff, 1, W_RESULT},
    {W_A_ALPN_SELECTED, 'b', 1, 255, 1, W_RESULT},
    {W_A_MODE_TX, 1, 2, 3, 1, W_RESULT}, /* 1 wants MODE_RX 1, too: cross_checks */
    {W_A_MODE_RX, 1, 2, 3, 1, W_RESULT},
    {W_A_WHY, 't', 1, 1024, 1, W_RESULT},
    {W_A_COOKIE, 8, 0, UINT64_MAX, 1, W_RESULT},
    {W_A_EARLY, 'b', 1, 60000, 1, W_RESULT},
    {W_A_GROUP, 'n', 1, 255, 1, W_RESULT},
    {W_A_RESUMED, 1, 0, 1, 1, W_RESULT},
    {W_A_CODE, 2, 1, 25, 1, W_ERROR},
    {W_A_ERRNO, 4, 1, 4095, 1, W_ERROR},
    {W_A_ALERT, 1, 0, 255, 1, W_ERROR},
    {W_A_ALERT_SENT, 1, 0, 1, 1, W_ERROR},
    {W_A_VERIFY_CODE, 4, 0, 0xffffffff, 1, W_ERROR},
    {W_A_TEXT, 't', 1, 1024, 1, W_ERROR},
    {W_A_RECORD_TYPE, 1, 21, 22, 1, W_CONTROL},
    {W_A_RECORD, 'b', 1, 16384, 1, W_CONTROL},
    {W_A_REPORT, 'b', 0, 60000, 1, W_REPORT},
    // clang-format off
    {W_A_POOL, 8, 1, UINT64_MAX, 1, W_SHARED}, {W_A_SLOT, 4, 0, 0xffffffff, 1, W_RESULT},
    {W_A_GENERATION, 4, 0, 0xffffffff, 1, W_REKEY}, {W_A_KEY, 'b', 1, 64, 1, W_RESULT},
    {W_A_OWED, 1, 0, 1, 1, W_RESULT}, {W_A_MOVED, 8, 0, UINT64_MAX, 1, W_CONTROL},
    {W_A_RECORDS_MAX, 8, 1, UINT64_MAX, 1, W_RESULT},
    // clang-format on
};
#define N_ATTRS (sizeof(attrs) / sizeof(attrs[0]))

/* PROTOCOL.md's message table: attribute numbers; the descriptors of one with no optional ones. */
static const struct {
    enum w_dir dir;
    unsigned fds;
    uint8_t must[6], may[16];
} messages[W_TYPE_END] = {
    [W_HELLO] = {W_TO_DAEMON, 0, {1, 2}, {3}},
    [W_WELCOME] = {W_TO_CLIENT, 0, {1, 2}, {3}},
    [W_TRUST] = {W_TO_DAEMON, 0, {16}, {0}},
    [W_CONNECT] = {W_TO_DAEMON, 1, {5}, {4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    [W_RESULT] = {W_TO_CLIENT,
                  0,
                  {17, 18, 20, 21, 23},
                  {19, 22, 24, 25, 26, 31, 36, 37, 38, 39, 40, 42}},
    [W_ERROR] = {W_TO_CLIENT, 0, {27, 28, 32}, {29, 30, 31}},
    [W_CANCEL] = {W_TO_DAEMON, 0, {0}, {0}},
    [W_CONTROL] = {W_TO_DAEMON, 1, {33, 34}, {23, 38, 41}},
    [W_STATUS] = {W_TO_DAEMON, 0, {0}, {0}},
    [W_REPORT] = {W_TO_CLIENT, 0, {35}, {0}},
    // clang-format off
    [W_ATTACH] = {W_TO_DAEMON, 1, {0}, {0}}, [W_REKEY] = {W_TO_DAEMON, 1, {38}, {0}},
    [W_SHARE] = {W_TO_DAEMON, 0, {0}, {0}}, [W_SHARED] = {W_TO_CLIENT, 1, {36}, {0}},
    // clang-format on
};

#endif
