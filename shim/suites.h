/* Names of the cipher suites of this project, as IANA registers them. */
#ifndef HTLS_SUITES_H
#define HTLS_SUITES_H

#include <stdint.h>

/* IANA name of a suite, "" for 0, "unknown" for one that is not in the table. */
const char *su_name(uint16_t suite);

/* "TLSv1.2", "TLSv1.3", "" for any other number. */
const char *su_version(uint16_t version);

#endif
