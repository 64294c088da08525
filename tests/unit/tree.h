/* Files of the source tree, for tests that compare texts with code. */
#ifndef HTLS_TESTS_TREE_H
#define HTLS_TESTS_TREE_H

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>

#define TREE_FILE_MAX (1u << 17)

/* The whole text of a file, named from the top of the tree, which is found from this header's own
 * place. The caller frees it. A file that is not there ends the tests. */
static inline char *tree_slurp(const char *name)
{
    char here[] = __FILE__, path[512];
    char *text = calloc(1, TREE_FILE_MAX);
    FILE *f;

    snprintf(path, sizeof(path), "%s/../../%s", dirname(here), name);
    f = fopen(path, "r");
    if (!text || !f || fread(text, 1, TREE_FILE_MAX - 1, f) == 0) {
        perror(path);
        abort();
    }
    fclose(f);
    return text;
}

#endif
