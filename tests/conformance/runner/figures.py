"""What a node must show, each time that it is measured and not at best: a debug build may take five times as long."""
import os
import re

from . import brokers
from .shell import say

MS = {"ns": 1e-6, "µs": 0.001, "ms": 1, "s": 1000}
TIME = r" ([\d.]+)(ns|µs|ms|s)\b"
SLOWNESS = 1 if brokers.PROFILE == "release" else 5
# Of a node that nobody asks for anything; a debug build's is twice as large.
IDLE = 20e6
IDLE_IN_A_CLUSTER = 30e6
LARGENESS = 1 if brokers.PROFILE == "release" else 2.1

# By the words before a figure: the most that it may be, in milliseconds.
FIRST_RECORD = {"from nothing to serving": 200, "to the first record": 200}
AFTER_KILL = {"serves again after": 500}
FROM_NOTHING = {"three nodes from nothing to serving": 1000, "three nodes from nothing to a topic on all": 1000}
# Between acknowledgements of one partition, by what is killed; also when it is back.
KILLED = {r"kill -9 of .*, longest gap": 1000}
KILLS = 20
PANIC = {r"refuses \d+ requests in": 100, r"requests in \S+,": 100, "a neighbour is at most": 100}


def within(limits, *test, resident=None, **env):
    """Runs a test that measures, and fails where one of its figures is over its limit."""
    # What was built is not to be written while a node starts.
    os.sync()
    lines = brokers.measured(*test, **env)
    for line in lines:
        say(line)
    said, exceeded = "\n".join(lines), []
    for words, most in limits.items():
        figures = [float(number) * MS[unit] for number, unit in re.findall(words + TIME, said)]
        assert figures, f"no time behind {words!r} in what {' '.join(test)} measured:\n{said}"
        exceeded += [f"{words} {ms:.4g} ms, at most {most * SLOWNESS}" for ms in figures if ms > most * SLOWNESS]
    if resident:
        most, found = resident * LARGENESS / 2**20, [float(mib) for mib in re.findall(r"resident ([\d.]+) MiB", said)]
        assert found, f"nothing is said to be resident:\n{said}"
        exceeded += [f"resident when idle {mib} MiB, at most {most:.1f}" for mib in found if mib > most]
    assert not exceeded, "; ".join(exceeded)


def first_record():
    within(FIRST_RECORD, "conformance", "starting::a_node", resident=IDLE)


def after_kill():
    within(AFTER_KILL, "conformance", "crash::nothing")


def panic():
    within(PANIC, "supervision", "window")


def three_nodes():
    within(FROM_NOTHING, "cluster", "three_nodes", resident=IDLE_IN_A_CLUSTER)


def killed_in_a_cluster():
    within(KILLED, "cluster", "kill_9", OTTLA_KILLS=str(KILLS))
