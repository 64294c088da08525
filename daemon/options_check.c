/* What --check-config finds out beyond the grammar: are the things there that options name? */
#include "options_table.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_MARK "BEGIN CERTIFICATE"

/* A text search alone: what the certificates are worth OpenSSL says when they are loaded. */
static int check_pem(const char *option, const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    bool found = false;

    if (!f) {
        op_say(option, 0, "%s: %s", path, strerror(errno));
        return -EINVAL;
    }
    if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode)) {
        op_say(option, 0, "%s: is not a regular file", path);
        fclose(f);
        return -EINVAL;
    }
    while (!found && getline(&line, &cap, f) >= 0)
        found = strstr(line, PEM_MARK) != NULL;
    free(line);
    fclose(f);
    if (found)
        return 0;
    op_say(option, 0, "%s: holds no \"" PEM_MARK "\"; PEM files of CA certificates do", path);
    return -EINVAL;
}

static int check_stores(const struct options *o)
{
    int rc = 0;

    if (*o->trust_file)
        rc = check_pem("trust-file", o->trust_file);
    for (unsigned i = 0; i < o->n_stores; i++) {
        char where[96];

        snprintf(where, sizeof(where), "[trust %s] file", o->stores[i].name);
        if (check_pem(where, o->stores[i].file) < 0)
            rc = -EINVAL;
    }
    return rc;
}

static int check_user(const struct options *o)
{
    char buf[4096];
    struct passwd pw, *found = NULL;

    if (getpwnam_r(o->user, &pw, buf, sizeof(buf), &found) != 0 || !found) {
        op_say("user", 0, "%s: no such user; create it or name another", o->user);
        return -EINVAL;
    }
    if (pw.pw_uid == 0) {
        op_say("user", 0, "%s: workers must not be root; name another user", o->user);
        return -EINVAL;
    }
    return 0;
}

/* The file itself is made when it is first needed; its folder is not. */
static int check_key_log(const struct options *o)
{
    char folder[PATH_MAX];
    char *slash;
    struct stat st;

    if (!*o->key_log)
        return 0;
    snprintf(folder, sizeof(folder), "%s", o->key_log);
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    else
        snprintf(folder, sizeof(folder), ".");
    if (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode)) {
        op_say("key-log", 0, "%s: no such folder: %s", o->key_log, folder);
        return -EINVAL;
    }
    if (stat(o->key_log, &st) == 0 && S_ISDIR(st.st_mode)) {
        op_say("key-log", 0, "%s: is a folder, not a file", o->key_log);
        return -EINVAL;
    }
    return 0;
}

static int check_insecure(const struct options *o)
{
    if (!o->allow_insecure || *o->insecure_users)
        return 0;
    op_say("allow-insecure", 0, "yes, but insecure-users names nobody; name them, or * for all");
    return -EINVAL;
}

int op_check(const struct options *o)
{
    int (*const checks[])(const struct options *) = {check_stores, check_user, check_key_log,
                                                     check_insecure};
    int rc = 0;

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (checks[i](o) < 0)
            rc = -EINVAL;
    }
    return rc;
}
