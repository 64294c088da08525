/* Every CUnit suite, one per test file; the runner calls them all. */
#ifndef HTLS_TESTS_SUITES_H
#define HTLS_TESTS_SUITES_H

void suite_wire(void);
void suite_vectors(void);
void suite_fdmsg(void);
void suite_keysched(void);
void suite_openssl(void);
void suite_record(void);
void suite_ktls(void);
void suite_probe(void);
void suite_options(void);
void suite_options_table(void);
void suite_options_file(void);
void suite_options_check(void);
void suite_log(void);
void suite_isolate(void);
void suite_notify(void);
void suite_cli_report(void);
void suite_cli_status(void);
void suite_cli_doctor(void);
void suite_manuals(void);

#endif
