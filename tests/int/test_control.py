"""The control path under load: many connections that change keys all the time, much data between changes."""
from lib import PATIENCE, SMALL, SOAK, check, check_memory, deadline, equal, rss_kb
from lib_anypeer import AnyPeer
from lib_daemon import Daemon, fds_of
from lib_sequences import finish, rekeys, start

SECONDS, CONNECTIONS = (600, 200) if SOAK else (5, 10 if SMALL else 40)
BULK = 1 << 30 if SOAK else (4 if SMALL else 32) << 20
EVERY = 65536


def look(daemon, program):
    """(memory in KiB, descriptors) of control, the workers together, the program."""
    groups = ([daemon.process.pid], daemon.worker_pids(), [program.process.pid])
    return [(sum([rss_kb(pid) for pid in pids]), sum([len(fds_of(pid)) for pid in pids])) for pids in groups]


@deadline(SECONDS * 2 + 90)
def test_random_key_changes():
    """Connections side by side, random KeyUpdates of both ends: memory and descriptors stay flat."""
    with Daemon(log="warning") as d, AnyPeer() as peer:
        peer.send("serve", CONNECTIONS)
        program = start(d, peer, 50000, "--way", "threads", "--connections", CONNECTIONS, "--seconds", SECONDS)
        figures = []
        for tenth in range(1, 10):
            program.wait_for(b"tenth %d\n" % tenth, (20 + SECONDS) * PATIENCE)
            try:
                figures.append(look(d, program))
            except (OSError, StopIteration):  # on a slow machine the last tenths come with the end
                break
        check(len(figures) > 3, "the program ended before its time")
        done, updates, seen = finish(d, peer, program, CONNECTIONS, SECONDS)
        equal(done, seen["sequences"], "sequences at either end")
        print(f"{CONNECTIONS} connections, {SECONDS} s: {done} sequences; KeyUpdates out {updates}, in {seen['updates-out']}")
        for i, who in enumerate(("control", "workers", "program")):
            memory, fds = zip(*(f[i] for f in figures))
            print(f"{who}: KiB {memory}, descriptors {fds}")
            # After a third of the time everything has been used once.
            check_memory(memory[-1] - memory[2] < 1024, f"{who} grows: {memory} KiB")
            check(max(fds) <= fds[0] + 4, f"{who}: descriptors {fds}")


@deadline(1500 if SOAK else 60)
def test_bulk_with_key_changes():
    """Both ways at once, a KeyUpdate of either end every 64 KiB: every byte right, the workers' memory flat."""
    with Daemon(log="warning") as d, AnyPeer() as peer:
        before = sum(d.worker_rss_kb().values())
        every = EVERY if rekeys(d) else 1 << 62
        peer.send("accept")
        program = start(d, peer, 60000, "--duplex", BULK, "--every", EVERY)
        peer.answer()
        peer.send("duplex", BULK, every, 60000)
        peer.send("close")
        peer.send("close-state")
        said = program.end(seconds=1400 if SOAK else 50 * PATIENCE)
        seen, _, end = [peer.answer() for _ in range(3)]
        equal((end["close_notify"], end["tcp"]), (1, "FIN"), "the program's end")
        grown = sum(d.worker_rss_kb().values()) - before
        check_memory(grown < 8192, f"the workers grew by {grown} KiB")
        print(f"{BULK >> 20} MiB each way; KeyUpdates out {seen['updates']}, in {BULK // every}; the workers grew by "
              f"{grown} KiB; {said.splitlines()[-1]}")
