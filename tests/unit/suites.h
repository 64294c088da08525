/* Every CUnit suite, one per test file; the runner calls them all. */
#ifndef HTLS_TESTS_SUITES_H
#define HTLS_TESTS_SUITES_H

void suite_wire(void);
void suite_vectors(void);
void suite_fdmsg(void);

#endif
