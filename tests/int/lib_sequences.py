"""A program that runs random interleavings with the peer (seqprog.c, under the shim), and what must come of it."""
import os
import re

import lib
from lib import check, equal
from lib_shim import Program, environment

SEQPROG = os.path.join(lib.BUILD, "tests", "seqprog")


def rekeys(daemon):
    """Can this end change keys? The relay always can."""
    return lib.EXPECT == "relay" or daemon.report.get("ktls.rekey") == "yes"


def start(daemon, peer, seed, *options):
    options = [*options] if rekeys(daemon) else [*options, "--no-updates"]
    return Program([SEQPROG, *map(str, options), str(peer.address[1]), str(seed)], environment(daemon))


def finish(daemon, peer, program, connections, seconds=50):
    """Both ends' figures: (the program's sequences, its KeyUpdates, the peer's answer)."""
    said = program.end_quietly(seconds)
    if program.process.returncode != 0:
        try:
            other = peer.answer(5)
        except AssertionError as e:
            other = e
        raise AssertionError(f"the program: {said[-1500:]}\nthe peer: {other}")
    seen = peer.answer()
    equal(re.findall(r"^mode (.*)$", said, re.M), [f"tx={lib.EXPECT} rx={lib.EXPECT}"] * connections, "the modes")
    done = re.search(r"^ok sequences=(\d+) updates=(\d+)$", said, re.M)
    check(lib.EXPECT == "relay" or "no updates of ours" not in said, "a program can change its keys in the kernel")
    return int(done.group(1)), int(done.group(2)), seen
