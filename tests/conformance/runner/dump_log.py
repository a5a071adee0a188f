"""`ottla dump-log` and Kafka's DumpLogSegments on the same files: those that a real Kafka wrote, those of the node, and damaged ones."""
import os
import re
import shutil
import subprocess

from . import brokers, install, tools
from .shell import ROOT, run, scratch

LOG = "00000000000000000000.log"
# Kafka's tools are a release behind: theirs tells the status of a transaction by its number.
STATES = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"]


def compare(node):
    with brokers.kafka() as kafka:
        fill(kafka.bootstrap)
    assert any(file.stat().st_size for file in kafka.home.glob("aborted-*/*.txnindex")), "nothing was aborted"
    compared = [of_directory(shutil.copytree(kafka.home, fresh("of-kafka")), "many-0")]
    if node.home is not None:
        topic = tools.name("dump")
        perf(node.bootstrap, topic, "lz4")
        tools.tool("console-consumer", node.bootstrap, "--topic", topic, "--group", topic, "--from-beginning", "--max-messages", 5)
        # It goes on writing: only the copy stands still.
        passing = shutil.ignore_patterns("*.tmp", "*-delete")
        compared.append(of_directory(shutil.copytree(node.home, fresh("of-node"), ignore=passing), f"{topic}-0"))
        tools.tool("topics", node.bootstrap, "--delete", "--topic", topic)
    return f"{sum(compared)} lines"


def fresh(name):
    target = scratch(f"dump-{name}")
    shutil.rmtree(target, ignore_errors=True)
    return target


def perf(bootstrap, topic, codec, *more):
    arguments = ["--topic", topic, "--num-records", 2000, "--record-size", 400, "--throughput", -1, *more]
    run(*install.java("tools", tools.MAINS["producer-perf-test"], *arguments, "--bootstrap-server", bootstrap,
                      "--command-property", f"compression.type={codec}"))


def fill(bootstrap):
    """A log of several segments in every codec, transactions, groups of both protocols, shares, quotas, headers, tombstones."""
    create = ["--create", "--partitions", 1, "--config", "segment.bytes=1048576"]
    tools.tool("topics", bootstrap, *create, "--topic", "many")
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        perf(bootstrap, "many", codec)
    perf(bootstrap, "in-transactions", "none", "--transactional-id", "t", "--transaction-duration-ms", 50)
    tools.tool("topics", bootstrap, "--create", "--partitions", 2, "--topic", "aborted")
    run(*install.program("Transactions", bootstrap, "aborted"))
    run(*install.program("RemoteLogRecords", bootstrap, "__remote_log_metadata", of="tools"))
    tools.tool("topics", bootstrap, *create, "--topic", "keyed", "--config", "message.timestamp.type=LogAppendTime")
    odd = 'h1:a,h2:b\tkey\tä € "quoted" \\ 😀\nh:\tkey\tNULL\n'
    parse = ["parse.key=true", "parse.headers=true", "null.marker=NULL"]
    tools.tool("console-producer", bootstrap, "--topic", "keyed", *(f"--reader-property={p}" for p in parse), stdin=odd)
    for protocol in ["classic", "consumer"]:
        tools.tool("console-consumer", bootstrap, "--topic", "many", "--group", protocol, "--from-beginning", "--max-messages", 9,
                   "--command-property", f"group.protocol={protocol}")
    alter = ["--alter", "--entity-type"]
    tools.tool("configs", bootstrap, *alter, "clients", "--entity-name", "c", "--add-config", "request_percentage=12.5")
    tools.tool("configs", bootstrap, *alter, "groups", "--entity-name", "shares", "--add-config", "share.auto.offset.reset=earliest")
    run(*install.java("tools", "org.apache.kafka.tools.consumer.ConsoleShareConsumer", "--bootstrap-server", bootstrap, "--topic",
                      "many", "--group", "shares", "--max-messages", 9, "--timeout-ms", 30_000))


def of_directory(home, topic):
    """Lines compared of the files under a log directory; `topic` is a partition's directory to damage a copy of."""
    def files(pattern, topic="*"):
        return sorted(file for file in home.glob(f"{topic}/{pattern}") if file.stat().st_size)

    segments = files("0*.log")
    assert segments, f"no segments under {home}"
    lines = both(segments)
    own = [file for file in segments if not file.parent.name.startswith("__")]
    lines += both(own, "--print-data-log")
    lines += both(own, "--deep-iteration", "--skip-record-metadata")
    lines += both(own, "--print-data-log", "--skip-record-metadata", "--max-bytes", 5000)
    for internal, decoder in [("__consumer_offsets", "--offsets-decoder"), ("__cluster_metadata", "--cluster-metadata-decoder"),
                              ("__transaction_state", "--transaction-log-decoder"),
                              ("__share_group_state", "--share-group-state-decoder"),
                              ("__remote_log_metadata", "--remote-log-metadata-decoder")]:
        lines += both(files("0*.log", f"{internal}-*"), decoder)
    lines += both(sorted(home.glob("**/*.checkpoint")), "--cluster-metadata-decoder")
    lines += both(files("*.snapshot")) + both(files("*.txnindex"))
    for suffix in ["index", "timeindex"]:
        lines += both(files(f"*.{suffix}")) + both(files(f"*.{suffix}"), "--verify-index-only")
        lines += sum(both([file], "--index-sanity-check") for file in files(f"*.{suffix}", topic))
    return lines + damaged(home / topic)


def damaged(directory):
    """Each kind of damage that Kafka's tool falls over ends ours too, after the same lines."""
    target, lines = fresh("damaged"), 0
    sound = bytearray((directory / LOG).read_bytes())
    first = int.from_bytes(sound[8:12], "big") + 12

    def spoilt(at, change):
        return bytes(sound[:at]) + change + bytes(sound[at + len(change):])

    for bytes_ in [sound[:first * 3 // 2], spoilt(first - 1, b"\xff"), sound[:first] + bytes(100), spoilt(8, b"\xff\xff\xff\xff"),
                   spoilt(57, b"\x7f\xff\xff\xff"), spoilt(21, b"\x00\x07"), spoilt(0, b"\x00" * 7 + b"\x09")]:
        target.mkdir(parents=True, exist_ok=True)
        (target / LOG).write_bytes(bytes_)
        lines += both([target / LOG]) + both([target / LOG], "--print-data-log")
    (target / LOG).write_bytes(sound)
    for entry in ["00000007 00000000", "00000000 00000001 00000001 7fffffff", "00000001 ffffffff"]:
        (target / LOG.replace("log", "index")).write_bytes(bytes.fromhex(entry))
        lines += both([target / LOG.replace("log", "index")])
    times = "0000000000000001 00000001 0000000000000001 00000002"
    (target / LOG.replace("log", "timeindex")).write_bytes(bytes.fromhex(times))
    (target / LOG.replace("log", "index")).write_bytes(b"")
    lines += both([target / LOG.replace("log", "timeindex")])
    (target / LOG.replace("log", "snapshot")).write_bytes(bytes.fromhex("0001 00000000 00000000"))
    lines += both([target / LOG.replace("log", "snapshot")])
    aborted = bytes.fromhex("0000" + "".join(f"{number:016x}" for number in [7, 0, 5, 6]))
    for cut_off in [0, 9]:
        (target / LOG.replace("log", "txnindex")).write_bytes(aborted + aborted[:cut_off])
        lines += both([target / LOG.replace("log", "txnindex")])
    return lines


def both(files, *options):
    """Runs both tools, and answers how many lines they agree on."""
    return agreed(files, *options)[0] if files else 0


def agreed(files, *options):
    """As `both`, with all that Kafka's tool said."""
    arguments = [*map(str, options), "--files", ",".join(map(str, files))]
    kafka = subprocess.run([*map(str, install.java("tools", tools.MAINS["dump-log"])), *arguments], capture_output=True,
                           timeout=300, env={**os.environ, "LC_ALL": "C.UTF-8"})
    binary = ROOT / "target" / os.environ.get("OTTLA_PROFILE", "debug") / "ottla"
    ours = subprocess.run([binary, "dump-log", *arguments], capture_output=True, timeout=120)
    told = " ".join(arguments)[:300]
    assert b"panicked" not in ours.stderr, f"{told}\n{ours.stderr.decode()[-2000:]}"
    assert ours.returncode == kafka.returncode, \
        f"exit status {ours.returncode}, Kafka's {kafka.returncode}: {told}\n{ours.stderr[-500:]}\n{kafka.stderr[-1500:]}"
    one, other = numbered(ours.stdout.decode()), kafka.stdout.decode()
    # The line that Kafka fell over may be there in part.
    whole = other if kafka.returncode == 0 else other[:other.rfind("\n") + 1]
    lines = list(zip(one.splitlines(), whole.splitlines()))
    differ = next((f"ours:  {a}\nKafka: {b}" for a, b in lines if a != b), None)
    assert differ is None, f"{told}\n{differ[:4000]}"
    assert one == other or kafka.returncode and one.startswith(whole), f"{told}\nours ends {one[-500:]}\nKafka {other[-500:]}"
    if kafka.returncode == 0:
        assert sorted(ours.stderr.splitlines()) == sorted(kafka.stderr.splitlines()), f"{told}\n{ours.stderr}\n{kafka.stderr}"
    return len(lines), other + kafka.stderr.decode()


def numbered(text):
    return re.sub(r'"transactionStatus":"(\w+)"', lambda found: f'"transactionStatus":{STATES.index(found[1])}', text)
