/* A client of peer.c on a socketpair, its TLS server beside it. */
#ifndef HTLS_TESTS_PEERRIG_H
#define HTLS_TESTS_PEERRIG_H

#include "workerrig.h"

extern struct wrig prig;
extern int prig_client; /* our end */

void prig_begin(void);
/* The client leaves; control hears of it once; no descriptor stays behind. */
void prig_end(void);
void prig_send(struct w_buf *b, const int *fds, unsigned nfds);
void prig_hello(uint32_t version);
/* The next answer; its descriptors in fds. */
struct w_msg prig_hear(int fds[FM_FDS_MAX], unsigned want);
void prig_hear_error(uint32_t id, unsigned code, int err);
void prig_hear_end(void);
void prig_greet(void);
/* A CONNECT for server.test; tcp is closed here once it is sent. gate: -1 none. */
void prig_connect(uint32_t id, int *tcp, int gate, uint32_t fill, uint32_t flags, int path,
                  const char *store);
/* Two connected ends over loopback; the server's speaks TLS with that certificate. */
void prig_serve(int fds[2], enum tp_cert which);
void prig_hear_result(int got[FM_FDS_MAX], unsigned mode);
/* Through the relay's end to the TLS server and back. */
void prig_talk(int end);

#endif
