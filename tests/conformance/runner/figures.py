"""What a node must show, each time that it is measured and not at best: a debug build may take five times as long."""
import re

from . import brokers
from .shell import say

MS = {"ns": 1e-6, "µs": 0.001, "ms": 1, "s": 1000}
TIME = r" ([\d.]+)(ns|µs|ms|s)\b"
SLOWNESS = 1 if brokers.PROFILE == "release" else 5
IDLE_MIB = 20e6 / 2**20 if brokers.PROFILE == "release" else 40

# By the words before a figure: the most that it may be, in milliseconds.
FIRST_RECORD = {"from nothing to serving": 200, "to the first record": 200}
AFTER_KILL = {"serves again after": 500}
# Between acknowledgements of one partition, by what is killed; also when it is back.
KILLED = {r"kill -9 of .*, longest gap": 1000}
KILLS = 20
PANIC = {r"refuses \d+ requests in": 100, "a neighbour is at most": 100}


def within(limits, *test, idle=False, **env):
    """Runs a test that measures, and fails where one of its figures is over its limit."""
    lines = brokers.measured(*test, **env)
    for line in lines:
        say("    " + line)
    said, exceeded = "\n".join(lines), []
    for words, most in limits.items():
        figures = [float(number) * MS[unit] for number, unit in re.findall(words + TIME, said)]
        assert figures, f"no time behind {words!r} in what {' '.join(test)} measured:\n{said}"
        exceeded += [f"{words} {ms:.4g} ms, at most {most * SLOWNESS}" for ms in figures if ms > most * SLOWNESS]
    if idle:
        resident = float(re.search(r"resident ([\d.]+) MiB", said)[1])
        exceeded += [f"resident when idle {resident} MiB, at most {IDLE_MIB:.1f}"] if resident > IDLE_MIB else []
    assert not exceeded, "; ".join(exceeded)


def first_record():
    within(FIRST_RECORD, "conformance", "starting::a_node", idle=True)


def after_kill():
    within(AFTER_KILL, "conformance", "crash::nothing")


def panic():
    within(PANIC, "supervision", "window")


def killed_in_a_cluster():
    within(KILLED, "cluster", "kill_9", OTTLA_KILLS=str(KILLS))
