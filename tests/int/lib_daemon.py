"""htlsd on a private socket, with what must be true of it at the end of every test."""
import contextlib
import os
import re
import signal
import socket
import subprocess

import lib
from lib_client import Client

GAUGES = ("relays.open", "handshakes.running", "handshakes.waiting")


def fds_of(pid):
    """Without the memory of slots: one is kept for each user that was seen."""
    return sorted(link for link in _links(f"/proc/{pid}/fd") if not link.startswith("/memfd:htls-slots"))


def _links(folder):
    for n in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(f"{folder}/{n}")


def alive(pid):
    """Neither gone nor waiting for its parent to take note."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                state, parent = f.read().rsplit(")", 1)[1].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(entry))
    return sorted(found)


class Daemon:
    """with Daemon("--workers", "1") as d: …; config is the text of its configuration file.

    restarts: how many workers this test makes die; None: the test ends the daemon itself."""
    count = 0

    def __init__(self, *arguments, config="", restarts=0, workers=2, nofile=None, socket_path=None, log=None):
        Daemon.count += 1
        self.name = f"htlsd{Daemon.count}"
        self.socket = socket_path or lib.path(f"{self.name}.sock")
        self.log_path = lib.path(f"{self.name}.log")
        self.restarts, self.workers, self.nofile = restarts, workers, nofile
        self.config = lib.write_file(f"{self.name}.conf", config)
        level = [] if log is None else ["--log-level", log]
        self.command = [lib.HTLSD, "--socket", self.socket, "--config", self.config,
                        "--workers", str(workers), *level, *arguments]
        self.process = None
        self.baseline = {}

    # --- life

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.restarts is not None:
                self.check()
        finally:
            self.stop()
        if kind is None and self.restarts is not None:
            lib.equal(self.process.returncode, 0, "htlsd's exit status after SIGTERM")
            lib.check(not os.path.exists(self.socket), "htlsd left its socket behind")

    def start(self):
        """Returns when the daemon has said READY=1."""
        notify_path = lib.path(f"{self.name}.notify")
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log_path, "ab") as log:
            notify.bind(notify_path)
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, NOTIFY_SOCKET=notify_path),
                                            preexec_fn=self._limits)
            notify.settimeout(0.2)
            for _ in range(100):
                try:
                    if b"READY=1" in notify.recv(4096):
                        break
                except TimeoutError:
                    pass
                lib.check(self.process.poll() is None, f"htlsd ended with {self.process.returncode}")
            else:
                raise AssertionError("htlsd did not say READY=1")
        self._warm_up()
        return self

    def _limits(self):
        # The daemon raises its soft limit to the hard one; so the hard one is what limits it.
        if self.nofile:
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, self.nofile))

    def _warm_up(self):
        """One client on each worker: what a process opens on first use is open when we count."""
        clients = [Client(self.socket, hello=False) for _ in range(self.workers)]
        for c in clients:
            c.hello()
            lib.check(c.recv() is not None, "a worker answers")
        self.report = clients[0].report()
        for c in clients:
            c.close()
        self.wait_clients_gone()
        self.note_baseline()

    def note_baseline(self):
        """When two looks in a row see the same: a closed client takes a moment to leave /proc."""
        def look():
            return {pid: fds_of(pid) for pid in (self.process.pid, *self.worker_pids())}

        def settled():
            before, self.baseline = self.baseline, look()
            return before == self.baseline
        lib.eventually(settled, "descriptors settle")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("htlsd did not end within 10 s of SIGTERM") from None

    def kill(self):
        """The whole daemon, hard; workers end when control's socket closes."""
        if self.process:
            workers = self.worker_pids()
            self.process.kill()
            self.process.wait()
            for pid in workers:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    # --- looking at it

    def worker_pids(self):
        return children_of(self.process.pid)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def status(self):
        with Client(self.socket) as c:
            return c.report()

    def wait_clients_gone(self, seconds=10.0):
        """Until the asker is the only client, and nothing runs."""
        last = {}
        with Client(self.socket) as c:
            def idle():
                last.update(c.report())
                return last["clients.open"] == "1" and all(last[g] == "0" for g in GAUGES)
            lib.eventually(idle, lambda: "gauges back to zero; they are " + ", ".join(
                f"{k}={last.get(k)}" for k in ("clients.open", *GAUGES)), seconds)

    def wait_gauge(self, name, value, seconds=10.0):
        with Client(self.socket) as c:
            lib.eventually(lambda: int(c.report()[name]) == value, lambda: f"{name} {value}; it is "
                           + c.report()[name], seconds)

    def check(self):
        """What every test ends with."""
        lib.check(self.process.poll() is None, f"htlsd ended with {self.process.returncode}")
        self.wait_clients_gone()
        report = self.status()
        lib.equal(int(report["workers.restarted"]), self.restarts, "workers.restarted")
        bugs = re.findall(r".*\bbug:.*", self.log())
        lib.check(not bugs, f"htlsd logged {bugs[:3]}")
        for pid, before in self.baseline.items():
            if pid not in (self.process.pid, *self.worker_pids()):
                continue  # a worker that this test killed
            lib.eventually(lambda: len(fds_of(pid)) <= len(before),
                           lambda: f"fds of {pid}: {len(before)} before, now {len(fds_of(pid))}: "
                                   f"{fds_of(pid)[:20]} …, before {before}")

    def worker_rss_kb(self):
        return {pid: lib.rss_kb(pid) for pid in self.worker_pids()}
