"""The program under the shim: one case per run, named in the first argument. It knows sockets and the option's
numbers, nothing else of htls. A case that fails raises; what it prints the test may look at.

    LD_PRELOAD=libhtls-preload.so python3 tcases.py CASE HOST PORT [ARGUMENT…]
"""
import asyncio
import ctypes
import errno
import os
import select
import socket
import sys
import threading
import time

import cases_io
import cases_life
import cases_traps
from program import *  # noqa: F401,F403


# --- Timecraft's cases

def case_echo(a, how, name=b"localhost"):
    s = tls(a, how == "blocking", name.encode() if isinstance(name, str) else name)
    for n in (1, 5, 16384, 16385, 70000):
        echo(s, os.urandom(n))
    finish(s)
    s.close()


def case_plain(a):
    for blocking in (True, False):
        with dial(a) as s:
            s.setblocking(blocking)
            data = os.urandom(100000)
            echo(s, data)
            equal(state(s), PLAIN, "the state")
            s.shutdown(socket.SHUT_WR)
            equal(recv_some(s), b"", "the end")


def case_late(a):
    with dial(a) as s:
        s.send(b"x")
        fails("EINVAL", "after send", s.setsockopt, LEVEL, NAME, b"localhost")
        equal(s.recv(10), b"x", "plain goes on")
    with dial(a) as s:
        s.send(b"xy")
        s.recv(1)
        fails("EINVAL", "after recv", s.setsockopt, LEVEL, NAME, b"localhost")
        equal(s.recv(10), b"y", "plain goes on")
    for how in (socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR):
        with dial(a) as s:
            s.shutdown(how)
            fails("EINVAL ENOTCONN", f"after shutdown {how}", s.setsockopt, LEVEL, NAME, b"localhost")
            equal(state(s), PLAIN, "the state")


def case_twice(a):
    for s in both(a):
        fails("EINVAL", "the second time", s.setsockopt, LEVEL, NAME, b"localhost")
        for option, value in ((ALPN, b"h2"), (VERIFY, 2), (CA, b"x")):
            fails("EINVAL", "too late", s.setsockopt, LEVEL, option, value)
        echo(s, b"it is not hurt")


def case_unconnected(a):
    with socket.socket() as s:
        fails("ENOTCONN EINVAL", "before connect", s.setsockopt, LEVEL, NAME, b"localhost")
        s.connect(a)
        s.setsockopt(LEVEL, NAME, b"localhost")
        echo(s, b"now it works")


def case_wrong_kind(a):
    pair = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(type=socket.SOCK_DGRAM)
    udp.connect(a)
    for s in (pair[0], listener, udp):
        fails("EINVAL", str(s), s.setsockopt, LEVEL, NAME, b"localhost")
    libc = ctypes.CDLL(None, use_errno=True)
    r, w = os.pipe()
    for fd, wanted in ((r, errno.ENOTSOCK), (-1, errno.EBADF), (12345, errno.EBADF)):
        equal(libc.setsockopt(fd, LEVEL, NAME, b"localhost", 9), -1, "setsockopt")
        equal(ctypes.get_errno(), wanted, f"errno of {fd}")
        size = ctypes.c_uint(4)
        equal(libc.getsockopt(fd, LEVEL, STATE, ctypes.create_string_buffer(4), ctypes.byref(size)), -1, "getsockopt")
        equal(ctypes.get_errno(), wanted, f"errno of {fd}")
    pair[0].send(b"plain")
    equal(pair[1].recv(9), b"plain", "a Unix socket")


def case_other_option(a):
    with dial(a) as s:
        for option in (0, 2, 3, 6, 8, 9, 16, 17, 19, 99):
            fails("ENOPROTOOPT", f"set {option}", s.setsockopt, LEVEL, option, b"x")
        for option in (0, 2, 13, 14, 16, 17, 99):
            fails("ENOPROTOOPT", f"get {option}", s.getsockopt, LEVEL, option, 100)
        echo(s, b"plain")


def case_questions(a):
    with dial(a) as s:
        equal((text(s, NAME), text(s, ERROR), text(s, CIPHER), text(s, MODE)), ("", "", "", "tx=none rx=none"), "before")
        s.setsockopt(LEVEL, ALPN, b"h2,http/1.1")
        for bad in (b"h2,", b",h2", b"a,,b", b"x" * 256, b"a\0b"):
            fails("EINVAL", f"ALPN {bad!r}", s.setsockopt, LEVEL, ALPN, bad)
        fails("EINVAL", "VERIFY 1", s.setsockopt, LEVEL, VERIFY, 1)
        equal(state(s), PLAIN, "the state")
        s.setsockopt(LEVEL, NAME, b"localhost")
        equal((text(s, NAME), text(s, ERROR)), ("localhost", ""), "the name")
        equal((text(s, PROTOCOL), text(s, CIPHER)[:8]), ("TLSv1.3", "TLS_AES_"), "version and suite")
        equal(text(s, ALPN_SELECTED), "http/1.1", "the protocol")
        equal(s.getsockopt(LEVEL, PROTOCOL, 4), b"TLSv", "what fits")
        equal(s.getsockopt(LEVEL, PROTOCOL, 7), b"TLSv1.3", "all without its NUL")
        echo(s, b"x")


def case_names(a, *names):
    for name in names:
        with tls(a, name=bytes(name, "ascii").decode("unicode_escape").encode("latin1")) as s:
            echo(s, b"named")


def case_bad_names(a):
    with dial(a) as s:
        for name in (b"", b"\0", b"a\0b", b"localhost\0\0", b"\0localhost", b"x" * 254, b"x" * 255):
            fails("EINVAL", repr(name), s.setsockopt, LEVEL, NAME, name)
            equal(state(s), PLAIN, "the state")
        echo(s, b"plain")


def poisoned(s, number):
    """Nothing goes out, nothing comes in, and the reason stays."""
    for _ in range(2):
        for what, call in (("send", lambda: s.send(b"PLAINTEXT")), ("recv", lambda: s.recv(10)),
                           ("sendall", lambda: s.sendall(b"PLAINTEXT")), ("writev", lambda: os.writev(s.fileno(), [b"PLAINTEXT"])),
                           ("write", lambda: os.write(s.fileno(), b"PLAINTEXT")), ("sendmsg", lambda: s.sendmsg([b"PLAINTEXT"]))):
            fails(number, what, call)
        equal(state(s), FAILED, "the state")
        check(text(s, ERROR), "a failure has a text")
    equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR, after a call that failed")
    print("text", text(s, ERROR))
    fails("EINVAL", "a second try", s.setsockopt, LEVEL, NAME, b"localhost")


def case_refused(a, number, name="localhost"):
    with dial(a) as s:
        fails(number, "the option", s.setsockopt, LEVEL, NAME, name.encode())
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), getattr(errno, number), "SO_ERROR")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR again")
        poisoned(s, number)
        child = os.fork()
        if child == 0:
            try:
                poisoned(s, number)
                os._exit(0)
            finally:
                os._exit(1)
        equal(os.waitpid(child, 0)[1], 0, "the same in a child")


def case_refused_later(a, number, name="localhost"):
    with dial(a) as s, dial(a) as t:
        for x in (s, t):
            x.setblocking(False)
            x.setsockopt(LEVEL, NAME, name.encode())
        wait(s, select.POLLOUT)
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), getattr(errno, number), "SO_ERROR")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR again")
        poisoned(s, number)
        wait(t, select.POLLIN)
        fails(number, "the first call", t.recv, 10)
        equal(t.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR, after the call")
        poisoned(t, number)


def case_refused_blocked(a, number, name="localhost"):
    """A recv that waits already gets the errno, not an end of file."""
    with dial(a) as s:
        s.setblocking(False)
        s.setsockopt(LEVEL, NAME, name.encode())
        s.setblocking(True)
        fails(number, "recv", s.recv, 10)
        poisoned(s, number)


def case_refused_ignored(a, name="localhost"):
    """A program that checks nothing."""
    with dial(a) as s:
        s.setblocking(False)
        s.setsockopt(LEVEL, NAME, name.encode())
        end = time.monotonic() + 20
        while state(s) == HANDSHAKE and time.monotonic() < end:
            for call in (lambda: s.send(b"PLAINTEXT"), lambda: os.write(s.fileno(), b"PLAINTEXT")):
                try:
                    call()
                except OSError:
                    pass
            time.sleep(0.01)
        equal(state(s), FAILED, "the state")


def case_no_daemon(a, number):
    for blocking in (True, False):
        with dial(a) as s:
            s.setblocking(blocking)
            fails(number, "the option", s.setsockopt, LEVEL, NAME, b"localhost")
            check("htlsd" in text(s, ERROR), "the text names it")
            poisoned(s, number)


def case_dial_refused(a):
    with socket.socket() as s:
        fails("ECONNREFUSED", "connect", s.connect, a)
    with socket.socket() as s:
        s.setblocking(False)
        if s.connect_ex(a) == errno.EINPROGRESS:
            wait(s, select.POLLOUT)
            equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNREFUSED, "SO_ERROR")


def case_in_progress(a):
    """The option is set while TCP connects; the server's backlog is full until we say so."""
    with socket.socket() as s:
        s.setblocking(False)
        equal(s.connect_ex(a), errno.EINPROGRESS, "connect")
        p = select.epoll()
        p.register(s, select.EPOLLOUT | select.EPOLLIN)
        fails("EAGAIN ENOTCONN", "recv", s.recv, 1)
        s.setsockopt(LEVEL, NAME, b"localhost")
        fails("ENOTCONN", "getpeername", s.getpeername)
        equal(p.poll(0.2), [], "nothing is ready")
        print("waiting", flush=True)
        check(p.poll(20), "it becomes ready")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR")
        equal(state(s), UP, text(s, ERROR))
        equal(s.getpeername(), a, "getpeername")
        echo(s, b"at last")


def case_in_progress_no_daemon(a):
    """A connect that is under way is given up, or plain bytes could follow it."""
    with socket.socket() as s:
        s.setblocking(False)
        equal(s.connect_ex(a), errno.EINPROGRESS, "connect")
        fails("ENOENT", "the option", s.setsockopt, LEVEL, NAME, b"localhost")
        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 100)
        equal(info[0], 7, "the TCP state")  # TCP_CLOSE
        poisoned(s, "ENOENT")


# --- waiting

def watchers(s):
    """Everything that can wait for it: names and functions that tell whether it is ready."""
    poll = select.poll()
    poll.register(s, select.POLLIN | select.POLLOUT)
    sets = {}
    for name, flags in (("level", 0), ("edge", select.EPOLLET), ("oneshot", select.EPOLLONESHOT)):
        sets[name] = select.epoll()
        sets[name].register(s, select.EPOLLIN | select.EPOLLOUT | flags)
    found = {"poll": lambda t: [e for _, e in poll.poll(t * 1000)],
             "select": lambda t: [4 for r in select.select([s], [s], [s], t)[:2] if r]}
    for name, p in sets.items():
        found[name] = lambda t, p=p: [e for _, e in p.poll(t)]
    return found


def case_waits(a):
    """Registered before connect is over; nothing shows until TLS is up, then all do, without a false end."""
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(a)
    early = watchers(s)
    wait(s, select.POLLOUT)
    s.setsockopt(LEVEL, NAME, b"localhost")
    late = watchers(s)
    equal(state(s), HANDSHAKE, "the state")
    for w in (early, late):
        for name, ready in w.items():
            equal(ready(0.03), [], f"{name}: ready before TLS is up")
    fails("EAGAIN", "recv", s.recv, 10)
    fails("EAGAIN", "send", s.send, b"PLAINTEXT")
    fails("ENOTCONN", "shutdown", s.shutdown, socket.SHUT_WR)
    print("waiting", flush=True)
    for w in (early, late):
        for name, ready in w.items():
            events = ready(10)
            check(events, f"{name}: never ready")
            check(not any(e & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP) for e in events),
                  f"{name}: a false end, {events}")
    equal(state(s), UP, text(s, ERROR))
    for name in ("edge", "oneshot"):
        equal(early[name](0), [], f"{name}: told twice")
    equal(len(early["level"](0)), 1, "level: told again")
    echo(s, b"x" * 1000)
    finish(s)
    s.close()
    equal(early["level"](0), [], "closed and forgotten")


def case_waits_in_thread(a):
    """Another thread sleeps in epoll_wait, or poll, before the upgrade begins; it sees no false end."""
    for flags in (0, select.EPOLLET, select.EPOLLONESHOT):
        for i in range(5):
            s, events, told = dial(a), [], threading.Event()
            s.setblocking(False)
            p = select.epoll()
            p.register(s, select.EPOLLIN | flags)

            def sleeper():
                told.set()
                events.extend(e for _, e in p.poll(10))
            thread = threading.Thread(target=sleeper)
            thread.start()
            told.wait()
            time.sleep(0.01)
            s.setsockopt(LEVEL, NAME, b"localhost")
            while state(s) == HANDSHAKE:  # settles it under the sleeper's feet
                pass
            equal(state(s), UP, text(s, ERROR))
            send_all(s, b"wake")
            thread.join(15)
            check(not thread.is_alive(), "never woken")
            check(events and not events[0] & select.EPOLLHUP, f"{events}")
            equal(recv_exactly(s, 4), b"wake", "the echo")
            s.close()


def case_blocking_thread(a):
    """A thread that makes the socket blocking and reads while another settles the upgrade."""
    s = dial(a)
    s.setblocking(False)
    s.setsockopt(LEVEL, NAME, b"localhost")
    s.setblocking(True)
    got = []
    threads = [threading.Thread(target=lambda: got.append(s.recv(5))) for _ in range(1)]
    threads.append(threading.Thread(target=lambda: s.sendall(b"hello")))
    for t in threads:
        t.start()
    for t in threads:
        t.join(8)
        check(not t.is_alive(), "a thread hangs")
    equal(got, [b"hello"], "the echo")


def case_speaks_first(a):
    for s in both(a):
        wait(s, select.POLLIN)
        equal(recv_exactly(s, 8), b"greeting", "the greeting")
        echo(s, b"x")


def case_plain_speaks_first(a):
    with dial(a) as s:
        wait(s, select.POLLIN)
        equal(s.recv(100), b"greeting", "the greeting")


def case_asyncio(a):
    async def run():
        loop = asyncio.get_running_loop()

        async def one(i):
            s = socket.socket()
            s.setblocking(False)
            await loop.sock_connect(s, a)
            s.setsockopt(LEVEL, NAME, b"localhost")
            reader, writer = await asyncio.open_connection(sock=s)
            writer.write(b"%6d" % i * 1000)
            equal(await reader.readexactly(6000), b"%6d" % i * 1000, "the echo")
            writer.write_eof()
            equal(await reader.read(), b"", "the end")
            writer.close()
        await asyncio.gather(*(one(i) for i in range(30)))
    asyncio.run(run())


def case_timeout_socket(a):
    """settimeout(): Python waits with poll before every call."""
    with socket.create_connection(a, timeout=10) as s:
        s.setsockopt(LEVEL, NAME, b"localhost")
        s.sendall(b"x" * 200000)
        equal(recv_exactly(s, 200000), b"x" * 200000, "the echo")
        s.settimeout(0.05)
        try:
            s.recv(1)
        except socket.timeout:
            return
        raise AssertionError("no time-out")


if __name__ == "__main__":
    name = "case_" + sys.argv[1]
    found = next(vars(m)[name] for m in (sys.modules["__main__"], cases_life, cases_io, cases_traps) if name in vars(m))
    found((sys.argv[2], int(sys.argv[3])), *sys.argv[4:])
