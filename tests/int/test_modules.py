"""Kernel modules that are missing: run these with `scripts/lab --without MODULE`; else skipped."""
import os

from lib import Skip, check, equal
from lib_client import CIPHER, TLS13, WHY, upgrade
from lib_daemon import Daemon
from lib_servers import Nginx
from lib_suites import PAIRS, SERVERS

GET = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def without(daemon, key):
    """Skips unless that line of the report says no. Only in the lab, where nothing is missing by accident."""
    if not os.environ.get("HTLS_LAB_KERNEL"):
        raise Skip("only in the lab")
    if daemon.report["ktls.ulp"] != "yes" and key != "ktls.ulp":
        raise Skip("without tls the ciphers do not matter")
    if daemon.report[key] == "yes":
        raise Skip(f"only where modules are left out: this kernel has {key}")
    check(daemon.report[key].startswith("no ("), f"the report says why: {daemon.report[key]}")


def each_with_openssl():
    """(pair, certificate, IANA number, server)"""
    for pair, (_, numbers, *_) in PAIRS.items():
        for cert, number in numbers.items():
            with SERVERS["openssl"](pair, cert) as server:
                yield pair, cert, number, server


def page(stream):
    with stream:
        stream.sendall(GET)
        check(b"</html>" in stream.read_all().lower(), "a page")
        return stream.result


def test_without_tls():
    """Module tls missing: everything is relayed; RESULT and report say why."""
    with Daemon() as d:
        without(d, "ktls.ulp")
        for pair, _, number, server in each_with_openssl():
            result = page(upgrade(d, server.address, mode="relay"))
            equal(result[CIPHER], number, f"{pair}: suite")
            check(result[WHY] and b"tls" in result[WHY].lower(), f"WHY: {result[WHY]}")


def one_cipher(key, word):
    with Daemon() as d:
        without(d, key)
        for pair, _, number, server in each_with_openssl():
            mode = "relay" if word in pair else "kernel"
            result = page(upgrade(d, server.address, mode=mode))
            equal(result[CIPHER], number, f"{pair}: suite")
            equal(bool(result[WHY]), mode == "relay", f"{pair}: WHY ({result[WHY]})")


def test_without_chacha():
    """Module chacha missing: CHACHA20 alone is relayed with a reason, AES is in the kernel."""
    one_cipher("ktls.tls13.chacha20-poly1305.tx", "chacha")


def test_without_ccm():
    """Module ccm missing: CCM alone is relayed with a reason."""
    one_cipher("ktls.tls13.aes-128-ccm.tx", "ccm")


def test_choice_without_chacha():
    """A server that takes all gets AES: what the kernel takes is offered first."""
    with Daemon() as d:
        without(d, "ktls.tls13.chacha20-poly1305.tx")
        with Nginx(cert="ecdsa", extra="ssl_prefer_server_ciphers off;") as server:
            page(upgrade(d, server.address, mode="kernel", version_min=TLS13))
            page(upgrade(d, server.address, mode="kernel", suites=[0x1303, 0x1301]))
