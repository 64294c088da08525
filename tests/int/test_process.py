"""The daemon's processes: what rights they have, what they write."""
import os
import pwd
import re
import stat

import lib
from lib import check, equal, one_of
from lib_client import refused, upgrade
from lib_daemon import Daemon
from lib_peers import TlsServer, echo


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return {k: v.strip() for k, v in (line.split(":", 1) for line in f)}


def speaks(stream):
    with stream:
        stream.sendall(b"hello")
        equal(stream.read_exactly(5), b"hello", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")


def test_workers_have_no_rights():
    """Workers: another user in all four ids, no group, no capability in any set, no way to gain one."""
    if os.getuid() != 0:
        raise lib.Skip("not root: there is no user to change from")
    nobody = pwd.getpwnam("nobody")
    with Daemon() as d:
        equal(len(d.worker_pids()), 2, "workers")
        for pid in d.worker_pids():
            s = status_of(pid)
            equal(s["Uid"].split(), [str(nobody.pw_uid)] * 4, "Uid")
            equal(s["Gid"].split(), [str(nobody.pw_gid)] * 4, "Gid")
            equal(s["Groups"], "", "Groups")
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                equal(int(s[name], 16), 0, name)
            equal(s["NoNewPrivs"], "1", "NoNewPrivs")
            equal(os.stat(f"/proc/{pid}/fd").st_uid, 0, "owner of /proc/PID: not dumpable")


def test_descriptors_of_workers():
    """A worker holds no listening socket and no end of another worker's socket."""
    with Daemon(workers=4) as d:
        for pid, fds in d.baseline.items():
            sockets = [f for f in fds if f.startswith("socket:")]
            check(len(fds) < 20, f"{pid} has {len(fds)} descriptors: {fds}")
            if pid != d.process.pid:
                check(len(sockets) <= 2, f"worker {pid}: control's socket and sock_diag, not {fds}")


def test_socket_mode():
    """socket-mode is the mode of the socket from the first moment."""
    for mode in ("0666", "0600", "0660"):
        with Daemon("--socket-mode", mode) as d:
            equal(stat.S_IMODE(os.stat(d.socket).st_mode), int(mode, 8), "mode")


def test_no_key_log_by_default():
    """Without key-log no secret is written: no file, and no secret in the log, even at level debug."""
    with Daemon(log="debug") as d, TlsServer(echo) as s:
        speaks(upgrade(d, s.address))
        text = d.log()
        check(not re.search(r"SECRET|CLIENT_RANDOM|[0-9a-f]{48}", text),
              "the log holds something like a secret")
        left = [f for f in os.listdir(lib.DIR) if "key" in f]
        equal(left, [], "files")


def test_key_log():
    """key-log: a file for its owner alone, with the lines of both versions, whole."""
    import ssl
    where = lib.path("keys.txt")
    with Daemon("--key-log", where) as d, TlsServer(echo) as new, \
            TlsServer(echo, maximum=ssl.TLSVersion.TLSv1_2) as old:
        for _ in range(3):
            speaks(upgrade(d, new.address))
            speaks(upgrade(d, old.address))
        with open(where) as f:
            lines = [line.split() for line in f.read().splitlines()]
    equal(stat.S_IMODE(os.stat(where).st_mode) & 0o077, 0, "rights of others")
    labels = [line[0] for line in lines]
    for label in ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                  "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM"):
        equal(labels.count(label), 3, label)
    for line in lines:
        equal(len(line), 3, "words in a line")
        equal(len(line[1]), 64, "the client random")
        one_of(len(line[2]), (64, 96), "the secret")


def test_one_line_per_handshake():
    """Each finished handshake is one line of the log: up with what was negotiated, failed with why."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        for _ in range(3):
            speaks(upgrade(d, s.address))
        refused(d, s.address, name="elsewhere.test")
        ups, downs = re.findall(r": up (.*)", d.log()), re.findall(r": failed (.*)", d.log())
        equal((len(ups), len(downs)), (3, 1), "lines")
        for word in ("name=localhost", f"peer=127.0.0.1:{s.address[1]}", "uid=", "pid=", "TLSv1.3",
                     f"tx={lib.EXPECT}"):
            check(word in ups[0], f"{word} in {ups[0]!r}")
        check("code=certificate-name" in downs[0], f"the code in {downs[0]!r}")


def test_log_cannot_be_forged():
    """What a peer or client says appears in the log on one line, printable."""
    from lib_client import AGENT, CAPS, HELLO, VERSION, Client
    with Daemon(log="debug") as d:
        with Client(d.socket, hello=False) as c:
            c.send(HELLO, [(VERSION, 1), (CAPS, 0), (AGENT, "x\xff\u2028 error: forged".encode())])
            check(c.recv(), "an answer")
        check(all(ord(ch) < 127 for ch in d.log()), "bytes that are not printable ASCII")


def test_report():
    """STATUS counts what happened."""
    with Daemon() as d, TlsServer(echo, tolerant=True) as s:
        speaks(upgrade(d, s.address))
        refused(d, s.address, name="elsewhere.test")
        report = d.status()
        equal(report["handshakes.done"], "1", "handshakes.done")
        equal(report["handshakes.failed"], "1", "handshakes.failed")
        equal(report["connections." + lib.EXPECT], "1", "connections")
        equal(int(report["pid"]), d.process.pid, "pid")
        if lib.EXPECT == "relay":
            check(int(report["relays.bytes-out"]) >= 5 and int(report["relays.bytes-in"]) >= 5, "bytes")
