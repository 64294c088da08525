/* Tests of daemon/lasting.c: one htlsd after the other. */
#include "../../daemon/lasting.c"

#include "capture.h"
#include "suites.h"

#include <CUnit/CUnit.h>

static struct options o;

static ino_t inode(int fd)
{
    struct stat st;

    CU_ASSERT_FATAL(fstat(fd, &st) == 0);
    return st.st_ino;
}

/* What the service manager gives back of what was kept: copies. */
static struct passed given_back(const struct lasting *l)
{
    struct passed p = {.listener = -1};

    CU_ASSERT_EQUAL_FATAL(la_pass_on(l, &p), 0);
    for (size_t i = 0; i < p.n; i++)
        p.memories[i].fd = dup(p.memories[i].fd);
    return p;
}

static void test_again(void)
{
    struct passed none = {.listener = -1}, back;
    struct lasting first, second;
    uint64_t id;

    unsetenv("NOTIFY_SOCKET");
    o.connections = 32;
    CU_ASSERT_EQUAL_FATAL(la_open(&first, &o, 2, &none), 0);
    CU_ASSERT(!first.restored);
    id = la_pool(&first, 7)->id;
    back = given_back(&first);
    CU_ASSERT_EQUAL(back.n, 3);
    CU_ASSERT_EQUAL_FATAL(la_open(&second, &o, 2, &back), 0);
    CU_ASSERT(second.restored && second.pools.n == 1);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(inode(first.tables[i]), inode(second.tables[i]));
    CU_ASSERT(la_pool(&second, 7)->id == id);
    CU_ASSERT_EQUAL(inode(la_pool(&first, 7)->fd), inode(la_pool(&second, 7)->fd));
    ps_free(&back);
    la_free(&first);
    la_free(&second);
}

/* Other workers, other limits: what does not fit is let go, all else is there. */
static void test_changed(void)
{
    for (int how = 0; how < 2; how++) {
        struct capture c = capture_begin(2);
        struct passed none = {.listener = -1}, back;
        struct lasting first, second;
        char said[1024];

        o.connections = 32;
        CU_ASSERT_EQUAL_FATAL(la_open(&first, &o, 2, &none), 0);
        (void)la_pool(&first, 7);
        back = given_back(&first);
        o.connections = how ? 48 : 32;
        CU_ASSERT_EQUAL_FATAL(la_open(&second, &o, 1, &back), 0);
        CU_ASSERT_EQUAL(second.restored, how == 0);
        CU_ASSERT_EQUAL(second.pools.n, 0);
        ps_free(&back);
        capture_end(c, said, sizeof(said));
        CU_ASSERT(strstr(said, "forgotten") != NULL);
        la_free(&first);
        la_free(&second);
    }
}

void suite_lasting(void)
{
    CU_pSuite s = CU_add_suite("lasting", NULL, NULL);

    CU_add_test(s, "found again", test_again);
    CU_add_test(s, "a changed configuration", test_changed);
}
