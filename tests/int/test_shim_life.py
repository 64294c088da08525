"""The rest of Timecraft's cases: ends, questions, processes, ways to read and write, under the shim."""
import os
import socket
import ssl
import threading

from lib import BUILD, EXPECT, SMALL, check, deadline, equal, eventually, path, tls_stat
from lib_daemon import Daemon
from lib_peers import TcpServer, TlsServer, context, echo
from lib_shim import Program, environment, grew, run, start
from test_shim import Held, echo_case, greet


# --- T22 to T25: ends

def read_to_end(peer):
    """What came before close_notify; SSLEOFError when that never came."""
    data = b""
    while True:
        more = peer.read()
        if not more:
            return data
        data += more


def test_t22_shutdown():
    """T22: shutdown(SHUT_WR) sends close_notify, reading goes on, writing is EPIPE."""
    def handler(peer):
        equal(read_to_end(peer), b"last words", "what came before close_notify")
        peer.write(b"answer")
        peer.close_notify()
    for how in ("blocking", "non-blocking", "option"):
        echo_case("shutdown", how, handler=handler)


def test_sigpipe():
    """A write after shutdown raises SIGPIPE, unless MSG_NOSIGNAL."""
    echo_case("sigpipe")


def test_close_says_goodbye():
    """close() sends close_notify: Python's ssl server without suppress_ragged_eofs sees a clean end."""
    seen = []

    def serve(sock):
        with tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as t:
            seen.append(t.recv(100) + t.recv(100))
    tls = context()
    with Daemon() as d, TcpServer(serve, tolerant=False) as s:
        for how in ("blocking", "non-blocking"):
            run(d, "close", s.address, how)
        eventually(lambda: len(seen) == 2 or s.errors, "both ends seen")
        equal((seen, s.errors), ([b"last words"] * 2, []), "what the server saw")


def test_fclose_says_goodbye():
    """fclose(), which closes past close(), ends the connection in order and frees the number; so does exit()."""
    seen = []
    with Daemon() as d, TlsServer(lambda peer: seen.append(read_to_end(peer))) as s:
        for made in ("before", "after"):
            for how in ("fclose", "exit"):
                run(d, "fclose", s.address, made, how)
        eventually(lambda: len(seen) == 4 or s.errors, "the ends seen")
        equal((seen, s.errors), ([b"said with stdio"] * 4, []), "what the server saw")


def test_stdio():
    """A C program reads and writes by streams, through tickets, to the end; made after the upgrade or during it."""
    with Daemon() as d, TlsServer(greet) as s:
        for how in ((), ("later",)):
            before = tls_stat()
            program = Program([os.path.join(BUILD, "tests", "stdio"), *map(str, s.address[:2]), *how], environment(d))
            equal(program.end().split("\n")[0], f"mode tx={EXPECT} rx={EXPECT}", "the mode")
            if EXPECT == "kernel":
                grew(before, 1)


def test_t23_close_notify():
    """T23: the peer's close_notify is 0, again and again; writing goes on."""
    def handler(peer):
        peer.write(b"hello")
        peer.close_notify()
        equal(read_to_end_raw(peer), b"still open this way", "what came after our close_notify")
    echo_case("end", handler=handler)


def read_to_end_raw(peer):
    """After OpenSSL has sent close_notify it still reads."""
    try:
        return read_to_end(peer)
    except ssl.SSLZeroReturnError:
        return b""


def test_t24_truncation():
    """T24: FIN without close_notify is ECONNRESET, after all the data; the text says why."""
    def handler(peer):
        peer.write(b"d" * 100000)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.drain()
    echo_case("truncated", handler=handler)


def corrupt(wire):
    return wire[:-1] + bytes([wire[-1] ^ 1])


def test_damaged_record():
    """A record that does not authenticate is EBADMSG, in both modes."""
    def handler(peer):
        peer.write(b"hello")
        peer.change = corrupt
        peer.write(b"damaged")
        peer.drain()
    with Daemon() as d, TlsServer(handler, tolerant=True) as s:
        run(d, "until_error", s.address, "EBADMSG")


def test_daemon_dies_under_connection():
    """The daemon dies: a relay ends with ECONNRESET, a connection in the kernel goes on."""
    go = threading.Event()

    def handler(peer):
        check(go.wait(20), "told to go on")
        peer.write(b"x")
        peer.sock.shutdown(socket.SHUT_WR)
        peer.drain()
    with Daemon(restarts=None) as d, TlsServer(handler, tolerant=True) as s:
        program = start(d, "until_error", s.address, "ECONNRESET")
        program.wait_for(b"up")
        d.kill()
        go.set()
        program.end()


def test_t25_close_in_handshake():
    """T25: close during the handshake aborts it; nothing leaks here or there."""
    with Daemon() as d, TcpServer(lambda sock: sock.recv(10000) and sock.recv(1)) as s:
        run(d, "close_in_handshake", s.address, 30)


def test_close_in_blocking_upgrade():
    """Another thread closes the socket while setsockopt waits: EBADF, nothing leaks."""
    with Daemon() as d, TcpServer(lambda sock: sock.recv(10000) and sock.recv(1)) as s:
        run(d, "close_other_thread", s.address)


def test_no_leaks():
    """After twenty connections of each kind the program has the descriptors it had after one."""
    echo_case("no_leaks", 20)


# --- T26, T28: what the socket is asked

def test_t26_addresses():
    """T26: getpeername, getsockname, SO_TYPE and the like are TCP's, also behind a relay's end."""
    echo_case("addresses")


def test_t28_options():
    """T28: TCP_NODELAY, keep-alive, time limits reach the socket they are meant for; zero-copy receive is refused."""
    echo_case("options")


def test_linger():
    """SO_LINGER is given back after the upgrade; on a relay's end it is kept, and kept from the daemon's socket."""
    echo_case("linger")


# --- numbers, threads, processes

def test_alias():
    """A number duplicated before the upgrade goes on naming the connection."""
    for how in ("blocking", "non-blocking"):
        echo_case("alias", how)


def test_many_aliases():
    """A hundred numbers made while the upgrade runs all get the connection."""
    echo_case("many_aliases")


def test_numbers():
    """The number and its flags stay; the next descriptor gets the number it always got."""
    echo_case("numbers")


def test_threads():
    """One thread reads while another writes."""
    echo_case("threads")


def test_fork():
    """A forked child has the connection, the parent closes its copy."""
    echo_case("fork")


def test_fork_parent_stays():
    """A forked child closes its copy or ends: the parent's connection goes on."""
    echo_case("fork_parent")


def test_fork_in_handshake():
    """A child forked during the handshake cannot take the answer away."""
    with Daemon() as d, Held() as s:
        program = start(d, "fork_handshake", s.address)
        program.wait_for(b"waiting")
        s.go.set()
        program.end()


def test_subprocess():
    """A vfork child closes every descriptor in our memory: the connection does not notice."""
    echo_case("subprocess")


def test_closed_behind_our_back():
    """A number closed by a raw system call and made again is a new one."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        run(d, "close_behind", s.address)


# --- ways to read and write

def test_peek():
    """MSG_PEEK."""
    echo_case("peek")


def test_peek_over_tickets():
    """MSG_PEEK, MSG_WAITALL and one byte, where tickets come before the data."""
    echo_case("peek_first", handler=greet)


def more_after_tickets(peer):
    peer.write(b"greeting")
    peer.write(b"more")
    peer.close_notify()
    peer.drain()


def test_one_byte_at_a_time():
    """One-byte buffers through tickets and close_notify."""
    echo_case("bytes", handler=more_after_tickets)


def test_waitall():
    """MSG_WAITALL over several records."""
    echo_case("waitall")


def test_vectors():
    """readv, writev, recvmsg, sendmsg, recvfrom, sendto; empty reads are no end, too many buffers no damage."""
    echo_case("vectors")


def test_msg_more():
    """MSG_MORE."""
    echo_case("more")


def test_sendfile():
    """sendfile."""
    with open(path("file"), "wb") as f:
        f.write(bytes(range(256)) * 4000)
    echo_case("sendfile", path("file"))


def test_splice():
    """splice in and out."""
    echo_case("splice")


def test_splice_over_tickets():
    """splice out through tickets, to close_notify."""
    echo_case("splice_end", handler=more_after_tickets)


def test_makefile():
    """Python's file objects."""
    echo_case("makefile")


@deadline(240)
def test_bulk():
    """64 MiB each way, blocking and not, checksums equal."""
    size = (4 if SMALL else 64) << 20
    for how in ("blocking", "non-blocking"):
        def handler(peer):
            peer.keep = False
            echo(peer)
        echo_case("bulk", how, size, handler=handler)
