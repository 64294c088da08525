"""Kernel connections that the daemon keeps: their next keys, by the protocol alone."""
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct

from lib import Skip, check, closing_all, dial, equal, eventually, kernel_only, tls_stat
from lib_client import (ATTACH, CAP_SLOTS, CIPHER, GENERATION, KEY, OWED, POOL, RECORDS_MAX, RELAY, SET_RECORD_TYPE,
                        SHARE, SHARED, SLOT, SOL_TLS, TLS12, TLS_RX, TLS_TX, WELCOME, Client, Refused, child_as,
                        upgrade)
from lib_daemon import Daemon
from lib_keeper import KeptDaemon
from lib_peers import TlsServer, echo
from lib_servers import SServer

UPDATE, UPDATE_ASK = b"\x18\0\0\1\0", b"\x18\0\0\1\1"
F_GET_SEALS, SEALED = 1034, 7  # SEAL, SHRINK, GROW


def clients_of_all_workers(daemon):
    """A client with each worker at least: control gives each new one to the least busy."""
    return [Client(daemon.socket, caps=CAP_SLOTS) for _ in range(4)]


def next_record(stream):
    """The next control record; tickets are passed over, as a client may."""
    while True:
        kind, data = stream.recv_record(65536)
        if kind != 22 or data[0] != 4:
            return kind, data


def follow(stream, client, record=UPDATE_ASK, **numbers):
    """Does what a reader does about a KeyUpdate. Returns the RESULT."""
    equal(next_record(stream), (22, record), "the KeyUpdate")
    result = client.control(stream.sock, record, **numbers)
    stream.sock.setsockopt(SOL_TLS, TLS_RX, result[KEY])
    return result


def pay(stream, client, generation, record=UPDATE):
    """Does what a writer does who owes one."""
    result = client.rekey(stream.sock, generation)
    equal(result[GENERATION], generation + 1, "the next generation")
    stream.sock.sendmsg([record], [(SOL_TLS, SET_RECORD_TYPE, b"\x16")])
    stream.sock.setsockopt(SOL_TLS, TLS_TX, result[KEY])


def can_rekey(client):
    """The daemon's word, which must be that of the kernel's own counters."""
    counts = "TlsRxRekeyOk" in tls_stat()
    equal(client.report()["ktls.rekey"].split()[0], "yes" if counts else "no", "ktls.rekey")
    return counts


@kernel_only
def test_both_keys_change():
    """openssl s_server changes its key, again and again; any worker answers; data flows both ways."""
    with Daemon() as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream, closing_all() as clients:
        clients += clients_of_all_workers(d)
        if not can_rekey(clients[0]):
            s.type(b"K\n")
            equal(next_record(stream), (22, UPDATE_ASK), "the KeyUpdate")
            for c in clients:
                for ask in (lambda c=c: c.control(stream.sock, UPDATE_ASK), lambda c=c: c.rekey(stream.sock, 0)):
                    with contextlib.suppress(Refused):
                        raise AssertionError(f"this kernel cannot, and the daemon said {ask()}")
            return
        for generation, c in enumerate(clients):
            s.type(b"K\n")
            result = follow(stream, c, generation=generation)
            equal((result[GENERATION], result[OWED]), (generation + 1, 1), "generation, owed")
            s.type(b"line %d\n" % generation)
            equal(stream.recv(), b"line %d\n" % generation, "data under the new key")
            pay(stream, c, generation)
            stream.sendall(b"back %d\n" % generation)
            s.wait_for(b"back %d" % generation)


@kernel_only
def test_reported_twice():
    """Two holders report one KeyUpdate: one change; both are told the same key."""
    with Daemon() as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream, closing_all() as clients:
        clients += clients_of_all_workers(d)
        if not can_rekey(clients[0]):
            raise Skip("this kernel cannot change keys")
        s.type(b"k\n")
        first = follow(stream, clients[0], UPDATE, generation=0)
        equal(first[OWED], None, "nothing was asked for")
        for c in clients:
            again = c.control(stream.sock, UPDATE_ASK, generation=0)
            equal((again[KEY], again[GENERATION], again[OWED]), (first[KEY], 1, None), "the second report")
        s.type(b"hello\n")
        equal(stream.recv(), b"hello\n", "data")
        equal(int(clients[0].report()["kept.updates-received"]) > 0, True, "counted")


def answers(d):
    """Control turns clients away as long as it has no worker."""
    try:
        with Client(d.socket, blocking=False) as c:
            got = c.recv()
            return got is not None and got.kind == WELCOME
    except OSError:
        return False


@kernel_only
def test_worker_killed():
    """The worker that did the handshake is killed: its connections still change keys."""
    with Daemon() as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream:
        old = set(d.worker_pids())
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        d.restarts += 2
        eventually(lambda: len(d.worker_pids()) == 2 and not old & set(d.worker_pids()), "two new workers")
        eventually(lambda: answers(d), "a worker answers")
        with Client(d.socket) as c:
            equal(c.attach(stream.sock)[CIPHER], stream.result[CIPHER], "the cipher is known")
            if can_rekey(c):
                s.type(b"K\n")
                follow(stream, c, generation=0)
                pay(stream, c, 0)
                s.type(b"after\n")
                equal(stream.recv(), b"after\n", "data")
                stream.sendall(b"and back\n")
                s.wait_for(b"and back")


def restart_in_place(d):
    """SIGUSR2: the same process, other workers."""
    old = set(d.worker_pids())
    os.kill(d.process.pid, signal.SIGUSR2)
    eventually(lambda: len(d.worker_pids()) == 2 and not old & set(d.worker_pids()), "two new workers")
    d.baseline = {}


@kernel_only
def test_restart_in_place():
    """Kernel connections go on over a restart of the daemon, with data under way, and still change keys."""
    with Daemon() as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream:
        s.type(b"before\n")
        for generation in range(3):
            restart_in_place(d)
            equal(stream.recv(), b"before\n", "data that lay there")
            with closing_all() as clients:  # one of them with each worker
                clients += clients_of_all_workers(d)
                for c in clients:
                    equal(c.attach(stream.sock)[CIPHER], stream.result[CIPHER], "known to every worker")
            with Client(d.socket) as c:
                if can_rekey(c):
                    s.type(b"K\n")
                    follow(stream, c, generation=generation)
                    pay(stream, c, generation)
                stream.sendall(b"and back\n")
                s.wait_for(b"and back")
                s.type(b"before\n")


@kernel_only
def test_killed_without_a_keeper():
    """kill -9 of the whole daemon: data goes on; the next daemon knows nothing, and says so."""
    with Daemon(restarts=None) as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream:
        d.kill()
        stream.sendall(b"nobody is there\n")
        s.wait_for(b"nobody is there")
        s.type(b"nor here\n")
        equal(stream.recv(), b"nor here\n", "data")
        with Daemon() as other, Client(other.socket) as c:
            try:
                c.control(stream.sock, UPDATE)
                raise AssertionError("it cannot know the key")
            except Refused as e:
                equal((e.code, e.errno), ("no-state", errno.ENOKEY), "the error")


@kernel_only
def test_killed_under_a_keeper():
    """kill -9 of the whole daemon, started again by a manager that kept its memory: keys still change."""
    with KeptDaemon() as d, SServer(interactive=True) as s, upgrade(d, s.address) as stream:
        with Client(d.socket, caps=CAP_SLOTS) as c:
            slot = c.attach(stream.sock)[SLOT]
        for generation in range(2):
            d.kill()
            s.type(b"meanwhile\n")
            equal(stream.recv(), b"meanwhile\n", "data while no daemon is there")
            d.start()
            with Client(d.socket, caps=CAP_SLOTS) as c:
                equal(c.attach(stream.sock)[SLOT], slot, "the slot")
                if can_rekey(c):
                    s.type(b"K\n")
                    follow(stream, c, generation=generation)
                    pay(stream, c, generation)
                stream.sendall(b"and back\n")
                s.wait_for(b"and back")


@kernel_only
def test_attach_and_share():
    """A process with nothing but the socket learns what it is; a uid's processes share sealed memory."""
    with Daemon() as d, TlsServer(echo) as s, upgrade(d, s.address) as stream, closing_all() as clients:
        clients += clients_of_all_workers(d)
        equal(clients[0].report()["kept.open"], "1", "kept")
        answers = [c.attach(stream.sock) for c in clients]
        equal(len({(a[POOL], a[SLOT]) for a in answers}), 1, "slots named")
        check(answers[0][POOL] and answers[0][RECORDS_MAX] == 23726566, f"{answers[0]}")
        shared = clients[1].answer(clients[1].send(SHARE))
        equal((shared.kind, shared[POOL], len(shared.fds)), (SHARED, answers[0][POOL], 1), "the memory")
        equal(fcntl.fcntl(shared.fds[0], F_GET_SEALS) & SEALED, SEALED, "its seals")
        check(os.fstat(shared.fds[0]).st_size > answers[0][SLOT] * 128, "the slot lies in it")
        os.close(shared.fds[0])

        def other():
            with Client(d.socket, caps=CAP_SLOTS) as c:
                a = c.attach(stream.sock)
                theirs = c.answer(c.send(SHARE))
                return a[POOL], a[SLOT], theirs[POOL] == answers[0][POOL]
        if os.getuid() == 0:
            equal(child_as(1234, other), "(None, None, False)", "another user's slot and memory")


def test_not_kept():
    """A plain socket, a relayed one, one that is no socket: no state, and the daemon goes on."""
    with Daemon() as d, TlsServer(echo) as s, upgrade(d, s.address, path=RELAY) as stream:
        with Client(d.socket) as c, dial(s.address) as plain, open("/dev/null", "rb") as null:
            for thing in (plain, stream.sock, null):
                for ask in (c.attach, lambda t: c.control(t, UPDATE), lambda t: c.rekey(t, 0)):
                    try:
                        got = ask(thing)
                    except Refused as e:
                        equal((e.code, e.errno), ("no-state", errno.ENOKEY), "the error")
                        continue
                    raise AssertionError(f"{thing}: {got}")


@kernel_only
def test_tls12_is_kept():
    """TLS 1.2 knows no KeyUpdate: what a peer may not send is named."""
    with Daemon() as d, TlsServer(echo) as s, upgrade(d, s.address, version_max=TLS12) as stream:
        with Client(d.socket) as c:
            equal(c.attach(stream.sock)[RECORDS_MAX], None, "a limit of records")
            try:
                c.control(stream.sock, UPDATE)
                raise AssertionError("a KeyUpdate in TLS 1.2 was acted on")
            except Refused as e:
                check(e.code in ("protocol-violation", "unsupported"), e.code)


@kernel_only
def test_ends_are_heard_of():
    """What is kept of a connection goes when the last process has closed it, however it ends; not before."""
    with Daemon() as d, TlsServer(echo) as s, Client(d.socket) as c:
        def kept():
            return int(c.report()["kept.open"])
        streams = [upgrade(d, s.address) for _ in range(12)]
        equal(kept(), 12, "kept")
        copy = os.dup(streams[0].fileno())
        for i, stream in enumerate(streams):
            if i % 3 == 1:  # RST
                stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif i % 3 == 2:
                stream.shutdown_wr()
            stream.close()
        eventually(lambda: kept() == 1, lambda: f"one kept, not {kept()}")
        with socket.socket(fileno=copy) as last:
            equal(c.attach(last)[CIPHER], streams[0].result[CIPHER], "the one that is open still")
        eventually(lambda: kept() == 0, lambda: f"none kept, not {kept()}")


@kernel_only
def test_full():
    """Where no more may be kept a connection is relayed, and says why."""
    with Daemon("--connections", "1", "--workers", "1") as d, TlsServer(echo) as s:
        with upgrade(d, s.address) as first, upgrade(d, s.address, mode="relay") as second:
            check(b"connections" in second.result[22], f"why: {second.result[22]}")
            for stream in (first, second):
                stream.sendall(b"x")
                equal(stream.recv(), b"x", "the echo")
                stream.shutdown_wr()


@kernel_only
def test_strangers_messages():
    """ATTACH with a listening socket, twice the same id, in a storm: answers, no harm."""
    with Daemon() as d, socket.create_server(("127.0.0.1", 0)) as listener, Client(d.socket) as c:
        for _ in range(300):
            c.send(ATTACH, [], [listener.fileno()], ident=9)
            equal(c.recv()[27], 24, "no-state")
