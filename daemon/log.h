/* The daemon's log: lines to stderr, or with priorities to the journal. */
#ifndef HTLS_LOG_H
#define HTLS_LOG_H

enum lg_level { LG_ERROR, LG_WARNING, LG_INFO, LG_DEBUG, LG_LEVELS };

/* Until this is called: LG_INFO, stderr. The journal ("<N>" prefixes) is chosen by itself when
 * JOURNAL_STREAM names stderr. `process` (static string) stands in every line: "control", "worker
 * 0". */
void lg_open(enum lg_level most, const char *process);

/* One line; control characters that came from outside are escaped. Lines are limited to a burst of
 * 200 and then 50 a second per process and level, what was left out is counted and said. Never
 * pass key material: nothing of a ks_dir, SSL or keylog line goes here. */
void lg_line(enum lg_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define lg_error(...) lg_line(LG_ERROR, __VA_ARGS__)
#define lg_warning(...) lg_line(LG_WARNING, __VA_ARGS__)
#define lg_info(...) lg_line(LG_INFO, __VA_ARGS__)
#define lg_debug(...) lg_line(LG_DEBUG, __VA_ARGS__)

#endif
