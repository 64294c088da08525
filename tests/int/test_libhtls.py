"""A program on libhtls (hget.c), blocking and not: every pair, every server, every kind of end."""
import os
import socket
import subprocess
import threading

import lib
from lib import EXPECT, SMALL, check, deadline, equal, one_of, pki
from lib_daemon import Daemon
from lib_peers import Recorder, TlsServer, echo, nothing_in_the_clear
from lib_shim import environment, grew, logged
from lib_suites import PAIRS, SERVERS

HGET = os.path.join(lib.BUILD, "tests", "hget")
WAYS = ((), ("--nonblock",))


def hget(daemon, address, *options, name="localhost", ca="ca.crt"):
    """(status, standard output, standard error)"""
    command = [HGET, *(("--ca", pki(ca)) if ca else ()), *options, address[0], str(address[1]), name]
    done = subprocess.run(command, env=environment(daemon, ca=None, preload=False), capture_output=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def fetch(daemon, address, *options, mode=EXPECT):
    """A page that must come, in that mode. The line of facts."""
    before = lib.tls_stat()
    status, page, said = hget(daemon, address, *options)
    equal((status, said.count("\n")), (0, 1), f"{options}: {said}")
    check(f"tx={mode} rx={mode}" in said, f"{options}: the mode: {said}")
    if mode == "kernel":
        grew(before, 1)
    logged(daemon, mode=mode)
    return page, said


def make_test(pair):
    version, numbers, _, _, _ = PAIRS[pair]

    def test():
        with Daemon() as d:
            for server, make in SERVERS.items():
                for cert in numbers:
                    with make(pair, cert) as s:
                        for options in WAYS:
                            page, said = fetch(d, s.address, *options)
                            check(b"</html>" in page.lower(), f"{server}: a page")
                            check(said.startswith(("TLSv1.2 ", "TLSv1.3 ")[version == 0x0304]), said)
    test.__doc__ = f"{pair}: hget has the page of each server, blocking and not."
    return test


for _pair in PAIRS:
    globals()[f"test_{_pair}"] = make_test(_pair)


def test_paths():
    """HTLS_PATH_RELAY relays everywhere; HTLS_PATH_KERNEL is the kernel or EOPNOTSUPP, and nothing in the clear."""
    with Daemon() as d, TlsServer(echo, tolerant=True, alpn=["http/1.1"]) as s:
        for options in WAYS:
            _, said = fetch(d, s.address, *options, "--path", "relay", "--put", "100000", "--alpn", "h2,http/1.1",
                            mode="relay")
            check("alpn=http/1.1" in said, said)
            status, page, said = hget(d, s.address, *options, "--path", "kernel", "--put", "1000")
            if EXPECT == "kernel":
                equal((status, len(page)), (0, 1000), said)
            else:
                check(status == 1 and "no-kernel" in said, said)
        for peer in s.peers:
            nothing_in_the_clear(peer.wire)


@deadline(240)
def test_bulk():
    """Much data out and back, and both ends in order."""
    size = (4 if SMALL else 64) << 20

    def handler(peer):
        peer.keep = False
        n = 0
        while True:
            data = peer.read()
            if not data:
                break
            n += len(data)
        peer.write(b"%d" % n)
        peer.write(bytes(size))
        peer.close_notify()
    with Daemon() as d, TlsServer(handler) as s:
        for options in WAYS:
            page, _ = fetch(d, s.address, *options, "--put", str(size))
            equal(page[:len(str(size))], b"%d" % size, "what the server has counted")
            check(page[len(str(size)):] == bytes(size), "what came back")


def test_refused():
    """Each kind of refusal: errno, its name, what OpenSSL says; nothing in the clear."""
    cases = (("wrongname", "ca.crt", "certificate-name", 62), ("expired", "ca.crt", "certificate-expired", 10),
             ("server", "other-ca.crt", "certificate-untrusted", None),
             ("selfsigned", "ca.crt", "certificate-untrusted", 18))
    with Daemon() as d:
        for cert, ca, code, verify in cases:
            for options in WAYS:
                with TlsServer(echo, tolerant=True, cert=cert) as s:
                    status, page, said = hget(d, s.address, *options, ca=ca)
                    equal((status, page), (1, b""), f"{cert}: {said}")
                    check(f"handshake: {os.strerror(129)} ({code})" in said, f"{cert}: {said}")
                    check(verify is None or f"verify {verify}" in said, f"{cert}: {said}")
                    for peer in s.peers:
                        nothing_in_the_clear(peer.wire)


def test_bad_servers():
    """A plain server, one that closes, one that is silent."""
    def plain(sock, recorder):
        sock.sendall(b"HTTP/1.0 400 no\r\n\r\n")

    def silent(sock, recorder):
        recorder.release.wait(10)
    with Daemon() as d:
        for act, codes in ((plain, ("protocol-violation", "handshake-failure")),
                           (lambda sock, _: sock.shutdown(socket.SHUT_WR), ("reset",)), (silent, ("timeout",))):
            for options in WAYS:
                with Recorder(act) as s:
                    status, page, said = hget(d, s.address, *options, "--timeout", "400")
                    s.release.set()
                    equal((status, page), (1, b""), said)
                    one_of(said.split("(")[1].split(")")[0], codes, "the error's name")
                    nothing_in_the_clear(s.wire)


def test_ends():
    """close_notify is an end; FIN alone is ECONNRESET; what came before it comes."""
    def orderly(peer):
        peer.read()
        peer.write(b"page")
        peer.close_notify()
        peer.drain()

    def cut(peer):
        peer.read()
        peer.write(b"page")
        peer.sock.shutdown(socket.SHUT_WR)
        peer.drain()
    with Daemon() as d:
        for options in WAYS:
            with TlsServer(orderly, tolerant=True) as s:
                equal(fetch(d, s.address, *options)[0], b"page", "the page")
            with TlsServer(cut, tolerant=True) as s:
                status, page, said = hget(d, s.address, *options)
                equal((status, page), (1, b"page"), said)
                check("receive: Connection reset" in said and "close_notify" in said, said)


def test_close_notify():
    """htls_close() and htls_shutdown() end our stream in order: the server sees no bare FIN."""
    ends = []

    def handler(peer):
        peer.read()
        peer.write(b"page")
        peer.close_notify()
        while peer.read():  # raises at a bare FIN
            pass
        ends.append(True)
    with Daemon() as d, TlsServer(handler) as s:
        for options in (*WAYS, ("--put", "5000"), ("--nonblock", "--put", "5000")):
            fetch(d, s.address, *options)
        lib.eventually(lambda: len(ends) == 4 or s.errors, "all ends seen")


def test_no_daemon():
    """No daemon: ENOENT, and the text says what to do."""
    with TlsServer(echo, tolerant=True) as s:
        for options in WAYS:
            status, _, said = hget(lib.path("nowhere.sock"), s.address, *options)
            check(status == 1 and "no-daemon" in said and "HTLS_SOCKET" in said, said)


def test_daemon_dies():
    """The daemon dies during the handshake: EPIPE."""
    for options in WAYS:
        came, result = threading.Event(), []
        with Daemon(restarts=None) as d, Recorder(lambda sock, _, c=came: c.set()) as s:
            thread = threading.Thread(target=lambda o=options: result.append(hget(d, s.address, *o)))
            thread.start()
            check(came.wait(20), "a ClientHello comes")
            d.kill()
            thread.join(20)
            check(result and result[0][0] == 1 and "Broken pipe" in result[0][2], f"{result}")
            nothing_in_the_clear(s.wire)
