"""Our metadata log and its snapshots in Kafka's metadata shell."""
import subprocess

from . import brokers, tools, voters
from .shell import run, wait_for

# The newest that the shell of 4.3.1 reads.
LEVEL, NAME = 30, "4.3-IV0"
TOPIC, PARTITIONS = "shown", 50


def shell(file, *command, expect=0, limit=180):
    return run(*tools.command("metadata-shell", "--snapshot", file, *command), expect=expect, limit=limit)


def tree(file):
    """Kafka's shell waits until records are applied, and not until its own picture of them is: it may show that of no record. And it waits
    for ever where it comes to the end of a snapshot later than its loader to that of the records."""
    told = []

    def is_told():
        try:
            told.append(shell(file, "tree", "/image", limit=30))
        except subprocess.TimeoutExpired:
            return False
        return "offset -1, epoch -1" not in told[-1]

    wait_for("the shell to show what it has read", is_told)
    return told[-1]


def newest(metadata):
    return max(metadata.glob("*.checkpoint"))


def shown():
    brokers.build()
    format = ["--feature", f"metadata.version={LEVEL}"]
    node = voters.Node(1, {1: brokers.free_port()}, fixed=True, format=format, offsets_topic_replication_factor=1,
                       metadata_log_max_record_bytes_between_snapshots=2048)
    metadata = node.home / "__cluster_metadata-0"
    log = metadata / f"{0:020}.log"
    with node.start() as running:
        wait_for("the node to serve", lambda: brokers.serves(node.port), [running])
        tools.tool("topics", running.bootstrap, "--create", "--topic", TOPIC, "--partitions", PARTITIONS,
                   "--replication-factor", 1, "--config", "retention.ms=12345")
        tools.expect(shell(log, "ls", "/", expect=1), "Unable to lock")
        wait_for("a snapshot of the topic", lambda: b"retention.ms" in newest(metadata).read_bytes(), [running])
    for file in (log, newest(metadata)):
        said = tree(file)
        # A name, and below it what it holds.
        tools.expect(said, rf"^ +{TOPIC}:", r"retention\.ms:\s+12345$", rf"metadataVersion:\s+Optional\[{NAME}\]",
                     r"brokers:\s+1:\s+BrokerRegistration\(id=1, ", r"controllers:\s+1:\s+ControllerRegistration\(id=1, ",
                     rf"^ +{PARTITIONS - 1}:\s+PartitionRegistration\(replicas=\[1\], directories=\[{node.directory}\]")
        # It says so of those of any snapshot.
        tools.refuse(said, "ERROR (?!Ignoring control record)|Exception")
