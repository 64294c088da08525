"""The gate: poll says nothing until TLS is up, HUP when it failed, and no byte of it reaches the wire."""
import errno
import select
import socket
import threading

import lib
from lib import EXPECT, ca_pem, check, dial, equal
from lib_client import GATE, MODE_TX, READS_RECORDS, RELAY, Client, Refused, finish
from lib_daemon import Daemon
from lib_peers import TlsPeer, TcpServer, TlsServer, context, echo, nothing_in_the_clear

IN, OUT, HUP = select.POLLIN, select.POLLOUT, select.POLLHUP


class Gate:
    def __init__(self):
        self.program, self.far = socket.socketpair()
        self.program.setblocking(False)
        self.fill = 0
        try:
            while True:
                self.fill += self.program.send(b"\0" * 65536)
        except BlockingIOError:
            pass

    def poll(self, wait=0):
        p = select.poll()
        p.register(self.program, IN | OUT)
        return sum(event for _, event in p.poll(wait))


class Held:
    """A server that answers the ClientHello only when .go is set."""

    def __init__(self, cert="server", handler=echo):
        self.go, self.tls, self.handler, self.wire = threading.Event(), context(cert), handler, b""

    def __call__(self, sock):
        peer = TlsPeer(sock, self.tls)
        self.go.wait(30)
        try:
            peer.handshake()
            self.handler(peer)
        finally:
            peer.drain()
            self.wire = peer.wire


def begin(daemon, server, **options):
    gate, c, tcp = Gate(), Client(daemon.socket), dial(server.address)
    equal(gate.poll(), 0, "poll on a full gate")
    ident = c.connect([tcp, gate.far], "localhost", ca_pem(), flags=READS_RECORDS | GATE,
                      gate_fill=gate.fill, **options)
    gate.far.close()
    return gate, c, tcp, ident


def up(mode, **options):
    held = Held()
    with Daemon() as d, TcpServer(held) as s:
        gate, c, tcp, ident = begin(d, s, **options)
        equal(gate.poll(200), 0, "poll while the handshake is held up")
        held.go.set()
        stream = finish(c, ident, tcp, mode, gate.program)
        if mode == "relay":
            equal(gate.poll(5000) & (IN | OUT | HUP), OUT, "poll when TLS is up")
        else:
            check(gate.poll(5000) & HUP, "HUP wakes who polls the gate")
        with stream:
            stream.sendall(b"through the gate")
            equal(stream.read_exactly(16), b"through the gate", "the echo, and nothing of the fill")
            stream.shutdown_wr()
            equal(stream.read_all(), b"", "the end")


def test_relay():
    """Relay: the gate becomes the relay's end, writable exactly when TLS is up."""
    up("relay", path=RELAY)


def test_mode_of_this_kernel():
    """Whatever the kernel can do: kernel brings the socket back and HUP on the gate, relay keeps the gate."""
    up(EXPECT)


def test_failure():
    """A failed handshake: HUP, and whatever was written into the gate is gone."""
    held = Held("wrongname")
    with Daemon() as d, TcpServer(held) as s:
        gate, c, tcp, ident = begin(d, s)
        equal(gate.poll(100), 0, "poll while it runs")
        held.go.set()
        try:
            finish(c, ident, tcp, gate=gate.program)
            raise AssertionError("TLS came up")
        except Refused as e:
            equal(e.code, "certificate-name", "code")
        check(gate.poll(5000) & HUP, "HUP")
        gate.program.close()
        c.close()
        tcp.close()
        lib.eventually(lambda: held.wire, "the server's record of the wire")
        nothing_in_the_clear(held.wire)


def poison(size, **options):
    """The program does not wait: it writes into the gate as soon as there is room."""
    held = Held()
    with Daemon() as d, TcpServer(held) as s:
        gate, c, tcp = Gate(), Client(d.socket), dial(s.address)
        # A fill that leaves room, as when a program's send buffer grows: the byte that follows is no fill.
        fill = gate.fill - size
        ident = c.connect([tcp, gate.far], "localhost", ca_pem(), flags=READS_RECORDS | GATE,
                          gate_fill=fill, **options)
        gate.far.close()
        held.go.set()
        try:
            message = c.answer(ident)
        except Refused as e:
            equal(e.errno, errno.EPROTO, f"errno ({e})")
            check(gate.poll(5000) & HUP, "HUP")
        else:
            raise AssertionError(f"it came up in mode {message[MODE_TX]}")
        finally:
            gate.program.close()
            c.close()
            tcp.close()
        lib.eventually(lambda: held.wire, "the server's record of the wire")
        nothing_in_the_clear(held.wire)


def test_byte_beyond_the_fill_relay():
    """Relay: one byte more than the fill ends the upgrade; nothing of it reaches the wire."""
    poison(1, path=RELAY)


def test_byte_beyond_the_fill():
    """The same in the mode of this kernel."""
    poison(1)


def test_many_bytes_beyond_the_fill():
    """A whole request beyond the fill."""
    poison(5000)


def test_fill_that_is_not_there():
    """More fill announced than there is: bad-request, no waiting."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        gate, c, tcp = Gate(), Client(d.socket), dial(s.address)
        ident = c.connect([tcp, gate.far], "localhost", ca_pem(), flags=READS_RECORDS | GATE,
                          gate_fill=gate.fill + 1, path=RELAY)
        gate.far.close()
        try:
            c.answer(ident)
            raise AssertionError("TLS came up")
        except Refused as e:
            equal((e.code, e.errno), ("bad-request", errno.EINVAL), "code, errno")
        for thing in (gate.program, c, tcp):
            thing.close()


def test_gate_that_is_none():
    """A gate that is no AF_UNIX stream socket: bad-socket."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for gate in (dial(s.address), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]):
            c, tcp = Client(d.socket), dial(s.address)
            ident = c.connect([tcp, gate], "localhost", flags=READS_RECORDS | GATE, gate_fill=1)
            try:
                c.answer(ident)
                raise AssertionError("TLS came up")
            except Refused as e:
                equal((e.code, e.errno), ("bad-socket", errno.EINVAL), "code, errno")
            for thing in (gate, c, tcp):
                thing.close()


def test_program_closes_its_end():
    """The program closes the gate while the handshake runs: an end, no plaintext, nothing kept."""
    held = Held()
    with Daemon() as d, TcpServer(held) as s:
        gate, c, tcp, ident = begin(d, s, path=RELAY)
        gate.program.close()
        held.go.set()
        try:
            c.answer(ident)
        except Refused:
            pass
        c.close()
        tcp.close()
        lib.eventually(lambda: held.wire, "the server's record of the wire")
        nothing_in_the_clear(held.wire)
