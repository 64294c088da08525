/* Tests of daemon/keylog.c. */
#include "../../daemon/keylog.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <sys/mman.h>

#define RANDOM "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEX32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
#define HEX48 HEX32 "ABCDEFabcdef00000000000000000042"

static void test_take(void)
{
    struct kl_secrets s = {.client_len = 0};

    kl_take(&s, "SERVER_HANDSHAKE_TRAFFIC_SECRET " RANDOM " " HEX32);
    kl_take(&s, "CLIENT_TRAFFIC_SECRET_01 " RANDOM " " HEX32);
    kl_take(&s, "CLIENT_TRAFFIC_SECRET_0");
    CU_ASSERT(s.client_len == 0 && s.server_len == 0 && s.master_len == 0);
    kl_take(&s, "CLIENT_TRAFFIC_SECRET_0 " RANDOM " " HEX32);
    CU_ASSERT(s.client_len == 32 && s.client[1] == 1 && s.client[31] == 0xff);
    kl_take(&s, "SERVER_TRAFFIC_SECRET_0 " RANDOM " " HEX48);
    CU_ASSERT(s.server_len == 48 && s.server[32] == 0xab && s.server[35] == 0xab &&
              s.server[47] == 0x42);
    kl_take(&s, "CLIENT_RANDOM " RANDOM " " HEX48);
    CU_ASSERT(s.master_len == 48 && memcmp(s.master, s.server, 48) == 0);
    CU_ASSERT(s.client_len == 32 && s.server_len == 48);
}

static void test_damaged(void)
{
    static const char *const lines[] = {
        "CLIENT_RANDOM " RANDOM " " HEX48 "0",  "CLIENT_RANDOM " RANDOM " " HEX48 "00",
        "CLIENT_RANDOM " RANDOM " 0",           "CLIENT_RANDOM " RANDOM " 0g",
        "CLIENT_RANDOM " RANDOM " g0",          "CLIENT_RANDOM " RANDOM " ",
        "CLIENT_RANDOM " RANDOM " " HEX32 "/0", "CLIENT_RANDOM ",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct kl_secrets s = {.master_len = 48};

        kl_take(&s, lines[i]);
        CU_ASSERT_EQUAL(s.master_len, 0);
    }
}

static void test_write(void)
{
    int fd = memfd_create("keys", MFD_CLOEXEC);
    char got[64] = "", longer[600];

    CU_ASSERT_FATAL(fd >= 0);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    kl_write(fd, "one");
    kl_write(fd, longer); /* a part of a line would be worse than none */
    kl_write(fd, "two");
    CU_ASSERT_EQUAL(pread(fd, got, sizeof(got) - 1, 0), 8);
    CU_ASSERT_STRING_EQUAL(got, "one\ntwo\n");
    close(fd);
    kl_write(-1, "nobody takes this");
}

void suite_keylog(void)
{
    CU_pSuite s = CU_add_suite("keylog", NULL, NULL);

    CU_add_test(s, "take", test_take);
    CU_add_test(s, "damaged", test_damaged);
    CU_add_test(s, "write", test_write);
}
