"""Servers that misbehave: each a named error in time, no plaintext, the daemon goes on."""
import errno
import socket
import ssl
import struct
import threading
import time

from lib import PATIENCE, ca_pem, check, closing_all, deadline, dial, equal, one_of
from lib_client import Client, Refused, refused, upgrade
from lib_daemon import Daemon
from lib_peers import Recorder, TlsPeer, TlsServer, context, echo, nothing_in_the_clear, records

HANDSHAKE_FAILURE = 40


def fails(act, codes, errnos, wait_first=True, alert=None, timeout_ms=5000, within=5.0):
    """One upgrade against act() fails as said; then a good server is reached by the same daemon."""
    with Daemon() as d, Recorder(act, wait_first) as s, TlsServer(echo, tolerant=True) as good:
        began = time.monotonic()
        e = refused(d, s.address, timeout_ms=timeout_ms)
        took = time.monotonic() - began
        s.release.set()
        check(s.done.wait(5), "the server sees the end of the connection")
        upgrade(d, good.address).close()
    one_of(e.code, codes, f"code ({e})")
    one_of(e.errno, errnos, f"errno ({e})")
    check(e.text, "a text")
    if alert:
        equal((e.alert, e.alert_sent), alert, f"alert ({e})")
    check(took < within * PATIENCE, f"it took {took:.1f} s")
    nothing_in_the_clear(s.wire)
    return e


def hold(_sock, server):
    server.release.wait(30)


def server_flight(sock, first, cert="server"):
    """What a real server answers to the ClientHello in `first`."""
    peer = TlsPeer(sock, context(cert))
    peer.incoming.write(first)
    try:
        peer.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return peer.outgoing.read()


def server_hello(flight):
    return flight[:5 + int.from_bytes(flight[3:5], "big")]


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_plain_http():
    """A plain HTTP server: protocol-violation, and the text says what was there."""
    e = fails(lambda s, _: s.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
              ["protocol-violation"], [errno.EPROTO])
    check("HTTP" in e.text, f"the text shows what came: {e.text}")


def test_server_that_speaks_first():
    """A banner before our first byte (SSH, SMTP): protocol-violation."""
    fails(lambda s, _: s.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), ["protocol-violation"], [errno.EPROTO],
          wait_first=False)


def test_garbage():
    """Bytes that are no TLS: protocol-violation."""
    fails(lambda s, _: s.sendall(b"\xde\xad\xbe\xef" * 500), ["protocol-violation"], [errno.EPROTO])


def test_closes_at_once():
    """FIN without an answer: reset."""
    fails(lambda s, _: s.shutdown(socket.SHUT_RDWR), ["reset"], [errno.ECONNRESET])


def test_closes_before_the_hello():
    """FIN before it can have read anything: reset."""
    fails(lambda s, _: s.close(), ["reset"], [errno.ECONNRESET, errno.EPIPE], wait_first=False)


def test_resets():
    """RST: reset."""
    fails(lambda s, _: reset(s), ["reset"], [errno.ECONNRESET])


def test_silent():
    """A server that never answers: timeout at the deadline, neither before nor much after."""
    began = time.monotonic()
    fails(hold, ["timeout"], [errno.ETIMEDOUT], timeout_ms=1000, within=3.0)
    check(time.monotonic() - began > 0.9, "not before the deadline")


def test_one_byte_a_second():
    """A server that drips keeps the deadline from nobody: it is for the whole handshake."""
    def drip(sock, server):
        flight = server_flight(sock, server.wire)
        for i in range(20):
            sock.sendall(flight[i:i + 1])
            if server.release.wait(0.2):
                return
    began = time.monotonic()
    fails(drip, ["timeout"], [errno.ETIMEDOUT], timeout_ms=1000, within=3.0)
    check(time.monotonic() - began > 0.9, "not before the deadline")


def test_good_server_byte_by_byte():
    """A good flight that comes in single bytes still makes a connection."""
    def handler(sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = TlsPeer(Trickle(sock), context("ecdsa"))
        peer.handshake()
        echo(peer)

    class Trickle:
        def __init__(self, sock):
            self.sock, self.recv, self.close = sock, sock.recv, sock.close

        def sendall(self, data):
            for i in range(len(data)):
                self.sock.sendall(data[i:i + 1])

    from lib_peers import TcpServer
    with Daemon() as d, TcpServer(handler, tolerant=False) as s, upgrade(d, s.address) as stream:
        stream.sendall(b"slow and steady")
        equal(stream.read_exactly(15), b"slow and steady", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")


def test_stops_after_server_hello():
    """ServerHello and then nothing: timeout."""
    def act(sock, server):
        sock.sendall(server_hello(server_flight(sock, server.wire)))
        server.release.wait(30)
    fails(act, ["timeout"], [errno.ETIMEDOUT], timeout_ms=1000, within=3.0)


def test_closes_after_server_hello():
    """ServerHello and then FIN: reset."""
    def act(sock, server):
        sock.sendall(server_hello(server_flight(sock, server.wire)))
        sock.shutdown(socket.SHUT_WR)
    fails(act, ["reset"], [errno.ECONNRESET])


def test_closes_in_the_middle_of_a_record():
    """Half a record and then FIN: reset."""
    def act(sock, server):
        flight = server_flight(sock, server.wire)
        sock.sendall(flight[:len(flight) - 20])
        sock.shutdown(socket.SHUT_WR)
    fails(act, ["reset"], [errno.ECONNRESET])


def test_corrupt_flight():
    """A flipped bit in the encrypted flight: an error, our alert, never a connection."""
    def act(sock, server):
        flight = bytearray(server_flight(sock, server.wire))
        flight[-1] ^= 1
        sock.sendall(flight)
    e = fails(act, ["handshake-failure", "protocol-violation"], [errno.EPROTO, errno.EBADMSG])
    one_of((e.alert, e.alert_sent), ((20, 1), (51, 1)), "alert bad_record_mac or decrypt_error, ours")


def test_fatal_alert():
    """An alert as the answer: named, with its number, sent by the peer."""
    fails(lambda s, _: s.sendall(b"\x15\x03\x03\x00\x02\x02\x28"), ["handshake-failure"], [errno.EPROTO],
          alert=(HANDSHAKE_FAILURE, 0))


def test_oversized_record():
    """A record header of 65535 bytes: an error, no waiting for the bytes."""
    fails(lambda s, _: s.sendall(b"\x16\x03\x03\xff\xff" + b"x" * 100),
          ["protocol-violation", "handshake-failure"], [errno.EPROTO])


def test_endless_empty_records():
    """Records without content, over and over: an error or the deadline, not a busy daemon."""
    def act(sock, _server):
        while True:
            sock.sendall(b"\x16\x03\x03\x00\x00" * 1000)
    fails(act, ["protocol-violation", "handshake-failure", "timeout"], [errno.EPROTO, errno.ETIMEDOUT],
          timeout_ms=1500)


def test_application_data_in_the_handshake():
    """A data record in place of the ServerHello: an error."""
    fails(lambda s, _: s.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32),
          ["protocol-violation", "handshake-failure"], [errno.EPROTO])


def test_refused_connection():
    """A non-blocking connect that is still on its way is waited for; refused is `refused`."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
        with Daemon() as d, Client(d.socket) as c, socket.socket() as tcp:
            tcp.setblocking(False)
            one_of(tcp.connect_ex(address), (errno.EINPROGRESS, errno.ECONNREFUSED), "connect")
            try:
                c.answer(c.connect([tcp], "localhost", ca_pem()))
                raise AssertionError("TLS came up")
            except Refused as e:
                equal((e.code, e.errno), ("refused", errno.ECONNREFUSED), "code, errno")


def test_connect_in_progress():
    """A socket whose connect is under way when it is handed over is upgraded when it is there."""
    with Daemon() as d, TlsServer(echo) as s:
        tcp = socket.socket()
        tcp.setblocking(False)
        tcp.connect_ex(s.address)
        with upgrade(d, None, tcp=tcp) as stream:
            stream.sendall(b"x")
            equal(stream.read_exactly(1), b"x", "the echo")
            stream.shutdown_wr()
            stream.read_all()


@deadline(60)
def test_silent_peers_delay_nobody():
    """Fifty silent peers, and a good handshake is done in less than two seconds."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    with Daemon() as d, closing_all() as all_of_them, TlsServer(echo) as good, listener:
        for _ in range(50):
            c, tcp = Client(d.socket), dial(listener.getsockname())
            all_of_them += [c, tcp]
            c.connect([tcp], "localhost", ca_pem())
        began = time.monotonic()
        upgrade(d, good.address).close()
        took = time.monotonic() - began
        check(took < 2 * PATIENCE, f"it took {took:.2f} s")


def test_truncation_during_the_handshake_of_tls12():
    """TLS 1.2: FIN in place of the server's Finished: reset, never a connection."""
    def handler(sock):
        peer = TlsPeer(sock, context(maximum=ssl.TLSVersion.TLSv1_2))
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        while not wires[0]:
            peer.fill()
            wires[0] = peer.wire
            try:
                peer.tls.do_handshake()
            except ssl.SSLWantReadError:
                peer.flush()
        sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        done.set()

    from lib_peers import TcpServer
    wires, done = [b""], threading.Event()
    with Daemon() as d, TcpServer(handler) as s:
        e = refused(d, s.address)
        equal(e.code, "reset", f"code ({e})")
        check(done.wait(5), "the server is done")
        records(wires[0])
