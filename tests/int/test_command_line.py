"""htlsd and htls by hand: options, configuration, exit statuses as their manuals say."""
import os
import subprocess

import lib
from lib import HTLS, HTLSD, check, equal, one_of, pki, write_file
from lib_daemon import Daemon


def run(*command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=lib.DIR,
                          env=dict(os.environ, **environment))
    return done.returncode, done.stdout, done.stderr


def test_help_and_version():
    """--help lists every option on standard output, --version is one line; status 0."""
    status, out, err = run(HTLSD, "--help")
    equal((status, err), (0, ""), "htlsd --help")
    for option in ("--socket", "--config", "--check-config", "--print-config", "--workers", "--key-log",
                   "--path"):
        check(option in out, f"{option} in --help")
    for program in (HTLSD, HTLS):
        status, out, err = run(program, "--version")
        equal((status, err, out.count("\n")), (0, "", 1), "--version")
    equal(run(HTLS, "--help")[0], 0, "htls --help")


def test_wrong_usage():
    """Unknown options, bad values, a file that is not there: status 2, the reason on standard error."""
    for arguments in (["--no-such-option"], ["--workers", "many"], ["--path", "nowhere"], ["argument"],
                      ["--handshake-timeout", "1h"], ["--config", "/nonexistent"], ["--socket", "x" * 200]):
        status, out, err = run(HTLSD, *arguments)
        equal((status, out), (2, ""), f"{arguments}")
        check(err.startswith("htlsd: ") and err.count("\n") <= 3, f"{arguments}: {err!r}")


def test_check_config():
    """--check-config: silent or content with a good file, status 2 and line numbers with a bad one."""
    good = write_file("good.conf", f"[daemon]\nworkers = 2\n[tls]\ntrust-file = {pki('ca.crt')}\n"
                                   f"[trust ours]\nfile = {pki('ca.crt')}\n")
    status, _, err = run(HTLSD, "--config", good, "--check-config")
    equal(status, 0, f"a good one ({err})")
    for text, word in (("[daemon]\nworkers = x\n", "2"), ("[nosuch]\na = b\n", "nosuch"),
                       ("[daemon]\nnosuch = 1\n", "nosuch"),
                       ("[tls]\ntrust-file = /nonexistent\n", "nonexistent"),
                       ("[daemon]\nuser = root\n", "root"),
                       ("[daemon]\nuser = no-such-user\n", "no-such-user"),
                       ("[trust x]\n", "x"), (f"[tls]\ntrust-file = {pki('server.key')}\n", "server.key"),
                       ("workers = 2\n", "workers"), ("[daemon\nworkers = 2\n", "1")):
        bad = write_file("bad.conf", text)
        status, out, err = run(HTLSD, "--config", bad, "--check-config")
        equal((status, out), (2, ""), f"{text!r}")
        check(word in err, f"{text!r}: {word} in {err!r}")


def test_print_config_round_trip():
    """--print-config prints what applies; read back, it prints the same."""
    first = write_file("first.conf", f"[daemon]\nworkers = 3\nsocket-mode = 0600\n"
                                     f"[limits]\nhandshake-timeout = 1500ms\n"
                                     f"[tls]\nclient-ca = no\n[trust ours]\nfile = {pki('ca.crt')}\n")
    status, one, err = run(HTLSD, "--config", first, "--print-config", "--handshakes", "7")
    equal((status, err), (0, ""), "the first")
    for line in ("workers = 3", "socket-mode = 0600", "handshake-timeout = 1500ms", "client-ca = no",
                 "handshakes = 7", "[trust ours]"):
        check(line in one, f"{line!r} in {one!r}")
    status, two, _ = run(HTLSD, "--config", write_file("second.conf", one), "--print-config")
    equal((status, two), (0, one), "the second")


def test_shipped_configuration():
    """The configuration that is shipped is good and changes nothing."""
    shipped = os.path.join(lib.TREE, "daemon", "htls.conf")
    equal(run(HTLSD, "--config", shipped, "--check-config")[0], 0, "--check-config")
    default = run(HTLSD, "--config", write_file("empty.conf", ""), "--print-config")[1]
    equal(run(HTLSD, "--config", shipped, "--print-config")[1], default, "what applies")


def test_htls_without_a_daemon():
    """status and doctor: 2 without a daemon, the path in the text."""
    nobody = lib.path("nobody.sock")
    status, out, err = run(HTLS, "--socket", nobody, "status")
    equal((status, out), (2, ""), "status")
    check(nobody in err, f"the path in {err!r}")
    status, out, _ = run(HTLS, "doctor", HTLS_SOCKET=nobody)
    equal(status, 2, "doctor")
    check(nobody in out, f"the path in {out!r}")


def test_htls_with_a_daemon():
    """status: 0, a table, raw lines; doctor: 0 where the kernel can all, else 1 with what to do."""
    with Daemon() as d:
        status, out, err = run(HTLS, "--socket", d.socket, "status")
        equal((status, err), (0, ""), "status")
        check("handshakes.done" in out, "a table")
        status, raw, _ = run(HTLS, "--socket", d.socket, "--raw", "status")
        equal(status, 0, "status --raw")
        keys = dict(line.split(" ", 1) for line in raw.splitlines())
        equal(keys["workers"], "2", "workers")
        status, out, _ = run(HTLS, "doctor", HTLS_SOCKET=d.socket)
        cells = [v for k, v in keys.items() if k.startswith("ktls.tls")]
        whole = bool(cells) and all(v == "yes" for v in cells)
        equal(status, 0 if whole else 1, "doctor")
        check(whole == ("works fully" in out) and ("modprobe" in out) != whole, f"what it says: {out}")
        for command in (["nosuch"], [], ["status", "more"], ["doctor", "--raw"], ["--nosuch"]):
            status, _, err = run(HTLS, "--socket", d.socket, *command)
            equal(status, 2, f"htls {command}")
            check(err, f"htls {command}: a text")


def test_socket_from_the_manager():
    """LISTEN_FDS: the daemon serves the socket that it was given and leaves the file alone when it ends."""
    import socket
    import sys
    from lib_client import Client
    where = lib.path("given.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(where)
        listener.listen(100)
        # LISTEN_PID must be the daemon's own: set after the fork, by the process that becomes it.
        starter = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', "
                   "LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])")
        daemon = subprocess.Popen([sys.executable, "-c", starter, str(listener.fileno()), HTLSD, "--config",
                                   write_file("c.conf", ""), "--workers", "1"], pass_fds=[listener.fileno()],
                                  stderr=open(lib.path("given.log"), "wb"))
        try:
            with Client(where, timeout=10) as c:
                one_of(c.report()["workers"], ("1",), "workers")
        finally:
            daemon.terminate()
            equal(daemon.wait(10), 0, "exit status")
        check(os.path.exists(where), "the socket file is the manager's")
