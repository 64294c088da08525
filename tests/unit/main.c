/* Runs every CUnit suite, or those whose names are given. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "suites.h"

/* To add a suite: its prototype in suites.h, its name here (a tool that counts them would make
 * columns of some numbers). */
/* clang-format off */
static void (*const suites[])(void) = {
    suite_wire,
    suite_wire_names,
    suite_vectors,
    suite_fdmsg,
    suite_keysched,
    suite_openssl,
    suite_record,
    suite_ktls,
    suite_probe,
    suite_options,
    suite_options_table,
    suite_options_file,
    suite_options_check,
    suite_log,
    suite_isolate,
    suite_notify,
    suite_cli_report,
    suite_cli_status,
    suite_cli_doctor,
    suite_manuals,
    suite_keylog,
    suite_sockbio,
    suite_posths,
    suite_rest,
    suite_census,
    suite_cookiemap,
    suite_table,
    suite_rekey,
    suite_reply,
    suite_pools,
    suite_owners,
    suite_outbox,
    suite_passed,
    suite_lasting,
    suite_notes,
    suite_aftercare,
    suite_dispose,
    suite_turns,
    suite_updates,
    suite_loop,
    suite_sockfd,
    suite_trust,
    suite_request,
    suite_listener,
    suite_report,
    suite_offload,
    suite_netns,
    suite_audit,
    suite_ends,
    suite_tlserr,
    suite_handshake,
    suite_handshake_setup,
    suite_tickets,
    suite_sessions,
    suite_resume,
    suite_resume_peer,
    suite_relay,
    suite_relay_pump,
    suite_share,
    suite_line,
    suite_goodbye,
    suite_follow,
    suite_turn,
    suite_kernel_keys,
    suite_keep,
    suite_api_kernel,
    suite_api_settings,
    suite_client,
    suite_records,
    suite_fdstate,
    suite_api,
    suite_peer,
    suite_conn,
    suite_relay_ends,
    suite_suites,
    suite_env,
    suite_gate,
    suite_target,
    suite_swap,
    suite_upgrade,
    suite_sockopt,
    suite_life,
    suite_hidden,
    suite_stream,
    suite_io,
    suite_wait,
    NULL,
};
/* clang-format on */

int main(int argc, char **argv)
{
    const char *tree = getenv("HTLS_TREE");
    unsigned failed;

    if (tree && chdir(tree) < 0) {
        perror(tree);
        return 2;
    }
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    for (size_t i = 0; suites[i]; i++)
        suites[i]();
    CU_basic_set_mode(CU_BRM_NORMAL);
    if (argc < 2)
        CU_basic_run_tests();
    for (int i = 1; i < argc; i++) {
        CU_pSuite suite = CU_get_suite(argv[i]);

        if (!suite) {
            fprintf(stderr, "unit: no suite named %s\n", argv[i]);
            return 2;
        }
        CU_basic_run_suite(suite);
    }
    failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    printf("unit: %u passed, %u failed\n",
           CU_get_number_of_tests_run() - CU_get_number_of_tests_failed(),
           CU_get_number_of_tests_failed());
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
