/* What this kernel's kTLS can do, found out once by doing it on a loopback pair. */
#ifndef HTLS_PROBE_H
#define HTLS_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "keysched.h"

/* To add a capability: a field here, its trial in pr_probe(), a line in pr_report(). */
struct pr_caps {
    int ulp;             /* 0 = the ULP attaches, else -errno */
    int tx[2][KS_AEADS]; /* [0] TLS 1.2, [1] TLS 1.3: 0 = set and used, else -errno */
    int rx[2][KS_AEADS];
    int rekey; /* 0 = TLS_TX can be set again in TLS 1.3, else -errno (-EBUSY) */
};

/* Fills *caps; never fails as a whole: what could not be tried holds the errno that stopped it.
 * "Used" means: a record sealed by the kernel was opened by us and the other way round. */
void pr_probe(struct pr_caps *caps);

/* True when the kernel takes this suite in both directions. */
bool pr_takes(const struct pr_caps *caps, const struct ks_suite *suite);
/* True when it takes at least one suite. */
bool pr_any(const struct pr_caps *caps);

/* Writes the table for people and `htls doctor`: lines "key value", at most cap bytes with the NUL.
 * Returns the length. */
size_t pr_report(const struct pr_caps *caps, char *out, size_t cap);

/* One line for the log: "kTLS: AES-128-GCM AES-256-GCM ... , rekey" or why not. */
void pr_summary(const struct pr_caps *caps, char *out, size_t cap);

#endif
