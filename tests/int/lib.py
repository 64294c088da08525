"""What every integration test uses: where things are, assertions, and the rooms beside this one.

lib_client.py   the protocol and the socket that comes of it
lib_keeper.py   htlsd under a service manager that keeps descriptors
lib_daemon.py   htlsd, with what must be true of it when a test ends
lib_servers.py  TLS servers that others wrote: nginx, openssl, gnutls
lib_peers.py    TLS peers in this process, which can be watched and can misbehave
lib_anypeer.py  a TLS peer that sends any record on command
"""
import contextlib
import encodings.idna  # noqa: F401  here, not on first use in a child that may read no files any more
import os
import socket
import time

TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.join(TREE, os.environ.get("HTLS_BUILD", "build"))
DIR = os.environ.get("HTLS_TEST_DIR", "/tmp")       # this test's own folder
PKI = os.environ.get("HTLS_TEST_PKI", "")           # made by tests/mkpki
EXPECT = os.environ.get("HTLS_TEST_EXPECT", "relay")  # what the kernel under us can do
SMALL = bool(os.environ.get("HTLS_TEST_SMALL"))     # emulated machines: less data, fewer clients
SOAK = bool(os.environ.get("HTLS_TEST_SOAK"))       # scripts/soak: as long as it takes
# By how much longer things may take than on a real machine.
PATIENCE = float(os.environ.get("HTLS_TEST_PATIENCE", "5" if SMALL else "1"))

HTLSD = os.path.join(BUILD, "htlsd")
HTLS = os.path.join(BUILD, "htls")
PRELOAD = os.path.join(BUILD, "libhtls-preload.so")


class Skip(Exception):
    """Raised by a test that cannot say anything here; the text is the reason."""


def check(truth, text):
    """Stays where `python3 -O` would drop an assert."""
    if not truth:
        raise AssertionError(text)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def one_of(got, wanted, what):
    check(got in wanted, f"{what}: got {got!r}, wanted one of {wanted!r}")


def eventually(condition, what, seconds=5.0):
    """For what has no file descriptor to wait on: /proc, and other processes' state."""
    seconds *= PATIENCE
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < limit, f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.005)


def pki(name):
    return os.path.join(PKI, name)


def ca_pem(name="ca.crt"):
    with open(pki(name), "rb") as f:
        return f.read()


def path(name):
    return os.path.join(DIR, name)


def write_file(name, text):
    with open(path(name), "w" if isinstance(text, str) else "wb") as f:
        f.write(text)
    return path(name)


def dial(address, timeout=20.0):
    """A connected TCP socket. Its time-out is Python's own and leaves the descriptor non-blocking."""
    return socket.create_connection(address, timeout=timeout)


def tls_stat():
    """The kernel's counters, empty where it has no TLS."""
    try:
        with open("/proc/net/tls_stat") as f:
            return {k: int(v) for k, v in (line.split() for line in f)}
    except FileNotFoundError:
        return {}


def check_memory(truth, text):
    """As check(), where the daemon was not built with a sanitizer: that keeps what is freed."""
    with open(HTLSD, "rb") as f:
        check(truth or b"__asan_init" in f.read(), text)


def rss_kb(pid):
    """What it has in memory of its own; pages of program files come and go as the machine pleases."""
    with open(f"/proc/{pid}/status") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(("RssAnon", "RssShmem")))


def deadline(seconds):
    """Decorator: how long the test may take, where that is not 60 s."""
    def mark(test):
        test.deadline = seconds
        return test
    return mark


def kernel_only(test):
    """Decorator: the test says nothing where the kernel has no TLS."""
    test.needs_kernel = True
    return test


@contextlib.contextmanager
def closing_all():
    """A list whose sockets are all closed at the end."""
    things = []
    try:
        yield things
    finally:
        for thing in things:
            thing.close()
