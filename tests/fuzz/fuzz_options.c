/* Fuzzes the reader of htls.conf; what it takes must survive being printed and read again.
 *
 * Linked with daemon/options_table.c. Errors are said on stderr: -close_fd_mask=2 is faster. */
#include "../../daemon/options_file.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_bytes(struct options *o, const void *data, size_t size)
{
    FILE *f = size ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
    int rc;

    op_defaults(o);
    if (!f)
        return -1;
    rc = op_read(o, f, "fuzz.conf");
    fclose(f);
    return rc;
}

static char *written(const struct options *o)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    if (!f)
        abort();
    op_write(o, f);
    fclose(f);
    return text;
}

/* A line that just fits becomes too long by the blanks around its "=". */
static int has_long_line(const char *text)
{
    for (size_t n; (n = strcspn(text, "\n")) < 196; text += n + 1) {
        if (!text[n])
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct options o;
    char *first, *second;

    if (read_bytes(&o, data, size) != 0)
        return 0;
    first = written(&o);
    if (!has_long_line(first)) {
        if (read_bytes(&o, first, strlen(first)) != 0)
            abort();
        second = written(&o);
        if (strcmp(first, second) != 0)
            abort();
        free(second);
    }
    free(first);
    return 0;
}
