"""A client of htlsd after proto/PROTOCOL.md, and the stream that an upgrade gives.

Deliberately not built on the project's own code: what both got wrong alike would be seen by none."""
import array
import contextlib
import errno
import os
import socket
import struct

import lib

(HELLO, WELCOME, TRUST, CONNECT, RESULT, ERROR, CANCEL, CONTROL, STATUS, REPORT, ATTACH, REKEY, SHARED,
 SHARE) = range(1, 15)
(VERSION, CAPS, AGENT, FLAGS, SERVER_NAME, ALPN, VERSION_MIN, VERSION_MAX, SUITE, GROUPS, TRUST_STORE, VERIFY,
 PATH, TIMEOUT_MS, GATE_FILL, PEM, TLS_VERSION, CIPHER, ALPN_SELECTED, MODE_TX, MODE_RX, WHY, COOKIE, EARLY,
 GROUP, RESUMED, CODE, ERRNO, ALERT, ALERT_SENT, VERIFY_CODE, TEXT, RECORD_TYPE, RECORD,
 REPORT_TEXT, POOL, SLOT, GENERATION, KEY, OWED, MOVED, RECORDS_MAX) = range(1, 43)
READS_RECORDS, GATE = 1, 2
AUTO, KERNEL, RELAY = 0, 1, 2
MODES = {1: "relay", 2: "kernel", 3: "nic"}
TLS12, TLS13 = 0x0303, 0x0304
SOL_TLS, SET_RECORD_TYPE, GET_RECORD_TYPE = 282, 1, 2
TLS_TX, TLS_RX = 1, 2
CAP_EARLY, CAP_SLOTS = 1, 0x10
CODES = dict(enumerate("""refused reset timeout protocol-violation handshake-failure certificate-invalid
certificate-expired certificate-untrusted unsupported-protocol-version no-common-cipher-suite
no-common-signature-algorithm would-block internal-error bad-request bad-socket denied limit no-kernel
cancelled certificate-name no-application-protocol no-daemon unsupported no-state key-update""".split(), 1))

WIDTHS = {VERSION: "<I", CAPS: "<I", FLAGS: "<I", VERSION_MIN: "<H", VERSION_MAX: "<H", SUITE: "<H",
          VERIFY: "<B", PATH: "<B", TIMEOUT_MS: "<I", GATE_FILL: "<I", TLS_VERSION: "<H", CIPHER: "<H",
          MODE_TX: "<B", MODE_RX: "<B", COOKIE: "<Q", RESUMED: "<B", CODE: "<H", ERRNO: "<I",
          ALERT: "<B", ALERT_SENT: "<B", VERIFY_CODE: "<I", RECORD_TYPE: "<B",
          POOL: "<Q", SLOT: "<I", GENERATION: "<I", OWED: "<B", MOVED: "<Q", RECORDS_MAX: "<Q"}


class Refused(Exception):
    """An ERROR message."""

    def __init__(self, message):
        self.message = message
        self.code = CODES.get(message[CODE], str(message[CODE]))
        self.errno = message[ERRNO]
        self.alert = message[ALERT]
        self.alert_sent = message[ALERT_SENT]
        self.verify = message[VERIFY_CODE]
        self.text = message[TEXT].decode()
        super().__init__(f"{self.code} ({errno.errorcode.get(self.errno, self.errno)}): {self.text}")


class Truncated(Exception):
    """The connection ended without close_notify."""


class Message:
    def __init__(self, kind, ident, attributes, fds):
        self.kind, self.ident, self.attributes, self.fds = kind, ident, attributes, fds

    def __getitem__(self, number):
        """The attribute's (first) value; None when it is absent."""
        values = self.attributes.get(number)
        return values[0] if values else None

    def __repr__(self):
        return f"<message {self.kind} id {self.ident} {self.attributes} {len(self.fds)} fds>"


def encode(kind, ident, attributes=(), nfds=0):
    body = b""
    for number, value in sorted(attributes, key=lambda a: a[0]):
        if isinstance(value, int):
            value = struct.pack(WIDTHS[number], value)
        elif isinstance(value, str):
            value = value.encode()
        body += struct.pack("<HHI", number, 0, len(value)) + value + bytes(-len(value) % 4)
    return struct.pack("<4sHHII", b"htls", kind, nfds, 16 + len(body), ident) + body


def decode(data, fds):
    magic, kind, nfds, length, ident = struct.unpack_from("<4sHHII", data)
    lib.equal((magic, nfds, length), (b"htls", len(fds), len(data)), "a message's header")
    attributes, at, last = {}, 16, 0
    while at < length:
        number, zero, n = struct.unpack_from("<HHI", data, at)
        lib.check(number >= last and zero == 0, "attributes ascend")
        value = data[at + 8:at + 8 + n]
        if number in WIDTHS:
            value = struct.unpack(WIDTHS[number], value)[0]
        attributes.setdefault(number, []).append(value)
        at, last = at + 8 + n + -n % 4, number
    return Message(kind, ident, attributes, list(fds))


class Client:
    """One connection to the daemon."""

    def __init__(self, where, hello=True, timeout=30.0, blocking=True, caps=CAP_EARLY):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(timeout)
        self.sock.connect(where)
        self.next_id = 1
        self.flags = 0  # of the last recvmsg
        self.welcome, self.caps = None, caps
        if hello:
            self.hello()
            if blocking:
                self.welcome = self.recv()
                lib.equal(self.welcome.kind, WELCOME, "the answer to HELLO")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def fileno(self):
        return self.sock.fileno()

    def send(self, kind, attributes=(), fds=(), ident=None):
        """Returns the id."""
        if ident is None:
            ident = self.next_id
            self.next_id += 1
        self.send_raw(encode(kind, ident, attributes, len(fds)), fds)
        return ident

    def send_raw(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], control)

    def recv(self):
        """The next message, None at the end."""
        for attempt in (1, 2):
            try:
                # Not recv_fds(): it takes flags and does not use them.
                data, control, self.flags, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(8 * 4),
                                                                 socket.MSG_CMSG_CLOEXEC)
                break
            except ConnectionResetError:  # once, when it closed while messages of ours lay unread
                if attempt == 2:
                    return None
        fds = array.array("i")
        for level, kind, value in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(value[:len(value) - len(value) % 4])
        if self.flags & socket.MSG_CTRUNC:
            for fd in fds:
                os.close(fd)
            raise OSError(errno.EMFILE, "a descriptor of the answer was lost")
        return decode(data, fds) if data else None

    def hello(self):
        return self.send(HELLO, [(VERSION, 1), (CAPS, self.caps), (AGENT, "tests/int")])

    def trust(self, pem):
        for at in range(0, len(pem), 60000):
            self.send(TRUST, [(PEM, pem[at:at + 60000])])

    def connect(self, fds, name, ca=b"", **options):
        """Sends CONNECT; fds is the TCP socket, and the gate. Returns the id."""
        self.trust(ca)
        return self.send(CONNECT, connect_attributes(name, **options),
                         [fd if isinstance(fd, int) else fd.fileno() for fd in fds])

    def answer(self, ident):
        """The answer to a request, raised when it is an ERROR."""
        message = self.recv()
        lib.check(message is not None, "the daemon closed the connection instead of answering")
        if message.kind == ERROR:
            raise Refused(message)
        lib.equal(message.ident, ident, "the answer's id")
        return message

    def control(self, tcp, record, **numbers):
        """Reports a record of handshake messages: the RESULT, or Refused."""
        more = [({"generation": GENERATION, "moved": MOVED}[k], v) for k, v in numbers.items()]
        return self.answer(self.send(CONTROL, [(RECORD_TYPE, 22), (RECORD, record), *more], [tcp.fileno()]))

    def rekey(self, tcp, generation):
        return self.answer(self.send(REKEY, [(GENERATION, generation)], [tcp.fileno()]))

    def attach(self, tcp):
        return self.answer(self.send(ATTACH, [], [tcp.fileno()]))

    def report(self):
        """STATUS as a dictionary."""
        message = self.answer(self.send(STATUS))
        lib.equal(message.kind, REPORT, "the answer to STATUS")
        return dict(line.split(" ", 1) for line in message[REPORT_TEXT].decode().splitlines())

    def at_end(self):
        """True when the daemon closed the connection; False when a message came first."""
        return self.recv() is None


def connect_attributes(name, flags=READS_RECORDS, alpn=(), suites=(), **options):
    numbers = {"version_min": VERSION_MIN, "version_max": VERSION_MAX, "groups": GROUPS, "store": TRUST_STORE,
               "verify": VERIFY, "path": PATH, "timeout_ms": TIMEOUT_MS, "gate_fill": GATE_FILL}
    attributes = [(SERVER_NAME, name)] + [(ALPN, a) for a in alpn] + [(SUITE, s) for s in suites]
    if flags:
        attributes.append((FLAGS, flags))
    return attributes + [(numbers[k], v) for k, v in options.items()]


class Stream:
    """TLS as the program has it: the TCP socket in kernel mode, the relay's end otherwise."""

    def __init__(self, sock, result, control, timeout=30.0):
        self.sock, self.result, self.control = sock, result, control
        self.mode = MODES[result[MODE_TX]]
        self.kernel = self.mode != "relay"
        self.tickets = 0
        self.kept = b""  # read, and not yet given out
        sock.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()
        self.control.close()

    def sendall(self, data):
        self.sock.sendall(data)

    def recv_record(self, n):
        """(type, bytes) as recvmsg gives them."""
        data, control, _, _ = self.sock.recvmsg(n, socket.CMSG_SPACE(1))
        kinds = [c[2][0] for c in control if c[:2] == (SOL_TLS, GET_RECORD_TYPE)]
        return (kinds[0] if kinds else None), data

    def recv(self, n=65536):
        """Data, or b"" at an orderly end."""
        if not self.kernel:
            return self.sock.recv(n)
        if self.kept:
            data, self.kept = self.kept[:n], self.kept[n:]
            return data
        while True:
            # Never less than a record, or a ticket comes in pieces that look like other messages.
            kind, data = self.recv_record(max(n, 65536))
            if kind in (None, 23):
                if not data and kind is None:
                    raise Truncated("FIN without close_notify")
                if data:
                    self.kept = data[n:]
                    return data[:n]
            elif kind == 21:
                if data != b"\1\0":
                    raise ConnectionResetError(f"alert {data.hex()}")
                with contextlib.suppress(OSError):  # both ends have said it: there is no connection any more
                    self.sock.shutdown(socket.SHUT_RD)
                return b""
            elif kind == 22 and data[0] == 4:
                self.tickets += 1
            else:
                raise OSError(errno.EPROTO, f"record of type {kind}: {data[:8].hex()}")

    def read_all(self, sink=None):
        """Everything up to the orderly end; given to sink piece by piece when there is one."""
        pieces = []
        while True:
            data = self.recv()
            if not data:
                return b"".join(pieces)
            (sink or pieces.append)(data)

    def read_exactly(self, n):
        pieces, have = [], 0
        while have < n:
            data = self.recv(n - have)
            lib.check(data, f"the end came after {have} of {n} bytes")
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def shutdown_wr(self):
        """Says that nothing more will be written."""
        if self.kernel:
            self.sock.sendmsg([b"\1\0"], [(SOL_TLS, SET_RECORD_TYPE, b"\x15")])
        self.sock.shutdown(socket.SHUT_WR)


def expected_mode(options):
    """What the RESULT must say, by the rules of PROTOCOL.md and the kernel under us."""
    if lib.EXPECT == "relay" or options.get("path") == RELAY:
        return "relay"
    raw = not options.get("flags", READS_RECORDS) & READS_RECORDS
    if raw and options.get("version_max", TLS13) == TLS13 and options.get("path", AUTO) == AUTO:
        return "relay"
    return "kernel"


def finish(client, ident, tcp, mode=None, gate=None):
    """Takes the answer to a CONNECT; checks its descriptors. Returns the stream."""
    try:
        result = client.answer(ident)
    except Refused:
        still_tls_or_nothing(tcp)
        raise
    lib.equal(result.kind, RESULT, "the answer to CONNECT")
    got = [MODES[result[MODE_TX]], MODES[result[MODE_RX]]]
    if mode:
        lib.equal(got, [mode, mode], f"the mode (why: {result[WHY]})")
    brings = (got[0] == "relay") != (gate is not None)
    lib.equal(len(result.fds), 1 if brings else 0, "descriptors of the RESULT")
    if got[0] == "relay":
        tcp.close()
        sock = socket.socket(fileno=result.fds[0]) if gate is None else gate
    else:
        sock = tcp if gate is None else socket.socket(fileno=result.fds[0])
    return Stream(sock, result, client)


def still_tls_or_nothing(tcp):
    """After a failure nothing can be written in the clear."""
    try:
        tcp.send(b"PLAINTEXT-AFTER-FAILURE")
    except OSError:
        return
    raise AssertionError("plaintext could be written after a failed upgrade")


def upgrade(daemon, address, name="localhost", ca="ca.crt", mode="expected", tcp=None, **options):
    """TCP connection, CONNECT, RESULT: a Stream, or Refused. mode None: any."""
    tcp = tcp or lib.dial(address)
    client = None
    try:
        client = Client(daemon.socket)
        before = lib.tls_stat()
        wanted = expected_mode(options) if mode == "expected" else mode
        pem = lib.ca_pem(ca) if isinstance(ca, str) and ca else ca or b""
        stream = finish(client, client.connect([tcp], name, pem, **options), tcp, wanted)
    except BaseException:
        tcp.close()
        if client:
            client.close()
        raise
    if stream.mode == "kernel":
        after = lib.tls_stat()
        for key in ("TlsTxSw", "TlsRxSw"):
            lib.check(after[key] > before[key], f"RESULT says kernel, but {key} did not grow")
    return stream


def refused(daemon, address, **options):
    """An upgrade that must fail: the Refused."""
    try:
        stream = upgrade(daemon, address, mode=None, **options)
    except Refused as e:
        return e
    stream.close()
    raise AssertionError(f"TLS came up ({stream.result}) where it had to fail")


def child_as(uid, function):
    """Runs function in a forked child of another user; its text result."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.write(w, str(function()).encode()[:60000])
        except BaseException as e:  # the parent shows it
            os.write(w, f"{type(e).__name__}: {e}".encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        text = f.read().decode()
    os.waitpid(pid, 0)
    return text
