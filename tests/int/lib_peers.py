"""Peers in this process: a TLS server that is watched byte by byte, and servers that misbehave."""
import contextlib
import os
import socket
import ssl
import threading
import traceback

import lib


class TcpServer:
    """Every connection runs handler(sock) in a thread. Errors of a handler fail the test, unless
    tolerant."""

    def __init__(self, handler, tolerant=True, family=socket.AF_INET):
        self.handler, self.tolerant = handler, tolerant
        self.errors, self.threads, self.socks = [], [], []
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.listener = socket.create_server((host, 0), family=family, backlog=4096)
        self.address = self.listener.getsockname()[:2]
        self.closing = False

    def __enter__(self):
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        return self

    def __exit__(self, kind, *_):
        self.closing = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(5)
        self.listener.close()
        # Handlers that wait for a client that is gone by now see their sockets end.
        for sock in self.socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(10)
            lib.check(kind is not None or not thread.is_alive(), "a server thread hangs")
        for sock in self.socks:
            sock.close()
        if kind is None and not self.tolerant and self.errors:
            raise AssertionError("the server failed:\n" + "\n".join(self.errors))

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.socks.append(sock)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        try:
            self.handler(sock)
        except BaseException:
            self.errors.append(traceback.format_exc())
            with contextlib.suppress(OSError):  # or a client would wait for what never comes
                sock.shutdown(socket.SHUT_RDWR)


class TlsPeer:
    """The server side of one connection, driven by hand: nothing is sent or read unless it is asked
    for, and every byte of the wire is kept in .wire (received) and can be changed before it is sent."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.wire = b""
        self.change = None  # bytes -> bytes, applied once to what is sent next
        self.kept = b""     # data that close_notify() had to take out of the way
        self.keep = True    # False: .wire stays empty, for bulk

    def flush(self):
        data = self.outgoing.read()
        if data and self.change:
            data, self.change = self.change(data), None
        if data:
            self.sock.sendall(data)

    def fill(self):
        data = self.sock.recv(262144)
        if self.keep:
            self.wire += data
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return data

    def run(self, step, *args):
        """Runs an operation of the TLS object, moving bytes as it asks for them."""
        while True:
            try:
                result = step(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            except ssl.SSLError:
                self.flush()  # the alert
                raise

    def handshake(self):
        self.run(self.tls.do_handshake)
        return self

    def read(self, n=65536):
        """Data; b"" at close_notify; ssl.SSLEOFError at a bare FIN."""
        if self.kept:
            data, self.kept = self.kept[:n], self.kept[n:]
            return data
        try:
            return self.run(self.tls.read, n)
        except ssl.SSLZeroReturnError:
            return b""

    def read_exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.read(n - len(data))
            lib.check(more, f"the end came after {len(data)} of {n} bytes")
            data += more
        return data

    def write(self, data):
        view = memoryview(data)
        while view:
            n = self.run(self.tls.write, view[:16384])
            view = view[n:]

    def close_notify(self):
        """Sends ours, waits for nothing. unwrap() would choke on data that is here already: it goes first."""
        with contextlib.suppress(ssl.SSLError):
            while data := self.tls.read(65536):
                self.kept += data
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.flush()

    def drain(self):
        """Keeps what still comes on the wire, up to the end."""
        try:
            while self.fill():
                pass
        except OSError:
            pass


def context(cert="server", alpn=None, minimum=None, maximum=None, ciphers=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(lib.pki(cert) + ".crt", lib.pki(cert) + ".key")
    c.minimum_version = minimum or ssl.TLSVersion.TLSv1_2
    if maximum:
        c.maximum_version = maximum
    if ciphers:
        c.set_ciphers(ciphers)
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


class TlsServer(TcpServer):
    """handler(peer) runs after the handshake. .wires: what each connection received, .names: SNI."""

    def __init__(self, handler=None, tolerant=False, family=socket.AF_INET, tls=None, **options):
        super().__init__(self._connection, tolerant, family)
        self.tls = tls or context(**options)
        self.tls.sni_callback = lambda _tls, name, _context: self.names.append(name)
        self.then = handler or (lambda peer: None)
        self.peers, self.names, self.alerts = [], [], []

    def _connection(self, sock):
        peer = TlsPeer(sock, self.tls)
        self.peers.append(peer)
        try:
            peer.handshake()
        except ssl.SSLError as e:  # the client refused us: what it said, and all it sent after
            self.alerts.append(e.reason or str(e))
            peer.drain()
            sock.close()
            return
        except OSError as e:
            self.alerts.append(str(e))
            sock.close()
            return
        self.then(peer)

    def wait_failed(self):
        """Until a handshake has failed on this side too, and its socket has come to the end."""
        lib.eventually(lambda: self.alerts and not any(t.is_alive() for t in self.threads),
                       "the server saw the end")


def echo(peer):
    """Sends back what comes, up to close_notify; then says close_notify too. Who leaves without a word
    ends it: a test that wants an orderly end asks for one."""
    with contextlib.suppress(OSError):
        while True:
            data = peer.read()
            if not data:
                break
            peer.write(data)
        peer.close_notify()
        peer.drain()
    peer.sock.close()


def records(wire):
    """Splits bytes of the wire into TLS records [(type, body)]; fails on anything else."""
    found, at = [], 0
    while at < len(wire):
        head = wire[at:at + 5]
        if len(head) < 5:
            break
        n = int.from_bytes(head[3:5], "big")
        lib.check(head[0] in (20, 21, 22, 23) and head[1] == 3 and n <= 16384 + 256,
                  f"bytes that are no TLS record reached the wire: {wire[at:at + 60]!r}")
        found.append((head[0], wire[at + 5:at + 5 + n]))
        at += 5 + n
    return found


def nothing_in_the_clear(wire):
    records(wire)
    lib.check(b"PLAINTEXT" not in wire, "plaintext reached the wire")


class Recorder(TcpServer):
    """A misbehaving TCP server: act(sock, self) after the first bytes have come. All that came is in
    .wire; .done says that the connection ended."""

    def __init__(self, act, wait_first=True):
        super().__init__(self._record)
        self.act, self.wait_first, self.wire = act, wait_first, b""
        self.done = threading.Event()
        self.release = threading.Event()

    def _record(self, sock):
        try:
            if self.wait_first:
                self.wire += sock.recv(65536)
            self.act(sock, self)
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                self.wire += data
        except OSError:
            pass
        finally:
            sock.close()
            self.done.set()


def random_bytes(n):
    return os.urandom(n)
