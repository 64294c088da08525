"""Limits: what is over them waits or fails by name, and what was full is free again afterwards."""
import contextlib
import errno
import os
import pwd
import resource
import socket

import lib
from lib import ca_pem, check, closing_all, deadline, dial, equal, eventually
from lib_client import (ERROR, GATE, READS_RECORDS, RELAY, RESULT, Client, Refused, child_as, finish,
                        upgrade)
from lib_daemon import Daemon
from lib_peers import TlsServer, echo
from lib_servers import Nginx
from lib_storm import storm


def speaks(stream):
    with stream:
        stream.sendall(b"hello")
        equal(stream.read_exactly(5), b"hello", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")


def test_handshakes_cap_queues():
    """handshakes = 2: more than two wait for their turn; none fails."""
    with Daemon("--handshakes", "2", workers=1) as d, Nginx() as s:
        streams, errors = storm(d, s.address, 60)
        equal((len(streams), dict(errors)), (60, {}), "up, and errors")
        for stream in streams:
            stream.close()


def test_handshakes_cap_holds():
    """handshakes = 2 with two silent peers: the third waits, is counted so, and its deadline holds."""
    listener = socket.create_server(("127.0.0.1", 0))
    with Daemon("--handshakes", "2", workers=1) as d, TlsServer(echo, tolerant=True) as s, \
            closing_all() as held, listener:
        for _ in range(2):
            tcp, c = dial(listener.getsockname()), Client(d.socket)
            held += [tcp, c]
            c.connect([tcp], "localhost", ca_pem(), timeout_ms=60000)
        d.wait_gauge("handshakes.running", 2)
        try:
            upgrade(d, s.address, timeout_ms=300)
            raise AssertionError("the third came through")
        except Refused as e:
            equal((e.code, e.errno), ("timeout", errno.ETIMEDOUT), "the third")
            check("turn" in e.text, f"the text says that it only waited: {e.text}")
        tcp, c = dial(s.address), Client(d.socket)
        held += [tcp, c]
        ident = c.connect([tcp], "localhost", ca_pem())
        d.wait_gauge("handshakes.waiting", 1)
        held[1].close()  # one silent handshake ends: the one that waits gets its turn
        message = c.answer(ident)
        equal(message.kind, RESULT, "the one that waited")
        for fd in message.fds:
            os.close(fd)


def test_cancelled_while_waiting():
    """A CONNECT that waits for its turn can be cancelled; the queue stays in order."""
    from lib_client import CANCEL
    listener = socket.create_server(("127.0.0.1", 0))
    with Daemon("--handshakes", "1", workers=1) as d, TlsServer(echo, tolerant=True) as s, \
            closing_all() as held, listener:
        clients = []
        for address in (listener.getsockname(), s.address, s.address, s.address):
            tcp, c = dial(address), Client(d.socket)
            held += [tcp, c]
            clients.append((c, c.connect([tcp], "localhost", ca_pem(), timeout_ms=30000)))
            d.wait_gauge("handshakes.waiting", max(0, len(clients) - 1))
        for which in (2, 3, 0):
            c, ident = clients[which]
            c.send(CANCEL, ident=ident)
            equal(Refused(c.recv()).code, "cancelled", f"client {which}")
        equal(clients[1][0].answer(clients[1][1]).kind, RESULT, "the one that was left")


def test_peers_per_uid():
    """peers-per-uid: one connection more is told `limit`; root has no limit; a closed one makes room."""
    def as_user(n):
        def attempt():
            clients, said = [], []
            for _ in range(n):
                c = Client(daemon.socket, hello=False)
                clients.append(c)
                try:
                    c.hello()
                except BrokenPipeError:
                    pass
                message = c.recv()
                said.append(Refused(message).code if message.kind == ERROR else "welcome")
            return " ".join(said)
        return attempt

    with Daemon("--peers-per-uid", "3") as daemon:
        equal(child_as(1000, as_user(5)), "welcome welcome welcome limit limit", "uid 1000")
        equal(as_user(5)(), " ".join(["welcome"] * 5), "root")
        daemon.wait_clients_gone()
        equal(child_as(1000, as_user(3)), "welcome welcome welcome", "uid 1000 once more")


@deadline(90)
def test_daemon_out_of_descriptors():
    """EMFILE in the daemon: named errors or a closed connection, no crash; afterwards all is well again."""
    # A user of its own: the kernel counts descriptors in flight per user, and other tests' workers
    # are nobody.
    with Daemon("--user", "daemon", nofile=64) as d, TlsServer(echo, tolerant=True) as s, \
            closing_all() as held:
        said = {}
        for _ in range(120):
            tcp = dial(s.address)
            held.append(tcp)
            try:
                c = Client(d.socket, blocking=False, timeout=10)
                held.append(c)
                c.connect([tcp], "localhost", ca_pem(), path=RELAY)
                message = c.recv()
                while message is not None and message.kind not in (RESULT, ERROR):
                    message = c.recv()
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                message = None
            if message is None:
                what = "closed"
            elif message.kind == ERROR:
                e = Refused(message)
                what = f"{e.code} {errno.errorcode.get(e.errno)}"
            else:
                what = "up"
                held += [socket.socket(fileno=fd) for fd in message.fds]
            said[what] = said.get(what, 0) + 1
        check(said.get("up", 0) >= 5, f"some come through: {said}")
        check(sum(said.values()) > said["up"], f"64 descriptors cannot be enough: {said}")
        print(said)
        for thing in held:
            thing.close()
        d.wait_clients_gone(20)
        for _ in range(4):
            speaks(upgrade(d, s.address))


def test_client_out_of_descriptors():
    """EMFILE in a client: the relay's end is lost to it, the daemon keeps nothing."""
    with Daemon() as d, Nginx() as s:
        tcp, soft = dial(s.address), resource.getrlimit(resource.RLIMIT_NOFILE)
        with Client(d.socket) as c:
            c.connect([tcp], "localhost", ca_pem(), path=RELAY)
            resource.setrlimit(resource.RLIMIT_NOFILE, (c.fileno() + 1, soft[1]))
            filler = []
            try:
                while True:
                    filler.append(os.dup(tcp.fileno()))
            except OSError:
                pass
            try:
                c.recv()
                raise AssertionError("a descriptor came, over the limit")
            except OSError as e:
                equal(e.errno, errno.EMFILE, "errno")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, soft)
                for fd in filler:
                    os.close(fd)
        tcp.close()
        d.wait_gauge("relays.open", 0)
        upgrade(d, s.address).close()


@contextlib.contextmanager
def in_flight(user, n):
    """n descriptors that `user` has sent and nobody has received; the kernel counts them per user."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam(user).pw_gid)
            os.setuid(pwd.getpwnam(user).pw_uid)
            os.close(go[1])
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for at in range(0, n, 200):
                socket.send_fds(a, [b"x"], [0] * min(200, n - at))
            os.write(ready[1], b"x")
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(ready[1])
    os.close(go[0])
    try:
        equal(os.read(ready[0], 1), b"x", "the descriptors were sent")
        yield
    finally:
        os.close(ready[0])
        os.close(go[1])
        os.waitpid(pid, 0)


def test_too_many_descriptors_in_flight():
    """A RESULT whose descriptor the kernel does not carry: ERROR limit, the connection is dead, the next works."""
    if os.getuid() != 0:
        raise lib.Skip("not root: nobody else's descriptors can be in flight")
    cases = [False] + [True] * (lib.EXPECT == "kernel")
    with Daemon("--user", "daemon", nofile=128) as d, TlsServer(echo, tolerant=True) as s, \
            Client(d.socket) as c:
        for gated in cases:
            tcp, pair = dial(s.address), socket.socketpair()
            pair[0].send(b"fill")
            with tcp.dup() as copy, in_flight("daemon", 400):
                ident = c.connect([tcp, pair[1]], "localhost", ca_pem(), flags=READS_RECORDS | GATE,
                                  gate_fill=4) if gated else c.connect([tcp], "localhost", ca_pem(), path=RELAY)
                pair[1].close()
                tcp.close()
                try:
                    c.answer(ident)
                    raise AssertionError("it was handed over")
                except Refused as e:
                    equal((e.code, e.errno), ("limit", errno.ETOOMANYREFS), "the answer")
                    check("handed over" in e.text, e.text)
                    try:
                        copy.send(b"PLAINTEXT")
                        # With keys in it the kernel takes, and loses, what is written behind the end.
                        check(gated, "the TCP socket takes plaintext")
                    except OSError:
                        pass
                if gated:
                    pair[0].settimeout(10)
                    equal(pair[0].recv(1), b"", "the gate's end")
            d.wait_gauge("relays.open", 0)
            pair[0].close()
        eventually(lambda: any("lost name=localhost" in line for line in d.log().splitlines()), "a line in the log")
        tcp = dial(s.address)
        speaks(finish(c, c.connect([tcp], "localhost", ca_pem(), path=RELAY), tcp, "relay"))
