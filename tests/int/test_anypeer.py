"""The peer of the control path's tests, tested on another of its kind: what it sends, what it notices."""
import contextlib

import lib
from lib import check, equal
from lib_anypeer import AnyPeer, PeerError


@contextlib.contextmanager
def pair(tls="1.3", suite=None, cert="server"):
    """A server and a client, connected."""
    with AnyPeer(tls, suite, cert) as server, AnyPeer(tls, suite, cert) as client:
        server.send("accept")
        facts = client.do("connect", server.address[1])
        equal(server.answer()["cipher"], facts["cipher"], "the suite")
        yield server, client


SUITES = {"1.3": ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
                  "TLS_AES_128_CCM_SHA256"),
          "1.2": ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
                  "ECDHE-ECDSA-AES128-CCM")}


def test_suites():
    """Data of either end in each suite, KeyUpdates between it in TLS 1.3."""
    for tls, names in SUITES.items():
        for name in names:
            with pair(tls, name, "ecdsa" if "ECDSA" in name else "server") as ends:
                for source, sink in (ends, ends[::-1]):
                    for i, record in enumerate((1000, 8000, 16384)):
                        source.do("data", 50000, i, record)
                        seen = sink.do("expect-data", 50000, i)
                        equal(seen["records"] - seen["updates"], -(-50000 // record), f"{name}: records of data")
                        if tls == "1.3":
                            source.do("keyupdate", i % 2)


def test_records():
    """Empty, padded, split, damaged records; each is what its name says."""
    with pair() as (server, client):
        server.do("empty", 2)
        server.do("pad", 300, b"padded".hex())
        server.do("half", b"in two".hex())
        server.do("rest")
        equal(client.do("expect", b"paddedin two".hex())["records"], 4, "records")
        server.do("ticket")
        check(client.do("read")["n"] > 50, "a ticket")
        server.do("ticket-split", 3)
        equal([client.do("read")["type"] for _ in range(3)], [22] * 3, "the pieces of a ticket")
        server.do("alert", 2, 40)
        equal(client.alert(), (2, 40), "the alert")


def test_resumption():
    """A ticket of the peer's is a real one: OpenSSL's client resumes with it."""
    import socket
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(lib.pki("ca.crt"))
    with AnyPeer() as peer:
        session = None
        for turn in range(2):
            peer.send("accept")
            with context.wrap_socket(socket.create_connection(peer.address), server_hostname="localhost",
                                     session=session) as s:
                equal(peer.answer()["resumed"], turn, "resumed")
                peer.do("ticket")
                peer.data(b"x")
                equal(s.recv(1), b"x", "the data behind the ticket")
                session = s.session
                peer.do("hangup")


# what the client does, what the server says of it
VIOLATIONS = (
    (("keyupdate-old 0", "bytes 00"), "under the old key"),
    (("keyupdate 0", "key again", "bytes 00", "key again", "bytes 01"), "installed twice"),
    (("key next", "bytes 00"), "without KeyUpdate"),
    (("close", "close"), "second close_notify"),
    (("close", "bytes 00"), "after close_notify"),
    (("alert 2 40", "bytes 00"), "after a fatal alert"),
    (("corrupt 00",), "does not authenticate"),
    (("raw 474554202f20485454502f312e300d0a",), "no TLS record"),
    (("badtype 23", "badtype 24"), "no TLS record"),
    (("handshake 04000000", "bytes 00"), "no KeyUpdate"),
    (("handshake 1800000102",), "no KeyUpdate"),
    (("handshake 18000001", "bytes 00"), "no KeyUpdate"),
    (("alert 1 0", "fin"), None),
    (("bytes 00", "keyupdate 1", "bytes 01", "close", "fin"), None),
)


def test_violations():
    """What a client may not do is noticed, and named; what it may do is not."""
    for steps, wanted in VIOLATIONS:
        said = ""
        with pair() as (server, client):
            try:
                for step in steps:
                    client.do(*step.split())
                client.do("hangup")
                server.do("close-state")
                server.do("stats")
            except PeerError as e:
                said = str(e)
        check(said == "" if wanted is None else wanted in said, f"{steps}: {said!r}, wanted {wanted!r}")


def test_owed():
    """A KeyUpdate that is owed: counted, and a violation where it is known to be late."""
    with pair() as (server, client):
        server.do("keyupdate", 1)
        client.do("bytes", "00")  # may have crossed with the request
        seen = server.do("expect", "00")
        equal((seen["owed"], seen["late"]), (1, 1), "owed, and data before it")
        equal(client.do("read")["hex"], 1800000101, "the request")
        server.do("due")
        client.do("bytes", "01")  # pays first
        equal(server.do("expect", "01")["owed"], 0, "owed")
        server.do("keyupdate", 1)
        server.do("due")
        client.do("bytes", "02")  # has not read it
        try:
            server.do("expect", "02")
        except PeerError as e:
            check("before the KeyUpdate that is owed" in str(e), str(e))
            return
        raise AssertionError("data before the KeyUpdate was not noticed")


def test_storm():
    """KeyUpdates alone."""
    with pair() as (server, client):
        server.do("storm", 500)
        server.do("bytes", "00")
        equal(client.do("expect", "00")["updates"], 500, "KeyUpdates")


def test_duplex():
    """Both directions at once, with a KeyUpdate in each every 10,000 bytes, half of them asking for another."""
    with pair() as ends:
        for end in ends:
            end.send("duplex", 1000000, 10000, 7)
        for end in ends:
            check(end.answer()["updates"] >= 100, "KeyUpdates")
