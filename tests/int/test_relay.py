"""The relay: both ends of a connection, what goes wrong on it, and that it holds no more than it must."""
import errno
import os
import select
import socket
import ssl
import threading
import time

import lib
from lib import check, check_memory, closing_all, deadline, dial, equal, eventually, one_of
from lib_client import ERROR, RELAY, TLS12, TLS13, Client, Refused, finish, upgrade
from lib_daemon import Daemon
from lib_peers import TlsServer, echo
from lib_servers import PAGE, Nginx, SServer

BAD_RECORD_MAC = 20
VERSIONS = {"version_max": TLS12}, {"version_min": TLS13}


def relay(daemon, server, **options):
    return upgrade(daemon, server.address, path=RELAY, **options)


def ended_with(stream):
    """The ERROR that tells of the relay's end on the connection to the daemon."""
    message = stream.control.recv()
    check(message is not None, "the daemon closed instead of telling")
    equal(message.kind, ERROR, "the message")
    return Refused(message)


def test_half_close_by_the_program():
    """shutdown(SHUT_WR) is close_notify for the peer, which goes on sending."""
    def handler(peer):
        got = b""
        while True:
            data = peer.read()
            if not data:
                break
            got += data
        peer.write(b"I got " + got)
        peer.write(b"x" * 200000)
        peer.close_notify()
        peer.drain()

    with Daemon() as d, TlsServer(handler) as s:
        for options in VERSIONS:
            with relay(d, s, **options) as stream:
                stream.sendall(b"all of it")
                stream.sock.shutdown(socket.SHUT_WR)
                equal(stream.read_all(), b"I got all of it" + b"x" * 200000, "after our end")


def test_half_close_by_the_peer():
    """close_notify of the peer is end of file; what the program writes after it still arrives."""
    def handler(peer):
        peer.write(b"that was all")
        peer.close_notify()
        equal(peer.read_exactly(200000), b"y" * 200000, "after our close_notify")
        equal(peer.read(), b"", "close_notify of the program")
        done.set()

    done = threading.Event()
    with Daemon() as d, TlsServer(handler) as s:
        # TLS 1.3 alone: in 1.2 whoever is told close_notify answers at once (RFC 5246 7.2.1).
        with relay(d, s, version_min=TLS13) as stream:
            equal(stream.read_all(), b"that was all", "up to the end")
            stream.sendall(b"y" * 200000)
            stream.sock.shutdown(socket.SHUT_WR)
            check(done.wait(10), "the peer got it")


def test_close_without_shutdown():
    """A program that just closes: the peer sees close_notify, not a truncation."""
    def handler(peer):
        equal(peer.read_exactly(3), b"bye", "the data")
        equal(peer.read(), b"", "close_notify")
        done.set()

    done = threading.Event()
    with Daemon() as d, TlsServer(handler) as s:
        stream = relay(d, s)
        stream.sendall(b"bye")
        stream.close()
        check(done.wait(10), "the peer saw it")


def test_lives_without_the_control_connection():
    """After RESULT the connection to the daemon is not needed."""
    with Daemon() as d, TlsServer(echo) as s, relay(d, s) as stream:
        stream.control.close()
        stream.sendall(b"alone")
        equal(stream.read_exactly(5), b"alone", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")


def test_one_connection_many_relays():
    """The relays of earlier CONNECTs live on beside those of later ones on the same connection."""
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        streams = []
        for _ in range(5):
            tcp = dial(s.address)
            streams.append(finish(c, c.connect([tcp], "localhost", lib.ca_pem(), path=RELAY), tcp, "relay"))
        for i, stream in enumerate(streams):
            stream.sendall(b"number %d" % i)
        for i, stream in enumerate(streams):
            equal(stream.read_exactly(8), b"number %d" % i, "the echo")
            stream.shutdown_wr()
            equal(stream.read_all(), b"", "the end")
            stream.sock.close()


def test_truncation():
    """FIN without close_notify: the data first, then the end, and ERROR says that it was none."""
    def handler(peer):
        peer.write(b"half of it")
        peer.sock.shutdown(socket.SHUT_RDWR)

    with Daemon() as d, TlsServer(handler) as s:
        for options in VERSIONS:
            with relay(d, s, **options) as stream:
                equal(stream.read_all(), b"half of it", "the data")
                e = ended_with(stream)
                equal((e.code, e.errno), ("reset", errno.ECONNRESET), "code, errno")


def test_reset():
    """RST by the peer: ERROR reset."""
    def handler(peer):
        equal(peer.read_exactly(1), b"x", "data")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.close()

    with Daemon() as d, TlsServer(handler) as s, relay(d, s) as stream:
        stream.sendall(b"x")
        equal(stream.read_all(), b"", "nothing")
        equal((ended_with(stream).code, ), ("reset", ), "code")


def test_corrupt_record():
    """A flipped bit: the data before it, then the end; EBADMSG; the peer is told bad_record_mac."""
    def handler(peer):
        peer.write(b"good")
        peer.change = lambda data: data[:-1] + bytes([data[-1] ^ 1])
        peer.write(b"bad")
        try:
            peer.read()
        except ssl.SSLError as e:
            reasons.append(e.reason)

    reasons = []
    with Daemon() as d, TlsServer(handler) as s:
        for options in VERSIONS:
            with relay(d, s, **options) as stream:
                equal(stream.read_all(), b"good", "the data before")
                e = ended_with(stream)
                equal((e.errno, e.alert, e.alert_sent), (errno.EBADMSG, BAD_RECORD_MAC, 1), "errno, alert")
                eventually(lambda: reasons, "the peer got the alert")
                check("BAD_RECORD_MAC" in reasons.pop().upper(), "which alert")


def test_no_record_at_all():
    """What is no TLS record in the middle of a connection: ERROR, and the end."""
    def handler(peer):
        peer.sock.sendall(b"HTTP/1.1 500 oops\r\n\r\n")
        peer.drain()

    with Daemon() as d, TlsServer(handler) as s, relay(d, s) as stream:
        equal(stream.read_all(), b"", "nothing")
        one_of(ended_with(stream).errno, (errno.EBADMSG, errno.EPROTO), "errno")


def test_program_closes_while_data_comes():
    """The program goes away in the middle: the peer is not kept waiting, nothing stays."""
    def handler(peer):
        try:
            while True:
                peer.write(b"z" * 65536)
        except (OSError, ssl.SSLError):
            done.set()

    done = threading.Event()
    with Daemon() as d, TlsServer(handler) as s:
        with relay(d, s) as stream:
            stream.read_exactly(1000000)
        check(done.wait(10), "the peer noticed")


def quiet(counter):
    """A function that is true once counter() no longer changes between two looks, 0.2 s apart."""
    state = [None, time.monotonic()]

    def settled():
        now = counter()
        if now != state[0]:
            state[:] = [now, time.monotonic()]
        return now and time.monotonic() - state[1] > 0.2
    return settled


def overflow(stream):
    """Writes until nothing moves any more, the relay's own buffers included. Returns how many bytes."""
    stream.sock.setblocking(False)
    n = [0]

    def push():
        try:
            n[0] += stream.sock.send(b"q" * 65536)
        except BlockingIOError:
            pass
        return n[0]
    eventually(quiet(push), "the program is held up", 20)
    return n[0]


@deadline(90)
def test_back_pressure_from_a_slow_reader():
    """A reader that does not read holds the sender up; 50 MB do not pile up in the daemon."""
    total, sent = 50 << 20, [0]

    def handler(peer):
        peer.keep = False
        while sent[0] < total:
            peer.write(b"p" * 65536)
            sent[0] += 65536
        peer.close_notify()
        peer.drain()

    with Daemon(workers=1) as d, TlsServer(handler) as s:
        before = list(d.worker_rss_kb().values())[0]
        with relay(d, s) as stream:
            eventually(quiet(lambda: sent[0]), "the sender is held up", 20)
            held_at = sent[0]
            check(held_at < total, "the sender was never held up")
            grown = list(d.worker_rss_kb().values())[0] - before
            check_memory(grown < 8192, f"the worker grew by {grown} KiB")
            n = [0]

            def count(data):
                n[0] += len(data)
            stream.read_all(count)
            equal(n[0], total, "bytes in all")
            grown = list(d.worker_rss_kb().values())[0] - before
        check_memory(grown < 8192, f"the worker grew by {grown} KiB")
        print(f"the sender was held up after {held_at >> 10} KiB, the worker grew by {grown} KiB")


@deadline(90)
def test_back_pressure_from_a_slow_peer():
    """A peer that does not read holds the program up; nothing piles up in the daemon."""
    total = 50 << 20

    def handler(peer):
        peer.keep = False
        go.wait(60)
        n = 0
        while True:
            data = peer.read()
            if not data:
                break
            n += len(data)
        got.append(n)

    go, got = threading.Event(), []
    with Daemon(workers=1) as d, TlsServer(handler) as s:
        before = list(d.worker_rss_kb().values())[0]
        with relay(d, s) as stream:
            n = overflow(stream)
            check(n < total, "the program was never held up")
            grown = list(d.worker_rss_kb().values())[0] - before
            check_memory(grown < 8192, f"the worker grew by {grown} KiB")
            stream.sock.settimeout(30)
            go.set()
            stream.sendall(b"q" * (total - n))
            stream.shutdown_wr()
            eventually(lambda: got, "the peer has all", 60)
            equal(got[0], total, "bytes in all")


def test_program_gone_peer_deaf():
    """relay-linger: a peer that takes nothing of what a closed program left loses the connection in the end."""
    def handler(peer):
        go.wait(60)
        try:
            while peer.sock.recv(1 << 20):
                pass
        except ConnectionResetError:
            ends.append("reset")

    go, ends = threading.Event(), []
    with Daemon("--relay-linger", "300ms") as d, TlsServer(handler) as s:
        for half in (False, True):
            with relay(d, s) as stream:
                overflow(stream)
                d.wait_gauge("relays.open", 1)
                if half:
                    stream.sock.shutdown(socket.SHUT_WR)
                stream.sock.close()
                d.wait_gauge("relays.open", 0)
                e = ended_with(stream)
                equal((e.code, e.errno), ("timeout", errno.ETIMEDOUT), "the end")
                check("relay-linger" in e.text, e.text)
        go.set()
        eventually(lambda: ends == ["reset"] * 2, "both were reset", 10)


@deadline(90)
def test_program_gone_peer_slow():
    """relay-linger: a peer that is slow and never stops gets all that a closed program left."""
    def handler(peer):
        peer.keep = False
        go.wait(60)
        n = 0
        while True:
            data = peer.read(1 << 18)
            if not data:
                break
            n += len(data)
            if n // (1 << 20) > (n - len(data)) // (1 << 20):
                time.sleep(0.2)  # to be slow, for longer than the time in which something must move
        got.append((n, time.monotonic()))

    go, got = threading.Event(), []
    with Daemon("--relay-linger", f"{int(1500 * lib.PATIENCE)}ms") as d, TlsServer(handler) as s:
        with relay(d, s) as stream:
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            n = overflow(stream)
            stream.sock.close()
            go.set()
            eventually(lambda: got, "the end", 60)
            equal(got[0][0], n, "bytes in all")


def test_program_there_peer_deaf():
    """relay-linger is not for a program that is still there, half closed or only slow to read."""
    def handler(peer):
        peer.keep = False
        go.wait(60)
        n = 0
        while data := peer.read():
            n += len(data)
        peer.write(b"%d" % n)
        peer.close_notify()
        peer.drain()

    go = threading.Event()
    with Daemon("--relay-linger", "100ms") as d, TlsServer(handler) as s, relay(d, s) as stream:
        n = overflow(stream)
        stream.sock.shutdown(socket.SHUT_WR)
        time.sleep(0.5)  # several times the deadline that must not be one
        equal(int(d.status()["relays.open"]), 1, "relays.open")
        go.set()
        stream.sock.settimeout(30)
        equal(int(stream.read_all()), n, "bytes in all")


def test_key_update():
    """KeyUpdate of the peer, asked for an answer and not: data goes on both ways, again and again."""
    with Daemon() as d, SServer("-tls1_3", interactive=True) as s, relay(d, s) as stream:
        for i in range(5):
            s.type(b"K\n" if i % 2 else b"k\n")
            s.type(b"line %d\n" % i)
            line = b"line %d\n" % i
            equal(stream.read_exactly(len(line)), line, "the server's line after its KeyUpdate")
            stream.sendall(b"answer %d\n" % i)
            s.wait_for(rb"answer %d\n" % i)


def test_key_updates_without_data():
    """key-updates = 8: a peer that sends nothing but KeyUpdates is cut off by name; data makes room for more."""
    with Daemon("--key-updates", "8") as d, SServer("-tls1_3", interactive=True) as s, relay(d, s) as stream:
        for _ in range(4):
            for line in [b"k\n"] * 6 + [b"x" * 10000 + b"\n"] * 3:
                s.type(line)
            equal(len(stream.read_exactly(30003)), 30003, "data between the KeyUpdates")
        n = 0
        while not select.select([stream], [], [], 0.05 * lib.PATIENCE)[0]:
            s.type(b"k\n")
            n += 1
            check(n < 8 + 60, "it goes on and on")
        check(n > 8, f"cut off after {n}")
        equal(stream.read_all(), b"", "nothing more")
        e = ended_with(stream)
        equal((e.code, e.errno, e.alert, e.alert_sent), ("protocol-violation", errno.EPROTO, 10, 1), "the end")
        check("key-updates" in e.text, e.text)


def test_nodelay_stays():
    """TCP_NODELAY, set before the upgrade, is still set on the TCP socket."""
    with Daemon() as d, TlsServer(echo) as s:
        for value in (0, 1):
            tcp = dial(s.address)
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, value)
            with tcp.dup() as copy, relay(d, s, tcp=tcp) as stream:
                equal(bool(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)), bool(value),
                      "TCP_NODELAY")
                stream.shutdown_wr()
                stream.read_all()


def test_end_is_close_on_exec():
    """No child of a client inherits what came from the daemon by accident."""
    with Daemon() as d, TlsServer(echo) as s, relay(d, s) as stream:
        check(not os.get_inheritable(stream.fileno()), "close-on-exec")


@deadline(90)
def test_three_hundred_at_once():
    """300 relayed connections at once each get their own page, twice."""
    with Daemon() as d, Nginx() as s, closing_all() as streams:
        streams += [relay(d, s) for _ in range(300)]
        equal(int(d.status()["relays.open"]), 300, "relays.open")
        for turn in range(2):
            for i, stream in enumerate(streams):
                stream.sendall(b"GET /index.html?%d HTTP/1.1\r\nHost: x\r\n\r\n" % i)
            for stream in streams:
                data = b""
                while not data.endswith(PAGE):
                    data += stream.recv()
        lib.check(turn == 1, "two turns")
