/* Tests of daemon/report.c: every counter under its key, summed over the workers. */
#include "../../daemon/report.c"

#include "suites.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 3

static struct options o = {.path = "auto"};
static struct pr_caps caps;

static struct worker *make(void)
{
    struct worker *w = calloc(1, sizeof(*w));

    w->shared = calloc(1, sizeof(*w->shared) + WORKERS * sizeof(struct st_worker));
    w->shared->workers = WORKERS;
    w->shared->started = (uint64_t)time(NULL) - 100;
    w->options = &o;
    w->caps = &caps;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct st_worker *st = &w->shared->worker[i];
        atomic_uint_fast64_t *const all[] = {
            &st->done,
            &st->failed,
            &st->handshakes,
            &st->waiting,
            &st->kernel,
            &st->nic,
            &st->relay,
            &st->relays,
            &st->relay_tx,
            &st->relay_rx,
            &st->peers,
            &st->refused,
            &st->sessions_hits,
            &st->sessions_misses,
            &st->sessions_stored,
            &st->sessions_refused,
        };

        for (unsigned k = 0; k < sizeof(all) / sizeof(*all); k++)
            st_add(all[k], (k + 1) * (i == 0 ? 100 : i == 1 ? 10 : 1));
    }
    return w;
}

static void discard(struct worker *w)
{
    free(w->shared);
    free(w);
}

static void test_lines(void)
{
    static const char *const want[] = {
        "version " HTLS_VERSION "\n", "\nworkers 3\n",
        "\nworkers.restarted 0\n",    "\nhandshakes.done 111\n",
        "\nhandshakes.failed 222\n",  "\nhandshakes.running 333\n",
        "\nhandshakes.waiting 444\n", "\nconnections.kernel 555\n",
        "\nconnections.nic 666\n",    "\nconnections.relay 777\n",
        "\nrelays.open 888\n",        "\nrelays.bytes-out 999\n",
        "\nrelays.bytes-in 1110\n",   "\nclients.open 1221\n",
        "\nrequests.refused 1332\n",  "\npath auto\n",
        "\nsessions.hits 1443\n",     "\nsessions.misses 1554\n",
        "\nsessions.stored 1665\n",   "\nsessions.refused 1776\n",
        "\nsessions.kept 0\n",        "\nuptime-seconds 10",
    };
    struct worker *w = make();
    char text[8192];
    size_t n = re_write(text, sizeof(text), w);

    CU_ASSERT_EQUAL(n, strlen(text));
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(text, want[i]));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const char *space = strchr(line, ' ');

        CU_ASSERT(space && space > line && space[1]);
    }
    discard(w);
}

/* How many sessions lie in the cache now. */
static void test_kept(void)
{
    static const uint8_t key[SE_KEY];
    struct worker *w = make();
    struct se_session s = {.until = 2, .n = 1};
    char text[8192];

    CU_ASSERT_EQUAL_FATAL(se_new(&w->sessions, 8, 100), 0);
    CU_ASSERT_EQUAL(se_put(w->sessions, key, &s, 1), 0);
    re_write(text, sizeof(text), w);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nsessions.kept 1\n"));
    se_free(w->sessions);
    discard(w);
}

/* Whatever room there is, it stays inside it and never cuts a line. */
static void test_room(void)
{
    struct worker *w = make();
    char whole[8192], text[8193];
    size_t all = re_write(whole, sizeof(whole), w);

    for (size_t cap = 1; cap <= all + 2; cap++) {
        size_t n;

        memset(text, 'x', sizeof(text));
        n = re_write(text, cap, w);
        CU_ASSERT_FATAL(n < cap && text[cap] == 'x');
        CU_ASSERT_EQUAL(n, strlen(text));
        CU_ASSERT(n == 0 || text[n - 1] == '\n');
    }
    CU_ASSERT_EQUAL(re_write(text, all + 1, w), all);
    discard(w);
}

void suite_report(void)
{
    CU_pSuite s = CU_add_suite("report", NULL, NULL);

    CU_add_test(s, "lines", test_lines);
    CU_add_test(s, "sessions", test_kept);
    CU_add_test(s, "room", test_room);
}
