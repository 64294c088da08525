"""Sessions that are resumed: by another process of the same user, with every server; and by nobody else."""
import os
import signal
import socket
import subprocess

import lib
from lib import ca_pem, check, equal, eventually, kernel_only
from lib_client import KERNEL, RELAY, RESUMED, TLS12, Refused, child_as, upgrade
from lib_daemon import Daemon, children_of
from lib_servers import GnutlsServ, Nginx, SServer

UID = 1000  # whose sessions these are, where it matters
OVERFLOW_UID = 65534


def get(path=b"/reused"):
    return b"GET " + path + b" HTTP/1.0\r\nHost: localhost\r\n\r\n"


def sserver(*options):
    """The server, and what it says of a connection: True when it resumed."""
    return SServer(*options), lambda _server, page: b"\nReused, " in page


def nginx(versions, **options):
    return Nginx(versions, **options), lambda _server, page: page.endswith(b"\r\n\r\nr")


def gnutls(priority):
    seen = []

    def said(server, _page):
        with open(server.log_path, "rb") as f:
            count = f.read().count(b"This is a resumed session")
        seen.append(count)
        return count > sum(seen[-2:-1])
    return GnutlsServ(priority), said


def visit(daemon, address, uid=UID, **options):
    """Fetches a page from a process of its own. Returns (RESUMED, the server's answer)."""
    def go():
        with upgrade(daemon, address, **options) as stream:
            stream.sendall(get())
            page = stream.read_all()
            return f"{stream.result[RESUMED]} {page.hex()}"
    words = child_as(uid, go).split(" ")
    check(len(words) == 2 and words[0] in "01", f"a visit: {' '.join(words)[:300]}")
    return int(words[0]), bytes.fromhex(words[1])


def workers_of(nginx_server):
    return [nginx_server.process.pid, *children_of(nginx_server.process.pid)]


def resumes(server_and_word, times=2, **options):
    """The first visit makes a session, the next resume, as both sides say."""
    server, said = server_and_word
    with Daemon() as d, server as s:
        for i in range(times + 1):
            resumed, page = visit(d, s.address, **options)
            equal(resumed, int(i > 0), f"{s.name}: RESUMED of visit {i}")
            check(b" 200 " in page[:20], f"{s.name}: the page: {page[:200]!r}")
            equal(said(s, page), i > 0, f"{s.name}: what the server says of visit {i}")
        status = d.status()
        equal([int(status[f"sessions.{k}"]) for k in ("hits", "misses", "refused")], [times, 1, 0], "counters")
        return status


def test_tls12_tickets():
    """TLS 1.2 with tickets: openssl, nginx, gnutls; a session is used again and again."""
    for server in (sserver("-tls1_2"), nginx("TLSv1.2"), gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.2")):
        equal(resumes(server)["sessions.kept"], "1", "sessions that are kept")


def test_tls12_ids():
    """TLS 1.2 with session ids, the server remembers: openssl, nginx, gnutls."""
    for server in (sserver("-tls1_2", "-no_ticket"),
                   nginx("TLSv1.2", sessions="shared:s:1m", extra="ssl_session_tickets off;"),
                   gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_TICKETS")):
        resumes(server)


def test_tls13_tickets_late():
    """TLS 1.3: tickets that come through the relay, behind the handshake: openssl, nginx, gnutls."""
    for server in (sserver("-tls1_3"), nginx("TLSv1.3"), gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.3")):
        resumes(server, path=RELAY)


def test_tls13_suites():
    """TLS 1.3 resumes with each suite, and goes on with the right keys."""
    for number, name in ((0x1302, "TLS_AES_256_GCM_SHA384"), (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
                         (0x1304, "TLS_AES_128_CCM_SHA256")):
        resumes(sserver("-tls1_3", "-ciphersuites", name), path=RELAY, suites=[number], times=1)


@kernel_only
def test_tls13_kernel():
    """A session whose ticket the relay met is resumed by a connection whose keys go to the kernel."""
    with Daemon() as d, Nginx("TLSv1.3") as s:
        equal(visit(d, s.address, path=RELAY)[0], 0, "the first, relayed")
        resumed, page = visit(d, s.address, path=KERNEL)
        equal((resumed, page[-1:]), (1, b"r"), "the second, in the kernel")


@kernel_only
def test_tls13_tickets_early():
    """Tickets that are there before the keys are in: taken then, nothing of them is left to the reader."""
    with Daemon(workers=1) as d, Nginx("TLSv1.3") as s:
        cpu = min(os.sched_getaffinity(0))
        # The server answers before the worker is on again.
        for pid in (*d.worker_pids(), *workers_of(s)):
            os.sched_setaffinity(pid, {cpu})
        os.sched_setscheduler(d.worker_pids()[0], os.SCHED_IDLE, os.sched_param(0))
        seen = []
        for _ in range(20):
            with upgrade(d, s.address, mode="kernel") as stream:
                stream.sendall(get())
                seen.append((stream.result[RESUMED], stream.read_all()[-1:], stream.tickets))
            if seen[-1][0]:
                break
        equal(seen[-1][:2], (1, b"r"), f"resumed, tickets left to the reader: {seen}")
        check(seen[-2][2] < 2, f"a ticket of the connection before was taken early: {seen}")


DIFFERENCES = {
    "uid": {"uid": UID + 1},
    "ca": {"ca": lambda: ca_pem() + b"\n"},
    "two ca": {"ca": lambda: ca_pem() + ca_pem("other-ca.crt")},
    "verify": {"verify": 1},
    "name": {"name": "htls.test"},
    "alpn": {"alpn": [b"http/1.1"]},
    "versions": {"version_min": TLS12, "version_max": TLS12},
    "suites": {"suites": [0xC02F, 0xC030]},
    "groups": {"groups": "P-256"},
}


def test_not_across():
    """Another uid, CA, name, port, verification, ALPN, version, suite or group: a full handshake."""
    with Daemon("--allow-insecure") as d, Nginx("TLSv1.2") as s:
        equal(visit(d, s.address)[0], 0, "the first")
        for what, options in DIFFERENCES.items():
            if what == "uid" and os.getuid() != 0:
                continue
            options = {k: v() if callable(v) else v for k, v in options.items()}
            resumed, page = visit(d, s.address, **options)
            equal((resumed, page[-1:]), (0, b"."), f"another {what}")
            equal(visit(d, s.address, **options)[0], 1, f"another {what}, its own session")
            equal(visit(d, s.address)[0], 1, f"after another {what}")


def test_not_across_ports():
    """One server behind two ports: it would resume, it is not asked to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()
    with Daemon() as d, Nginx("TLSv1.2", extra=f"listen 127.0.0.1:{other[1]} ssl;") as s:
        equal(visit(d, s.address)[0], 0, "the first")
        equal(visit(d, other)[0], 0, "the other port")
        status = d.status()
        equal((status["sessions.misses"], status["sessions.kept"]), ("2", "2"), "misses, kept")


def test_verify_is_not_resumed_away():
    """An unverified session does not help a connection that verifies: it still fails."""
    with Daemon("--allow-insecure") as d, SServer("-tls1_2", cert="selfsigned") as s:
        equal(visit(d, s.address, verify=1)[0], 0, "unverified")
        equal(visit(d, s.address, verify=1)[0], 1, "unverified, resumed")
        try:
            upgrade(d, s.address).close()
        except Refused as e:
            equal(e.code, "certificate-untrusted", "verified")
        else:
            raise AssertionError("a certificate that nobody trusts was accepted")


def test_overflow_uid():
    """Users of other namespaces all look alike: they share nothing, not even with themselves."""
    if os.getuid() != 0:
        raise lib.Skip("needs root")
    with Daemon() as d, Nginx("TLSv1.2") as s:
        for _ in range(3):
            equal(visit(d, s.address, uid=OVERFLOW_UID)[0], 0, "RESUMED")
        equal(d.status()["sessions.kept"], "0", "sessions that are kept")


def test_switched_off():
    """session-cache = 0: nothing is kept, nothing is counted."""
    with Daemon(config="[sessions]\nsession-cache = 0\n") as d, Nginx() as s:
        for _ in range(2):
            equal(visit(d, s.address, path=RELAY)[0], 0, "RESUMED")
        report = d.status()
        equal({v for k, v in report.items() if k.startswith("sessions.")}, {"0"}, "counters")


def test_lifetime():
    """However often it is resumed, a session ends some time after its full handshake."""
    with Daemon("--session-lifetime", f"{int(2 * lib.PATIENCE)}s") as d, Nginx("TLSv1.2") as s:
        equal(visit(d, s.address)[0], 0, "the first")
        equal(visit(d, s.address)[0], 1, "at once")
        eventually(lambda: visit(d, s.address)[0] == 0, "a full handshake again")


def test_share():
    """What one user visits leaves another's sessions alone."""
    if os.getuid() != 0:
        raise lib.Skip("needs root")
    with Daemon("--session-cache", "4", "--session-share", "50") as d, Nginx("TLSv1.2") as s:
        visit(d, s.address)
        for name in ("localhost", "htls.test", "127.0.0.1", "localhost."):
            visit(d, s.address, uid=UID + 1, name=name)
        equal(d.status()["sessions.kept"], "3", "sessions that are kept")
        equal(visit(d, s.address)[0], 1, "the first user's")


def test_worker_dies():
    """A worker's death takes no session with it: the one in its place resumes."""
    with Daemon(workers=1, restarts=1) as d, Nginx("TLSv1.2") as s:
        equal(visit(d, s.address)[0], 0, "the first")
        before = d.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: d.worker_pids() not in ([], before), "another worker")
        equal(visit(d, s.address)[0], 1, "by the new worker")


def test_restart_forgets():
    """Nothing survives the daemon."""
    with Nginx("TLSv1.2") as s:
        for _ in range(2):
            with Daemon() as d:
                equal(visit(d, s.address)[0], 0, "the first of a daemon")
                equal(visit(d, s.address)[0], 1, "the second")


def test_server_forgets():
    """A server with new ticket keys makes a full handshake, and the new session takes the old one's place."""
    with Daemon() as d, Nginx("TLSv1.2") as s:
        for expected in (0, 1, 1):
            equal(visit(d, s.address)[0], expected, "RESUMED")
        before = workers_of(s)
        s.process.send_signal(signal.SIGHUP)
        eventually(lambda: before[1] not in workers_of(s), "the worker with the old keys has gone")
        for expected in (0, 1):
            equal(visit(d, s.address)[0], expected, "RESUMED, new keys")
        equal(d.status()["sessions.kept"], "1", "sessions that are kept")


def test_status():
    """`htls status` shows the counters."""
    with Daemon() as d, Nginx("TLSv1.2") as s:
        visit(d, s.address)
        visit(d, s.address)
        text = subprocess.run([lib.HTLS, "--socket", d.socket, "status"], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        got = dict(line.split() for line in text.splitlines() if line.startswith("sessions."))
        equal(got, {"sessions.hits": "1", "sessions.misses": "1", "sessions.stored": "1",
                    "sessions.refused": "0", "sessions.kept": "1"}, "htls status")
