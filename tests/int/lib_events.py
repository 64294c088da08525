"""What can happen on a connection, and what a program is promised to see of it: one table.

A row's steps are commands of the peer (anypeer.c). "? …" is data that ends with a question, which the program
answers: where the peer has asked for a KeyUpdate before it, that must come before the answer (RFC 8446 section
4.6.3). The program sees all data before the step that ends the connection, then that end."""
import dataclasses

END = "0"
QUESTION = "???"
# No data comes after these.
FATAL = ("corrupt", "badlength", "record", "certreq", "handshake", "keyupdate-old", "storm")


@dataclasses.dataclass
class Row:
    steps: list
    end: str = END           # the program's errno, or an orderly end; several where PROTOCOL.md leaves it open
    tls: tuple = ("1.3",)
    text: str = ""           # what the error's text must name
    alerts: tuple = ()       # the fatal alerts of which the peer must get one
    warning: int = -1        # the warning it must get, in kernel mode
    where: str = ""          # the one mode in which this can be seen


BOTH = ("1.3", "1.2")
ROWS = {
    # data
    "data": Row(["bytes one", "bytes two", "data 70000 5", "? three", "close"], tls=BOTH),
    "empty_records": Row(["empty 3", "bytes one", "empty 1", "? two", "empty 2", "close"], tls=BOTH),
    "padded": Row(["pad 1 one", "pad 300 two", "pad 16000 three", "pad 100 -", "? four", "close"]),
    "half_then_rest": Row(["bytes one", "half two-and-a-half", "pause", "rest", "? three", "close"], tls=BOTH),
    # tickets
    "ticket": Row(["ticket", "bytes one", "ticket", "ticket", "? two", "ticket", "close"]),
    "ticket_split": Row(["bytes one", "ticket-split 3", "? two", "ticket-split 9", "close"]),
    # KeyUpdate
    "key_update": Row(["bytes one", "keyupdate 0", "? two", "close"]),
    "key_update_asked": Row(["bytes one", "keyupdate 1", "? two", "bytes three", "close"]),
    "key_updates": Row(["keyupdate 0", "keyupdate 1", "bytes one", "keyupdate 1", "keyupdate 1", "keyupdate 0", "? two",
                        "keyupdate 1", "data 70000 5", "? three", "keyupdate 0", "close"]),
    "key_update_and_ticket": Row(["ticket", "keyupdate 1", "ticket", "? one", "keyupdate 0", "close"]),
    "key_update_then_close": Row(["bytes one", "keyupdate 1", "close"]),
    "key_update_then_fin": Row(["bytes one", "keyupdate 1", "fin"], "ECONNRESET", text="close_notify"),
    "key_update_then_corrupt": Row(["keyupdate 0", "? one", "corrupt two"], "EBADMSG", alerts=(20,)),
    "old_key": Row(["bytes one", "keyupdate-old 0", "bytes two"], "EBADMSG", alerts=(20,)),
    "key_update_of_value_2": Row(["bytes one", "handshake x1800000102", "bytes two"], "EPROTO", alerts=(47,)),
    "key_update_too_long": Row(["bytes one", "handshake x180000020000", "bytes two"], "EPROTO", alerts=(50,)),
    "key_update_not_last": Row(["bytes one", "handshake x180000010018", "bytes two"], "EPROTO", alerts=(10,)),
    "storm": Row(["bytes one", "storm 20000", "close"], "EPROTO", where="kernel"),
    # ends
    "close_notify": Row(["bytes one", "close"], tls=BOTH),
    "close_notify_and_fin": Row(["bytes one", "close", "fin"], tls=BOTH),
    "fin": Row(["bytes one", "fin"], "ECONNRESET", BOTH, "close_notify"),
    "half_and_fin": Row(["bytes one", "half two", "fin"], "ECONNRESET", BOTH, "close_notify"),
    "reset": Row(["? one", "rst"], "ECONNRESET", BOTH),
    # damage
    "corrupt": Row(["bytes one", "corrupt two", "bytes three"], "EBADMSG", BOTH, "authenticate", (20,)),
    "bad_length": Row(["bytes one", "badlength"], "EBADMSG", BOTH, alerts=(20, 22)),
    "bad_type": Row(["bytes one", "badtype"], "EBADMSG", ("1.2",), alerts=(10, 20)),
    # In TLS 1.3 the kernel looks at the type inside alone, which is authenticated; the relay at both.
    "bad_outer_type": Row(["bytes one", "badtype"], "EBADMSG", alerts=(10, 20), where="relay"),
    "outer_type_ignored": Row(["bytes one", "badtype 99 two", "? three", "close"], where="kernel"),
    "unknown_type": Row(["bytes one", "record 24 two"], "EPROTO EBADMSG", alerts=(10, 20)),
    # alerts
    "fatal_alert": Row(["bytes one", "alert 2 40"], "EPROTO", BOTH, "alert"),
    "warning": Row(["bytes one", "alert 1 112", "? two", "close"], tls=("1.2",)),
    "user_canceled": Row(["bytes one", "alert 1 90", "bytes two", "close"], tls=BOTH),
    # handshake messages that may not come
    "certificate_request": Row(["bytes one", "certreq", "bytes two"], "EPROTO", alerts=(10,)),
    "hello_request": Row(["bytes one", "hellorequest", "? two", "close"], tls=("1.2",), warning=100),
    "unknown_message": Row(["bytes one", "handshake x63000000", "bytes two"], "EPROTO", BOTH, alerts=(10,)),
}


def data_of(steps):
    """What the program must have read of them."""
    data, cut = b"", b""
    for step in steps:
        name, *words = step.split()
        if name in FATAL:
            break
        if name == "data":
            data += stream(*map(int, words))
        elif name == "?":
            data += (words[0] + QUESTION).encode()
        elif (name in ("bytes", "pad") and words[-1] != "-") or (name == "badtype" and len(words) > 1):
            data += words[-1].encode()
        elif name == "half":
            cut = words[0].encode()
        elif name == "rest":
            data += cut
    return data


def stream(n, seed):
    """The bytes that "data N SEED" sends: schedule.c's generator once more, in other words."""
    ones = (1 << 64) - 1

    def mix(x):
        x = (x + 0x9e3779b97f4a7c15) & ones
        x = ((x ^ (x >> 30)) * 0xbf58476d1ce4e5b9) & ones
        x = ((x ^ (x >> 27)) * 0x94d049bb133111eb) & ones
        return x ^ (x >> 31)
    key = mix(seed)
    return b"".join(mix(key ^ i).to_bytes(8, "little") for i in range(n // 8 + 1))[:n]


def command(step):
    """What the peer is told: texts in hexadecimal."""
    words = step.split()
    if words[0] == "?":
        return f"bytes {(words[1] + QUESTION).encode().hex()}"
    if words[0] in ("bytes", "half", "corrupt", "pad", "record") or (words[0] == "badtype" and words[1:]):
        words[-1] = words[-1] if words[-1] == "-" else words[-1].encode().hex()
    if words[0] == "handshake":
        words[-1] = words[-1][1:]
    return " ".join(words)
