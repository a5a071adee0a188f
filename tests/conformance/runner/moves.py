"""Replicas move between the log directories of a broker, told by Kafka's own clients: what they say of Ottla they say of Kafka."""
import json

from . import brokers, install, tools
from .shell import Beside, run, scratch, wait_for

DIRS = ["a", "b", "c"]
LINES = 30_000
# Of bytes a second: the move lasts for some seconds.
SLOW = 200_000
THROTTLE = "replica.alter.log.dirs.io.max.bytes.per.second"


def alter(broker, topic, to):
    """What Kafka's Admin says, but for where the broker is."""
    said = run(*install.program("AlterDirs", broker.bootstrap, topic, to))
    return said.replace(str(broker.home), "HOME")


def places(bootstrap, topic):
    """The directory of each log of the topic, and whether that is a copy to come."""
    described = tools.described_dirs(bootstrap, "--broker-list", "1", "--topic-list", topic)
    return {(kept_in["logDir"].rsplit("/", 1)[1], replica["isFuture"])
            for kept_in in described for replica in kept_in["partitions"]}


def loaded(broker, topic):
    """An idempotent producer at work, which bears it that the broker dies."""
    flights = scratch("moving.tsv")
    with open(install.flights(), encoding="utf-8") as all_flights, open(flights, "w", encoding="utf-8") as part:
        part.writelines(line for line, _ in zip(all_flights, range(LINES)))
    tools.tool("topics", broker.bootstrap, "--create", "--topic", topic, "--config", "segment.bytes=1048576")
    run("kcat", "-b", broker.bootstrap, "-P", "-t", topic, "-l", flights)
    return Beside("kcat-moving", "kcat", "-b", broker.bootstrap, "-X", "enable.idempotence=true", "-X",
                  "message.timeout.ms=300000", "-X", "batch.num.messages=50", "-P", "-t", topic, "-l", flights)


def records(broker, topic):
    told = run("kcat", "-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%o %s\\n")
    split = [line.split(" ", 1) for line in told.splitlines()]
    assert [int(offset) for offset, _ in split] == list(range(len(split))), "offsets do not count up"
    return sorted(value for _, value in split)


def moved(broker, kill):
    """Moves a replica under load; what was said meanwhile. `kill` ends the broker amid the move, and starts it again."""
    topic = "moving"
    with loaded(broker, topic) as producer:
        ((old, _),) = places(broker.bootstrap, topic)
        new, other = (name for name in DIRS if name != old)
        of_broker = ["--entity-type", "brokers", "--entity-name", 1, "--alter"]
        tools.tool("configs", broker.bootstrap, *of_broker, "--add-config", f"{THROTTLE}={SLOW}")
        said = [alter(broker, to_topic, broker.home / to)
                for to_topic, to in [("nobody", new), (topic, "nowhere"), (topic, other), (topic, new), (topic, new)]]
        amid = places(broker.bootstrap, topic)
        assert amid == {(old, False), (new, True)}, amid
        if kill:
            broker = brokers.killed_and_started_again(broker)
        wait_for("the producer", lambda: producer.process.poll() is not None, [broker])
        assert producer.process.returncode == 0, producer.said()
        amid = places(broker.bootstrap, topic)
        assert amid == {(old, False), (new, True)}, f"it was not amid the move: {amid}"
        tools.tool("configs", broker.bootstrap, *of_broker, "--delete-config", THROTTLE)
        wait_for("the move", lambda: places(broker.bootstrap, topic) == {(new, False)}, [broker])
        said.append(alter(broker, topic, broker.home / new))
    expected = sorted(2 * scratch("moving.tsv").read_text(encoding="utf-8").splitlines())
    kept = records(broker, topic)
    assert kept == expected, f"{len(kept)} records, not {len(expected)}"
    assert not (broker.home / old / f"{topic}-0").exists(), "the old log is still there"
    # Which directory a new log goes to is the broker's choice.
    for directory, called in [(old, "OLD"), (new, "NEW"), (other, "OTHER")]:
        said = [words.replace(f"HOME/{directory}", called) for words in said]
    return said, broker


def reassigned(broker):
    """The replica goes to the directory that a plan for kafka-reassign-partitions names; what that tool says."""
    topic, plan = "moving", scratch("directories.json")
    ((old, _),) = places(broker.bootstrap, topic)
    new = next(name for name in DIRS if name != old)

    def told(directory, *action, expect=0):
        move = {"topic": topic, "partition": 0, "replicas": [1], "log_dirs": [str(broker.home / directory)]}
        plan.write_text(json.dumps({"version": 1, "partitions": [move]}))
        said = tools.tool("reassign-partitions", broker.bootstrap, "--reassignment-json-file", plan, *action, expect=expect)
        said = "".join(line + "\n" for line in said.splitlines() if not line.startswith("\t"))
        for path, called in [(old, "OLD"), (new, "NEW")]:
            said = said.replace(str(broker.home / path), called)
        return said.replace(str(broker.home), "HOME")

    slowly = ["--execute", "--replica-alter-log-dirs-throttle", 100 * SLOW]
    said = [told("nowhere", "--execute", expect=None), told(new, *slowly)]
    done = "completed successfully"
    wait_for("the plan to be done", lambda: done in told(new, "--verify", "--preserve-throttles"), [broker])
    assert places(broker.bootstrap, topic) == {(new, False)}
    said += [told(new, "--verify"), told(old, "--verify")]
    return said


def left(broker):
    """The files of each log directory after a clean stop, and what the checkpoints among them say; in the order of what they say."""
    order = scratch("delete-records.json")
    below = [{"topic": "moving", "partition": 0, "offset": 1000}]
    order.write_text(json.dumps({"partitions": below, "version": 1}))
    tools.tool("delete-records", broker.bootstrap, "--offset-json-file", order)
    broker.end()
    return sorted((kept_in(broker.home / name) for name in DIRS), key=str)


def kept_in(directory):
    # What differs: the metadata log is in one of them, each has files of its own, Kafka removes the lock's file, and makes a
    # file before there is something to write.
    of_one = {"bootstrap.checkpoint", ".lock", ".ottla_kernel"}
    files = [file for file in directory.iterdir() if file.is_file() and file.name not in of_one]
    said = {file.name: file.read_text().splitlines() for file in files if file.name.endswith("-checkpoint")}
    entries = {name: sorted(lines) if lines != ["0", "0"] else [] for name, lines in said.items()}
    if not entries["recovery-point-offset-checkpoint"]:
        # Kafka leaves it as it is where there are no logs any more.
        del entries["replication-offset-checkpoint"]
    return entries, sorted(file.name for file in files)


def as_kafka():
    with brokers.ottla("moves-ottla", dirs=DIRS) as ottla:
        of_ottla, _ = moved(ottla, kill=False)
        of_ottla += reassigned(ottla)
        ottlas_files = left(ottla)
    with brokers.kafka(dirs=DIRS) as kafka:
        of_kafka, _ = moved(kafka, kill=False)
        of_kafka += reassigned(kafka)
        kafkas_files = left(kafka)
    for ottlas, kafkas in [*zip(of_ottla, of_kafka), *zip(ottlas_files, kafkas_files)]:
        assert ottlas == kafkas, f"of Ottla:\n{ottlas}\nof Kafka:\n{kafkas}"


def amid_a_kill():
    with brokers.ottla("moves-ottla", dirs=DIRS) as ottla:
        _, again = moved(ottla, kill=True)
        again.end()
