"""What a distribution or an administrator does with the tree."""
import os
import shutil
import subprocess

import lib
from lib import Skip, check


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, **options)
    return done.returncode, done.stdout + done.stderr


def installed():
    root = os.path.join(lib.DIR, "root")
    status, text = run("make", "-s", "-C", lib.TREE, "install", f"DESTDIR={root}", "PREFIX=/usr")
    check(status == 0, f"make install failed:\n{text}")
    return root


def writable_tree():
    if not os.access(lib.BUILD, os.W_OK):
        raise Skip("the tree is read-only here, make install builds htls.pc in it")


def test_files_are_installed():
    """make install puts everything where it belongs and leaves an existing configuration alone."""
    writable_tree()
    root = installed()
    for name in ("sbin/htlsd", "bin/htls", "lib/libhtls.so.1", "lib/libhtls.so", "lib/libhtls-preload.so",
                 "include/htls.h", "include/htls_sockopt.h", "lib/pkgconfig/htls.pc",
                 "share/man/man8/htlsd.8", "share/man/man5/htls.conf.5", "share/man/man1/htls.1",
                 "share/man/man7/htls-preload.7", "share/man/man3/libhtls.3",
                 "lib/systemd/system/htlsd.service", "lib/systemd/system/htlsd.socket"):
        check(os.path.exists(f"{root}/usr/{name}"), f"{name} was not installed")
    with open(f"{root}/usr/lib/systemd/system/htlsd.service") as f:
        check("ExecStart=/usr/sbin/htlsd\n" in f.read(), "the unit starts another htlsd")
    with open(f"{root}/etc/htls/htls.conf", "w") as f:
        f.write("# mine\n")
    installed()
    with open(f"{root}/etc/htls/htls.conf") as f:
        check(f.read() == "# mine\n", "a second install overwrote the configuration")


def test_library_is_found_by_pkg_config():
    """A program builds against the installed header and library alone, and loads."""
    writable_tree()
    root = installed()
    source = os.path.join(lib.DIR, "p.c")
    with open(source, "w") as f:
        f.write('#include <htls.h>\nint main(void) { struct htls *h = htls_new(); int r = htls_fd(h);'
                ' htls_free(h); return r == -9 ? 0 : 1; }\n')
    env = dict(os.environ, PKG_CONFIG_PATH=f"{root}/usr/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=root)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "htls"], env=env, capture_output=True,
                           text=True, check=True).stdout.split()
    status, text = run("cc", source, "-o", f"{lib.DIR}/p", *flags, f"-Wl,-rpath,{root}/usr/lib")
    check(status == 0, f"a client does not build:\n{text}")
    status, text = run(f"{lib.DIR}/p", env=dict(os.environ, ASAN_OPTIONS="verify_asan_link_order=0"))
    check(status == 0 or "asan" in lib.BUILD, f"a client does not run: {status} {text}")


def test_socket_activation():
    """Started by systemd's own tool on a socket that exists already, the daemon serves on it."""
    activate = shutil.which("systemd-socket-activate")
    if not activate:
        raise Skip("no systemd-socket-activate on this system")
    path = os.path.join(lib.DIR, "activated.sock")
    with open(os.path.join(lib.DIR, "activated.log"), "w") as log:
        daemon = subprocess.Popen([activate, "--seqpacket", "-l", path, lib.HTLSD], stdout=log, stderr=log)
    try:
        lib.eventually(lambda: os.path.exists(path), "the socket exists")
        status, text = run(lib.HTLS, "status", "--socket", path)
        check(status == 0 and "handshakes.done" in text, f"htls status: {status}\n{text}")
    finally:
        daemon.terminate()
        daemon.wait(10)
    check(os.path.exists(path), "the daemon removed a socket that is not its own")


def test_unit_files_are_sound():
    """systemd finds nothing to complain of in the units but that nothing is installed here."""
    verify = shutil.which("systemd-analyze")
    if not verify:
        raise Skip("no systemd-analyze on this system")
    status, text = run(verify, "verify", "--man=no", f"{lib.TREE}/daemon/htlsd.service",
                       f"{lib.TREE}/daemon/htlsd.socket")
    bad = [line for line in text.splitlines() if "htlsd." in line and "is not executable" not in line]
    check(not bad, "\n".join(bad) + f" (status {status})")
