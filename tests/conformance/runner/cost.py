"""What a node costs, each figure with the most that it may be: beside a real Kafka under the same producer, and alone."""
import re
import shutil
import tempfile
import time
from itertools import chain

from . import brokers, install, tools
from .shell import Failed, run, say

PARTITIONS, ROUNDS, WARM_GB = 12, 5, 4
# The machine may be busy: the best counts, of that many.
TRIES = 3
# Seconds, and how many jobs of cargo.
COLD_BUILD, JOBS = 360, 2
# Seconds: groups, sweeps and snapshots have had their turn.
REST = 30
MS = {"ns": 1e-6, "µs": 0.001, "ms": 1, "s": 1000}


def within_limits():
    assert brokers.PROFILE == "release", "the limits are for what is shipped: set OTTLA_PROFILE=release"
    exceeded = []
    for what, figure, most, unit in chain(beside_kafka(), alone()):
        say(f"{what}: {figure:.3g} {unit}, at most {most:g}")
        if figure > most:
            exceeded.append(what)
    assert not exceeded, f"too much: {', '.join(exceeded)}"


def beside_kafka():
    with brokers.ottla("ottla-cost-data") as node, brokers.kafka(machine=install.AS_SHIPPED) as kafka:
        yield "resident when idle", resident_mb(node), 20, "MB"
        time.sleep(REST)
        yield f"resident after {REST} s at rest", resident_mb(node), 20, "MB"
        told = produced_to({"ottla": node, "kafka": kafka})
        ratio = float(re.search(r"^ottla: .* ([\d.]+) of kafka", told, re.M)[1])
        yield "CPU of the broker, for the same produced", ratio, 0.5, "of Kafka's"
    for broker in (node, kafka):
        shutil.rmtree(broker.home)


def produced_to(judged):
    """Single-partition requests of 15 KiB to each in turn, Kafka warm; with the bare loop's figures beside theirs."""
    at = []
    for name, broker in judged.items():
        tools.tool("topics", broker.bootstrap, "--create", "--topic", "bench", "--partitions", PARTITIONS)
        at += ["--broker", f"{name}={broker.bootstrap}@{broker.process.pid}"]
    told = run("cargo", "run", "--release", "-q", "-p", "bench", "--", "produce", *at, "--topic", "bench",
               "--partitions", PARTITIONS, "--rounds", ROUNDS, "--warm-gb", WARM_GB, "--page-cache-full", limit=1800)
    for line in told.splitlines():
        say(line)
    return told


def resident_mb(broker):
    return brokers.resident_kb(broker) * 1024 / 1e6


def alone():
    started = [least_ms("to the first record", "conformance", "starting::a_node") for _ in range(TRIES)]
    yield "from nothing to the first record accepted", min(started), 200, "ms"
    yield "after kill -9 to serving", least_ms("serves again after", "conformance", "crash::nothing"), 500, "ms"
    refused = [least_ms(r"refuses \d+ requests in", "supervision", "window") for _ in range(TRIES)]
    yield "a partition that panics refuses for", min(refused), 100, "ms"


def least_ms(words, *test):
    lines = "\n".join(brokers.measured(*test))
    found = re.findall(words + r" ([\d.]+)(ns|µs|ms|s)\b", lines)
    assert found, f"no time behind {words!r} in what {' '.join(test)} measured:\n{lines}"
    return min(float(number) * MS[unit] for number, unit in found)


def of_a_cold_build():
    """The release, from what cargo has fetched and nothing that is compiled; with as many jobs as the limit is for."""
    run("cargo", "fetch", "--locked")
    with tempfile.TemporaryDirectory(prefix="ottla-cold-") as target:
        begin = time.monotonic()
        run("cargo", "build", "--release", "-q", "-j", JOBS, "--target-dir", target, limit=3 * COLD_BUILD)
        took = time.monotonic() - begin
    say(f"a cold build of the release: {took:.0f} s with {JOBS} jobs, at most {COLD_BUILD}")
    assert took <= COLD_BUILD


def of_compaction():
    """How fast a pass is, and that appends beside it are as fast as without: the example holds both to its limits."""
    assert brokers.PROFILE == "release", "the limits are for what is shipped: set OTTLA_PROFILE=release"
    for left in reversed(range(TRIES)):
        try:
            told = run("cargo", "run", "--release", "-q", "-p", "ottla-log", "--example", "compaction", "--", "--check", "none", "10000000")
        except Failed as failed:
            say(f"{failed}")
            if not left:
                raise
        else:
            return say(told.strip())
