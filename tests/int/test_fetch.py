"""An unmodified program under the shim: the C example and three lines of Python, every pair, every server."""
import os
import subprocess
import sys

import lib
from lib import Skip, check, deadline, equal, tls_stat
from lib_daemon import Daemon
from lib_servers import Nginx
from lib_shim import environment
from lib_suites import PAIRS, SERVERS

FETCH_C = os.path.join(lib.BUILD, "tests", "fetch")
FETCH_PY = os.path.join(lib.TREE, "tests", "int", "fetch.py")


def programs():
    for file in (lib.PRELOAD, FETCH_C, FETCH_PY):
        if not os.path.exists(file):
            raise Skip(f"{os.path.relpath(file, lib.TREE)} is not there: make all helpers")
    yield "C", [FETCH_C]
    yield "Python", [sys.executable, FETCH_PY]


def fetch(command, daemon, address, name="localhost"):
    return subprocess.run([*command, address[0], str(address[1]), name], env=environment(daemon),
                          capture_output=True, timeout=30, check=False)


def every_server(pair):
    version, _, names, _, _ = PAIRS[pair]
    cert = "ecdsa" if "ecdsa" in names else "server"
    with Daemon() as d:
        for server, make in SERVERS.items():
            with make(pair, cert) as s:
                for language, command in programs():
                    before = tls_stat()
                    done = fetch(command, d, s.address)
                    where = f"{language} from {server}"
                    equal((done.returncode, done.stderr), (0, b""), where)
                    check(b"</html>" in done.stdout.lower(), f"{where}: the page: {done.stdout[:200]!r}")
                    if server == "openssl":
                        check(names[cert].encode() in done.stdout, f"{where}: the server names the suite")
                    if lib.EXPECT == "kernel":
                        after = tls_stat()
                        for key in ("TlsTxSw", "TlsRxSw"):
                            check(after[key] > before[key], f"{where}: {key} did not grow")
        report = d.status()
        equal(int(report["connections." + lib.EXPECT]), 2 * len(SERVERS), f"connections.{lib.EXPECT}")


def make_test(pair):
    @deadline(90)
    def test():
        every_server(pair)
    version, suite = pair.split("_", 1)
    test.__doc__ = f"{version.upper()} {suite}: C and Python under the shim, from openssl, gnutls and nginx."
    return test


for _pair in PAIRS:
    globals()[f"test_{_pair}"] = make_test(_pair)


def test_untrusted():
    """The same programs fail, and print nothing, where the certificate is for another name."""
    with Daemon() as d, Nginx(cert="wrongname") as s:
        for language, command in programs():
            done = fetch(command, d, s.address)
            check(done.returncode != 0 and done.stdout == b"", f"{language}: {done}")
