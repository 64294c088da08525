"""Random interleavings of data, KeyUpdates, tickets, empty and padded records, of both ends, byte for byte.

More than ten thousand sequences of fixed seeds in all, half in lockstep, half racing (anypeer/schedule.c). A failure
names the seed and the sequence."""
from lib import SMALL, deadline, equal
from lib_anypeer import AnyPeer
from lib_daemon import Daemon
from lib_sequences import finish, start

CONNECTIONS = 6
SEQUENCES = 30 if SMALL else 300
# name: version, suite, certificate, way
CASES = {
    "blocking": ("1.3", "TLS_AES_128_GCM_SHA256", "server", "blocking"),
    "nonblocking": ("1.3", "TLS_AES_128_GCM_SHA256", "server", "nonblocking"),
    "threads": ("1.3", "TLS_AES_128_GCM_SHA256", "server", "threads"),
    "aes_256": ("1.3", "TLS_AES_256_GCM_SHA384", "server", "nonblocking"),
    "chacha20": ("1.3", "TLS_CHACHA20_POLY1305_SHA256", "ecdsa", "threads"),
    "ccm": ("1.3", "TLS_AES_128_CCM_SHA256", "ecdsa", "blocking"),
    "tls12": ("1.2", None, "server", "threads"),
}


def make_test(name, number):
    tls, suite, cert, way = CASES[name]

    @deadline(120)
    def test():
        with Daemon(log="warning") as d, AnyPeer(tls, suite, cert) as peer:
            peer.send("serve", CONNECTIONS)
            program = start(d, peer, 1000 * number, "--way", way, "--connections", CONNECTIONS, "--sequences", SEQUENCES)
            done, updates, seen = finish(d, peer, program, CONNECTIONS, 100)
            equal((done, seen["sequences"]), (CONNECTIONS * SEQUENCES,) * 2, "sequences at either end")
            equal(seen["updates-in"] >= updates, True, "all of the program's KeyUpdates reached the peer")
            print(f"{done} sequences; KeyUpdates out {updates}, in {seen['updates-out']}, "
                  f"{seen['asks-out']} of these answered by {seen['updates-in'] - updates}")
    test.__doc__ = f"Random interleavings: TLS {tls} {suite or ''}, {way}."
    return test


for _i, _name in enumerate(CASES):
    globals()[f"test_{_name}"] = make_test(_name, _i + 1)
