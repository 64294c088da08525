/* Tests of daemon/posths.c: messages cut out of records, whatever the cut. */
#include "../../proto/posths.c"

#include "suites.h"

#include <CUnit/CUnit.h>

/* Feeds p in pieces of `piece` bytes; the event of the last one that had one, or the error. */
static int feed(uint16_t version, const uint8_t *p, size_t n, size_t piece, enum ph_event *last)
{
    struct ph_stream s = {.have = 0};

    *last = PH_NOTHING;
    for (size_t at = 0; at < n; at += piece) {
        enum ph_event event = PH_KEY_UPDATE;
        int r = ph_feed(&s, version, p + at, n - at < piece ? n - at : piece, &event);

        if (r < 0)
            return r;
        if (event != PH_NOTHING) {
            CU_ASSERT_EQUAL(*last, PH_NOTHING);
            *last = event;
        }
    }
    CU_ASSERT_EQUAL(s.have, 0);
    return 0;
}

static void test_any_cut(void)
{
    /* two tickets (the second of no bytes), a KeyUpdate that asks */
    static const uint8_t p[] = {4, 0, 0, 5, 24, 0, 0, 1, 1, 4, 0, 0, 0, 24, 0, 0, 1, 1};
    enum ph_event event;

    for (size_t piece = 1; piece <= sizeof(p); piece++) {
        CU_ASSERT_EQUAL(feed(0x0304, p, sizeof(p), piece, &event), 0);
        CU_ASSERT_EQUAL(event, PH_KEY_UPDATE_ASK);
    }
    CU_ASSERT_EQUAL(feed(0x0304, p, 13, 13, &event), 0);
    CU_ASSERT_EQUAL(event, PH_NOTHING);
}

static void test_key_update(void)
{
    static const uint8_t plain[] = {24, 0, 0, 1, 0}, ask[] = {24, 0, 0, 1, 1};
    static const uint8_t value[] = {24, 0, 0, 1, 2}, high[] = {24, 0, 0, 1, 255};
    static const uint8_t behind[] = {24, 0, 0, 1, 0, 4}, empty[] = {24, 0, 0, 0};
    static const uint8_t two[] = {24, 0, 0, 2, 0, 0}, wide[] = {24, 1, 0, 1, 0};
    enum ph_event event;

    CU_ASSERT_EQUAL(feed(0x0304, plain, sizeof(plain), 5, &event), 0);
    CU_ASSERT_EQUAL(event, PH_KEY_UPDATE);
    CU_ASSERT_EQUAL(feed(0x0304, ask, sizeof(ask), 5, &event), 0);
    CU_ASSERT_EQUAL(event, PH_KEY_UPDATE_ASK);
    CU_ASSERT_EQUAL(feed(0x0304, value, sizeof(value), 5, &event), ILLEGAL_PARAMETER);
    CU_ASSERT_EQUAL(feed(0x0304, high, sizeof(high), 5, &event), ILLEGAL_PARAMETER);
    CU_ASSERT_EQUAL(feed(0x0304, behind, sizeof(behind), 6, &event), UNEXPECTED_MESSAGE);
    CU_ASSERT_EQUAL(feed(0x0304, empty, sizeof(empty), 4, &event), DECODE_ERROR);
    CU_ASSERT_EQUAL(feed(0x0304, two, sizeof(two), 6, &event), DECODE_ERROR);
    CU_ASSERT_EQUAL(feed(0x0304, wide, sizeof(wide), 5, &event), DECODE_ERROR);
}

static void test_tickets(void)
{
    static uint8_t most[4 + TICKET_MAX] = {4, TICKET_MAX >> 16, 0, 0};
    static const uint8_t more[] = {4, TICKET_MAX >> 16, 0, 1};
    struct ph_stream s = {.have = 0};
    enum ph_event event;

    CU_ASSERT_EQUAL(feed(0x0304, most, sizeof(most), 16384, &event), 0);
    CU_ASSERT_EQUAL(ph_feed(&s, 0x0304, more, sizeof(more), &event), DECODE_ERROR);
}

static void test_refused(void)
{
    struct ph_stream s = {.have = 0};
    enum ph_event event;

    for (unsigned type = 0; type < 256; type++) {
        const uint8_t p[] = {(uint8_t)type, 0, 0, 0};
        int v13 = feed(0x0304, p, sizeof(p), 4, &event);
        int v12 = feed(0x0303, p, sizeof(p), 4, &event);

        CU_ASSERT_EQUAL(v12, type == HELLO_REQUEST ? 0 : UNEXPECTED_MESSAGE);
        CU_ASSERT_EQUAL(v13, type == NEW_SESSION_TICKET ? 0
                             : type == KEY_UPDATE       ? DECODE_ERROR
                                                        : UNEXPECTED_MESSAGE);
    }
    /* a HelloRequest has no body, a fragment of no bytes is none */
    CU_ASSERT_EQUAL(feed(0x0303, (const uint8_t *)"\0\0\0\1", 4, 4, &event), UNEXPECTED_MESSAGE);
    CU_ASSERT_EQUAL(ph_feed(&s, 0x0304, NULL, 0, &event), UNEXPECTED_MESSAGE);
}

void suite_posths(void)
{
    CU_pSuite s = CU_add_suite("posths", NULL, NULL);

    CU_add_test(s, "any cut", test_any_cut);
    CU_add_test(s, "key update", test_key_update);
    CU_add_test(s, "tickets", test_tickets);
    CU_add_test(s, "refused", test_refused);
}
