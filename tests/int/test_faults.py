"""Death: of a worker, of the daemon, at every stage; and two daemons on one path."""
import os
import signal
import socket
import subprocess

import lib
from lib import ca_pem, check, closing_all, dial, equal, eventually, kernel_only
from lib_client import RELAY, WELCOME, Client, upgrade
from lib_daemon import Daemon, alive
from lib_peers import TlsServer, echo


def speaks(stream, end=True):
    stream.sendall(b"hello")
    equal(stream.read_exactly(5), b"hello", "the echo")
    if end:
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")
        stream.close()


def begin_with_silent_peer(daemon, things):
    """A handshake that is under way and stays so. Returns (client, TCP socket)."""
    listener = socket.create_server(("127.0.0.1", 0))
    tcp, c = dial(listener.getsockname()), Client(daemon.socket)
    peer = listener.accept()[0]
    things += [listener, tcp, c, peer]
    c.connect([tcp], "localhost", ca_pem())
    peer.settimeout(10)
    check(peer.recv(5), "the ClientHello")
    return c, tcp


def refuses(where):
    try:
        Client(where, hello=False).close()
    except ConnectionRefusedError:
        return True
    return False


def replaced(daemon):
    """Waits until a new worker answers: until then clients of the dead one's slot are turned away."""
    def answers():
        try:
            with Client(daemon.socket, hello=False) as c:
                c.hello()
                return c.recv().kind == WELCOME
        except (OSError, AttributeError):
            return False
    eventually(answers, "the worker is replaced", 10)


def test_daemon_killed_in_the_handshake():
    """SIGKILL of the control process: the client sees the end at once; workers end too."""
    with Daemon(restarts=None) as d, closing_all() as things:
        c, _ = begin_with_silent_peer(d, things)
        workers = d.worker_pids()
        d.process.kill()
        d.process.wait()
        equal(c.recv(), None, "the end")
        eventually(lambda: not any(alive(pid) for pid in workers), "the workers end")


def test_worker_killed_in_the_handshake():
    """SIGKILL of a worker: its clients see the end; it is replaced, and serves."""
    with Daemon(workers=1, restarts=1) as d, TlsServer(echo, tolerant=True) as s, closing_all() as things:
        c, _ = begin_with_silent_peer(d, things)
        relayed = upgrade(d, s.address, path=RELAY)
        things.append(relayed)
        os.kill(d.worker_pids()[0], signal.SIGKILL)
        equal(c.recv(), None, "the end")
        try:
            equal(relayed.recv(), b"", "a relayed connection's end")
        except ConnectionResetError:
            pass
        replaced(d)
        speaks(upgrade(d, s.address))
        check("killed by signal 9" in d.log(), "the log says it")


def test_other_worker_goes_on():
    """A worker's death disturbs no connection of the other worker."""
    with Daemon(workers=2, restarts=1) as d, TlsServer(echo, tolerant=True) as s, closing_all() as things:
        streams = [upgrade(d, s.address, path=RELAY) for _ in range(4)]
        things += streams
        os.kill(d.worker_pids()[0], signal.SIGKILL)
        went_on = 0
        for stream in streams:
            try:
                speaks(stream, end=False)
                went_on += 1
            except (OSError, AssertionError):
                pass
        equal(went_on, 2, "relayed connections that go on")
        replaced(d)
        d.wait_gauge("workers.restarted", 1)


@kernel_only
def test_kernel_connections_outlive_everything():
    """With the keys in the kernel: SIGKILL of control and workers, and data goes on both ways."""
    with Daemon(restarts=None) as d, TlsServer(echo) as s:
        streams = [upgrade(d, s.address, mode="kernel") for _ in range(4)]
        d.kill()
        for stream in streams:
            speaks(stream)


def test_restart_on_the_same_path():
    """After SIGKILL the socket file is still there; the next daemon replaces it and serves."""
    with TlsServer(echo) as s:
        with Daemon(restarts=None) as dead:
            dead.kill()
            check(os.path.exists(dead.socket), "the dead daemon's socket is there")
            eventually(lambda: refuses(dead.socket), "nobody listens")  # its io_uring ends a little later
        with Daemon(socket_path=dead.socket) as d:
            speaks(upgrade(d, s.address))


def test_second_daemon_on_a_live_socket():
    """A second htlsd on the same path ends with status 1, says why, and leaves the first alone."""
    with Daemon() as d, TlsServer(echo) as s:
        second = subprocess.run(d.command, capture_output=True, timeout=20, check=False)
        equal(second.returncode, 1, "exit status")
        check(d.socket.encode() in second.stderr, f"it names the path: {second.stderr!r}")
        speaks(upgrade(d, s.address))


def test_path_that_is_no_socket():
    """An ordinary file at the path is not removed: status 1."""
    where = lib.write_file("precious", "data")
    command = [lib.HTLSD, "--socket", where, "--config", lib.write_file("c.conf", "")]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    equal(done.returncode, 1, "exit status")
    with open(where) as f:
        equal(f.read(), "data", "the file")


def test_worker_that_dies_young():
    """A worker that dies young, twice: it is replaced each time, after a pause."""
    with Daemon(workers=1, restarts=2) as d, TlsServer(echo) as s:
        for n in (1, 2):
            os.kill(d.worker_pids()[0], signal.SIGKILL)
            replaced(d)
            d.wait_gauge("workers.restarted", n)
        speaks(upgrade(d, s.address))


def test_stop_in_the_handshake():
    """SIGTERM with handshakes and relays under way: the end within a second or two, status 0."""
    with Daemon(restarts=None) as d, TlsServer(echo, tolerant=True) as s, closing_all() as things:
        c, tcp = begin_with_silent_peer(d, things)
        things.append(upgrade(d, s.address, path=RELAY))
        d.process.terminate()
        equal(d.process.wait(5), 0, "exit status")
        equal(c.recv(), None, "the client sees the end")
        check(not os.path.exists(d.socket), "the socket is gone")
        tcp.close()


def test_daemon_absent():
    """Nobody on the path: connect says so, ENOENT or ECONNREFUSED."""
    try:
        Client(lib.path("nobody.sock"))
        raise AssertionError("somebody answered")
    except FileNotFoundError:
        pass
