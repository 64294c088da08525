"""What goes wrong in a shim that believes a descriptor's number: numbers it was not told of, numbers that
another thread closes, calls that act on the file where the program means the connection."""
import ctypes
import errno
import os
import select
import signal
import socket
import threading
import time

from program import *  # noqa: F401,F403

libc = ctypes.CDLL(None, use_errno=True)
SYS_DUP = {"x86_64": 32, "aarch64": 23}


def case_inherited(a):
    """The socket has a second number that no interposed call has made, as under inetd."""
    s = dial(a)
    other = libc.syscall(SYS_DUP[os.uname().machine], s.fileno())
    check(other >= 0, "dup")
    s.setsockopt(LEVEL, NAME, b"localhost")
    equal(os.write(other, b"by the other number"), 19, "write")
    equal(recv_exactly(s, 19), b"by the other number", "the echo")
    os.close(other)
    finish(s)


def case_closed_while_reading(a):
    """A thread waits in read while another closes the number and makes a new connection under it. (On a relay's
    end it goes on waiting, as it would on TCP: nobody tells the peer.)"""
    for _ in range(5):
        s = tls(a)
        buf = ctypes.create_string_buffer(10)
        reader = threading.Thread(target=libc.read, args=(s.fileno(), buf, 10), daemon=True)
        reader.start()
        time.sleep(0.05)
        number = s.fileno()
        s.close()
        with tls(a) as again:
            equal(again.fileno(), number, "the number")
            if "relay" not in text(again, MODE):
                reader.join(5)
                check(not reader.is_alive(), "the reader sees the end of what it read")
            equal(state(again), UP, "the new connection's state")
            echo(again, b"mine")
            finish(again)


def case_connect_again(a):
    """The old way to ask how a non-blocking connect went: connect once more."""
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(a)
    s.setsockopt(LEVEL, NAME, b"localhost")
    check(s.connect_ex(a) in (0, errno.EALREADY, errno.EISCONN), "connect in the handshake")
    wait(s, select.POLLOUT)
    equal(s.connect_ex(a), errno.EISCONN, "connect after it")
    echo(s, b"x")


def case_buffer_in_handshake(a):
    """A larger send buffer does not make a gate writable."""
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(a)
    s.setsockopt(LEVEL, NAME, b"localhost")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200000)
    p = select.poll()
    p.register(s, select.POLLOUT)
    equal(p.poll(0), [], "poll")
    equal(state(s), HANDSHAKE, "the state")
    wait(s, select.POLLOUT)
    equal(state(s), UP, "the state")
    echo(s, b"x")


def case_waitall_signal(a):
    """A signal ends MSG_WAITALL with what there is, tickets before it or not."""
    with tls(a) as s:
        s.sendall(b"0123456789")
        wait(s, select.POLLIN)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        buf = ctypes.create_string_buffer(100)
        equal(libc.recv(s.fileno(), buf, 100, socket.MSG_WAITALL), 10, "recv")


def case_full_close(a):
    """close of a non-blocking socket with a full send buffer does not hold up the program."""
    s = tls(a, blocking=False)
    try:
        while True:
            s.send(b"x" * 65536)
    except BlockingIOError:
        pass
    began = time.monotonic()
    s.close()
    check(time.monotonic() - began < 0.3, "close waited")


def case_discard(a):
    """MSG_TRUNC on TCP throws away; no buffer is needed. (A relay's end is no TCP socket.)"""
    with tls(a) as s:
        s.sendall(b"0123456789")
        wait(s, select.POLLIN)
        if "relay" in text(s, MODE):
            return
        equal(libc.recv(s.fileno(), None, 4, socket.MSG_TRUNC), 4, "recv")
        equal(recv_exactly(s, 6), b"456789", "the rest")


def hidden():
    return [fd for fd in open_fds() if fd >= 900]


def take_over(numbers):
    """The program puts something of its own under each."""
    with open("/dev/null", "rb") as null:
        for fd in numbers:
            equal(os.dup2(null.fileno(), fd, inheritable=False), fd, "dup2")
            check(os.path.sameopenfile(null.fileno(), fd), f"{fd} is what the program put there")


def close_all_but(kept):
    """One by one, as daemons do; hidden numbers are as if they were not open."""
    for fd in range(3, 2000):
        if fd != kept and libc.close(fd) == 0:
            check(fd not in hidden(), f"close({fd})")


def case_close_all(a):
    """Numbers that the program has not opened: it closes them, one by one and by range, and takes them over."""
    before = hidden()
    for blocking in (True, False):
        s = dial(a)
        s.setblocking(blocking)
        s.setsockopt(LEVEL, NAME, b"localhost")
        ours = hidden()
        check(blocking or len(ours) > 2, "a handshake hides some")
        close_all_but(s.fileno())
        equal(libc.close_range(s.fileno() + 1, 2**32 - 1, 0), 0, "close_range")
        equal(hidden(), ours, "hidden descriptors")
        fails("EBADF", "close", os.close, ours[0]) if ours else None
        take_over(ours)
        wait(s, select.POLLOUT)
        equal(state(s), UP, text(s, ERROR))
        equal(s.getpeername(), a, "getpeername")
        echo(s, b"in the handshake")
        take_over(hidden())
        close_all_but(s.fileno())
        equal(s.getpeername(), a, "getpeername")
        echo(s, b"after it")
        finish(s)
        s.close()
    for fd in range(900, 2000):  # what take_over() left; one epoll set is ours
        libc.close(fd)
    check(len(hidden()) <= len(before) + 1, f"{hidden()}")


def case_busy(a):
    """A daemon that takes nobody in does not hold up a program that does not wait."""
    with dial(a) as s:
        s.setblocking(False)
        began = time.monotonic()
        fails("ETIMEDOUT", "the option", s.setsockopt, LEVEL, NAME, b"localhost")
        check(time.monotonic() - began < 10, "it waited as long as a handshake may take")
        check("busy" in text(s, ERROR), text(s, ERROR))
        equal(state(s), FAILED, "the state")
        fails("ETIMEDOUT", "send", s.send, b"PLAINTEXT")


def case_received(a, how):
    """A socket gets a second number by a message, or from the process itself, after the first upgrade."""
    echo(tls(a), b"the first")
    pair, s = socket.socketpair(), dial(a)
    if how == "pidfd_getfd":
        other = libc.pidfd_getfd(os.pidfd_open(os.getpid()), s.fileno(), 0)
    else:
        socket.send_fds(pair[0], [b"x"], [s.fileno()])
        other = socket.recv_fds(pair[1], 1, 1)[1][0] if how == "recvmsg" else recvmmsg(pair[1])
    check(other >= 0, how)
    s.setsockopt(LEVEL, NAME, b"localhost")
    equal(os.write(other, b"by the other number"), 19, "write")
    equal(recv_exactly(s, 19), b"by the other number", "the echo")
    os.close(other)
    finish(s)


def recvmmsg(sock):
    """One message by recvmmsg(2): struct mmsghdr by hand. Returns its descriptor."""
    data, control = ctypes.create_string_buffer(8), ctypes.create_string_buffer(64)
    iov = (ctypes.c_size_t * 2)(ctypes.addressof(data), 8)
    message = (ctypes.c_size_t * 8)(0, 0, ctypes.addressof(iov), 1, ctypes.addressof(control), 64, 0, 0)
    equal(libc.recvmmsg(sock.fileno(), message, 1, 0, None), 1, "recvmmsg")
    return int.from_bytes(control[16:20], "little")
