"""Everything that a peer may do after the handshake, for every way of reading: the table is in lib_events.py.

Each way runs all rows, once with the records one by one and once in one piece; it fails with the rows that
did not go as promised."""
import os
import re
import zlib

import lib
from lib import check, deadline, equal
from lib_anypeer import AnyPeer, PeerError
from lib_daemon import Daemon
from lib_events import FATAL, ROWS, command, data_of
from lib_shim import Program, environment

EVPROG = os.path.join(lib.BUILD, "tests", "evprog")
WAYS = ("read", "recv", "recvmsg", "poll", "select", "epoll", "edge", "threads", "bytes", "peek", "splice")
LIBRARY = ("recv", "recvmsg", "poll", "epoll", "edge", "threads", "bytes", "peek")


class Case:
    """One row, one way of reading, one connection."""

    def __init__(self, daemon, peer, row, way, library, corked):
        self.peer, self.row, self.corked = peer, row, corked
        self.steps, self.ends = promised(daemon, row)
        options = ["--lib", lib.pki("ca.crt")] if library else []
        self.program = Program([EVPROG, *options, way, str(peer.address[1])],
                               environment(daemon, preload=not library))

    def run(self):
        try:
            self.talk()
            said = self.program.end()
        finally:
            if self.program.process.poll() is None:
                self.program.process.kill()
            self.program.end_quietly()
        self.compare(said)

    # --- the peer's side

    def talk(self):
        try:
            self.peer.do("accept")
            self.peer.expect(b"hello")
            self.play()
            self.see_the_end()
        except (AssertionError, OSError) as e:
            raise AssertionError(f"{e} ({self.last_words()})") from None

    def last_words(self):
        """What the program says of it."""
        try:
            self.peer.do("hangup")
        except AssertionError:  # it is still busy with what failed
            self.program.process.kill()
        return "the program: " + ", ".join(self.program.end_quietly().splitlines())

    def play(self):
        self.open = self.over = False
        for step in self.steps:
            name = step.split()[0]
            if name in ("fin", "rst", "pause"):
                self.deliver()
            elif self.corked and not self.open:
                self.peer.do("cork")
                self.open = True
            if name != "pause":
                self.say(step)
            if name == "?":
                self.deliver()
                # What comes from here on is written by a program that has read all of this.
                self.peer.do("due")
                self.peer.expect(b"!")
            self.over = self.over or name in FATAL
        self.deliver()

    def say(self, step):
        try:
            self.peer.do(command(step))
        except PeerError:
            check(self.over, f"the program is gone before {step!r}")

    def deliver(self):
        if self.open:
            self.say("uncork")
            self.open = False

    def see_the_end(self):
        p, row = self.peer, self.row
        if "rst" in self.steps:
            return
        if self.ends == ["0"]:
            p.expect(b"bye")
            state = p.do("close-state")
            equal((state["close_notify"], state["alert"]), (1, row.warning if lib.EXPECT == "kernel" else -1),
                  "close_notify, alert")
        elif row.alerts and self.steps == row.steps:
            alert = p.alert()
            check(alert and alert[0] == 2 and alert[1] in row.alerts, f"alert {alert}, wanted 2 and one of {row.alerts}")
        p.do("hangup")

    # --- the program's side

    def compare(self, said):
        found = dict(re.findall(r"^(mode|got|idle|end|again|text) ?(.*)$", said, re.M))
        equal(found["mode"], f"tx={lib.EXPECT} rx={lib.EXPECT}", "the mode")
        data = data_of(self.steps)
        check(found["end"] in self.ends, f"the end: {found['end']}, wanted {self.ends} ({found['text']})")
        equal(found["got"], f"{len(data)} {zlib.crc32(data)}", "what the program read")
        equal(found["again"], found["end"], "the next read")
        check(int(found["idle"]) <= 2 * len(self.steps) + 70000 // 4096, f"woken {found['idle']} times for nothing")
        if self.ends != ["0"]:
            check(found["text"], "a failure has a text")
            if self.steps == self.row.steps:
                check(self.row.text in found["text"], f"{self.row.text!r} in {found['text']!r}")
        check("no bye" not in said, said)


def promised(daemon, row):
    """(steps, ends): where the kernel cannot change keys a KeyUpdate is the end."""
    if lib.EXPECT == "kernel" and daemon.report.get("ktls.rekey") != "yes":
        for i, step in enumerate(row.steps):
            if step.startswith(("keyupdate", "storm")):
                return row.steps[:i + 1], ["EKEYEXPIRED"]
    return row.steps, row.end.split()


def run_all(way, library):
    failures = []
    with Daemon(log="warning") as d:
        for tls in ("1.3", "1.2"):
            with AnyPeer(tls) as peer:
                for name, row in ROWS.items():
                    if tls not in row.tls or row.where not in ("", lib.EXPECT):
                        continue
                    for corked in (False, True):
                        try:
                            Case(d, peer, row, way, library, corked).run()
                        except AssertionError as e:
                            failures.append(f"{name} ({tls}, {'in one piece' if corked else 'one by one'}): {e}")
                            peer.recover()
    check(not failures, f"{len(failures)} not as promised:\n  " + "\n  ".join(failures))


def make_test(way, library):
    @deadline(150)
    def test():
        run_all(way, library)
    test.__doc__ = f"Every event, read by {way}{', with libhtls' if library else ''}."
    return test


for _way in WAYS:
    globals()[f"test_{_way}"] = make_test(_way, False)
for _way in LIBRARY:
    globals()[f"test_lib_{_way}"] = make_test(_way, True)
