/* Every byte that crosses the htlsd socket, version 1. PROTOCOL.md tells it as a conversation.
 *
 * A message is one SOCK_SEQPACKET datagram: a header of 16 bytes, then attributes. All integers are
 * little-endian. An attribute is {u16 number, u16 zero, u32 length} and its value, padded with zero
 * bytes to a multiple of four. Attributes stand in ascending order; only the ones that the table in
 * wire.c marks as lists may stand more than once. This file and that table are the only definition
 * of the bytes; both ends decode and encode through them.
 *
 * Nothing here allocates, logs or keeps state: a decoded message points into the caller's bytes. */
#ifndef HTLS_WIRE_H
#define HTLS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define W_VERSION 1u         /* what this tree speaks, said in HELLO */
#define W_HEADER 16u         /* bytes of the header */
#define W_MESSAGE_MAX 65536u /* a whole message; below the kernel's default datagram limit */
#define W_FDS_MAX 2u         /* the most descriptors that any message carries */
#define W_NAME_MAX 253u      /* a host name (RFC 1035 without the final dot) */
#define W_TEXT_MAX 1024u     /* an error text */
#define W_TRUST_MAX 1048576u /* CA certificates of one request, over all its TRUST messages */
#define W_TIMEOUT_MAX 3600000u
#define W_SLOT_SIZE 128u /* bytes of a connection's shared slot (PROTOCOL.md, "The slot") */

/* Header, offsets in bytes:
 *   0 u32 magic  "htls"     4 u16 type     6 u16 number of descriptors that travel with it
 *   8 u32 length of the whole message     12 u32 id: chosen by the client, echoed in answers */
#define W_MAGIC 0x736c7468u

enum w_type {
    W_HELLO = 1,   /* client -> daemon, first message */
    W_WELCOME = 2, /* daemon -> client: the answer to HELLO */
    W_TRUST = 3,   /* client -> daemon: a piece of the CA certificates of the next CONNECT */
    W_CONNECT = 4, /* client -> daemon: do a client handshake on the socket that travels with it */
    W_RESULT = 5,  /* daemon -> client: TLS is up */
    W_ERROR = 6,   /* daemon -> client: it is not, and why */
    W_CANCEL = 7,  /* client -> daemon: give up the CONNECT with the same id */
    W_CONTROL = 8, /* client -> daemon: a record that is not data, read from a kernel connection */
    W_STATUS = 9,  /* client -> daemon: ask for the daemon's state; the answer is a REPORT */
    W_REPORT = 10, /* daemon -> client: the state, as text */
    W_ATTACH = 11, /* client -> daemon: what is this kernel connection, which slot is its? */
    W_REKEY = 12,  /* client -> daemon: ask for the next sending key of a kernel connection */
    W_SHARED = 13, /* daemon -> client: the memory that holds slots */
    W_SHARE = 14,  /* client -> daemon: ask for it */
    W_TYPE_END
};

/* Attributes. The comment names the kind of value: text has no control characters, a name is ASCII
 * without blanks either, bytes are any. Their limits stand in PROTOCOL.md. */
// clang-format off
enum w_attr {
    W_A_VERSION = 1,       /* u32   HELLO: newest protocol the client speaks; WELCOME: the one used */
    W_A_CAPS = 2,          /* u32   W_CAP_ bits */
    W_A_AGENT = 3,         /* text  who is speaking, for the log */
    W_A_FLAGS = 4,         /* u32   W_F_ bits */
    W_A_SERVER_NAME = 5,   /* name  DNS name (A-labels) or IP address to verify */
    W_A_ALPN = 6,          /* bytes list; one protocol name each (RFC 7301), in order of preference */
    W_A_VERSION_MIN = 7,   /* u16   0x0303 or 0x0304 */
    W_A_VERSION_MAX = 8,   /* u16   0x0303 or 0x0304 */
    W_A_SUITE = 9,         /* u16   list; IANA cipher suite numbers, in order of preference */
    W_A_GROUPS = 10,       /* name  colon-separated group names, as OpenSSL spells them */
    W_A_TRUST_STORE = 11,  /* text  name of a trust store in the daemon's configuration */
    W_A_VERIFY = 12,       /* u8    enum w_verify */
    W_A_PATH = 13,         /* u8    enum w_path: which data path the client asks for */
    W_A_TIMEOUT_MS = 14,   /* u32   deadline of the handshake, 1 to W_TIMEOUT_MAX */
    W_A_GATE_FILL = 15,    /* u32   bytes that lie in the gate (PROTOCOL.md, "The gate") */
    W_A_PEM = 16,          /* bytes PEM text of CA certificates */
    W_A_TLS_VERSION = 17,  /* u16   negotiated version */
    W_A_CIPHER = 18,       /* u16   negotiated suite, IANA number */
    W_A_ALPN_SELECTED = 19,/* bytes one of the names in ALPN */
    W_A_MODE_TX = 20,      /* u8    enum w_mode: who encrypts what the program writes */
    W_A_MODE_RX = 21,      /* u8    enum w_mode: who decrypts what it reads */
    W_A_WHY = 22,          /* text  why the mode is no better than it is */
    W_A_COOKIE = 23,       /* u64   SO_COOKIE of the TCP socket */
    W_A_EARLY = 24,        /* bytes already-decrypted application data; it comes before the socket's */
    W_A_GROUP = 25,        /* name  negotiated key exchange group */
    W_A_RESUMED = 26,      /* u8    1 = an earlier session was resumed */
    W_A_CODE = 27,         /* u16   enum w_code */
    W_A_ERRNO = 28,        /* u32   Linux errno */
    W_A_ALERT = 29,        /* u8    TLS alert description (RFC 8446 section 6) */
    W_A_ALERT_SENT = 30,   /* u8    1 = we sent the alert, 0 = the peer did */
    W_A_VERIFY_CODE = 31,  /* u32   X509_V_ERR_ number, 0 = the chain verified */
    W_A_TEXT = 32,         /* text  for people: cause and remedy */
    W_A_RECORD_TYPE = 33,  /* u8    TLS content type, 21 or 22 */
    W_A_RECORD = 34,       /* bytes the record's plaintext */
    W_A_REPORT = 35,       /* bytes UTF-8 lines "key value", the key without blanks */
    W_A_POOL = 36,         /* u64   names the memory that holds a slot */
    W_A_SLOT = 37,         /* u32   the connection's place in it, W_SLOT_SIZE bytes each */
    W_A_GENERATION = 38,   /* u32   how often one direction's key has been changed */
    W_A_KEY = 39,          /* bytes the next key of that direction, as SOL_TLS takes it. Secret. */
    W_A_OWED = 40,         /* u8    1 = the peer waits for a KeyUpdate from this side */
    W_A_MOVED = 41,        /* u64   bytes of application data moved so far, both directions */
    W_A_RECORDS_MAX = 42,  /* u64   records that may be sent under one key */
    W_ATTR_END
};
// clang-format on

/* HELLO and WELCOME: what an end can do beyond version 1's must. Unknown bits are ignored. */
#define W_CAP_EARLY 0x1u   /* client: can keep already-decrypted bytes beside the socket */
#define W_CAP_CONTROL 0x2u /* daemon: acts on CONTROL */
#define W_CAP_KERNEL 0x4u  /* daemon: the kernel takes at least one suite */
#define W_CAP_REKEY 0x8u   /* daemon: the kernel can rekey */
#define W_CAP_SLOTS 0x10u  /* client: keeps slots, give its connections one */

/* CONNECT flags. Unknown bits are refused. */
#define W_F_READS_RECORDS 0x1u /* the client reads with record types (PROTOCOL.md, "Reading") */
#define W_F_GATE 0x2u          /* a gate travels as second descriptor */
#define W_F_KNOWN 0x3u

enum w_verify { W_VERIFY_FULL = 0, W_VERIFY_NONE = 1 };
enum w_path { W_PATH_AUTO = 0, W_PATH_KERNEL = 1, W_PATH_RELAY = 2 };
enum w_mode { W_MODE_RELAY = 1, W_MODE_KERNEL = 2, W_MODE_NIC = 3 };

/* Why a request failed: code, its name for people, a text. The codes up to INTERNAL_ERROR follow
 * the taxonomy of the wasi-tls proposal. One list for enum, names and texts. */
// clang-format off
#define W_CODES(X)                                                                                 \
    X(REFUSED, 1, "refused", "the peer refused the connection")                                    \
    X(RESET, 2, "reset", "the connection was reset or closed")                                     \
    X(TIMEOUT, 3, "timeout", "the handshake took too long")                                        \
    X(PROTOCOL_VIOLATION, 4, "protocol-violation", "the peer does not speak TLS")                  \
    X(HANDSHAKE_FAILURE, 5, "handshake-failure", "the handshake failed")                           \
    X(CERTIFICATE_INVALID, 6, "certificate-invalid", "the certificate is not valid")               \
    X(CERTIFICATE_EXPIRED, 7, "certificate-expired", "the certificate has expired")                \
    X(CERTIFICATE_UNTRUSTED, 8, "certificate-untrusted", "the certificate's issuer is not trusted")\
    X(UNSUPPORTED_VERSION, 9, "unsupported-protocol-version", "no common TLS version")             \
    X(NO_COMMON_SUITE, 10, "no-common-cipher-suite", "no common cipher suite")                     \
    X(NO_COMMON_SIGNATURE, 11, "no-common-signature-algorithm", "no common signature algorithm")   \
    X(WOULD_BLOCK, 12, "would-block", "not finished")                                              \
    X(INTERNAL_ERROR, 13, "internal-error", "an error inside htls")                                \
    X(BAD_REQUEST, 14, "bad-request", "the request is malformed")                                  \
    X(BAD_SOCKET, 15, "bad-socket", "the descriptor is not a connected TCP socket")                \
    X(DENIED, 16, "denied", "the configuration does not allow it")                                 \
    X(LIMIT, 17, "limit", "a limit of the daemon is reached")                                      \
    X(NO_KERNEL, 18, "no-kernel", "the kernel path was demanded and is not available")             \
    X(CANCELLED, 19, "cancelled", "the client cancelled")                                          \
    X(CERTIFICATE_NAME, 20, "certificate-name", "the certificate is for another name")             \
    X(NO_ALPN, 21, "no-application-protocol", "no common application protocol")                    \
    X(NO_DAEMON, 22, "no-daemon", "htlsd is not there")                                            \
    X(UNSUPPORTED, 23, "unsupported", "this version of htls cannot do that")                       \
    X(NO_STATE, 24, "no-state", "htlsd keeps no state of this connection")                         \
    X(KEY_UPDATE, 25, "key-update", "a change of keys failed")

enum w_code {
    W_CODE_OK = 0,
#define W_CODE_ENUM(name, number, text, sentence) W_CODE_##name = number,
    W_CODES(W_CODE_ENUM)
#undef W_CODE_ENUM
    W_CODE_END
};
// clang-format on

/* A value inside a message: its bytes, never NUL-terminated, or the number of a u8 to u64. */
struct w_val {
    const uint8_t *p;
    uint32_t n;
    uint64_t u;
};

/* A decoded message. `have` has bit (1 << attribute) set for each one present; v[a] is its first
 * (for most: only) value. Lists are walked with w_next(). Valid as long as the buffer is. */
struct w_msg {
    uint16_t type;
    uint16_t nfds;
    uint32_t id;
    uint64_t have;
    struct w_val v[W_ATTR_END];
    const uint8_t *buf;
    uint32_t len;
};

enum w_dir { W_TO_DAEMON = 1, W_TO_CLIENT = 2 };

/* Decodes and validates one datagram of `len` bytes that arrived with `nfds` descriptors, sent in
 * direction `dir`. Returns 0 and fills *m, or, with *m untouched:
 *   -EBADMSG          malformed: magic, lengths, order, padding, trailing bytes, value out of range
 *   -EPROTONOSUPPORT  a type or attribute that this version does not know
 *   -EPROTO           known, but not in this direction, or not an attribute of this message
 *   -ENODATA          a required attribute is missing
 *   -EMFILE           the number of descriptors is not the one this message must have */
int w_decode(struct w_msg *m, const void *buf, size_t len, unsigned nfds, enum w_dir dir);

/* True when the attribute is present. */
static inline bool w_has(const struct w_msg *m, enum w_attr a)
{
    return (m->have >> a) & 1;
}

/* The number of an integer attribute, or `otherwise` when it is absent. */
static inline uint64_t w_num(const struct w_msg *m, enum w_attr a, uint64_t otherwise)
{
    return w_has(m, a) ? m->v[a].u : otherwise;
}

/* Walks the values of a list attribute in a decoded message: start with *pos = 0. Returns true and
 * fills *v, or false at the end. */
bool w_next(const struct w_msg *m, enum w_attr a, uint32_t *pos, struct w_val *v);

/* Copies a text, name or bytes attribute into `out` (cap bytes) with a NUL. Absent = empty string.
 * Returns 0, or with `out` empty: -ENAMETOOLONG, or -EILSEQ for bytes (an ALPN name, say) that are
 * no text, so that a NUL in the middle never cuts one name to another. */
int w_text(const struct w_msg *m, enum w_attr a, char *out, size_t cap);

/* Building a message: w_begin, w_put_* in ascending order of attributes, w_end. An error (no room,
 * a value or order that w_decode would refuse) is remembered and reported by w_end alone. */
struct w_buf {
    uint8_t *p;
    uint32_t cap;
    uint32_t len;
    int error;
};

void w_begin(struct w_buf *b, void *buf, size_t cap, enum w_type type, uint32_t id, unsigned nfds);
void w_put_num(struct w_buf *b, enum w_attr a, uint64_t value);
void w_put_bytes(struct w_buf *b, enum w_attr a, const void *p, size_t n);
void w_put_text(struct w_buf *b, enum w_attr a, const char *text); /* NULL or "" puts nothing */
/* Returns the length of the finished message, validated as the other end will; -EINVAL, -ENOSPC. */
int w_end(struct w_buf *b);

/* Names for logs and people; never NULL. */
const char *w_type_name(unsigned type);
const char *w_code_name(unsigned code);
const char *w_code_text(unsigned code);
const char *w_mode_name(unsigned mode);

#endif
