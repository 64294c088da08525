"""The road once: socket, handshake, data, end."""
import os
import socket
import subprocess
import sys

from lib import EXPECT, TREE, ca_pem, check, deadline, dial, equal, pki
from lib_client import CIPHER, GROUP, TLS13, TLS_VERSION, Client, finish, upgrade
from lib_daemon import Daemon
from lib_peers import TlsServer, echo
from lib_servers import PAGE, Nginx

GET = b"GET /index.html HTTP/1.0\r\nHost: localhost\r\n\r\n"


def test_daemon_starts_answers_and_ends():
    """htlsd says READY, answers HELLO and STATUS, ends on SIGTERM with status 0, its socket gone."""
    with Daemon() as d:
        with Client(d.socket) as c:
            equal(c.welcome.ident, 1, "the id of WELCOME")
            equal(c.welcome[1], 1, "the protocol version")
            report = c.report()
            equal(report["workers"], "2", "workers")


def test_page_from_nginx():
    """A page comes from nginx over TLS, in the mode that this kernel allows."""
    with Daemon() as d, Nginx() as s, upgrade(d, s.address) as stream:
        equal(stream.result[TLS_VERSION], TLS13, "version")
        equal(stream.result[CIPHER], 0x1301, "suite")
        equal(stream.result[GROUP], b"x25519", "group")
        stream.sendall(GET)
        equal(stream.read_all().split(b"\r\n\r\n", 1)[1], PAGE, "the page")


def test_example_client():
    """proto/example_client.py, the hundred lines that PROTOCOL.md promises, fetches a page."""
    with Daemon() as d, Nginx() as s:
        client = os.path.join(TREE, "proto", "example_client.py")
        done = subprocess.run([sys.executable, client, "127.0.0.1", str(s.address[1]), pki("ca.crt")],
                              capture_output=True, timeout=30, check=False,
                              env=dict(os.environ, HTLS_SOCKET=d.socket))
        equal((done.returncode, done.stderr), (0, EXPECT.encode() + b"\n"), "exit status, mode")
        check(done.stdout.startswith(b"HTTP/1.1 200 ") and done.stdout.endswith(PAGE),
              f"a page: {done.stdout!r}")


def test_echo_and_close():
    """What is written comes back; close_notify of the peer is the end of file."""
    with Daemon() as d, TlsServer(echo) as s, upgrade(d, s.address) as stream:
        for n in (1, 100, 16384, 16385, 100000):
            stream.sendall(b"x" * n)
            equal(stream.read_exactly(n), b"x" * n, f"{n} bytes")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "after close_notify")


def test_ipv6():
    """A server on ::1, verified by its IP address."""
    with Daemon() as d, TlsServer(echo, family=socket.AF_INET6) as s:
        with upgrade(d, s.address, name="::1") as stream:
            stream.sendall(b"six")
            equal(stream.read_exactly(3), b"six", "the echo")
            stream.shutdown_wr()
            equal(stream.read_all(), b"", "the end")


def test_many_on_one_connection():
    """One connection to the daemon serves CONNECT after CONNECT."""
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        for i in range(20):
            tcp = dial(s.address)
            stream = finish(c, c.connect([tcp], "localhost", ca_pem()), tcp)
            stream.sendall(b"%d" % i)
            equal(stream.recv(), b"%d" % i, "the echo")
            stream.shutdown_wr()
            equal(stream.read_all(), b"", "the end")
            stream.sock.close()


@deadline(30)
def test_v4_mapped():
    """An AF_INET6 socket that reaches an IPv4 server is served like any other."""
    with Daemon() as d, TlsServer(echo) as s:
        tcp = socket.socket(socket.AF_INET6)
        tcp.connect(("::ffff:127.0.0.1", s.address[1]))
        with upgrade(d, None, tcp=tcp) as stream:
            stream.sendall(b"mapped")
            equal(stream.read_exactly(6), b"mapped", "the echo")
            stream.shutdown_wr()
            equal(stream.read_all(), b"", "the end")
