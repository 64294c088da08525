"""Numbers and calls by which a shim can be fooled. The program's side is shim/cases_traps.py."""
import socket
import threading

from lib import check, equal, eventually, path
from lib_daemon import Daemon
from lib_peers import TcpServer, TlsPeer, TlsServer, context, echo, nothing_in_the_clear
from lib_shim import run


def echo_case(case, *arguments, handler=echo):
    with Daemon() as d, TlsServer(handler, tolerant=True) as s:
        run(d, case, s.address, *arguments)
        check(s.peers, "the server saw a connection")
        for peer in s.peers:
            nothing_in_the_clear(peer.wire)


def slow_case(case):
    """The server answers late, so that the handshake is seen to run."""
    tls, go = context(), threading.Event()

    def handler(sock):
        go.wait(0.5)
        echo(TlsPeer(sock, tls).handshake())
    with Daemon() as d, TcpServer(handler) as s:
        run(d, case, s.address)


def test_inherited_number():
    """A second number of the socket that came over exec carries TLS too, never plain bytes."""
    echo_case("inherited")


def test_closed_while_reading():
    """A thread that reads a number which another closes does no harm to the number's next connection."""
    echo_case("closed_while_reading")


def test_connect_again():
    """A second connect() answers for the TCP connection, during and after the handshake."""
    slow_case("connect_again")


def test_buffer_in_handshake():
    """SO_SNDBUF during the handshake does not open the gate."""
    slow_case("buffer_in_handshake")


def test_waitall_signal():
    """A signal ends MSG_WAITALL."""
    echo_case("waitall_signal")


def test_full_close():
    """close does not wait on a non-blocking socket."""
    def stuck(peer):
        threading.Event().wait(1)
    echo_case("full_close", handler=stuck)


def test_discard():
    """recv with MSG_TRUNC."""
    echo_case("discard")


def test_close_all():
    """Hidden descriptors survive a program that closes or takes over numbers which it has not opened."""
    slow_case("close_all")


def test_full_backlog():
    """A non-blocking upgrade fails soon where the daemon's backlog is full, and nothing goes out in the clear."""
    seen = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, TcpServer(lambda sock: seen.append(
            sock.recv(100))) as s, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting:
        listener.bind(path("busy.sock"))
        listener.listen(0)
        waiting.connect(path("busy.sock"))
        run(path("busy.sock"), "busy", s.address)
        eventually(lambda: seen, "the server sees the end")
        equal(seen, [b""], "what the server saw")


def test_received_number():
    """A second number that came by SCM_RIGHTS or pidfd_getfd carries TLS too, never plain bytes."""
    for how in ("recvmsg", "recvmmsg", "pidfd_getfd"):
        echo_case("received", how)
