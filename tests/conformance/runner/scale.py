"""Very many partitions on one node: how long to create, to start with after a clean stop and after kill -9, and their memory.

OTTLA_SCALE=COUNT:DESCRIPTORS takes another count, and no more descriptors than that: such as 20000:4096, which are all produced to
and read as well. The limits are for 5,000.
"""
import os
import re
import signal
import time

from . import brokers, install
from .brokers import PROFILE, resident_kb
from .shell import HERE, run, say

PARTITIONS = 1000
SCRIPT = HERE / "runner" / "kafka_python_scale.py"
# The machine may be busy: the best counts, of that many.
TRIES = 3
SECONDS_TO_CREATE, SECONDS_TO_START, SECONDS_AFTER_KILL, KB_EACH = 0.3, 1.5, 3, 12


def asked(node, *what):
    return [float(line) for line in run(install.python(), SCRIPT, node.bootstrap, *what, limit=1800).split()]


def ready(node):
    return int(re.search(r"after (\d+) ms", node.out.read_text() + node.said())[1]) / 1000


def ended(node, how):
    begin = time.time()
    node.process.send_signal(how)
    node.process.wait(120)
    return time.time() - begin


def many_partitions():
    count, descriptors = map(int, os.environ.get("OTTLA_SCALE", "5000:0").split(":"))
    if descriptors:
        return on_few_descriptors(count, descriptors)
    assert PROFILE == "release", "the limits are for what is shipped: set OTTLA_PROFILE=release"
    with brokers.ottla("scale-data") as node:
        empty = resident_kb(node)
        creating = min(asked(node, "create", count // PARTITIONS, PARTITIONS))
        asked(node, "offsets", count)
        each = (resident_kb(node) - empty) * 1024 / 1000 / count
        ended(node, signal.SIGTERM)
        home = node.home
    figures = {f"{PARTITIONS} created": (creating, SECONDS_TO_CREATE, "s"), "memory of each": (each, KB_EACH, "KB")}
    for what, how, most in [("after a clean stop", signal.SIGTERM, SECONDS_TO_START),
                            ("after kill -9", signal.SIGKILL, SECONDS_AFTER_KILL)]:
        figures[f"ready {what}"] = (min(again(home, count, how) for _ in range(TRIES)), most, "s")
    for what, (figure, most, unit) in figures.items():
        say(f"{count} partitions, {what}: {figure:.3g} {unit}, at most {most:g}")
    exceeded = [what for what, (figure, most, _) in figures.items() if figure > most]
    assert not exceeded, f"too much: {', '.join(exceeded)}"


def again(home, count, how):
    """Starts, ends so, and starts again; answers how long that took."""
    with brokers.ottla("scale-data", home=home) as node:
        asked(node, "offsets", count)
        ended(node, how)
    with brokers.ottla("scale-data", home=home) as node:
        took = ready(node)
        asked(node, "offsets", count)
        ended(node, signal.SIGTERM)
    return took


def on_few_descriptors(count, descriptors):
    """All are produced to, twice, and all of it is read: before and after a clean stop and kill -9."""
    told = []
    with brokers.ottla("scale-data", descriptors=descriptors) as node:
        told.append(f"created in {sum(asked(node, 'create', count // PARTITIONS, PARTITIONS)):.1f} s")
        for _ in range(2):
            told.append(f"produced to in {asked(node, 'produce', count)[0]:.1f} s")
        told.append(f"read in {asked(node, 'read', count, 2)[0]:.1f} s, {resident_kb(node) / 1024:.0f} MB")
        told.append(f"stopped in {ended(node, signal.SIGTERM):.1f} s")
        home = node.home
    for rounds, how in [(3, signal.SIGKILL), (4, signal.SIGTERM)]:
        with brokers.ottla("scale-data", home=home, descriptors=descriptors) as node:
            told.append(f"ready again after {ready(node):.2f} s")
            asked(node, "produce", count)
            told.append(f"read in {asked(node, 'read', count, rounds)[0]:.1f} s")
            ended(node, how)
    return f"{count} partitions on {descriptors} descriptors: {', '.join(told)}"
