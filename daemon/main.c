/* htlsd: the order in which the daemon comes up. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "isolate.h"
#include "log.h"
#include "options.h"
#include "probe.h"

int main(int argc, char **argv)
{
    static struct options options; /* the workers' copy is inherited, read-only by const */
    static struct pr_caps caps;
    char summary[256], self[PATH_MAX] = "";
    int r;

    /* What an upgrade puts in this file's place is what a restart in place is for. */
    (void)!readlink("/proc/self/exe", self, sizeof(self) - 1);
    r = iso_early();
    if (r < 0) {
        lg_error("cannot start: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    r = op_parse(&options, argc, argv);
    if (r != 0)
        return r == 1 ? EXIT_SUCCESS : 2;
    lg_open((enum lg_level)options.log_level, "control");
    pr_probe(&caps);
    pr_summary(&caps, summary, sizeof(summary));
    lg_info("%s", summary);
    r = ct_run(&options, &caps);
    if (r != CT_AGAIN)
        return r;
    (void)execv(self, argv);
    lg_error("cannot become %s: %s", self, strerror(errno));
    return EXIT_FAILURE;
}
