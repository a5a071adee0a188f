"""Kafka's console tools, with what they must say."""
import json
import re
import time

from . import install
from .shell import run, scratch

PACKAGE = "org.apache.kafka.tools."
MAINS = {
    "broker-api-versions": PACKAGE + "BrokerApiVersionsCommand",
    "cluster": PACKAGE + "ClusterTool",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": PACKAGE + "consumer.ConsoleConsumer",
    "console-producer": PACKAGE + "ConsoleProducer",
    "consumer-groups": PACKAGE + "consumer.group.ConsumerGroupCommand",
    "features": PACKAGE + "FeatureCommand",
    "leader-election": PACKAGE + "LeaderElectionCommand",
    "reassign-partitions": PACKAGE + "reassign.ReassignPartitionsCommand",
    "delete-records": PACKAGE + "DeleteRecordsCommand",
    "dump-log": PACKAGE + "DumpLogSegments",
    "get-offsets": PACKAGE + "GetOffsetShell",
    "groups": PACKAGE + "GroupsCommand",
    "log-dirs": PACKAGE + "LogDirsCommand",
    "metadata-quorum": PACKAGE + "MetadataQuorumCommand",
    "metadata-shell": "org.apache.kafka.shell.MetadataShell",
    "producer-perf-test": PACKAGE + "ProducerPerformance",
    "consumer-perf-test": PACKAGE + "ConsumerPerformance",
    "replica-verification": PACKAGE + "ReplicaVerificationTool",
    "topics": PACKAGE + "TopicCommand",
    "verifiable-producer": PACKAGE + "VerifiableProducer",
}


def command(name, *args):
    """`name` may have a command of the tool's own behind it."""
    name, *own = name.split()
    return install.java("tools", MAINS[name], *own, *args)


def tool(name, bootstrap, *args, expect=0, stdin=None):
    return run(*command(name, "--bootstrap-server", bootstrap, *args), expect=expect, stdin=stdin, limit=120)


def rows(table):
    """A table that a tool printed, as dictionaries by its heading; some tools print one for each group."""
    found, heading = [], None
    for line in table.splitlines():
        words = line.split()
        if words and words[0] in ("GROUP", "TOPIC"):
            heading = words
        elif heading and len(words) >= len(heading):
            found.append(dict(zip(heading, words)))
    return found


def group_rows(bootstrap, group, *more):
    return rows(tool("consumer-groups", bootstrap, "--describe", "--group", group, *more))


def lag(bootstrap, group):
    described = group_rows(bootstrap, group)
    assert described, f"group {group} has no offsets"
    return sum(int(row["LAG"]) for row in described)


def expect(text, *patterns):
    for pattern in patterns:
        assert re.search(pattern, text, re.M), f"no {pattern!r} in:\n{text}"


def refuse(text, *patterns):
    for pattern in patterns:
        assert not re.search(pattern, text, re.M), f"{pattern!r} in:\n{text}"


def name(prefix):
    return f"{prefix}-{time.time_ns()}"


def topics(bootstrap):
    topic = name("tools")
    create = ["--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=3600000"]
    expect(tool("topics", bootstrap, *create), f"Created topic {topic}")
    expect(tool("topics", bootstrap, *create, expect=None), f"Topic '{topic}' already exists")
    expect(tool("topics", bootstrap, *create, "--if-not-exists"), "")
    expect(tool("topics", bootstrap, "--list"), f"^{topic}$")
    described = tool("topics", bootstrap, "--describe", "--topic", topic)
    expect(described, r"TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention.ms=3600000")
    expect(described, r"Partition: 2\s+Leader: (\d+)\s+Replicas: \1\s+Isr: \1")
    tool("topics", bootstrap, "--alter", "--topic", topic, "--partitions", 5)
    expect(tool("topics", bootstrap, "--describe", "--topic", topic), "PartitionCount: 5", r"Partition: 4\s+Leader: \d")
    fewer = ["--alter", "--topic", topic, "--partitions", 2]
    expect(tool("topics", bootstrap, *fewer, expect=None), "currently has 5 partition")
    wide = ["--create", "--topic", topic + "-wide", "--replication-factor", 3]
    expect(tool("topics", bootstrap, *wide, expect=None), "replication factor")
    bad = ["--create", "--topic", "no/good"]
    expect(tool("topics", bootstrap, *bad, expect=None), "[Ii]llegal|invalid")
    wrong = ["--create", "--topic", topic + "-wrong", "--config", "retention.days=7"]
    expect(tool("topics", bootstrap, *wrong, expect=None), "retention.days")
    tool("topics", bootstrap, "--delete", "--topic", topic)
    refuse(tool("topics", bootstrap, "--list"), f"^{topic}$")
    expect(tool("topics", bootstrap, "--delete", "--topic", topic, expect=None), "does not exist")


def configs(bootstrap):
    topic = name("configs")
    tool("topics", bootstrap, "--create", "--topic", topic)
    of_topic = ["--entity-type", "topics", "--entity-name", topic]
    added = "retention.ms=7200000,cleanup.policy=[delete],segment.bytes=2097152"
    expect(tool("configs", bootstrap, *of_topic, "--alter", "--add-config", added), "Completed updating config")
    described = tool("configs", bootstrap, *of_topic, "--describe")
    expect(described, r"retention.ms=7200000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention.ms=7200000",
           "cleanup.policy=delete", "segment.bytes=2097152")
    tool("configs", bootstrap, *of_topic, "--alter", "--delete-config", "retention.ms")
    refuse(tool("configs", bootstrap, *of_topic, "--describe"), "retention.ms=")
    tool("configs", bootstrap, *of_topic, "--alter", "--delete-config", "segment.bytes")
    everything = tool("configs", bootstrap, *of_topic, "--describe", "--all")
    expect(everything, r"retention.ms=604800000 sensitive=false synonyms=\{\}",
           r"max.message.bytes=1048588 .*DEFAULT_CONFIG:message.max.bytes=1048588",
           "segment.bytes=1073741824 ", "compression.type=producer ")
    wrong = ["--alter", "--add-config", "retention.ms=soon"]
    expect(tool("configs", bootstrap, *of_topic, *wrong, expect=None), "retention.ms")
    unknown = ["--alter", "--add-config", "retention.day=1"]
    expect(tool("configs", bootstrap, *of_topic, *unknown, expect=None), "retention.day")
    broker = re.search(r"\(id: (\d+) rack", tool("broker-api-versions", bootstrap)).group(1)
    of_broker = ["--entity-type", "brokers", "--entity-name", broker, "--describe", "--all"]
    expect(tool("configs", bootstrap, *of_broker), "log.retention.hours=", f"node.id={broker} ", "num.partitions=")
    tool("topics", bootstrap, "--delete", "--topic", topic)


def loggers(bootstrap):
    broker = re.search(r"\(id: (\d+) rack", tool("broker-api-versions", bootstrap)).group(1)
    of_loggers = ["--entity-type", "broker-loggers", "--entity-name", broker]
    describe = [*of_loggers, "--describe"]
    described = tool("configs", bootstrap, *describe)
    logger = re.search(r"^  (ottla_network|kafka)=INFO sensitive=false", described, re.M).group(1)
    expect(described, "^  root=")
    expect(tool("configs", bootstrap, "--alter", *of_loggers, "--add-config", f"{logger}=DEBUG"), "Completed updating")
    expect(tool("configs", bootstrap, *describe), f"^  {logger}=DEBUG sensitive=false synonyms=")
    wrong = ["--add-config", f"{logger}=LOUD"]
    expect(tool("configs", bootstrap, "--alter", *of_loggers, *wrong, expect=None), "not a supported log level")
    unknown = ["--add-config", "nobody.at.all=DEBUG"]
    expect(tool("configs", bootstrap, "--alter", *of_loggers, *unknown, expect=None), "nobody.at.all")
    expect(tool("configs", bootstrap, "--alter", *of_loggers, "--delete-config", logger), "Completed updating")
    expect(tool("configs", bootstrap, *describe), f"^  {logger}=INFO sensitive=false")


def produce_and_consume(bootstrap):
    topic = name("console")
    lines = "".join(f"key{n % 3}:value {n}\n" for n in range(300))
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool("console-producer", bootstrap, "--topic", topic, *keyed, stdin=lines)
    show = ["--formatter-property", "print.key=true", "--formatter-property", "key.separator=:"]
    out = tool("console-consumer", bootstrap, "--topic", topic, "--from-beginning", "--max-messages", 300, *show)
    assert [line for line in out.splitlines() if line.startswith("key")] == lines.splitlines(), out[-2000:]
    for codec in ["gzip", "snappy", "lz4", "zstd"]:
        tool("console-producer", bootstrap, "--topic", topic, "--compression-codec", codec, *keyed, stdin=lines)
    out = tool("console-consumer", bootstrap, "--topic", topic, "--from-beginning", "--max-messages", 1500, *show)
    assert [line for line in out.splitlines() if line.startswith("key")] == lines.splitlines() * 5, out[-2000:]
    perf = ["--topic", topic, "--num-records", 20000, "--record-size", 1000, "--throughput", -1]
    expect(tool("producer-perf-test", bootstrap, *perf), "20000 records sent")
    expect(tool("consumer-perf-test", bootstrap, "--topic", topic, "--num-records", 20000, "--timeout", 60000), r"\d+\.\d+, 2\d{4},")
    expect(tool("verifiable-producer", bootstrap, "--topic", topic, "--max-messages", 100), '"acked":100')
    tool("topics", bootstrap, "--delete", "--topic", topic)


def offsets(bootstrap):
    topic = name("offsets")
    tool("topics", bootstrap, "--create", "--topic", topic, "--partitions", 2)
    lines = "".join(f"{n}\n" for n in range(100))
    tool("console-producer", bootstrap, "--topic", topic, stdin=lines)
    ends = offsets_at(bootstrap, topic, -1)
    assert sum(ends.values()) == 100, ends
    assert offsets_at(bootstrap, topic, -2) == {"0": 0, "1": 0}
    assert sum(offsets_at(bootstrap, topic, 1_000_000_000_000).values()) == 0
    fullest = max(ends, key=ends.get)
    cut = ends[fullest] // 2
    order = {"partitions": [{"topic": topic, "partition": int(fullest), "offset": cut}], "version": 1}
    file = scratch("delete-records.json")
    file.write_text(json.dumps(order))
    expect(tool("delete-records", bootstrap, "--offset-json-file", file), rf"partition: {topic}-{fullest}\s+low_watermark: {cut}")
    assert offsets_at(bootstrap, topic, -2)[fullest] == cut
    order["partitions"][0]["offset"] = 100_000
    file.write_text(json.dumps(order))
    expect(run(*install.java("tools", MAINS["delete-records"], "--bootstrap-server", bootstrap, "--offset-json-file", file)),
           "[Oo]ffset.*(out of|not within) range|OffsetOutOfRange")
    tool("topics", bootstrap, "--delete", "--topic", topic)


def offsets_at(bootstrap, topic, when):
    out = tool("get-offsets", bootstrap, "--topic", topic, "--time", when)
    found = re.findall(rf"^{topic}:(\d+):(\d*)$", out, re.M)
    return {partition: int(offset or 0) for partition, offset in found}


def groups(bootstrap):
    topic, group = name("grouped"), name("group")
    tool("topics", bootstrap, "--create", "--topic", topic, "--partitions", 2)
    lines = "".join(f"k{n % 10}:{n}\n" for n in range(200))
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool("console-producer", bootstrap, "--topic", topic, *keyed, stdin=lines)
    tool("console-consumer", bootstrap, "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 200)
    expect(tool("consumer-groups", bootstrap, "--list"), f"^{group}$")
    expect(tool("consumer-groups", bootstrap, "--list", "--state"), rf"^{group}\s+Empty")
    expect(tool("groups", bootstrap, "--list"), rf"^{group}\s+Classic\s+consumer")
    described = group_rows(bootstrap, group)
    assert sum(int(row["CURRENT-OFFSET"]) for row in described) == 200, described
    assert all(row["LAG"] == "0" for row in described), described
    state = tool("consumer-groups", bootstrap, "--describe", "--group", group, "--state")
    expect(state, rf"{group}\s+\S+:\d+\s+\(\d+\)\s+.*Empty\s+0")
    of_topic = ["--group", group, "--topic", topic]
    reset = ["--reset-offsets", *of_topic]
    dry = rows(tool("consumer-groups", bootstrap, *reset, "--to-earliest", "--dry-run"))
    assert [row["NEW-OFFSET"] for row in dry] == ["0", "0"] and lag(bootstrap, group) == 0
    tool("consumer-groups", bootstrap, *reset, "--to-earliest", "--execute")
    assert lag(bootstrap, group) == 200
    tool("consumer-groups", bootstrap, *reset, "--to-latest", "--execute")
    tool("consumer-groups", bootstrap, *reset, "--shift-by", -10, "--execute")
    assert lag(bootstrap, group) == 20
    tool("consumer-groups", bootstrap, "--delete-offsets", *of_topic)
    assert not group_rows(bootstrap, group)
    tool("consumer-groups", bootstrap, *reset, "--to-datetime", "2013-01-01T00:00:00.000", "--execute")
    assert lag(bootstrap, group) == 200
    expect(tool("consumer-groups", bootstrap, "--delete", "--group", group), "successful")
    refuse(tool("consumer-groups", bootstrap, "--list"), f"^{group}$")
    expect(tool("consumer-groups", bootstrap, "--delete", "--group", group), "GroupIdNotFoundException")
    tool("topics", bootstrap, "--delete", "--topic", topic)


def log_dirs(bootstrap):
    topic = name("kept")
    tool("topics", bootstrap, "--create", "--topic", topic, "--partitions", 3)
    tool("console-producer", bootstrap, "--topic", topic, stdin="".join(f"{n}\n" for n in range(1000)))
    kept = described_dirs(bootstrap, "--topic-list", topic)
    assert all(kept_in["error"] is None and kept_in["logDir"].startswith("/") for kept_in in kept), kept
    replicas = {replica["partition"]: replica for kept_in in kept for replica in kept_in["partitions"]}
    assert sorted(replicas) == [f"{topic}-{n}" for n in range(3)], kept
    assert sum(replica["size"] for replica in replicas.values()) > 5000, kept
    assert all(replica["offsetLag"] == 0 and not replica["isFuture"] for replica in replicas.values()), kept
    everything = [replica["partition"] for kept_in in described_dirs(bootstrap) for replica in kept_in["partitions"]]
    assert set(replicas) <= set(everything) and "__cluster_metadata-0" not in everything, everything
    tool("topics", bootstrap, "--delete", "--topic", topic)


def described_dirs(bootstrap, *more):
    described = json.loads(tool("log-dirs", bootstrap, "--describe", *more).splitlines()[-1])
    (broker,) = described["brokers"]
    return broker["logDirs"]


def dump_log(bootstrap, home):
    """Kafka reads the files that the broker wrote."""
    if home is None:
        return "SKIPPED: OTTLA_DATA does not say where the broker keeps its data"
    topic = name("dumped")
    tool("topics", bootstrap, "--create", "--topic", topic, "--config", "compression.type=zstd")
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    lines = "".join(f"key{n}:{'value ' * 100}{n}\n" for n in range(2000))
    tool("console-producer", bootstrap, "--topic", topic, *keyed, stdin=lines)
    tool("console-consumer", bootstrap, "--topic", topic, "--group", topic, "--from-beginning", "--max-messages", 10)
    files = sorted((home / f"{topic}-0").glob("0*"))
    assert ".log" in {file.suffix for file in files}, files
    log = next(file for file in files if file.suffix == ".log")
    dumped = dump("--print-data-log", "--files", log)
    expect(dumped, r"baseOffset: 0 lastOffset: \d+ count: \d+ .*compresscodec: zstd crc: \d+ isvalid: true")
    assert dumped.count("| offset: ") == 2000 and "key: key1999 " in dumped, dumped[-2000:]
    refuse(dumped, "isvalid: false")
    # A segment still written to may have no index files yet. Its time index, where there is one, ends in room for more,
    # which the check takes for corruption.
    for index in (file for file in files if file.suffix == ".index"):
        expect(dump("--index-sanity-check", "--files", index), "passed sanity check")
    assert (home / f"{topic}-0" / "partition.metadata").read_text().startswith("version: 0\ntopic_id: ")
    metadata = ",".join(map(str, sorted((home / "__cluster_metadata-0").glob("0*.log"))))
    expect(dump("--cluster-metadata-decoder", "--files", metadata), f'"type":"TOPIC_RECORD".*"name":"{topic}"')
    offsets = [log for log in home.glob("__consumer_offsets-*/0*.log") if log.stat().st_size]
    assert offsets, "no group has written its offsets"
    expect(dump("--offsets-decoder", "--files", offsets[0]), "payload: ")
    tool("topics", bootstrap, "--delete", "--topic", topic)
    return None


def dump(*args):
    return run(*install.java("tools", MAINS["dump-log"], *args))


def cluster(bootstrap):
    expect(cluster_id(bootstrap), r"Cluster ID: \S{22}")
    versions = tool("broker-api-versions", bootstrap)
    expect(versions, r"Produce\(0\): 0 to 13", r"Fetch\(1\): 4 to 18", r"ApiVersions\(18\): 0 to 5")


def cluster_id(bootstrap):
    return run(*install.java("tools", MAINS["cluster"], "cluster-id", "--bootstrap-server", bootstrap))


ALL = {
    "topics": topics,
    "configs": configs,
    "loggers": loggers,
    "produce and consume": produce_and_consume,
    "offsets": offsets,
    "groups": groups,
    "log-dirs": log_dirs,
    "cluster": cluster,
}
