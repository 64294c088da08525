"""Clients that misbehave: refused by name where it can be said, and the daemon goes on for the others."""
import errno
import os
import random
import re
import socket
import struct
import threading
import time

import lib
from lib import TREE, ca_pem, check, check_memory, closing_all, dial, equal, eventually, one_of
from lib_client import (CANCEL, CAPS, CONNECT, ERROR, HELLO, REPORT, RESULT,
                        SERVER_NAME, STATUS, VERSION, WELCOME, Client, Refused, connect_attributes, encode,
                        finish, upgrade)
from lib_daemon import Daemon, fds_of
from lib_peers import TlsServer, echo


def still_serves(daemon, server):
    with upgrade(daemon, server.address) as stream:
        stream.sendall(b"well?")
        equal(stream.read_exactly(5), b"well?", "another client's echo")
        stream.shutdown_wr()
        stream.read_all()


def vectors():
    """(name, bytes, descriptors) of every malformed message of tests/vectors."""
    folder = os.path.join(TREE, "tests", "vectors")
    for file in sorted(os.listdir(folder)):
        if not file.startswith("bad-"):
            continue
        with open(os.path.join(folder, file)) as f:
            text = f.read()
        data = bytes.fromhex("".join(line.split("#")[0] for line in text.splitlines()))
        yield file, data, int(re.search(r"^# fds: (\d+)", text, re.M).group(1))


def error_then_end(client, what, codes=("bad-request",), ids=(0,)):
    """ERROR and then the end. The end alone will do for an empty datagram: nothing can be told from it."""
    message = client.recv()
    if message is None:
        return None
    equal(message.kind, ERROR, f"{what}: the answer")
    one_of(Refused(message).code, codes, f"{what}: code ({Refused(message)})")
    one_of(message.ident, ids, f"{what}: id")
    check(client.at_end(), f"{what}: the daemon closes")
    return Refused(message)


def test_malformed_messages():
    """Every bad vector, after HELLO and before: ERROR bad-request with id 0, the end; no descriptor kept."""
    with Daemon() as d, TlsServer(echo) as s:
        for hello in (True, False):
            for name, data, nfds in vectors():
                with Client(d.socket, hello=hello) as c, closing_all() as socks:
                    socks += [dial(s.address) for _ in range(nfds)]
                    c.send_raw(data, [sock.fileno() for sock in socks])
                    e = error_then_end(c, name)
                    check(e or not data, f"{name}: no ERROR")
                    equal(e and e.errno, errno.EBADMSG if data else None, f"{name}: errno")
        still_serves(d, s)


def test_noise():
    """Random bytes, cut and bent messages: never anything but ERROR or the end."""
    good = [encode(HELLO, 1, [(VERSION, 1), (CAPS, 1)]), encode(STATUS, 2), encode(CANCEL, 3),
            encode(CONNECT, 4, connect_attributes("localhost", alpn=[b"h2"]), 1)]
    dice = random.Random(1)
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for _ in range(300):
            noise = dice.randbytes(dice.randrange(1, 200))
            data = bytearray(dice.choice(good) if dice.random() < 0.9 else noise)
            for _ in range(dice.randrange(1, 4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            data = data[:dice.randrange(1, len(data) + 1)] if dice.random() < 0.3 else data
            with Client(d.socket) as c, dial(s.address) as tcp:
                c.send_raw(bytes(data), [tcp.fileno()] if dice.random() < 0.5 else [])
        still_serves(d, s)


def test_extra_descriptors():
    """More descriptors than a message may have, also more than any has: refused, all closed."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for n in (2, 3, 8, 100, 250):
            with Client(d.socket) as c, closing_all() as socks:
                socks += [dial(s.address) for _ in range(min(n, 3))]
                numbers = [socks[i % len(socks)].fileno() for i in range(n)]
                c.send_raw(encode(CONNECT, 2, connect_attributes("localhost"), n), numbers)
                error_then_end(c, f"{n} descriptors", ["bad-request"] if n == 2 else ["bad-request", "limit"])
            with Client(d.socket) as c:
                c.send_raw(encode(STATUS, 2), [c.fileno()] * n)
                error_then_end(c, f"STATUS with {n} descriptors", ["bad-request"] if n == 2 else
                               ["bad-request", "limit"])
        still_serves(d, s)


def test_descriptors_sent_to_themselves():
    """The client's own connection to the daemon as the descriptor: no cycle keeps anything alive."""
    with Daemon() as d, TlsServer(echo) as s:
        for _ in range(20):
            with Client(d.socket) as c:
                try:
                    c.answer(c.connect([c], "localhost"))
                except Refused as e:
                    equal(e.code, "bad-socket", "code")
        still_serves(d, s)


def test_bad_sockets():
    """No socket, UDP, unconnected, listening, AF_UNIX: bad-socket, a fitting errno; the client may go on."""
    pair = socket.socketpair()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect(("127.0.0.1", 9))
    r, w = os.pipe()
    directory = os.open("/", os.O_PATH)
    listening = socket.create_server(("127.0.0.1", 0))
    cases = [("pipe", r, [errno.ENOTSOCK]), ("file", os.open("/dev/null", os.O_RDWR), [errno.ENOTSOCK]),
             ("O_PATH", directory, [errno.ENOTSOCK]),
             ("UDP", udp.fileno(), [errno.EINVAL, errno.EPROTOTYPE]),
             ("AF_UNIX", pair[0].fileno(), [errno.EINVAL, errno.EPROTOTYPE, errno.EAFNOSUPPORT]),
             ("listening", listening.fileno(), [errno.EINVAL]),
             ("unconnected", socket.socket().detach(), [errno.ENOTCONN]),
             ("unconnected v6", socket.socket(socket.AF_INET6).detach(), [errno.ENOTCONN])]
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        for name, fd, errnos in cases:
            try:
                c.answer(c.connect([fd], "localhost"))
                raise AssertionError(f"{name}: TLS came up")
            except Refused as e:
                equal(e.code, "bad-socket", f"{name}: code")
                one_of(e.errno, errnos, f"{name}: errno")
                check(e.text, f"{name}: text")
        # None of them was harmed.
        pair[0].send(b"alive")
        equal(pair[1].recv(5), b"alive", "the AF_UNIX pair")
        dial(listening.getsockname()).close()
        os.write(w, b"x")
        tcp = dial(s.address)
        finish(c, c.connect([tcp], "localhost", ca_pem()), tcp).close()


def test_already_upgraded():
    """A socket that speaks TLS already, in the kernel or with its relay: refused and not harmed."""
    from lib_client import RELAY
    with Daemon() as d, TlsServer(echo) as s:
        for options in ({}, {"path": RELAY}):
            with upgrade(d, s.address, **options) as stream, Client(d.socket) as c:
                try:
                    c.answer(c.connect([stream.sock], "localhost", ca_pem()))
                    raise AssertionError("TLS over TLS came up")
                except Refused as e:
                    equal(e.code, "bad-socket", "code")
                    one_of(e.errno, (errno.EISCONN, errno.EINVAL), "errno")
                stream.sendall(b"still there")
                equal(stream.read_exactly(11), b"still there", "the echo")
                stream.shutdown_wr()
                equal(stream.read_all(), b"", "the end")


def test_order_of_messages():
    """No HELLO first, a second one, version 0, what only the daemon says: ERROR and the end."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for name, send in (("STATUS first", lambda c: c.send(STATUS)),
                           ("CANCEL first", lambda c: c.send(CANCEL)),
                           ("CONNECT first", lambda c: c.connect([c], "localhost"))):
            with Client(d.socket, hello=False) as c:
                ident = send(c)
                check(error_then_end(c, name, ids=(ident,)), f"{name}: an ERROR")
        with Client(d.socket) as c:
            error_then_end(c, "a second HELLO", ids=(c.hello(),))
        with Client(d.socket, hello=False) as c:
            c.send(HELLO, [(VERSION, 0), (CAPS, 0)], ident=1)
            e = error_then_end(c, "version 0", codes=("unsupported",), ids=(1,))
            equal(e.errno, errno.EPROTONOSUPPORT, "errno of version 0")
        with Client(d.socket, hello=False) as c:
            c.send(HELLO, [(VERSION, 99), (CAPS, 0xffffffff)], ident=1)
            equal(c.recv()[VERSION], 1, "the version for a client of the future")
        still_serves(d, s)


def test_two_connects_at_once():
    """A second CONNECT before the answer ends the connection; both sockets are done with."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s, closing_all() as all_of_them:
        listener = socket.create_server(("127.0.0.1", 0))
        c, one, two = Client(d.socket), dial(listener.getsockname()), dial(s.address)
        all_of_them += [listener, c, one, two]
        c.connect([one], "localhost")
        second = c.connect([two], "localhost")
        check(error_then_end(c, "two at once", ids=(second,)), "an ERROR")
        equal(one.recv(1), b"", "the first one's socket was shut down")
        still_serves(d, s)


def test_vanishing_at_every_stage():
    """Leaving after HELLO, after CONNECT, in the handshake, right after RESULT: nothing stays."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    with Daemon() as d, TlsServer(echo, tolerant=True) as s, listener:
        Client(d.socket, hello=False).close()
        Client(d.socket).close()
        for address in (s.address, listener.getsockname()):
            for pause in (0, 0.001, 0.003, 0.01):
                with Client(d.socket, blocking=False) as c, dial(address) as tcp:
                    c.connect([tcp], "localhost", ca_pem())
                    time.sleep(pause)  # to be gone at different moments is the point
        for _ in range(5):
            with Client(d.socket) as c, dial(s.address) as tcp:
                ident = c.connect([tcp], "localhost", ca_pem())
                message = c.recv()
                equal((message.kind, message.ident), (RESULT, ident), "the answer")
                for fd in message.fds:
                    os.close(fd)
        still_serves(d, s)


def test_closing_cancels():
    """Closing the connection to the daemon ends the handshake and shuts the TCP socket down."""
    listener = socket.create_server(("127.0.0.1", 0))
    with Daemon() as d, listener:
        tcp = dial(listener.getsockname())
        peer, _ = listener.accept()
        with Client(d.socket) as c:
            c.connect([tcp], "localhost")
            check(peer.recv(5), "the handshake began")
        tcp.settimeout(5)
        equal(tcp.recv(1), b"", "the TCP socket's end")
        tcp.close()
        peer.close()


def test_cancel():
    """CANCEL is answered by the CONNECT's ERROR cancelled; another id, or too late, is ignored."""
    listener = socket.create_server(("127.0.0.1", 0))
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c, listener:
        tcp = dial(listener.getsockname())
        ident = c.connect([tcp], "localhost", ca_pem())
        c.send(CANCEL, ident=ident + 1000)
        c.report()
        c.send(CANCEL, ident=ident)
        try:
            c.answer(ident)
            raise AssertionError("a RESULT")
        except Refused as e:
            equal((e.code, e.errno, e.message.ident), ("cancelled", errno.ECANCELED, ident),
                  "code, errno, id")
        equal(tcp.recv(1), b"", "the TCP socket's end")
        tcp.close()
        c.send(CANCEL, ident=ident)
        tcp = dial(s.address)
        finish(c, c.connect([tcp], "localhost", ca_pem()), tcp).close()


def test_never_reads_its_answers():
    """A flood of STATUS from a client that reads nothing: it is cut off or held, others are served."""
    with Daemon(workers=1) as d, TlsServer(echo, tolerant=True) as s, Client(d.socket) as c:
        c.sock.settimeout(0.5)
        before = d.worker_rss_kb()
        try:
            for _ in range(20000):
                c.send(STATUS)
        except OSError:
            pass
        began = time.monotonic()
        still_serves(d, s)
        check(time.monotonic() - began < 2 * lib.PATIENCE, "others wait")
        for pid, rss in d.worker_rss_kb().items():
            check_memory(rss < before[pid] + 8192, f"the worker grew from {before[pid]} to {rss} KiB")


def test_status_flood():
    """A client that floods and reads along is served, and so is everybody else."""
    with Daemon(workers=1) as d, TlsServer(echo) as s, Client(d.socket) as c:
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                c.report()

        thread = threading.Thread(target=flood)
        thread.start()
        began = time.monotonic()
        for _ in range(5):
            still_serves(d, s)
        took = time.monotonic() - began
        stop.set()
        thread.join()
        check(took < 5 * lib.PATIENCE, f"five upgrades beside it took {took:.1f} s")


def test_says_no_hello():
    """A client that connects and is silent is closed after the time a handshake may take."""
    ms = int(500 * lib.PATIENCE)
    with Daemon("--handshake-timeout", f"{ms}ms") as d, Client(d.socket, hello=False) as c:
        began = time.monotonic()
        equal(c.recv(), None, "the end")
        check(0.8 * ms < 1000 * (time.monotonic() - began) < 6 * ms, "within bounds")


def test_touches_its_socket_meanwhile():
    """A client that writes and reads its socket during the handshake ruins that connection at most."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for i in range(5):
            with Client(d.socket) as c, dial(s.address) as tcp:
                c.connect([tcp], "localhost", ca_pem(), timeout_ms=500)
                try:
                    tcp.setblocking(False)
                    tcp.send(b"me too")
                    tcp.recv(100)
                except OSError:
                    pass
                one_of(c.recv().kind, (RESULT, ERROR), f"an answer, round {i}")
        still_serves(d, s)


def test_flags_stay():
    """O_NONBLOCK of the client's socket is as it was, after success and after failure."""
    import fcntl
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for blocking in (True, False):
            for ca in ("ca.crt", "other-ca.crt"):
                tcp = socket.create_connection(s.address)
                tcp.setblocking(blocking)
                copy = os.dup(tcp.fileno())
                before = fcntl.fcntl(copy, fcntl.F_GETFL)
                with Client(d.socket) as c:
                    message = (c.connect([tcp], "localhost", ca_pem(ca)), c.recv())[1]
                    equal(fcntl.fcntl(copy, fcntl.F_GETFL), before, "F_GETFL of the TCP socket")
                    for fd in message.fds:
                        equal(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK, before & os.O_NONBLOCK,
                              "O_NONBLOCK of the relay's end")
                        os.close(fd)
                os.close(copy)
                tcp.close()


def test_stream_socket_on_the_path():
    """Whoever connects with the wrong socket type learns it from the kernel."""
    with Daemon() as d, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(d.socket)
            raise AssertionError("it connected")
        except OSError as e:
            equal(e.errno, errno.EPROTOTYPE, "errno")


def test_huge_datagram():
    """A datagram longer than a message may be: refused, the end."""
    with Daemon() as d, TlsServer(echo) as s:
        with Client(d.socket) as c:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            c.send_raw(struct.pack("<4sHHII", b"htls", STATUS, 0, 100000, 1) + bytes(100000 - 16))
            error_then_end(c, "100000 bytes", ["bad-request", "limit"])
        still_serves(d, s)


def test_welcome_is_for_each():
    """Twenty clients at once each get their own answers, by id."""
    with Daemon() as d, closing_all() as clients:
        clients += [Client(d.socket) for _ in range(20)]
        idents = [c.send(STATUS, ident=1000 + i) for i, c in enumerate(clients)]
        for c, ident in zip(clients, idents):
            message = c.recv()
            equal((message.kind, message.ident), (REPORT, ident), "kind and id")
            equal(c.welcome.kind, WELCOME, "WELCOME")
        check(eventually(lambda: fds_of(d.process.pid), "control lives"), "control lives")


def test_name_of_a_connect_is_required():
    """CONNECT without SERVER_NAME is malformed."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s, Client(d.socket) as c, dial(s.address) as tcp:
        attributes = [a for a in connect_attributes("x") if a[0] != SERVER_NAME]
        c.send(CONNECT, attributes, [tcp.fileno()])
        check(error_then_end(c, "no name"), "an ERROR")
