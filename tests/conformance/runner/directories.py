"""Data directories change hands: what Ottla wrote, Kafka's tools and a Kafka broker read; and the reverse."""
import re
import shutil
import signal

from . import brokers, dump_log, install, tools
from .shell import ROOT, run, scratch, wait_for

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# The tool takes what a later segment begins with for a gap behind offset -1.
WRONG = re.compile(r"[Mm]ismatch|[Cc]orrupt|[Ee]xception|[Ff]ailed|out of order|not found|invalid bytes")
# As it must be where a log is compacted.
GAP = re.compile(r"^\s*\d+ is followed by")
TRANSACTIONS = "moved-transactions"


# Each looks often: what is to be compacted or deleted is so soon.
BUSY = {"log_cleaner_backoff_ms": 500, "log_initial_task_delay_ms": 500, "log_retention_check_interval_ms": 500}
COMPACTED = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}


def create(broker, topic, partitions, **configs):
    configs = [part for key, value in configs.items() for part in ("--config", f"{key}={value}")]
    tools.tool("topics", broker.bootstrap, "--create", "--topic", topic, "--partitions", partitions, *configs)


def filled(broker):
    """A topic for each codec, in segments of 1 MiB, by idempotent producers; one compacted, one whose old segments are deleted.

    Answers the topics."""
    lines = scratch("part-of-the-flights.tsv")
    with open(install.flights(), encoding="utf-8") as flights, open(lines, "w", encoding="utf-8") as part:
        part.writelines(line for line, _ in zip(flights, range(30_000)))
    topics = [f"moved-{codec}" for codec in CODECS] + ["moved-compacted", "moved-retained"]
    for codec, topic in zip([*CODECS, "lz4", "none"], topics):
        more = {"moved-compacted": COMPACTED, "moved-retained": {"retention.bytes": 1 << 20}}.get(topic, {})
        create(broker, topic, 2, **{"segment.bytes": 1 << 20}, **more)
        run("kcat", "-b", broker.bootstrap, "-X", "enable.idempotence=true", "-z", codec, "-P", "-t", topic,
            "-K", "\\t", "-l", lines)
    for partition in range(2):
        wait_until_compacted(broker, "moved-compacted", partition)
        first = broker.home / f"moved-retained-{partition}" / f"{0:020}.log"
        wait_for("old segments to be deleted", lambda: not first.exists(), [broker])
    return topics


def wait_until_compacted(broker, topic, partition):
    """Up to the segment in use."""
    def reached():
        checkpoint = broker.home / "cleaner-offset-checkpoint"
        found = checkpoint.exists() and re.search(rf"^{topic} {partition} (\d+)$", checkpoint.read_text(), re.M)
        bases = [int(file.stem) for file in (broker.home / f"{topic}-{partition}").glob("0*.log")]
        return found and 0 < max(bases) <= int(found[1])
    wait_for(f"{topic}-{partition} to be compacted", reached, [broker])


def with_transactions(kafka):
    # A segment ends after some of them, so that those before the last can be compacted.
    create(kafka, TRANSACTIONS, 2, **{"segment.ms": 100})
    run(*install.program("Transactions", kafka.bootstrap, TRANSACTIONS))
    return [TRANSACTIONS]


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


def dumped(home, before, compacted, indexed=True):
    """Kafka's own reader finds nothing wrong in any file of these topics, the records that were served, and what ours finds."""
    files = sorted(file for topic in before for file in home.glob(f"{topic}-[0-9]/0*") if file.stat().st_size)
    by_suffix = {}
    for file in files:
        by_suffix.setdefault(file.suffix, []).append(str(file))
    assert {".log", ".timeindex", ".snapshot"} <= set(by_suffix), by_suffix.keys()
    assert ".index" in by_suffix or not indexed, by_suffix.keys()
    said, count = "", 0
    for has_gaps in [False, True]:
        logs = [file for file in by_suffix[".log"] if (f"/{compacted}-" in file) == has_gaps]
        if not logs:
            continue
        shown = dump_log.agreed(logs, "--deep-iteration", "--print-data-log")[1]
        gaps = [line for line in shown.splitlines() if GAP.search(line)]
        assert has_gaps or not gaps, gaps[:20]
        count += sound(shown, before)
        # Records may say anything.
        said += "".join(line + "\n" for line in shown.splitlines() if not line.startswith("| "))
    indexes = [file for suffix in (".index", ".timeindex") for file in by_suffix.get(suffix, [])]
    said += tools.dump("--index-sanity-check", "--files", ",".join(indexes))
    said += tools.dump("--verify-index-only", "--files", ",".join(indexes))
    said += tools.dump("--files", ",".join(by_suffix[".snapshot"] + by_suffix.get(".txnindex", [])))
    wrong = [line for line in said.splitlines() if WRONG.search(line)]
    assert not wrong, "\n".join(wrong[:20])
    return count


def sound(shown, before):
    """Every batch is valid, and the records of each topic are those that were served; answers how many batches."""
    batches = re.findall(r"^baseOffset: .* isvalid: (\w+)$", shown, re.M)
    assert batches and set(batches) == {"true"}, shown[-3000:]
    of_topic = {}
    for part in shown.split("Dumping ")[1:]:
        topic = part.split("\n", 1)[0].split("/")[-2].rsplit("-", 1)[0]
        # Of a marker another line tells, that begins alike.
        offsets = re.findall(r"^\| offset: (\d+) (?!.* endTxnMarker: )", part, re.M)
        of_topic.setdefault(topic, []).extend(map(int, offsets))
    for topic, offsets in of_topic.items():
        expected = [offset for _, offset, _ in before[topic]]
        assert sorted(offsets) == sorted(expected), f"{topic}: {len(offsets)} dumped, {len(expected)} served"
    return len(batches)


def same(before, broker, isolation="read_uncommitted"):
    for topic, records in before.items():
        after = served(broker, topic, isolation)
        assert records and after == records, f"{topic}: {len(records)} records before, {len(after)} after, {isolation}"


def of(broker, topics):
    return {topic: served(broker, topic) for topic in topics}


def to_kafka():
    """Written by Ottla; told by Kafka's tools, and served by a Kafka broker, after a clean stop and after a kill."""
    told = []
    for killed in [False, True]:
        with brokers.ottla("moved-ottla", **BUSY) as ottla:
            before = of(ottla, filled(ottla))
            stopped(ottla, killed)
        home = copied(ottla.home, "moved-to-kafka")
        told.append(f"{dumped(home, before, 'moved-compacted')} batches dumped after {'a kill' if killed else 'a clean stop'}")
        with brokers.kafka(home) as kafka:
            same(before, kafka)
    return ", ".join(told)


def from_kafka():
    """Written by Kafka, with transactions, compacted and retained logs; served by Ottla, after a clean stop and after a kill."""
    for killed in [False, True]:
        with brokers.kafka(**BUSY) as kafka:
            before = of(kafka, filled(kafka) + with_transactions(kafka))
            committed = {TRANSACTIONS: served(kafka, TRANSACTIONS, "read_committed")}
            stopped(kafka, killed)
        home = copied(kafka.home, "moved-to-ottla")
        with brokers.ottla(home=home) as ottla:
            same(before, ottla)
            same(committed, ottla, "read_committed")


def there_and_back():
    """Transactions that Kafka wrote; Ottla opens their log, appends to it and compacts it, markers and all; Kafka takes it back."""
    told = []
    for killed in [False, True]:
        with brokers.kafka() as kafka:
            with_transactions(kafka)
            all_of_it = of(kafka, [TRANSACTIONS])[TRANSACTIONS]
        with brokers.ottla(home=copied(kafka.home, "moved-there"), **BUSY) as ottla:
            config = "cleanup.policy=compact,min.cleanable.dirty.ratio=0.01,segment.ms=604800000"
            tools.tool("configs", ottla.bootstrap, "--entity-type", "topics", "--entity-name", TRANSACTIONS, "--alter",
                       "--add-config", config)
            for partition in range(2):
                # Half of them stay, in batches enough for entries in the offset index.
                keyed = "".join(f"key{n if n > 50 else ''}\t{n:0500}\n" for n in range(100))
                run("kcat", "-b", ottla.bootstrap, "-X", "enable.idempotence=true", "-X", "batch.num.messages=1", "-P",
                    "-t", TRANSACTIONS, "-p", partition, "-K", "\\t", stdin=keyed)
            checkpoint = ottla.home / "cleaner-offset-checkpoint"
            wait_for("transactions to be compacted", lambda: checkpoint.exists() and
                     len(re.findall(rf"^{TRANSACTIONS} \d [1-9]", checkpoint.read_text(), re.M)) == 2, [ottla])
            before, committed = of(ottla, [TRANSACTIONS]), {TRANSACTIONS: served(ottla, TRANSACTIONS, "read_committed")}
            stopped(ottla, killed)
        assert len(before[TRANSACTIONS]) < len(all_of_it), "nothing was compacted"
        home = copied(ottla.home, "moved-back")
        # The index of a segment in use follows it at a distance: a kill finds it empty, where the log is as small as here.
        batches = dumped(home, before, TRANSACTIONS, indexed=not killed)
        told.append(f"{len(all_of_it)} records and 200 compacted to {len(before[TRANSACTIONS])} in {batches} batches")
        with brokers.kafka(home) as kafka:
            same(before, kafka)
            same(committed, kafka, "read_committed")
    return ", ".join(told)


def levels(kind, command, port, home):
    """Of the features, as a node on this directory has them."""
    with brokers.started(kind, command, port, home) as broker:
        said = tools.tool("features", broker.bootstrap, "describe")
        create(broker, "first", 1)
    return dict(re.findall(r"^Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)", said, re.M))


def formatted_before():
    """By the tool of Kafka 4.3.1, which leaves a bootstrap.checkpoint: Ottla begins there as a Kafka 4.4 does on a copy."""
    brokers.build()
    old, scram = ["--release-version", "4.0"], ["--add-scram", "SCRAM-SHA-256=[name=alice,password=alice-secret]"]
    for quorum, first in [("voters", old), ("bootstrap.servers", ["--standalone", *old]), ("bootstrap.servers", ["--standalone", *scram])]:
        home, port, properties = brokers.fresh("formatted-before"), brokers.free_port(), scratch("formatted-before.properties")
        voter = f"{'1@' if quorum == 'voters' else ''}127.0.0.1:{port + 1}"

        def on(home):
            settings = {"process.roles": "broker,controller", "node.id": 1, f"controller.quorum.{quorum}": voter, "log.dirs": home,
                        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
                        "controller.listener.names": "CONTROLLER", "offsets.topic.replication.factor": 1}
            properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
            return properties

        run(*install.java("tools", "kafka.tools.StorageTool"), "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", on(home), *first)
        assert (home / "bootstrap.checkpoint").exists(), "the tool leaves none"
        copy = copied(home, "formatted-before-copy")
        theirs = levels("kafka", install.java("server", "kafka.Kafka", on(copy)), port, copy)
        ottla = [ROOT / "target" / brokers.PROFILE / "ottla", "start", "--console", "off", "--properties", on(home)]
        ours = levels("ottla", ottla, port, home)
        assert theirs == ours and ("4.0-IV3" in ours["metadata.version"]) == (old[0] in first), f"{first}: {theirs} of Kafka, {ours}"
