"""Much data, compared by its digest."""
import hashlib
import os
import ssl
import threading

from lib import SMALL, check, deadline, equal
from lib_client import RELAY, upgrade
from lib_daemon import Daemon
from lib_peers import TlsServer
from lib_servers import Nginx

SIZE = (16 if SMALL else 100) << 20
BLOCK = 1 << 20


def blocks():
    """SIZE bytes that differ from block to block, cheap to make."""
    base = os.urandom(BLOCK)
    for i in range(SIZE // BLOCK):
        yield base[i * 997 % BLOCK:] + base[:i * 997 % BLOCK]


class Duplex:
    """The server side: takes SIZE bytes up to close_notify, then sends SIZE."""

    def __init__(self):
        self.got, self.sent, self.n = hashlib.sha256(), hashlib.sha256(), 0

    def __call__(self, peer):
        peer.keep = False
        while True:
            data = peer.read()
            if not data:
                break
            self.got.update(data)
            self.n += len(data)
        for block in blocks():
            self.sent.update(block)
            peer.write(block)
        peer.close_notify()
        peer.drain()


def each_way(maximum=None, **options):
    server, mine, theirs = Duplex(), hashlib.sha256(), hashlib.sha256()
    with Daemon() as d, TlsServer(server, maximum=maximum) as s, upgrade(d, s.address, **options) as stream:
        for block in blocks():
            mine.update(block)
            stream.sendall(block)
        stream.shutdown_wr()
        stream.read_all(theirs.update)
        equal(server.n, SIZE, "bytes that arrived at the server")
        equal(server.got.hexdigest(), mine.hexdigest(), "sha256 of what went out")
        equal(theirs.hexdigest(), server.sent.hexdigest(), "sha256 of what came in")


@deadline(120)
def test_each_way_tls13():
    """100 MB out and 100 MB in over TLS 1.3, sha256 equal."""
    each_way()


@deadline(120)
def test_each_way_tls12():
    """100 MB out and 100 MB in over TLS 1.2, sha256 equal."""
    each_way(maximum=ssl.TLSVersion.TLSv1_2)


@deadline(120)
def test_each_way_relay():
    """100 MB out and 100 MB in through the relay, sha256 equal, whatever the kernel could do."""
    each_way(path=RELAY)


@deadline(120)
def test_both_ways_at_once():
    """Both directions at the same time do not disturb each other."""
    def both(peer):
        peer.keep = False
        n = 0
        while n < SIZE // 4:
            data = peer.read()
            check(data, "data")
            n += len(data)
            peer.write(data)
        peer.close_notify()
        peer.drain()

    with Daemon() as d, TlsServer(both) as s, upgrade(d, s.address) as stream:
        sent, got = hashlib.sha256(), hashlib.sha256()

        def write():
            left = SIZE // 4
            for block in blocks():
                block = block[:left]
                if not block:
                    return
                sent.update(block)
                stream.sendall(block)
                left -= len(block)

        writer = threading.Thread(target=write)
        writer.start()
        stream.read_all(got.update)
        writer.join()
        equal(got.hexdigest(), sent.hexdigest(), "sha256")


@deadline(120)
def test_file_from_nginx():
    """A big file from nginx arrives whole."""
    data = os.urandom(BLOCK) * (SIZE // BLOCK // 4)
    with Daemon() as d, Nginx(big=data) as s, upgrade(d, s.address) as stream:
        stream.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        head, got = b"", hashlib.sha256()
        while b"\r\n\r\n" not in head:
            head += stream.recv()
        got.update(head.split(b"\r\n\r\n", 1)[1])
        stream.read_all(got.update)
        equal(got.hexdigest(), hashlib.sha256(data).hexdigest(), "sha256")
