"""Many connections: all at once, one after another; nothing stays behind."""
import lib
from lib import EXPECT, SMALL, check_memory, deadline, equal, tls_stat
from lib_client import Client, finish
from lib_daemon import Daemon
from lib_servers import PAGE, Nginx
from lib_storm import modes, raise_limit, storm

GET = b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n"


def fetch_on_each(streams):
    for stream in streams:
        stream.sendall(GET)
    for stream in streams:
        data = b""
        while not data.endswith(PAGE):
            data += stream.recv()


def close_all(streams):
    for stream in streams:
        stream.shutdown_wr()
    for stream in streams:
        stream.close()


# The daemon's deadline is a ceiling: with clients, server, daemon on one CPU the last in line wait long.
PATIENT = "[limits]\nhandshake-timeout = 90s\n"


@deadline(150)
def test_two_thousand_clients_at_once():
    """2,000 clients at once: all succeed, each gets its page, nothing stays."""
    n = 400 if SMALL else 2000
    lib.check(raise_limit() >= 4 * n, "the hard limit of open files is too low for this test")
    with Daemon(log="warning", config=PATIENT) as d, Nginx(cert="ecdsa") as s:
        streams, errors = storm(d, s.address, n, seconds=90)
        equal((len(streams), dict(errors)), (n, {}), "up, and errors")
        equal(modes(streams), {EXPECT: n}, "modes")
        fetch_on_each(streams)
        close_all(streams)
        print(f"{n} at once: {modes(streams)}")


@deadline(150)
def test_five_hundred_at_once():
    """500 at once, three times: all in the mode this kernel allows; no descriptor left, memory bounded."""
    n = 100 if SMALL else 500
    raise_limit()
    with Daemon(log="warning", config=PATIENT) as d, Nginx(cert="ecdsa") as s:
        before, rss = sum(d.worker_rss_kb().values()), []
        for _ in range(3):
            streams, errors = storm(d, s.address, n)
            equal((len(streams), dict(errors)), (n, {}), "up, and errors")
            equal(modes(streams), {EXPECT: n}, "modes")
            fetch_on_each(streams)
            close_all(streams)
            d.wait_clients_gone()
            rss.append(sum(d.worker_rss_kb().values()))
        # malloc keeps what a burst used, so this is no measure of small leaks: the test below is.
        check_memory(max(rss) < before + 128 * n,
                     f"the workers' memory: {before}, after each round {rss} KiB")
        print(f"{n} at once, three times; RSS of the workers together: {before}, then {rss} KiB")


@deadline(200)
def test_thousand_one_after_another():
    """1,000 connections one after another: all in the mode this kernel allows, memory flat.

    Up to the half the 64 handshakes of each worker fill up that wait for tickets."""
    n = 200 if SMALL else 1000
    with Daemon(log="warning", config=PATIENT) as d, Nginx(cert="ecdsa") as s:
        before, rss = tls_stat(), []
        for i in range(n):
            tcp = lib.dial(s.address)
            with Client(d.socket) as c:
                with finish(c, c.connect([tcp], "localhost", lib.ca_pem()), tcp, EXPECT) as stream:
                    if i % 10 == 0:
                        fetch_on_each([stream])
                    stream.shutdown_wr()
            if i in (n // 4, n // 2, n - 1):
                rss.append(sum(d.worker_rss_kb().values()))
        if EXPECT == "kernel":
            equal(tls_stat()["TlsTxSw"] - before["TlsTxSw"] >= n, True, "TlsTxSw grew by as many")
        check_memory(rss[-1] - rss[1] < 1024, f"the workers' memory after a quarter, half, all: {rss} KiB")
        print(f"{n} in a row; RSS of the workers together after a quarter, half, all: {rss} KiB")
