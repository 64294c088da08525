"""The peer that can send any record (anypeer.c), driven line by line."""
import os
import select
import subprocess

import lib
from lib_servers import Server

ANYPEER = os.path.join(lib.BUILD, "tests", "anypeer")


class PeerError(AssertionError):
    """A command of the peer failed: what it says is what the other side did wrong, mostly."""


class AnyPeer(Server):
    """with AnyPeer("1.3") as peer: peer.do("accept"); peer.do("bytes", "00ff") …

    A test may send several commands (send) and take their answers later (answer), in order."""

    def __init__(self, tls="1.3", suite=None, cert="server"):
        super().__init__()
        self.arguments = ["--tls", tls] + (["--suite", suite] if suite else [])
        self.cert, self.seen, self.asked = cert, b"", []

    def start(self):
        self.run([ANYPEER, *self.arguments, lib.pki(self.cert) + ".crt", lib.pki(self.cert) + ".key"],
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        word, port = self._line(20).split()
        lib.equal(word, "port", "the peer's first word")
        self.address = ("127.0.0.1", int(port))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()  # it has children where it serves, which end with their connections
        super().stop()

    def _line(self, seconds):
        while b"\n" not in self.seen:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds * lib.PATIENCE)
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            lib.check(data, f"{self.name} does not answer {self.asked[:1]}")
            self.seen += data
        line, self.seen = self.seen.split(b"\n", 1)
        return line.decode()

    def send(self, *words):
        line = " ".join(map(str, words))
        self.asked.append(line)
        self.process.stdin.write(line.encode() + b"\n")

    def answer(self, seconds=40):
        """The answer to the oldest command that has none yet: its key=value pairs as a dictionary."""
        line = self._line(seconds)
        asked = self.asked.pop(0)
        word, _, rest = line.partition(" ")
        if word != "ok":
            raise PeerError(f"{asked}: {rest}")
        return {k: int(v) if v.lstrip("-").isdigit() else v
                for k, _, v in (pair.partition("=") for pair in rest.split())}

    def do(self, *words, seconds=40):
        self.send(*words)
        return self.answer(seconds)

    def recover(self):
        """After a test that broke off: no answer is waited for, no connection is up."""
        while self.asked:
            try:
                self.answer()
            except PeerError:
                pass
        self.do("hangup")

    def data(self, text):
        return self.do("bytes", text.hex() or "-")

    def expect(self, text):
        return self.do("expect", text.hex())

    def alert(self):
        """Reads on to the client's alert: (level, description), or None where the stream ends without."""
        while True:
            try:
                record = self.do("read")
            except PeerError as e:
                if ": end " in str(e):
                    return None
                raise
            if record["type"] == 21:
                text = str(record["hex"]).rjust(4, "0")
                return int(text[:2], 16), int(text[2:], 16)
