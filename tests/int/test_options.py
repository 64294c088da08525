"""What a CONNECT may ask for: ALPN, versions, suites, groups, the path."""
import errno
import ssl

from lib import EXPECT, check, equal, one_of
from lib_client import (ALPN_SELECTED, CIPHER, COOKIE, GROUP, KERNEL, RELAY, RESUMED, TLS12, TLS13,
                        TLS_VERSION, WHY, refused, upgrade)
from lib_daemon import Daemon
from lib_peers import TlsServer, context, echo
from lib_servers import Nginx

HANDSHAKE_FAILURE, PROTOCOL_VERSION, NO_APPLICATION_PROTOCOL = 40, 70, 120


def speaks(stream):
    with stream:
        stream.sendall(b"hello")
        equal(stream.read_exactly(5), b"hello", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")
        return stream.result


def test_alpn():
    """The server's choice among the offered protocols is told; none offered or none chosen: none told."""
    with Daemon() as d, TlsServer(echo, alpn=["h2", "http/1.1"]) as s:
        for offered, chosen in (([b"http/1.1"], b"http/1.1"), ([b"http/1.1", b"h2"], b"h2"), ([], None),
                                ([b"spdy/1"], None), ([b"\x00\xff", b"h2"], b"h2"),
                                ([b"a" * 255, b"h2"], b"h2")):
            equal(speaks(upgrade(d, s.address, alpn=offered))[ALPN_SELECTED], chosen, f"ALPN of {offered}")


def test_alpn_no_overlap():
    """A server that insists says so with an alert, and the error is named."""
    with Daemon() as d, Nginx() as s:
        e = refused(d, s.address, alpn=[b"no-such-protocol"])
        equal((e.code, e.errno), ("no-application-protocol", errno.EPROTO), "code, errno")
        equal((e.alert, e.alert_sent), (NO_APPLICATION_PROTOCOL, 0), "alert, sent by the peer")


def test_versions():
    """Both versions alone and together; no common one is refused by name."""
    v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with Daemon("--session-cache", "0") as d, TlsServer(echo) as both, \
            TlsServer(echo, maximum=v12) as old, TlsServer(echo, minimum=v13) as new:
        for server, options, version in ((both, {}, TLS13), (both, {"version_max": TLS12}, TLS12),
                                         (both, {"version_min": TLS13}, TLS13), (old, {}, TLS12),
                                         (new, {}, TLS13),
                                         (both, {"version_min": TLS12, "version_max": TLS13}, TLS13)):
            result = speaks(upgrade(d, server.address, **options))
            equal(result[TLS_VERSION], version, f"version of {options}")
            equal(result[RESUMED], 0, "resumed")
        for server, options in ((old, {"version_min": TLS13}), (new, {"version_max": TLS12})):
            e = refused(d, server.address, **options)
            equal((e.code, e.errno), ("unsupported-protocol-version", errno.EPROTO), f"{options}")
            equal((e.alert, e.alert_sent), (PROTOCOL_VERSION, 0), "alert, sent by the peer")


def test_suites():
    """No common suite, a suite that htls has not, a suite that does not fit the version: each is named."""
    with Daemon() as d, Nginx("TLSv1.3", extra="ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;") as s:
        e = refused(d, s.address, suites=[0x1303])
        one_of(e.code, ("handshake-failure", "no-common-cipher-suite"), "code")
        equal((e.errno, e.alert, e.alert_sent), (errno.EPROTO, HANDSHAKE_FAILURE, 0), "errno, alert")
        e = refused(d, s.address, suites=[0x1301, 0x1305])
        equal((e.code, e.errno), ("bad-request", errno.EINVAL), "AES_128_CCM_8")
        check("1305" in e.text, "the text names it")
        e = refused(d, s.address, suites=[0x1301], version_max=TLS12)
        equal(e.code, "no-common-cipher-suite", "a suite of another version")
        with upgrade(d, s.address, suites=[0x1303, 0xC02F, 0x1301]) as stream:
            equal(stream.result[CIPHER], 0x1301, "the common one")


def test_suite_order():
    """SUITE's order is the client's preference, within what the data path allows."""
    tls = context()
    tls.set_ciphers("ECDHE")
    tls.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    with Daemon() as d, TlsServer(echo, tls=tls) as s:
        for order in ([0xCCA8, 0xC02F, 0xC030], [0xC030, 0xCCA8, 0xC02F], [0xC02F, 0xC030]):
            result = speaks(upgrade(d, s.address, suites=order))
            equal((result[TLS_VERSION], result[CIPHER]), (TLS12, order[0]), "the first one")


def test_groups():
    """GROUPS is kept to; a HelloRetryRequest is followed; unknown groups are bad-request."""
    tls = context()
    tls.set_ecdh_curve("prime256v1")
    with Daemon() as d, TlsServer(echo) as any_group, TlsServer(echo, tls=tls, tolerant=True) as p256:
        one_of(speaks(upgrade(d, any_group.address, groups="P-384"))[GROUP], (b"secp384r1", b"P-384"),
               "P-384")
        one_of(speaks(upgrade(d, any_group.address, groups="X448:P-256"))[GROUP], (b"x448", b"X448"), "X448")
        one_of(speaks(upgrade(d, p256.address))[GROUP], (b"secp256r1", b"P-256"), "after a HelloRetryRequest")
        e = refused(d, p256.address, groups="X448")
        equal((e.code, e.alert, e.alert_sent), ("handshake-failure", HANDSHAKE_FAILURE, 0), "no common group")
        e = refused(d, p256.address, groups="P-256:nonsense")
        equal((e.code, e.errno), ("bad-request", errno.EINVAL), "unknown groups")


def test_path_relay():
    """path=relay is the relay on every kernel, and WHY says who wanted it."""
    with Daemon() as d, TlsServer(echo) as s:
        result = speaks(upgrade(d, s.address, path=RELAY))
        check(result[WHY], "WHY")
        check(result[COOKIE], "COOKIE")


def test_path_kernel():
    """path=kernel is the kernel, or no-kernel before a byte goes out."""
    with Daemon() as d, TlsServer(echo) as s:
        if EXPECT == "kernel":
            equal(speaks(upgrade(d, s.address, path=KERNEL))[WHY], None, "WHY")
            return
        e = refused(d, s.address, path=KERNEL)
        equal((e.code, e.errno), ("no-kernel", errno.EOPNOTSUPP), "code, errno")
        check(e.text, "a text")


def test_raw_consumer():
    """Without READS_RECORDS: the relay for TLS 1.3, the kernel for 1.2 alone or when it is demanded."""
    with Daemon() as d, TlsServer(echo) as s:
        for options in ({"flags": 0}, {"flags": 0, "version_min": TLS13}):
            with upgrade(d, s.address, **options) as stream:
                equal(stream.mode, "relay", f"{options}")
                check(stream.result[WHY], "WHY")
        speaks(upgrade(d, s.address, flags=0, version_max=TLS12))
        if EXPECT == "kernel":
            speaks(upgrade(d, s.address, flags=0, path=KERNEL))


def test_path_of_the_configuration():
    """path = relay keeps the kernel out; path = kernel refuses what it cannot do."""
    with Daemon("--path", "relay") as d, TlsServer(echo) as s:
        with upgrade(d, s.address, mode="relay") as stream:
            check(b"path" in stream.result[WHY], f"WHY names it: {stream.result[WHY]}")
        equal(refused(d, s.address, path=KERNEL).code, "no-kernel", "a client that demands the kernel")
    with Daemon("--path", "kernel") as d, TlsServer(echo) as s:
        if EXPECT == "kernel":
            speaks(upgrade(d, s.address))
        else:
            equal(refused(d, s.address).code, "no-kernel", "path = kernel without one")


def test_relays_limit():
    """limits: relays: one more than allowed fails with `limit`, after one ended the next succeeds."""
    with Daemon("--relays", "2", workers=1) as d, TlsServer(echo, tolerant=True) as s:
        one, two = [upgrade(d, s.address, path=RELAY) for _ in range(2)]
        e = refused(d, s.address, path=RELAY)
        equal((e.code, e.errno), ("limit", errno.EUSERS), "the third")
        speaks(one)
        d.wait_gauge("relays.open", 1)
        speaks(upgrade(d, s.address, path=RELAY))
        two.close()
