/* The socket options of htls: the one table of their numbers.
 *
 * Level 0x74696d65 ("time") and option 1 are Timecraft's hTLS; the others are htls's own. They are
 * served by libhtls-preload.so; without it the kernel answers ENOPROTOOPT, which fails safe. */
#ifndef HTLS_SOCKOPT_H
#define HTLS_SOCKOPT_H

#define HTLS_LEVEL 0x74696d65

/* name, number, access (S = set, G = get), value */
#define HTLS_SOCKOPTS(X)                                                                           \
    X(SERVER_NAME, 1, "SG", "name; setting it starts the client handshake")                        \
    X(SERVER_ACCEPT, 2, "S", "identity names; reserved")                                           \
    X(CONFIG, 3, "S", "key=value lines; reserved")                                                 \
    X(ALPN, 4, "S", "comma-separated protocol names, before option 1")                             \
    X(VERIFY, 5, "S", "int: 0 none (only where the configuration allows it), 2 full")              \
    X(IDENTITY, 6, "S", "name of an identity in the daemon; reserved")                             \
    X(CA, 7, "S", "name of a trust store in the daemon, before option 1")                          \
    X(STATE, 8, "G", "int: enum htls_state")                                                       \
    X(ERROR, 9, "G", "text of the error, empty when there is none")                                \
    X(PROTOCOL, 10, "G", "text: TLSv1.2 or TLSv1.3")                                               \
    X(CIPHER, 11, "G", "text: IANA name of the suite")                                             \
    X(ALPN_SELECTED, 12, "G", "text: the chosen protocol, empty when none")                        \
    X(PEER_CHAIN, 13, "G", "DER list; reserved")                                                   \
    X(SERVERNAME_SEEN, 14, "G", "reserved for the server side")                                    \
    X(CLOSE_OUTPUT, 15, "S", "int, any value: send close_notify now, keep reading")                \
    X(EXPORTER, 16, "G", "reserved")                                                               \
    X(SESSION, 17, "SG", "reserved")                                                               \
    X(MODE, 18, "G", "text: tx=MODE rx=MODE, MODE is nic, kernel or relay")                        \
    X(STARTTLS_OK, 19, "S", "reserved")                                                            \
    X(ALERT, 20, "G", "int: the TLS alert that ended the connection, -1 = none")                   \
    X(EOF_OK, 21, "S", "int: 1 = an end without close_notify is an end, not an error")             \
    X(UPDATE_KEYS, 22, "S", "int: change the sending key now; 1 = ask the peer for his too")

enum htls_sockopt {
#define HTLS_SOCKOPT_ENUM(name, number, access, value) HTLS_SO_##name = number,
    HTLS_SOCKOPTS(HTLS_SOCKOPT_ENUM)
#undef HTLS_SOCKOPT_ENUM
};

/* Value of HTLS_SO_STATE. */
enum htls_state {
    HTLS_STATE_PLAIN = 0,     /* no TLS was asked for */
    HTLS_STATE_HANDSHAKE = 1, /* in progress (non-blocking sockets only) */
    HTLS_STATE_UP = 2,        /* what is written is encrypted */
    HTLS_STATE_FAILED = 3,    /* asked for and failed; nothing will be sent on this socket */
    HTLS_STATE_CLOSED = 4     /* the peer's close_notify was read */
};

#endif
