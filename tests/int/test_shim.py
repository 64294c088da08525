"""Timecraft's cases: unmodified programs under the shim. The program's side is shim/tcases.py."""
import socket
import ssl
import threading
import time

from lib import check, equal, path
from lib_daemon import Daemon
from lib_peers import Recorder, TcpServer, TlsServer, context, echo, nothing_in_the_clear
from lib_shim import logged, run, start


def plain_echo(sock):
    while True:
        data = sock.recv(65536)
        if not data:
            break
        sock.sendall(data)
    sock.close()


def greet(peer):
    """Data behind the tickets, at once."""
    peer.write(b"greeting")
    echo(peer)


def echo_case(case, *arguments, handler=echo, family=socket.AF_INET, host=None, **options):
    with Daemon() as d, TlsServer(handler, family=family, **options) as s:
        said = run(d, case, (host or s.address[0], s.address[1]), *arguments)
        for peer in s.peers:
            nothing_in_the_clear(peer.wire)
        return said


# --- T1 to T13: the option

def test_t01_connect_option_send_recv():
    """T1: socket, connect, setsockopt, send, recv, on a blocking socket: TLS, in the kernel's mode."""
    with Daemon() as d, TlsServer(echo) as s:
        run(d, "echo", s.address, "blocking")
        equal(s.names, ["localhost"], "SNI")
        logged(d, pattern="TLSv1.3")


def test_t01_tls12():
    """T1 with TLS 1.2, blocking and not."""
    with Daemon() as d, TlsServer(echo, maximum=ssl.TLSVersion.TLSv1_2) as s:
        for how in ("blocking", "non-blocking"):
            run(d, "echo", s.address, how)
            logged(d, pattern="TLSv1.2")


def test_t01_ipv6():
    """T1 over IPv6, verified by address."""
    for how in ("blocking", "non-blocking"):
        echo_case("echo", how, "::1", family=socket.AF_INET6)


def test_t01_v4_mapped():
    """T1 on an AF_INET6 socket that reaches IPv4."""
    with Daemon() as d, TlsServer(echo) as s:
        for how in ("blocking", "non-blocking"):
            run(d, "echo", ("::ffff:127.0.0.1", s.address[1]), how)


def test_t02_without_the_option():
    """T2: no option, plain TCP, byte-exact."""
    with Daemon() as d, TcpServer(plain_echo) as s:
        run(d, "plain", s.address)


def test_t03_too_late():
    """T3: the option after the first send, recv or shutdown is EINVAL; plain goes on."""
    with Daemon() as d, TcpServer(plain_echo) as s:
        run(d, "late", s.address)


def test_t04_twice():
    """T4: a second time is EINVAL and hurts nothing."""
    echo_case("twice")


def test_t05_before_connect():
    """T5: the option before connect fails; after it works."""
    echo_case("unconnected")


def test_t06_wrong_kind_of_socket():
    """T6: datagram, listening, Unix socket EINVAL; no socket ENOTSOCK; no descriptor EBADF."""
    with Daemon() as d, TcpServer(plain_echo) as s:
        run(d, "wrong_kind", s.address)


def test_t07_other_options():
    """T7: unknown and reserved options are ENOPROTOOPT."""
    with Daemon() as d, TcpServer(plain_echo) as s:
        run(d, "other_option", s.address)


def test_t08_questions():
    """T8: getsockopt answers with name, state, version, suite, protocol."""
    echo_case("questions", alpn=["http/1.1"])


def test_t09_t10_names():
    """T9, T10: the name with and without one trailing NUL."""
    with Daemon() as d, TlsServer(echo) as s:
        run(d, "names", s.address, "localhost", "localhost\\0", "htls.test")
        equal(s.names, ["localhost", "localhost", "htls.test"], "SNI")


def test_t11_bad_names():
    """T10, T11: empty, over-long or with a NUL inside: EINVAL at once, and the socket stays plain."""
    with Daemon() as d, TcpServer(plain_echo) as s:
        run(d, "bad_names", s.address)


def test_t12_ip_as_name():
    """T12: an IP address is verified, and no SNI is sent."""
    with Daemon() as d, TlsServer(echo) as s:
        run(d, "names", s.address, "127.0.0.1", "::1")
        equal(s.names, [None, None], "SNI")


def test_t13_trailing_dot_and_case():
    """T13: a trailing dot is not part of the name, case does not matter."""
    with Daemon() as d, TlsServer(echo) as s:
        run(d, "names", s.address, "localhost.", "LocalHost")
        equal([n.lower() for n in s.names], ["localhost", "localhost"], "SNI")


# --- T14, T15, T31: failure

REFUSALS = (("blocking", "refused"), ("non-blocking", "refused_later"), ("blocked in recv", "refused_blocked"))


def refused_case(number, word, name="localhost", ca="ca.crt", **options):
    """Every way to learn of it; nothing in the clear."""
    with Daemon() as d, TlsServer(echo, tolerant=True, **options) as s:
        for how, case in REFUSALS:
            said = run(d, case, s.address, number, name, ca=ca)
            check(word in said, f"{how}: {word!r} in the text: {said!r}")
        for peer in s.peers:
            nothing_in_the_clear(peer.wire)


def test_t14_wrong_name():
    """T14: a certificate for another name: EKEYREJECTED, and nothing in the clear."""
    refused_case("EKEYREJECTED", "hostname mismatch", cert="wrongname")


def test_t14_unknown_ca():
    """T14: an unknown CA."""
    refused_case("EKEYREJECTED", "trust", ca="other-ca.crt")


def test_t14_expired():
    """T14: an expired certificate."""
    refused_case("EKEYREJECTED", "expired", cert="expired")


def test_t14_self_signed():
    """T14: a self-signed certificate."""
    refused_case("EKEYREJECTED", "self", cert="selfsigned")


def plain_http(sock, recorder):
    sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nspeak plain to me\r\n")


def test_t14_plain_server():
    """T14, T31: a server that answers in plain HTTP: EPROTO, and after the ClientHello not one byte."""
    with Daemon() as d:
        for _, case in REFUSALS:
            with Recorder(plain_http) as s:
                run(d, case, s.address, "EPROTO")
                nothing_in_the_clear(s.wire)


def test_t14_server_that_closes():
    """T14: a server that closes instead of answering: ECONNRESET."""
    with Daemon() as d:
        for _, case in REFUSALS:
            with Recorder(lambda sock, _: sock.shutdown(socket.SHUT_WR)) as s:
                run(d, case, s.address, "ECONNRESET")
                nothing_in_the_clear(s.wire)


def test_t31_program_that_checks_nothing():
    """T31: it writes on and on, during and after a handshake that fails: not one plain byte gets out."""
    def slow(sock, recorder):
        time.sleep(0.3)
        plain_http(sock, recorder)
    with Daemon() as d, Recorder(slow) as s:
        run(d, "refused_ignored", s.address)
        check(s.done.wait(10), "the connection ends")
        nothing_in_the_clear(s.wire)


def test_daemon_absent():
    """No daemon: ENOENT at once, the text says so, the socket is dead."""
    with TcpServer(plain_echo) as s:
        run(path("nowhere.sock"), "no_daemon", s.address, "ENOENT")


def test_daemon_absent_socket_left():
    """A socket file with nobody behind it: ECONNREFUSED."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(path("left.sock"))
    with TcpServer(plain_echo) as s:
        run(path("left.sock"), "no_daemon", s.address, "ECONNREFUSED")


def test_daemon_dies_in_handshake():
    """The daemon is killed mid-handshake: EPIPE, blocking and not, and nothing in the clear."""
    for _, case in REFUSALS:
        hello = threading.Event()

        def act(sock, recorder):
            hello.set()
        with Daemon(restarts=None) as d, Recorder(act) as s:
            program = start(d, case, s.address, "EPIPE")
            check(hello.wait(20), "a ClientHello comes")
            d.kill()
            program.end()
            nothing_in_the_clear(s.wire)


# --- T16 to T21: not blocking

def test_t16_refused_by_tcp():
    """T16: connect keeps its own errors."""
    with Daemon() as d, socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        listener.close()
        run(d, "dial_refused", address)


class FullBacklog:
    """A listener that takes no connection until .open()."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = self.listener.getsockname()
        self.fillers = []
        for _ in range(3):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.address)
            self.fillers.append(s)

    def open(self):
        for s in self.fillers:
            s.close()
        self.listener.listen(100)

    def close(self):
        for s in (*self.fillers, self.listener):
            s.close()


def test_t17_option_while_connecting():
    """T17: the option while connect is in progress: nothing shows until TLS is up."""
    full = FullBacklog()
    tls = context()

    def serve():
        while True:
            sock, _ = full.listener.accept()
            try:
                with tls.wrap_socket(sock, server_side=True) as t:
                    t.sendall(t.recv(100))
                    t.recv(100)
                    return
            except OSError:
                sock.close()
    with Daemon() as d:
        program = start(d, "in_progress", full.address)
        try:
            program.wait_for(b"waiting")
            thread = threading.Thread(target=serve, daemon=True)
            full.open()
            thread.start()
            program.end()
        finally:
            full.close()


def test_t17_failure_while_connecting():
    """No daemon while connect is in progress: the attempt is given up, for it could not be stopped later."""
    full = FullBacklog()
    try:
        run(path("nowhere.sock"), "in_progress_no_daemon", full.address)
    finally:
        full.close()


class Held(TlsServer):
    """Handshakes wait until .go is set."""

    def __init__(self, handler=echo):
        super().__init__(handler)
        self.go = threading.Event()

    def _connection(self, sock):
        check(self.go.wait(30), "let go")
        super()._connection(sock)


def test_t18_t20_t21_waiting():
    """T18, T20, T21: until TLS is up nothing is ready (poll, select, epoll level, edge, oneshot; registered
    before and after), recv and send are EAGAIN; then all are, once, without HUP."""
    with Daemon() as d, Held() as s:
        program = start(d, "waits", s.address)
        program.wait_for(b"waiting")
        s.go.set()
        program.end()
        for peer in s.peers:
            nothing_in_the_clear(peer.wire)


def test_waiting_in_another_thread():
    """A thread that slept in epoll_wait before the upgrade began sees no false end."""
    echo_case("waits_in_thread")


def test_blocking_while_upgrading():
    """Two threads block on a socket whose upgrade runs: one reads, one writes, none hangs."""
    echo_case("blocking_thread")


def test_t19_server_speaks_first():
    """T19: a server that speaks first, with TLS and without."""
    echo_case("speaks_first", handler=greet)
    with Daemon() as d, TcpServer(lambda sock: sock.sendall(b"greeting")) as s:
        run(d, "plain_speaks_first", s.address)


def test_t29_asyncio():
    """T29: an event loop with thirty connections at once."""
    echo_case("asyncio")


def test_settimeout():
    """A Python socket with a time-out."""
    echo_case("timeout_socket")
