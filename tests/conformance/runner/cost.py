"""What a node costs, each figure with the most that it may be: beside a real Kafka under the same producer, and alone."""
import os
import re
import shutil
from itertools import chain

from . import brokers, install, tools
from .shell import say

RECORDS, SIZE, PARTITIONS = 500_000, 1000, 12
# The machine may be busy: the best counts, of that many.
TRIES = 3
MS = {"ns": 1e-6, "µs": 0.001, "ms": 1, "s": 1000}


def within_limits():
    assert brokers.PROFILE == "release", "the limits are for what is shipped: set OTTLA_PROFILE=release"
    exceeded = []
    for what, figure, most, unit in chain(beside_kafka(), alone()):
        say(f"    {what}: {figure:.3g} {unit}, at most {most:g}")
        if figure > most:
            exceeded.append(what)
    assert not exceeded, f"too much: {', '.join(exceeded)}"


def beside_kafka():
    with brokers.ottla("ottla-cost-data") as node, brokers.kafka(machine=install.AS_SHIPPED) as kafka:
        yield "resident when idle", resident_mb(node), 20, "MB"
        topics = {broker: warmed_up(broker) for broker in (node, kafka)}
        # In turns, so that a busy moment of the machine falls on both.
        rounds = [[cpu_seconds_per_gb(*each) for each in topics.items()] for _ in range(TRIES)]
        ours, theirs = map(min, zip(*rounds))
        yield "CPU of the broker, for the same produced", ours / theirs, 0.5, "of Kafka's"
    for broker in topics:
        shutil.rmtree(broker.home)


def warmed_up(broker):
    topic = tools.name("cost")
    tools.tool("topics", broker.bootstrap, "--create", "--topic", topic, "--partitions", PARTITIONS)
    produce(broker, topic)
    return topic


def cpu_seconds_per_gb(broker, topic):
    before = cpu_seconds(broker)
    rate = produce(broker, topic)
    each = (cpu_seconds(broker) - before) / (RECORDS * SIZE / 1e9)
    say(f"    {broker.log.stem}: {each:.2f} CPU seconds per GB, {resident_mb(broker):.0f} MB resident, {rate} records/s")
    return each


def produce(broker, topic):
    said = tools.tool("producer-perf-test", broker.bootstrap, "--topic", topic, "--num-records", RECORDS,
                      "--record-size", SIZE, "--throughput", -1)
    return re.search(rf"^{RECORDS} records sent, (\d+)\.\d+ records/sec", said, re.M)[1]


def cpu_seconds(broker):
    """Of all its threads, in user and system mode: fields 14 and 15 of proc_pid_stat(5)."""
    stat = open(f"/proc/{broker.process.pid}/stat", encoding="utf-8").read()
    behind_name = stat.rpartition(")")[2].split()
    return (int(behind_name[11]) + int(behind_name[12])) / os.sysconf("SC_CLK_TCK")


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
