"""All eight pairs of version and suite, with each server: the page comes, the facts are right."""
from lib import check, equal
from lib_client import CIPHER, MODE_RX, MODE_TX, TLS12, TLS_VERSION, VERIFY_CODE, upgrade
from lib_daemon import Daemon
from lib_suites import PAIRS, SERVERS

GET = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def fetch(daemon, pair, cert, server, make):
    version, numbers, names, _, _ = PAIRS[pair]
    with make(pair, cert) as s, upgrade(daemon, s.address) as stream:
        where = f"{server}, {cert}"
        equal(stream.result[TLS_VERSION], version, f"{where}: version")
        equal(stream.result[CIPHER], numbers[cert], f"{where}: suite")
        check(not stream.result[VERIFY_CODE], f"{where}: verified")
        equal(stream.result[MODE_TX], stream.result[MODE_RX], f"{where}: both directions")
        stream.sendall(GET)
        page = stream.read_all()
        check(b"200 " in page[:20].lower() and b"</html>" in page.lower(), f"{where}: a page: {page[:200]!r}")
        if server == "openssl":
            check(names[cert].encode() in page, f"{where}: the server names the suite")


def make_test(pair):
    def test():
        with Daemon() as d:
            for server, make in SERVERS.items():
                for cert in PAIRS[pair][1]:
                    fetch(d, pair, cert, server, make)
    version, suite = pair.split("_", 1)
    test.__doc__ = f"{version.upper()} {suite}: page fetched from openssl, gnutls and nginx, facts right."
    return test


for _pair in PAIRS:
    globals()[f"test_{_pair}"] = make_test(_pair)


def test_forced_relay_of_every_pair():
    """The relay serves every pair too where the kernel could: path=relay."""
    from lib_client import RELAY
    with Daemon() as d:
        for pair, (version, numbers, *_) in PAIRS.items():
            for cert, number in numbers.items():
                with SERVERS["openssl"](pair, cert) as s, upgrade(d, s.address, path=RELAY) as stream:
                    equal((stream.result[TLS_VERSION], stream.result[CIPHER]), (version, number), pair)
                    stream.sendall(GET)
                    check(b"</html>" in stream.read_all().lower(), f"{pair}: a page")


def test_chosen_suite():
    """SUITE restricts what is offered: a server that takes all gets the one."""
    from lib_servers import Nginx
    with Daemon() as d:
        for cert in ("server", "ecdsa"):
            with Nginx(cert=cert) as s:
                for version, numbers, *_ in PAIRS.values():
                    number = numbers.get(cert)
                    if number is None or number == 0xC0AC or number == 0x1304:
                        continue  # nginx does not offer CCM by itself
                    with upgrade(d, s.address, suites=[number]) as stream:
                        equal(stream.result[CIPHER], number, "the suite")
                        equal(stream.result[TLS_VERSION], version, "the version that it belongs to")
                        check(version != TLS12 or not stream.tickets, "no tickets in TLS 1.2")
