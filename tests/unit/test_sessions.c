/* Tests of daemon/sessions.c: who is kept, who must go, what is wiped, what a dead worker leaves.
 */
#include "../../daemon/sessions.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW 1000000u
#define MARK 0x5a /* fills every session of these tests */

static struct se_cache *cache;
static struct se_session s; /* what was put, or taken, last */

static void open_cache(unsigned places, unsigned share)
{
    CU_ASSERT_EQUAL_FATAL(se_new(&cache, places, share), 0);
}

/* All keys of a test fall into one set, the hardest case: only the later bytes differ. */
static const uint8_t *key_of(unsigned number)
{
    static uint8_t key[SE_KEY];

    memset(key, 0, sizeof(key));
    memcpy(key + 8, &number, sizeof(number));
    return key;
}

/* A session that can be told from others by its second and third byte. */
static int put(unsigned key, uint32_t uid, bool once, uint64_t until, unsigned number)
{
    s = (struct se_session){.uid = uid, .once = once, .until = until, .proven = until + 1};
    s.n = 100;
    memset(s.bytes, MARK, s.n);
    memcpy(s.bytes + 1, &number, 2);
    return se_put(cache, key_of(key), &s, NOW);
}

/* The number of the session that comes out, or -errno. */
static int take_at(unsigned key, uint64_t now)
{
    uint16_t number = 0;
    int r;

    memset(&s, 0, sizeof(s));
    r = se_take(cache, key_of(key), now, &s);
    if (r < 0)
        return r;
    CU_ASSERT(s.n == 100 && s.bytes[0] == MARK && s.bytes[99] == MARK);
    memcpy(&number, s.bytes + 1, sizeof(number));
    return number;
}

static int take(unsigned key)
{
    return take_at(key, NOW);
}

/* Bytes of sessions that still lie in the cache's memory. */
static size_t remains(void)
{
    size_t n = 0;

    for (size_t i = 0; i < (size_t)cache->sets * cache->ways * SE_BYTES_MAX; i++)
        n += cache->bytes[i] != 0;
    return n;
}

static void test_once(void)
{
    open_cache(64, 100);
    CU_ASSERT_EQUAL(take(1), -ENOENT);
    CU_ASSERT_EQUAL(put(1, 7, true, NOW + 5, 11), 0);
    CU_ASSERT_EQUAL(put(1, 7, true, NOW + 5, 12), 0);
    CU_ASSERT_EQUAL(se_count(cache), 2);
    CU_ASSERT_EQUAL(take(2), -ENOENT);
    CU_ASSERT_EQUAL(take(1), 12); /* the newest */
    CU_ASSERT(s.uid == 7 && s.once && s.until == NOW + 5 && s.proven == NOW + 6);
    CU_ASSERT_EQUAL(take(1), 11);
    CU_ASSERT_EQUAL(take(1), -ENOENT);
    CU_ASSERT(se_count(cache) == 0 && remains() == 0);
    for (unsigned i = 0; i < SE_PER_KEY + 2; i++)
        CU_ASSERT_EQUAL(put(1, 7, true, NOW + 5, i), 0);
    for (unsigned i = 0; i < SE_PER_KEY; i++)
        CU_ASSERT_EQUAL(take(1), (int)(SE_PER_KEY + 1 - i));
    CU_ASSERT_EQUAL(take(1), -ENOENT);
    se_free(cache);
}

/* One that may be used again stays, its successor takes its place. */
static void test_again(void)
{
    open_cache(64, 100);
    put(1, 7, false, NOW + 5, 11);
    CU_ASSERT(take(1) == 11 && take(1) == 11 && !s.once);
    put(1, 7, false, NOW + 5, 12);
    CU_ASSERT(take(1) == 12 && take(1) == 12 && se_count(cache) == 1);
    put(1, 7, true, NOW + 5, 13); /* both kinds under one key: a server with two faces */
    CU_ASSERT(take(1) == 13 && take(1) == 12);
    put(1, 7, true, NOW + 5, 14);
    put(2, 7, true, NOW + 5, 15);
    se_drop(cache, key_of(1));
    CU_ASSERT(take(1) == -ENOENT && take(2) == 15 && remains() == 0);
    se_drop(cache, key_of(1));
    se_free(cache);
}

static void test_refused(void)
{
    open_cache(64, 100);
    memset(&s, MARK, sizeof(s));
    s.once = true;
    s.until = NOW + 5;
    s.n = SE_BYTES_MAX + 1;
    CU_ASSERT_EQUAL(se_put(cache, key_of(1), &s, NOW), -EMSGSIZE);
    s.n = 0;
    CU_ASSERT_EQUAL(se_put(cache, key_of(1), &s, NOW), -EMSGSIZE);
    s.n = 10;
    CU_ASSERT_EQUAL(se_put(cache, key_of(1), &s, NOW + 5), -ETIME);
    CU_ASSERT(se_count(cache) == 0 && remains() == 0);
    s.n = SE_BYTES_MAX;
    CU_ASSERT_EQUAL(se_put(cache, key_of(1), &s, NOW), 0);
    CU_ASSERT_EQUAL(remains(), SE_BYTES_MAX);
    CU_ASSERT(se_take(cache, key_of(1), NOW, &s) == 0 && s.n == SE_BYTES_MAX && remains() == 0);
    se_free(cache);
    se_free(NULL);
}

/* What is over is not given out, and wiped by whoever comes past, or by the sweep. */
static void test_expiry(void)
{
    open_cache(4096, 100);
    put(1, 7, true, NOW + 10, 1);
    put(2, 7, false, NOW + 20, 2);
    CU_ASSERT_EQUAL(take_at(2, NOW + 19), 2);
    CU_ASSERT_EQUAL(take_at(1, NOW + 10), -ENOENT);
    CU_ASSERT_EQUAL(se_count(cache), 1);
    CU_ASSERT_EQUAL(take_at(3, NOW + 20), -ENOENT); /* a neighbour of 2 */
    CU_ASSERT(se_count(cache) == 0 && remains() == 0);
    for (uint8_t i = 0; i < cache->sets; i++) {
        uint8_t key[SE_KEY] = {i};

        s.n = 100;
        s.until = NOW + 10 + i % 2;
        CU_ASSERT_EQUAL(se_put(cache, key, &s, NOW), 0);
    }
    se_sweep(cache, 0, 2, NOW + 10);
    CU_ASSERT_EQUAL(se_count(cache), cache->sets / 2);
    se_sweep(cache, 1, 2, NOW + 10);
    CU_ASSERT_EQUAL(se_count(cache), cache->sets / 2);
    se_sweep(cache, 1, 2, NOW + 11);
    CU_ASSERT(se_count(cache) == 0 && remains() == 0);
    se_free(cache);
}

/* A full set: the one that was used longest ago goes, whosever it is. */
static void test_oldest_goes(void)
{
    open_cache(8, 100);
    for (unsigned i = 0; i < 8; i++)
        put(i, i, false, NOW + 5, i);
    CU_ASSERT_EQUAL(take(0), 0); /* was the oldest, is the youngest */
    put(100, 100, false, NOW + 5, 100);
    CU_ASSERT(take(1) == -ENOENT && take(0) == 0 && take(2) == 2 && take(100) == 100);
    put(101, 100, true, NOW + 5, 101);
    CU_ASSERT(take(3) == -ENOENT && take(101) == 101);
    put(102, 102, true, NOW + 5, 102); /* there was room again */
    CU_ASSERT(take(4) == 4 && se_count(cache) == 8);
    se_free(cache);
    open_cache(2, 100);
    put(1, 1, true, NOW + 50, 1);
    put(2, 2, true, NOW + 5, 2); /* over by the time that the next one comes */
    s.until = NOW + 50;
    CU_ASSERT_EQUAL(se_put(cache, key_of(3), &s, NOW + 5), 0);
    CU_ASSERT(take_at(1, NOW + 5) == 1 && take_at(3, NOW + 5) == 2);
    se_free(cache);
}

/* Whatever one user does, the others' sessions stay. */
static void test_share(void)
{
    open_cache(64, 25);
    CU_ASSERT(cache->ways == 64 && cache->share == 16);
    for (unsigned i = 0; i < 20; i++)
        put(1000 + i, 1, true, NOW + 5, i);
    for (unsigned i = 0; i < 500; i++)
        put(i, 2, true, NOW + 5, i);
    CU_ASSERT_EQUAL(se_count(cache), 32);
    for (unsigned i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(take(1000 + i), i < 4 ? -ENOENT : (int)i);
    for (unsigned i = 480; i < 500; i++)
        CU_ASSERT_EQUAL(take(i), i < 484 ? -ENOENT : (int)i);
    CU_ASSERT_EQUAL(remains(), 0);
    se_free(cache);
}

/* No size that is asked for gives more, or a user's share of nothing. */
static void test_sizes(void)
{
    static const struct {
        unsigned places, share, sets, ways, most;
    } rows[] = {{1, 1, 1, 1, 1},        {63, 50, 1, 63, 31},     {64, 100, 1, 64, 64},
                {127, 25, 1, 127, 31},  {128, 25, 2, 64, 16},    {191, 25, 2, 95, 23},
                {4096, 25, 64, 64, 16}, {262144, 1, 4096, 64, 1}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        open_cache(rows[i].places, rows[i].share);
        CU_ASSERT(cache->sets == rows[i].sets && cache->ways == rows[i].ways);
        CU_ASSERT(cache->share == rows[i].most && cache->sets * cache->ways <= rows[i].places);
        put(1, 1, true, NOW + 5, 1);
        CU_ASSERT_EQUAL(take(1), 1);
        se_free(cache);
    }
}

/* The line of /proc/self/smaps of the cache's mapping that begins with `key`. */
static void smaps_line(const char *key, char *line, size_t cap)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    bool inside = false;

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while (fgets(line, (int)cap, f)) {
        char *end;
        unsigned long at = strtoul(line, &end, 16);

        if (*end == '-')
            inside = at == (unsigned long)(uintptr_t)cache->shared;
        else if (inside && strncmp(line, key, strlen(key)) == 0)
            break;
    }
    fclose(f);
}

/* Memory is there when a session is, and no core dump has it. */
static void test_memory(void)
{
    char line[256] = "";

    open_cache(4096, 25);
    smaps_line("Size:", line, sizeof(line));
    CU_ASSERT(strtoul(line + 5, NULL, 10) > 8192);
    smaps_line("Rss:", line, sizeof(line));
    CU_ASSERT(strtoul(line + 4, NULL, 10) <= 8);
    for (unsigned i = 0; i < 16; i++)
        put(i, 1, true, NOW + 5, i);
    smaps_line("Rss:", line, sizeof(line));
    CU_ASSERT(strtoul(line + 4, NULL, 10) <= 8 + 9 * 4);
    smaps_line("VmFlags:", line, sizeof(line));
    CU_ASSERT_PTR_NOT_NULL(strstr(line, " dd"));
    se_free(cache);
}

static void test_nobody(void)
{
    open_cache(8, 100);
    CU_ASSERT_FALSE(se_serves(cache, overflow_uid()));
    CU_ASSERT(se_serves(cache, overflow_uid() + 1) && se_serves(cache, 0));
    se_free(cache);
}

/* In a child that is a worker: does `half` of something under the lock, then waits to be killed. */
static pid_t worker(void (*half)(void))
{
    int ready[2];
    char c;
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (lock(cache) == 0)
            half();
        (void)!write(ready[1], "", 1);
        for (;;)
            pause();
    }
    CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void half_filled(void)
{
    struct place *p = set_of(cache, key_of(50));

    while (p->n)
        p++;
    p->n = UINT32_MAX; /* nor is what it says believed */
    memset(bytes_of(cache, p), MARK, 300);
}

static void half_wiped(void)
{
    memset(cache->bytes, 0, 50);
}

/* A worker dies with the lock in its hand: everything is wiped, and goes on. */
static void test_owner_died(void)
{
    void (*const halves[])(void) = {half_filled, half_wiped};

    for (size_t i = 0; i < 2; i++) {
        pid_t pid;

        open_cache(200, 100);
        for (unsigned k = 0; k < 20; k++)
            put(k, k, false, NOW + 5, k);
        pid = worker(halves[i]);
        CU_ASSERT_EQUAL(take(3), -EBUSY); /* it lives: nobody waits long for it */
        CU_ASSERT_EQUAL(put(100, 1, true, NOW + 5, 1), -EBUSY);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        CU_ASSERT_EQUAL(take(3), -ENOENT);
        CU_ASSERT(se_count(cache) == 0 && remains() == 0);
        CU_ASSERT(put(1, 1, true, NOW + 5, 1) == 0 && take(1) == 1);
        se_free(cache);
    }
}

/* Puts and takes in several processes, some of which are killed: what comes out is always whole. */
static void busy_worker(unsigned seed)
{
    for (unsigned i = seed;; i = i * 1103515245 + 12345) {
        unsigned key = i >> 16 & 15;

        memset(&s, 0, sizeof(s));
        s.until = NOW + 5;
        s.n = 1 + (i >> 8) % SE_BYTES_MAX;
        s.once = i & 1 << 20;
        memset(s.bytes, (int)(key + 1), s.n);
        se_put(cache, key_of(key), &s, NOW);
        memset(&s, 0, sizeof(s));
        if (se_take(cache, key_of(key), NOW, &s) == 0)
            for (size_t k = 0; k < s.n; k++)
                if (s.bytes[k] != key + 1)
                    _exit(1);
    }
}

static void test_many_workers(void)
{
    pid_t pids[4];
    int status;

    open_cache(32, 100);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++) {
            pids[i] = fork();
            if (pids[i] == 0)
                busy_worker(round * 4 + i + 1);
        }
        usleep(10000);
        for (unsigned i = 0; i < 4; i++) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], &status, 0);
            CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
    }
    for (unsigned i = 0; i < 16; i++)
        se_drop(cache, key_of(i));
    CU_ASSERT(se_count(cache) == 0 && remains() == 0);
    se_free(cache);
}

void suite_sessions(void)
{
    CU_pSuite suite = CU_add_suite("sessions", NULL, NULL);

    CU_add_test(suite, "for one use", test_once);
    CU_add_test(suite, "for any use", test_again);
    CU_add_test(suite, "refused", test_refused);
    CU_add_test(suite, "expiry", test_expiry);
    CU_add_test(suite, "the oldest goes", test_oldest_goes);
    CU_add_test(suite, "a user's share", test_share);
    CU_add_test(suite, "sizes", test_sizes);
    CU_add_test(suite, "memory", test_memory);
    CU_add_test(suite, "the overflow uid", test_nobody);
    CU_add_test(suite, "owner died", test_owner_died);
    CU_add_test(suite, "many workers", test_many_workers);
}
