"""What every case uses: sockets, the option's numbers, nothing else of htls."""
import errno
import os
import select
import socket

LEVEL = 0x74696D65
NAME, ALPN, VERIFY, CA, STATE, ERROR, PROTOCOL, CIPHER, ALPN_SELECTED, CLOSE_OUTPUT, MODE = 1, 4, 5, 7, 8, 9, 10, 11, 12, 15, 18
PLAIN, HANDSHAKE, UP, FAILED, CLOSED = range(5)


def check(truth, text):
    if not truth:
        raise AssertionError(text)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def fails(numbers, what, function, *arguments):
    """The call fails with (one of) these errno names."""
    try:
        got = function(*arguments)
    except OSError as e:
        check(e.errno in [getattr(errno, n) for n in numbers.split()], f"{what}: {errno.errorcode.get(e.errno)}, wanted {numbers}")
        return
    raise AssertionError(f"{what}: succeeded with {got!r}, wanted {numbers}")


def dial(address):
    """A connected socket; an address with a colon is IPv6, one in brackets v4-mapped."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family)
    s.connect((host, port))
    return s


def text(s, option):
    return s.getsockopt(LEVEL, option, 1024).decode()


def state(s):
    return s.getsockopt(LEVEL, STATE)


def tls(address, blocking=True, name=b"localhost"):
    """A connection on which TLS is up."""
    s = dial(address)
    if not blocking:
        s.setblocking(False)
    s.setsockopt(LEVEL, NAME, name)
    if not blocking:
        wait(s, select.POLLOUT)
        equal(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0, "SO_ERROR")
    equal(state(s), UP, f"the state ({text(s, ERROR)})")
    print("mode", text(s, MODE))
    return s


def both(address):
    """A blocking and a non-blocking connection."""
    for blocking in (True, False):
        with tls(address, blocking) as s:
            yield s


def wait(s, events, ms=10000):
    p = select.poll()
    p.register(s, events)
    found = p.poll(ms)
    check(found, f"poll waited for {events:#x} in vain")
    return found[0][1]


def send_all(s, data):
    view = memoryview(data)
    while view:
        try:
            view = view[s.send(view):]
        except BlockingIOError:
            wait(s, select.POLLOUT)


def retry(s, call, *arguments):
    """Readable may mean a ticket, which is no data: then it is EAGAIN once more."""
    while True:
        try:
            return call(*arguments)
        except BlockingIOError:
            wait(s, select.POLLIN)


def recv_some(s, n=65536, flags=0):
    return retry(s, s.recv, n, flags)


def recv_exactly(s, n):
    data = b""
    while len(data) < n:
        more = recv_some(s, n - len(data))
        check(more, f"the end came after {len(data)} of {n} bytes")
        data += more
    return data


def echo(s, data):
    send_all(s, data)
    equal(recv_exactly(s, len(data)), data, "the echo")


def finish(s):
    s.shutdown(socket.SHUT_WR)
    equal(recv_some(s), b"", "after close_notify")
    equal(recv_some(s), b"", "again")
    equal(state(s), CLOSED, "the state")


def open_fds():
    return sorted(int(n) for n in os.listdir("/proc/self/fd"))
