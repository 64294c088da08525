"""Cases about numbers, threads and processes."""
import ctypes
import hashlib
import os
import select
import socket
import subprocess
import threading
import time

from program import *  # noqa: F401,F403


# --- numbers, threads, processes

def case_alias(a, how):
    """A number duplicated before the upgrade names the same connection after it."""
    s = dial(a)
    t = s.dup()
    u = socket.socket(fileno=os.dup2(s.fileno(), 200, inheritable=False))
    s.setblocking(how == "blocking")
    s.setsockopt(LEVEL, NAME, b"localhost")
    if how != "blocking":
        wait(t, select.POLLOUT)
    for x in (s, t, u):
        equal(state(x), UP, "the state")
        echo(x, b"alias")
    v = t.dup()
    s.close()
    t.close()
    for x in (u, v):
        echo(x, b"still there")
    u.close()
    v.shutdown(socket.SHUT_WR)
    equal(recv_some(v), b"", "the end")
    v.close()


def case_many_aliases(a):
    """More numbers than any table of ours holds, made while the upgrade runs."""
    s = dial(a)
    s.setblocking(False)
    s.setsockopt(LEVEL, NAME, b"localhost")
    dups = [s.dup() for _ in range(100)]
    wait(dups[-1], select.POLLOUT)
    for x in dups:
        equal(state(x), UP, "the state")
    echo(dups[0], b"first")
    echo(dups[99], b"last")


def case_numbers(a):
    """The number stays, flags stay, and what is opened next gets the number it always got."""
    for blocking in (True, False):
        s = dial(a)
        s.setblocking(blocking)
        os.set_inheritable(s.fileno(), blocking)
        fd = s.fileno()
        before = os.dup(0)
        os.close(before)
        s.setsockopt(LEVEL, NAME, b"localhost")
        if not blocking:
            wait(s, select.POLLOUT)
        equal(s.fileno(), fd, "the number")
        equal((os.get_inheritable(fd), os.get_blocking(fd)), (blocking, blocking), "the flags")
        after = os.dup(0)
        equal(after, before, "the next free number")
        os.close(after)
        echo(s, b"x")
        s.close()


def case_threads(a):
    """One thread reads while another writes."""
    for s in both(a):
        s.setblocking(True)
        sums, size = {}, 4 << 20

        def writer():
            h = hashlib.sha256()
            for i in range(size // 65536):
                data = os.urandom(65536)
                h.update(data)
                s.sendall(data)
            sums["out"] = h.digest()
        thread = threading.Thread(target=writer)
        thread.start()
        h, n = hashlib.sha256(), 0
        while n < size:
            data = s.recv(65536)
            check(data, f"the end after {n}")
            h.update(data)
            n += len(data)
        thread.join()
        equal(h.digest(), sums["out"], "the bytes")


def case_fork(a):
    """The child reads and writes, the parent closes its copy; the connection goes on."""
    for s in both(a):
        s.setblocking(True)
        echo(s, b"parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                time.sleep(0.05)
                for i in range(10):
                    echo(s, b"child %d" % i)
                finish(s)
                code = 0
            finally:
                os._exit(code)
        s.close()
        equal(os.waitpid(child, 0)[1], 0, "the child's status")


def case_fork_parent(a):
    """The child closes its copy, or just ends; the parent's connection goes on."""
    for s in both(a):
        s.setblocking(True)
        for how in ("close", "exit"):
            child = os.fork()
            if child == 0:
                if how == "close":
                    s.close()
                os._exit(0)
            os.waitpid(child, 0)
            echo(s, b"parent")
        finish(s)


def case_fork_handshake(a):
    """A child that is forked while the handshake runs does not take the answer away."""
    s = dial(a)
    s.setblocking(False)
    s.setsockopt(LEVEL, NAME, b"localhost")
    child = os.fork()
    if child == 0:
        try:
            equal(state(s), FAILED, "the child's state")
            fails("ENOTCONN", "the child's send", s.send, b"PLAINTEXT")
            time.sleep(0.3)
            fails("ENOTCONN", "the child's send", s.send, b"PLAINTEXT")
            os._exit(0)
        finally:
            os._exit(1)
    print("waiting", flush=True)
    wait(s, select.POLLOUT)
    equal(state(s), UP, text(s, ERROR))
    echo(s, b"parent")
    equal(os.waitpid(child, 0)[1], 0, "the child's status")
    echo(s, b"parent")
    finish(s)


def case_subprocess(a):
    """vfork: the child closes every descriptor, in our memory. The connection must not notice."""
    for s in both(a):
        equal(subprocess.run(["/bin/echo", "x"], stdout=subprocess.PIPE, close_fds=True).stdout, b"x\n", "echo")
        equal(subprocess.run(["/bin/true"], pass_fds=[s.fileno()]).returncode, 0, "true")
        os.posix_spawn("/bin/true", ["true"], {})
        os.wait()
        equal(state(s), UP, "the state")
        echo(s, b"it is still ours")
        finish(s)


def case_close_behind(a):
    """A number that was closed past us (a raw system call) and comes back is a new one."""
    s = tls(a)
    fd = s.detach()
    ctypes.CDLL(None).syscall(3 if os.uname().machine == "x86_64" else 57, fd)
    t = socket.socket()
    equal(t.fileno(), fd, "the number")
    equal(state(t), PLAIN, "the state")
    t.connect(a)
    t.setsockopt(LEVEL, NAME, b"localhost")
    echo(t, b"x")


def case_fclose(a, made, how="fclose"):
    """fclose(), or exit(), ends the connection as close() does, behind what lies in the stream."""
    libc = ctypes.CDLL(None)
    libc.fdopen.restype = ctypes.c_void_p
    libc.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    libc.fclose.argtypes = [ctypes.c_void_p]
    s = dial(a)
    f = libc.fdopen(s.fileno(), b"w") if made == "before" else None
    s.setsockopt(LEVEL, NAME, b"localhost")
    time.sleep(0.1)  # as in the case close
    fd = s.detach()
    f = f or libc.fdopen(fd, b"w")
    libc.fputs(b"said with stdio", f)
    if how == "exit":
        return
    equal(libc.fclose(f), 0, "fclose")
    with socket.socket() as t:
        equal((t.fileno(), state(t)), (fd, PLAIN), "the number is free")


def case_close_in_handshake(a, count):
    before = open_fds()
    for i in range(int(count)):
        s = dial(a)
        s.setblocking(False)
        s.setsockopt(LEVEL, NAME, b"localhost")
        equal(state(s), HANDSHAKE, "the state")
        t = s.dup()
        s.close()
        t.close()
    # What was made at the first upgrade stays: the set of upgrades, the line to the daemon.
    after = [n for n in open_fds() if n < 900]
    equal(after, [n for n in before if n < 900], "descriptors")
    check(len(open_fds()) <= len(before) + 2, f"hidden descriptors leak: {open_fds()}")


def case_close_other_thread(a):
    """A blocking upgrade whose socket another thread closes ends with an error and leaks nothing."""
    before = open_fds()
    s = dial(a)
    fd, result = s.fileno(), []

    libc = ctypes.CDLL(None, use_errno=True)  # Python's own setsockopt keeps all other threads out

    def upgrade():
        libc.setsockopt(fd, LEVEL, NAME, b"localhost", 9)
        result.append(ctypes.get_errno())
    thread = threading.Thread(target=upgrade)
    thread.start()
    time.sleep(0.2)
    os.close(fd)
    thread.join(5)
    check(not thread.is_alive(), "the upgrade goes on")
    equal(result, [errno.EBADF], "the errno")
    s.detach()
    check(len(open_fds()) <= len(before) + 1, f"more than the line to the daemon: {open_fds()}")


def case_no_leaks(a, count):
    before = None
    for i in range(int(count)):
        for s in both(a):
            echo(s, b"x")
        s.close()
        if before is None:
            before = open_fds()
    equal(open_fds(), before, "descriptors")
