"""Whom we speak to: names, issuers, trust stores, the insecure mode."""
import errno
import ssl

import lib
from lib import ca_pem, check, dial, equal, one_of, pki
from lib_client import (CONNECT, PEM, TRUST, VERIFY_CODE, Client, Refused, child_as, connect_attributes,
                        finish, refused, upgrade)
from lib_daemon import Daemon
from lib_peers import TlsServer, echo, nothing_in_the_clear, records

HOSTNAME_MISMATCH, IP_MISMATCH, EXPIRED, SELF_SIGNED, NO_ISSUER, NO_FIRST = 62, 64, 10, 18, 20, 21
BAD_CERTIFICATE, CERTIFICATE_EXPIRED, UNKNOWN_CA, PROTOCOL_VERSION = 42, 45, 48, 70


def refuses(server, code, verify, alert, config="", **options):
    """The upgrade fails as said, and the server got handshake records and the alert, nothing else."""
    with Daemon(config=config) as d, server as s:
        e = refused(d, s.address, **options)
        s.wait_failed()
    equal(e.code, code, f"code ({e})")
    equal(e.errno, errno.EKEYREJECTED, "errno")
    one_of(e.verify, verify, "verify code")
    equal((e.alert, e.alert_sent), (alert, 1), "alert and who sent it")
    check(e.text, "a text")
    nothing_in_the_clear(s.peers[0].wire)
    one_of(len(s.peers), (1,), "connections")
    return s


def test_wrong_name():
    """A certificate for another name is refused."""
    refuses(TlsServer(cert="wrongname"), "certificate-name", [HOSTNAME_MISMATCH], BAD_CERTIFICATE)


def test_wrong_name_tls12():
    """... also in TLS 1.2."""
    refuses(TlsServer(cert="wrongname", maximum=ssl.TLSVersion.TLSv1_2), "certificate-name",
            [HOSTNAME_MISMATCH], BAD_CERTIFICATE)


def test_unknown_ca():
    """A chain to a CA that is not in the client's list is refused."""
    refuses(TlsServer(), "certificate-untrusted", [NO_ISSUER, NO_FIRST], UNKNOWN_CA, ca="other-ca.crt")


def test_system_store_by_default():
    """A client that brings no CA gets the system's, which does not hold ours."""
    refuses(TlsServer(), "certificate-untrusted", [NO_ISSUER, NO_FIRST], UNKNOWN_CA, ca=None)


def test_expired():
    """An expired certificate is refused."""
    refuses(TlsServer(cert="expired"), "certificate-expired", [EXPIRED], CERTIFICATE_EXPIRED)


def test_self_signed():
    """A self-signed certificate is refused."""
    refuses(TlsServer(cert="selfsigned"), "certificate-untrusted", [SELF_SIGNED], UNKNOWN_CA)


def test_ip_without_san():
    """An IP address that the certificate does not hold is refused, though its DNS name resolves to it."""
    s = refuses(TlsServer(cert="noip"), "certificate-name", [IP_MISMATCH], BAD_CERTIFICATE, name="127.0.0.1")
    equal(s.names, [None], "SNI")


def test_no_fallback_to_common_name():
    """Only subjectAltName counts: the common name of this certificate is "wrongname"."""
    refuses(TlsServer(cert="wrongname"), "certificate-name", [HOSTNAME_MISMATCH], BAD_CERTIFICATE,
            name="wrongname")


def speaks(stream):
    with stream:
        stream.sendall(b"hello")
        equal(stream.read_exactly(5), b"hello", "the echo")
        stream.shutdown_wr()
        equal(stream.read_all(), b"", "the end")


def test_ip_san_and_sni():
    """An IP address in the certificate is accepted; SNI carries DNS names alone, without trailing dot."""
    with Daemon() as d, TlsServer(echo) as s:
        for name in ("127.0.0.1", "::1", "localhost", "localhost.", "LOCALHOST", "htls.test"):
            speaks(upgrade(d, s.address, name=name))
        equal([n and n.lower() for n in s.names],
              [None, None, "localhost", "localhost", "localhost", "htls.test"], "SNI")


def test_trust_by_configuration():
    """trust-file replaces the system's store; named stores are found by name, others refused."""
    config = f"[tls]\ntrust-file = {pki('other-ca.crt')}\n[trust ours]\nfile = {pki('ca.crt')}\n"
    with Daemon(config=config) as d, TlsServer(echo) as s:
        speaks(upgrade(d, s.address, ca=None, store="ours"))
        e = refused(d, s.address, ca=None)
        equal(e.code, "certificate-untrusted", "without the named store")
        before = len(s.peers)
        e = refused(d, s.address, ca=None, store="theirs")
        equal((e.code, e.errno), ("bad-request", errno.ENOENT), "an unknown store")
        check("theirs" in e.text, "the text names it")
        lib.eventually(lambda: len(s.peers) == before + 1, "the connection was seen")
        lib.eventually(lambda: not s.threads[-1].is_alive(), "and closed")
        equal(s.peers[-1].wire, b"", "what went out before the refusal")


def test_own_ca_excludes_the_others():
    """A client's own CA takes the place of the configured store."""
    with Daemon("--trust-file", pki("ca.crt")) as d, TlsServer(echo) as s:
        speaks(upgrade(d, s.address, ca=None))
        equal(refused(d, s.address, ca="other-ca.crt").code, "certificate-untrusted", "with the other CA")


def test_trust_is_consumed():
    """TRUST holds for the next CONNECT alone."""
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        tcp = dial(s.address)
        stream = finish(c, c.connect([tcp], "localhost", ca_pem()), tcp)
        stream.sock.close()
        tcp = dial(s.address)
        try:
            finish(c, c.connect([tcp], "localhost"), tcp)
        except Refused as e:
            equal(e.code, "certificate-untrusted", "the second CONNECT")
        else:
            raise AssertionError("the CA of the first CONNECT was used for the second")
        tcp.close()


def test_trust_in_pieces():
    """PEM text may be cut anywhere; text around the certificates is allowed."""
    pem = b"# a comment\n" * 50 + ca_pem("other-ca.crt") + b"\n" + ca_pem()
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        for at in range(0, len(pem), 333):
            c.send(TRUST, [(PEM, pem[at:at + 333])])
        tcp = dial(s.address)
        finish(c, c.connect([tcp], "localhost"), tcp).close()


def test_damaged_trust():
    """What is no PEM certificate is refused by name, and nothing goes out."""
    with Daemon() as d, TlsServer(echo) as s:
        for pem in (b"nonsense", ca_pem()[:300], ca_pem().replace(b"M", b"!")):
            e = refused(d, s.address, ca=pem)
            equal((e.code, e.errno), ("bad-request", errno.EINVAL), "a damaged CA")
        lib.eventually(lambda: len(s.peers) == 3 and not any(t.is_alive() for t in s.threads), "all closed")
        equal([p.wire for p in s.peers], [b""] * 3, "what went out")


def test_trust_limit():
    """More than 1 MiB of CA certificates: ERROR limit with the id of the TRUST, and the end."""
    with Daemon() as d, Client(d.socket) as c:
        try:
            for _ in range(20):
                last = c.send(TRUST, [(PEM, b"x" * 60000)])
        except OSError:
            pass  # the daemon has closed already
        try:
            c.answer(last)
        except Refused as e:
            equal((e.code, e.errno), ("limit", errno.EFBIG), f"the ERROR ({e})")
            equal(e.message.ident, 19, "the id: of the piece that broke the limit")
        check(c.at_end(), "the daemon closes")


def test_trust_not_allowed():
    """client-ca = no: TRUST is denied; configured trust still serves."""
    with Daemon("--client-ca=no", "--trust-file", pki("ca.crt")) as d, TlsServer(echo, tolerant=True) as s:
        with Client(d.socket) as c:
            tcp = dial(s.address)
            c.trust(ca_pem())
            try:
                c.send(CONNECT, connect_attributes("localhost"), [tcp.fileno()])
            except OSError:
                pass  # the daemon was faster
            try:
                c.answer(0)
            except Refused as e:
                equal((e.code, e.errno), ("denied", errno.EACCES), f"the ERROR ({e})")
            check(c.at_end(), "the daemon closes")
            tcp.close()
        speaks(upgrade(d, s.address, ca=None))


def test_insecure_denied_by_default():
    """VERIFY = none is denied, even to root, and nothing goes out."""
    with Daemon() as d, TlsServer(cert="selfsigned") as s:
        e = refused(d, s.address, verify=1)
        equal((e.code, e.errno), ("denied", errno.EACCES), "code, errno")
        lib.eventually(lambda: s.peers and not any(t.is_alive() for t in s.threads), "closed")
        equal(s.peers[0].wire, b"", "what went out")


def test_insecure_for_one_uid():
    """insecure-users: the uid that is named may, others may not."""
    with Daemon("--allow-insecure", "--insecure-users", "1000") as d, TlsServer(echo, cert="selfsigned") as s:
        def attempt():
            with upgrade(d, s.address, verify=1) as stream:
                stream.sendall(b"hi")
                data = stream.recv()
                stream.shutdown_wr()
                stream.read_all()
                return f"{data.decode()} {stream.result[VERIFY_CODE]}"

        lib.ca_pem()
        one_of(child_as(1000, attempt), (f"hi {SELF_SIGNED}", "hi None"), "uid 1000")
        check("Refused: denied" in child_as(1001, attempt), "uid 1001 is denied")
        equal(refused(d, s.address, verify=1).code, "denied", "root, who is not in the list")


def test_insecure_for_all():
    """allow-insecure alone: everybody may, and verification stays the default."""
    with Daemon("--allow-insecure") as d, TlsServer(echo, cert="selfsigned", tolerant=True) as s:
        speaks(upgrade(d, s.address, verify=1))
        equal(refused(d, s.address).code, "certificate-untrusted", "who does not ask for it")


def test_tls11_server():
    """A server of TLS 1.1 alone is refused by name."""
    with Daemon() as d, TlsServer(minimum=ssl.TLSVersion.TLSv1, maximum=ssl.TLSVersion.TLSv1_1,
                                  ciphers="ALL:@SECLEVEL=0") as s:
        e = refused(d, s.address)
        s.wait_failed()
        equal((e.code, e.errno), ("unsupported-protocol-version", errno.EPROTO), f"code, errno ({e})")
        equal(e.alert, PROTOCOL_VERSION, "alert")
        records(s.peers[0].wire)


def test_names_that_are_none():
    """What is no host name is refused as bad-request before a byte goes out."""
    with Daemon() as d, TlsServer() as s:
        for name in ("a..b", ".", "-" * 64, "exa/mple.com", "a" * 64 + ".com", "*.example.com", "[::1]"):
            e = refused(d, s.address, name=name)
            equal((e.code, e.errno), ("bad-request", errno.EINVAL), f"the name {name!r}")
        lib.eventually(lambda: len(s.peers) == 7 and not any(t.is_alive() for t in s.threads), "all closed")
        equal({p.wire for p in s.peers}, {b""}, "what went out")


def test_failed_socket_is_dead_for_all():
    """Every failed verification leaves the socket shut down in both directions for all who hold it."""
    with Daemon() as d, TlsServer(cert="wrongname") as s:
        tcp = dial(s.address)
        other = tcp.dup()
        with Client(d.socket) as c:
            try:
                finish(c, c.connect([tcp], "localhost", ca_pem()), tcp)
            except Refused:
                pass
        while other.recv(65536):  # what the server had sent is still there; then the end, no waiting
            pass
        try:
            other.send(b"PLAINTEXT")
            raise AssertionError("a copy of the socket still writes")
        except OSError as e:
            one_of(e.errno, (errno.EPIPE, errno.ECONNRESET), "writing")
        other.close()
        tcp.close()
