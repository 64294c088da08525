"""Cases about what the socket is asked, its ends, and the ways to read and write."""
import hashlib
import os
import select
import signal
import socket
import struct
import threading
import time

from program import *  # noqa: F401,F403


# --- questions to the socket

def case_addresses(a):
    for blocking in (True, False):
        s = dial(a)
        names = s.getpeername(), s.getsockname()
        s.setblocking(blocking)
        s.setsockopt(LEVEL, NAME, b"localhost")
        equal((s.getpeername(), s.getsockname()), names, "the addresses, at once")
        if not blocking:
            wait(s, select.POLLOUT)
        equal((s.getpeername(), s.getsockname()), names, "the addresses")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), socket.SOCK_STREAM, "SO_TYPE")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN), socket.AF_INET, "SO_DOMAIN")
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL), socket.IPPROTO_TCP, "SO_PROTOCOL")
        equal(socket.socket(fileno=os.dup(s.fileno())).getpeername(), names[0], "of a dup")
        echo(s, b"x")


def case_options(a):
    """Options set before and after, on whatever lies under the number."""
    s = dial(a)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
    s.setsockopt(LEVEL, NAME, b"localhost")
    equal(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1, "TCP_NODELAY set before")
    for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
        for value in (0, 1):
            s.setsockopt(level, option, value)
            equal(bool(s.getsockopt(level, option)), bool(value), f"option {option}")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    equal(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 77, "TCP_KEEPIDLE")
    equal(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1), b"\1", "the TCP state")
    began = time.monotonic()
    fails("EAGAIN", "recv with SO_RCVTIMEO", s.recv, 1)
    check(0.05 < time.monotonic() - began < 3, "SO_RCVTIMEO is kept")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    fails("EOPNOTSUPP", "TCP_ZEROCOPY_RECEIVE", s.getsockopt, socket.IPPROTO_TCP, 35, 64)
    echo(s, b"x")
    t = dial(a)
    t.setblocking(False)
    t.setsockopt(LEVEL, NAME, b"localhost")
    t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
    wait(t, select.POLLOUT)
    t.setblocking(True)
    fails("EAGAIN", "recv with SO_RCVTIMEO set meanwhile", t.recv, 1)


# --- ends

def case_shutdown(a, how):
    """close_notify goes out, reading goes on, writing is over."""
    s = tls(a, how == "blocking")
    send_all(s, b"last words")
    if how == "option":
        s.setsockopt(LEVEL, CLOSE_OUTPUT, 1)
    else:
        s.shutdown(socket.SHUT_WR)
    equal(recv_exactly(s, 6), b"answer", "the answer")
    for call in (lambda: s.send(b"x"), lambda: os.write(s.fileno(), b"x"), lambda: s.sendmsg([b"x"])):
        fails("EPIPE", "after shutdown", call)
    equal(recv_some(s), b"", "the end")
    s.close()


def case_sigpipe(a):
    """As on TCP: a write after shutdown raises SIGPIPE, unless MSG_NOSIGNAL."""
    got = []
    signal.signal(signal.SIGPIPE, lambda *_: got.append(1))
    s = tls(a)
    s.shutdown(socket.SHUT_WR)
    fails("EPIPE", "send", s.send, b"x", socket.MSG_NOSIGNAL)
    equal(got, [], "MSG_NOSIGNAL")
    fails("EPIPE", "send", s.send, b"x")
    fails("EPIPE", "write", os.write, s.fileno(), b"x")
    equal(len(got), 2, "SIGPIPE")


def case_close(a, how):
    """A ticket that comes after close() would be answered with RST; the ones before it are unread here."""
    s = tls(a, how == "blocking")
    time.sleep(0.1)
    send_all(s, b"last words")
    s.close()


def case_end(a):
    """The peer's close_notify is the end of file, for poll too."""
    for s in both(a):
        equal(recv_exactly(s, 5), b"hello", "the data")
        check(wait(s, select.POLLIN) & select.POLLIN, "poll")
        for _ in range(3):
            equal(recv_some(s), b"", "the end")
        equal(state(s), CLOSED, "the state")
        equal(text(s, ERROR), "", "no error")
        send_all(s, b"still open this way")
        s.shutdown(socket.SHUT_WR)


def case_truncated(a):
    for s in both(a):
        equal(recv_exactly(s, 100000), b"d" * 100000, "the data before it")
        for _ in range(2):
            fails("ECONNRESET", "recv", lambda: recv_some(s))
        equal(state(s), FAILED, "the state")
        check("close_notify" in text(s, ERROR), text(s, ERROR))


def case_until_error(a, numbers):
    """Reads on until it fails."""
    s = tls(a)
    print("up", flush=True)

    def read_all():
        while recv_some(s):
            pass
    fails(numbers, "recv", read_all)
    equal(state(s), FAILED, "the state")


# --- the ways to read and write

def case_peek(a):
    for s in both(a):
        send_all(s, b"0123456789")
        equal(recv_some(s, 1), b"0", "one byte")
        for _ in range(3):
            equal(recv_some(s, 4, socket.MSG_PEEK), b"1234", "a peek")
        equal(recv_exactly(s, 9), b"123456789", "the rest")


def case_peek_first(a):
    """A peek, or a read of one byte, with tickets before the data."""
    for flags in (socket.MSG_PEEK, 0, socket.MSG_WAITALL):
        for s in both(a):
            wait(s, select.POLLIN)
            equal(recv_some(s, 1, flags), b"g", "the first byte")
            equal(recv_exactly(s, 8 if flags == socket.MSG_PEEK else 7), b"greeting"[flags != socket.MSG_PEEK:], "the rest")


def case_bytes(a):
    """One byte at a time, through tickets, to the end."""
    for s in both(a):
        data = b""
        while True:
            more = recv_some(s, 1)
            if not more:
                break
            data += more
        equal(data, b"greeting" + b"more", "all of it")


def case_waitall(a):
    with tls(a) as s:
        threading.Timer(0.1, lambda: s.sendall(b"b" * 30000)).start()
        s.sendall(b"a" * 30000)
        data = s.recv(60000, socket.MSG_WAITALL)
        equal(data, b"a" * 30000 + b"b" * 30000, "all of it")


def case_vectors(a):
    for s in both(a):
        equal(os.writev(s.fileno(), [b"one", b"", b"two", b"three"]), 11, "writev")
        bufs = [bytearray(2), bytearray(0), bytearray(4), bytearray(20)]
        equal(retry(s, os.readv, s.fileno(), bufs), 11, "readv")
        equal(bytes(bufs[0] + bufs[2] + bufs[3][:5]), b"onetwothree", "what readv read")
        s.sendmsg([b"four", b"five"])
        data, control, flags, _ = retry(s, s.recvmsg, 100, 100)
        equal((data, control, flags & ~getattr(socket, "MSG_CMSG_CLOEXEC", 0)), (b"fourfive", [], 0), "recvmsg")
        send_all(s, b"six")
        buf = bytearray(10)
        n, who = retry(s, s.recvfrom_into, buf)
        equal(bytes(buf[:n]), b"six", "recvfrom")
        s.sendto(b"seven", s.getpeername())
        equal(recv_exactly(s, 5), b"seven", "sendto with an address")
        equal(os.readv(s.fileno(), [bytearray(0)]), 0, "an empty read")
        echo(s, b"is no end")
        fails("EINVAL", "too many", os.readv, s.fileno(), [bytearray(1)] * 1025)
        echo(s, b"is no damage")


def case_more(a):
    """MSG_MORE joins records; nothing is kept back for ever."""
    for s in both(a):
        for part in (b"a" * 100, b"b" * 100):
            s.send(part, socket.MSG_MORE)
        s.send(b"c" * 100)
        equal(recv_exactly(s, 300), b"a" * 100 + b"b" * 100 + b"c" * 100, "all of it")


def case_sendfile(a, path):
    with open(path, "rb") as f:
        whole = f.read()
    for s in both(a):
        s.setblocking(True)
        got = []
        thread = threading.Thread(target=lambda: got.append(recv_exactly(s, len(whole))))
        thread.start()
        with open(path, "rb") as f:
            at = 0
            while at < len(whole):
                at += os.sendfile(s.fileno(), f.fileno(), at, len(whole) - at)
        thread.join()
        check(got == [whole], "the file came back otherwise")


def case_splice(a):
    for s in both(a):
        s.setblocking(True)
        r, w = os.pipe()
        data = os.urandom(50000)
        os.write(w, data)
        n = 0
        while n < len(data):
            n += os.splice(r, s.fileno(), len(data) - n)
        back = b""
        while len(back) < len(data):
            k = os.splice(s.fileno(), w, len(data) - len(back))
            check(k > 0, "splice out ended")
            back += os.read(r, k)
        check(back == data, "splice changed the data")
        os.close(r)
        os.close(w)


def case_splice_end(a):
    """Splice through tickets, to the end."""
    for s in both(a):
        s.setblocking(True)
        r, w = os.pipe()
        data = b""
        while True:
            k = os.splice(s.fileno(), w, 65536)
            if k == 0:
                break
            data += os.read(r, k)
        equal(data, b"greeting" + b"more", "all of it")


def case_makefile(a):
    for s in both(a):
        s.setblocking(True)
        f = s.makefile("rwb")
        f.write(b"line one\nline two\n")
        f.flush()
        equal(f.readline(), b"line one\n", "a line")
        equal(f.readline(), b"line two\n", "another")
        f.close()
    s = tls(a)
    f = os.fdopen(s.detach(), "r+b", buffering=0)
    f.write(b"three\n")
    equal(f.readline(), b"three\n", "with fdopen")
    f.close()


def case_bulk(a, how, size):
    """size bytes out and back."""
    s, size = tls(a, how == "blocking"), int(size)
    block = os.urandom(1 << 20)
    sent, got, n_out, n_in = hashlib.sha256(), hashlib.sha256(), 0, 0
    s.setblocking(False)
    p = select.poll()
    p.register(s, select.POLLIN | select.POLLOUT)
    while n_in < size:
        events = p.poll(20000)
        check(events, f"stuck after {n_out} out, {n_in} in")
        if events[0][1] & select.POLLOUT and n_out < size:
            try:
                at = n_out % len(block)
                k = s.send(memoryview(block)[at:at + min(262144, size - n_out)])
                sent.update(memoryview(block)[at:at + k])
                n_out += k
            except BlockingIOError:
                pass
            if n_out == size:
                p.modify(s, select.POLLIN)
        if events[0][1] & select.POLLIN:
            try:
                data = s.recv(262144)
                check(data, f"the end after {n_in}")
                got.update(data)
                n_in += len(data)
            except BlockingIOError:
                pass
    equal(got.hexdigest(), sent.hexdigest(), "sha256")
    finish(s)


def linger(s):
    return struct.unpack("ii", s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))


def behind(s):
    """The TCP socket that a relay's end or a gate stands for: a hidden descriptor with the same addresses."""
    for fd in (n for n in open_fds() if n >= 900):
        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):  # there is an epoll set too
            other = socket.socket(fileno=os.dup(fd))
            if (other.family, other.getsockname()) == (socket.AF_INET, s.getsockname()):
                return other
            other.close()
    return None


def case_linger(a):
    """SO_LINGER is what the program set, whatever lies under the number; the daemon's own close waits for nobody."""
    for blocking in (True, False):
        s = dial(a)
        s.setblocking(blocking)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 7))
        s.setsockopt(LEVEL, NAME, b"localhost")
        equal(linger(s), (1, 7), "at once")
        if not blocking:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 8))
            wait(s, select.POLLOUT)
        equal(state(s), UP, text(s, ERROR))
        print("mode", text(s, MODE))
        equal(linger(s), (1, 7 if blocking else 8), "when TLS is up")
        time.sleep(0.1)
        equal(linger(s), (1, 7 if blocking else 8), "when the daemon has closed its copy")
        tcp = behind(s)
        equal(tcp is not None, "relay" in text(s, MODE), "a TCP socket behind it")
        for value in ((1, 9), (1, 0), (0, 0), (1, 9)):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *value))
            equal(linger(s)[0], value[0], "set later")
            if tcp:  # RST at close is nobody's waiting
                equal(linger(tcp)[0], int(value == (1, 0)), "what the daemon has")
        echo(s, b"x")
        finish(s)
        s.close()
