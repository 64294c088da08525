"""Programs under the shim, and under libhtls: how they are run, and what must be true of it afterwards."""
import os
import re
import select
import subprocess
import sys

import lib

TCASES = os.path.join(lib.TREE, "tests", "int", "shim", "tcases.py")


def environment(daemon, ca="ca.crt", preload=True, **more):
    e = dict(os.environ, HTLS_SOCKET=daemon if isinstance(daemon, str) else daemon.socket, **more)
    if ca:
        e["HTLS_CA_FILE"] = lib.pki(ca)
    if preload:
        e["LD_PRELOAD"] = " ".join([*os.environ.get("HTLS_TEST_PRELOAD", "").split(), lib.PRELOAD])
    return e


class Program:
    """A running program; its output is kept."""

    def __init__(self, command, env):
        self.command = command
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.seen = b""

    def wait_for(self, word, seconds=20):
        """Until its output has the word."""
        while word not in self.seen:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            lib.check(data, f"it never said {word!r}: {self.seen.decode(errors='replace')}")
            self.seen += data

    def end(self, status=0, seconds=50):
        """Its whole output, as text."""
        try:
            rest, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            rest, _ = self.process.communicate()
            raise AssertionError(f"{self.command} hangs: {(self.seen + rest).decode(errors='replace')}") from None
        said = (self.seen + rest).decode(errors="replace")
        lib.check(self.process.returncode == status, f"{self.command} ended with {self.process.returncode}:\n{said}")
        return said


    def end_quietly(self, seconds=25):
        """What it has said, however it ends; for the text of a failure."""
        try:
            self.seen += self.process.communicate(timeout=seconds * lib.PATIENCE)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.seen += self.process.communicate()[0] + b"(killed)"
        except ValueError:  # its output was taken already
            pass
        return self.seen.decode(errors="replace")


def start(daemon, case, address, *arguments, **options):
    """Starts a case of tcases.py."""
    command = [sys.executable, TCASES, case, *map(str, address[:2]), *map(str, arguments)]
    return Program(command, environment(daemon, **options))


def run(daemon, case, address, *arguments, **options):
    """Runs a case to its end; checks the modes it saw. Returns what it said."""
    before = lib.tls_stat()
    said = start(daemon, case, address, *arguments, **options).end()
    modes = re.findall(r"^mode (.*)$", said, re.M)
    for mode in modes:
        lib.equal(mode, f"tx={lib.EXPECT} rx={lib.EXPECT}", "the mode")
    if modes and lib.EXPECT == "kernel":
        grew(before, len(modes))
    return said


def grew(before, connections):
    after = lib.tls_stat()
    for key in ("TlsTxSw", "TlsRxSw"):
        lib.check(after[key] - before[key] >= connections, f"{key} did not grow by {connections}")


def logged(daemon, mode=None, pattern=""):
    """The daemon's line about the last connection that came up."""
    lines = [line for line in daemon.log().splitlines() if re.search(r"\bup name=", line)]
    lib.check(lines, "the daemon logged no connection")
    lib.check(f"tx={mode or lib.EXPECT} rx={mode or lib.EXPECT}" in lines[-1], f"the mode in {lines[-1]!r}")
    lib.check(pattern in lines[-1], f"{pattern!r} in {lines[-1]!r}")
    return lines[-1]
