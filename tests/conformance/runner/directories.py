"""Data directories change hands: what Ottla wrote, Kafka's tools and a Kafka broker read; and the reverse."""
import re
import shutil
import signal
import time

from . import brokers, install, tools
from .shell import CACHE, HERE, run, wait_for

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# The tool takes what a later segment begins with for a gap behind offset -1.
WRONG = re.compile(r"[Mm]ismatch|[Cc]orrupt|[Ee]xception|[Ff]ailed|out of order|not found|^\s*\d+ is followed by")
SEGMENTS = ["--config", "segment.bytes=1048576"]


def filled(broker):
    """A topic for each codec, in segments of 1 MiB, by idempotent producers; answers the topics."""
    lines = CACHE / "part-of-the-flights.tsv"
    with open(install.flights(), encoding="utf-8") as flights, open(lines, "w", encoding="utf-8") as part:
        part.writelines(line for line, _ in zip(flights, range(30_000)))
    topics = [f"moved-{codec}" for codec in CODECS]
    for codec, topic in zip(CODECS, topics):
        tools.tool("topics", broker.bootstrap, "--create", "--topic", topic, "--partitions", 2, *SEGMENTS)
        run("kcat", "-b", broker.bootstrap, "-X", "enable.idempotence=true", "-z", codec, "-P", "-t", topic,
            "-K", "\\t", "-l", lines)
    return topics


def with_transactions(kafka):
    topics = ["moved-transactions", "moved-compacted"]
    tools.tool("topics", kafka.bootstrap, "--create", "--topic", topics[0], "--partitions", 2)
    run(*install.java("clients", HERE / "runner" / "Transactions.java", kafka.bootstrap, topics[0]))
    compacted = [*SEGMENTS, "--config", "cleanup.policy=compact", "--config", "min.cleanable.dirty.ratio=0.01"]
    tools.tool("topics", kafka.bootstrap, "--create", "--topic", topics[1], "--partitions", 1, *compacted)
    values = "".join(f"key{n % 100}\tvalue {n} {'more ' * 50}\n" for n in range(20_000))
    run("kcat", "-b", kafka.bootstrap, "-P", "-t", topics[1], "-K", "\\t", stdin=values)
    checkpoint = kafka.home / "cleaner-offset-checkpoint"
    wait_for("the cleaner", lambda: checkpoint.exists() and topics[1] in checkpoint.read_text(), [kafka])
    return topics


def served(broker, topic, isolation="read_uncommitted"):
    """Every record, in the order of partitions and offsets."""
    told = run("kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X",
               f"isolation.level={isolation}", "-f", "%p\\t%o\\t%T\\t%k\\t%s\\n")
    records = [line.split("\t", 2) for line in told.splitlines()]
    return sorted((int(partition), int(offset), rest) for partition, offset, rest in records)


def copied(home, name):
    to = brokers.fresh(name)
    shutil.copytree(home, to)
    return to


def stopped(broker, killed):
    if killed:
        broker.process.send_signal(signal.SIGKILL)
    broker.end()


def dumped(home, topics):
    """Kafka's own reader finds nothing wrong in any file of these topics."""
    files = sorted(file for topic in topics for file in home.glob(f"{topic}-*/0*") if file.stat().st_size)
    by_suffix = {}
    for file in files:
        by_suffix.setdefault(file.suffix, []).append(str(file))
    assert {".log", ".index", ".timeindex", ".snapshot"} <= set(by_suffix), by_suffix.keys()
    said = tools.dump("--deep-iteration", "--files", ",".join(by_suffix[".log"]))
    batches = re.findall(r"^baseOffset: .* isvalid: (\w+)$", said, re.M)
    assert batches and set(batches) == {"true"}, said[-3000:]
    indexes = [file for suffix in (".index", ".timeindex") for file in by_suffix[suffix]]
    said += tools.dump("--index-sanity-check", "--files", ",".join(indexes))
    said += tools.dump("--verify-index-only", "--files", ",".join(indexes))
    said += tools.dump("--files", ",".join(by_suffix[".snapshot"] + by_suffix.get(".txnindex", [])))
    wrong = [line for line in said.splitlines() if WRONG.search(line)]
    assert not wrong, "\n".join(wrong[:20])
    return len(batches)


def same(before, broker, isolation="read_uncommitted"):
    for topic, records in before.items():
        after = served(broker, topic, isolation)
        assert records and after == records, f"{topic}: {len(records)} records before, {len(after)} after, {isolation}"


def to_kafka():
    """Written by Ottla; told by Kafka's tools, and served by a Kafka broker, after a clean stop and after a kill."""
    told = []
    for killed in [False, True]:
        with brokers.ottla("moved-ottla") as ottla:
            topics = filled(ottla)
            before = {topic: served(ottla, topic) for topic in topics}
            stopped(ottla, killed)
        home = copied(ottla.home, "moved-to-kafka")
        if not killed:
            told.append(f"{dumped(home, topics)} batches dumped")
        with brokers.kafka(home) as kafka:
            same(before, kafka)
    return ", ".join(told)


def from_kafka():
    """Written by Kafka, with transactions and compacted logs; served by Ottla, after a clean stop and after a kill."""
    for killed in [False, True]:
        with brokers.kafka() as kafka:
            topics = filled(kafka) + with_transactions(kafka)
            before = {topic: served(kafka, topic) for topic in topics}
            committed = {"moved-transactions": served(kafka, "moved-transactions", "read_committed")}
            stopped(kafka, killed)
        home = copied(kafka.home, "moved-to-ottla")
        with brokers.ottla(home=home) as ottla:
            same(before, ottla)
            same(committed, ottla, "read_committed")
