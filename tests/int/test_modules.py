"""Kernel modules that are missing: run with scripts/lab --without MODULE, else skipped."""
import os

from lib import Skip, check, equal
from lib_client import CIPHER, TLS13, WHY, upgrade
from lib_daemon import Daemon
from lib_servers import Nginx
from lib_suites import PAIRS, SERVERS

WITHOUT = os.environ.get("HTLS_LAB_NO_MODULES", "").split()
GET = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def without(*modules):
    if not any(m in WITHOUT for m in modules):
        raise Skip(f"only where {' or '.join(modules)} was left out (scripts/lab --without)")


def page(stream):
    with stream:
        stream.sendall(GET)
        check(b"</html>" in stream.read_all().lower(), "a page")
        return stream.result


def test_without_tls():
    """Module tls missing: everything is relayed, RESULT and report say why."""
    without("tls")
    with Daemon() as d:
        check(d.report["ktls.ulp"].startswith("no"), f"the report: {d.report['ktls.ulp']}")
        for pair, (_, numbers, *_) in PAIRS.items():
            for cert, number in numbers.items():
                with SERVERS["openssl"](pair, cert) as s:
                    result = page(upgrade(d, s.address, mode="relay"))
                    equal(result[CIPHER], number, "suite")
                    check(result[WHY] and b"tls" in result[WHY].lower(), f"WHY: {result[WHY]}")


def test_without_chacha():
    """Module chacha missing: CHACHA20 alone is relayed with a reason, AES is in the kernel."""
    without("chacha", "chacha_generic", "chacha20poly1305")
    with Daemon() as d:
        check(d.report["ktls.tls13.chacha20-poly1305.tx"].startswith("no"), "the report")
        for pair, (_, numbers, *_) in PAIRS.items():
            for cert in numbers:
                mode = "relay" if "chacha" in pair else "kernel"
                with SERVERS["openssl"](pair, cert) as s:
                    result = page(upgrade(d, s.address, mode=mode))
                    equal(bool(result[WHY]), mode == "relay", f"{pair}: WHY ({result[WHY]})")


def test_choice_without_chacha():
    """A server that would take CHACHA20 first gets AES: what the kernel takes is offered first."""
    without("chacha", "chacha_generic", "chacha20poly1305")
    with Daemon() as d, Nginx(cert="ecdsa", extra="ssl_prefer_server_ciphers off;") as s:
        page(upgrade(d, s.address, mode="kernel", version_min=TLS13))


def test_without_ccm():
    """Module ccm missing: CCM alone is relayed."""
    without("ccm")
    with Daemon() as d:
        for pair, (_, numbers, *_) in PAIRS.items():
            cert = "ecdsa" if "ecdsa" in numbers else "server"
            with SERVERS["openssl"](pair, cert) as s:
                page(upgrade(d, s.address, mode="relay" if "ccm" in pair else "kernel"))
