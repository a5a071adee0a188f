"""Our metadata log and its snapshots in Kafka's metadata shell."""
from . import brokers, tools, voters
from .shell import run, wait_for

# The newest that the shell of 4.3.1 reads.
LEVEL, NAME = 30, "4.3-IV0"
TOPIC, PARTITIONS = "shown", 50


def shell(file, *command, expect=0):
    return run(*tools.command("metadata-shell", "--snapshot", file, *command), expect=expect, limit=180)


def tree(file):
    """Kafka's shell waits until records are applied, and not until its own picture of them is: it may show that of no record."""
    told = []

    def is_told():
        told.append(shell(file, "tree", "/image"))
        return "offset -1, epoch -1" not in told[-1]

    wait_for("the shell to show what it has read", is_told)
    return told[-1]


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
        wait_for("a snapshot", lambda: len(list(metadata.glob("*.checkpoint"))) > 1, [running])
    for file in (log, max(metadata.glob("*.checkpoint"))):
        said = tree(file)
        # A name, and below it what it holds.
        tools.expect(said, rf"^ +{TOPIC}:", r"retention\.ms:\s+12345$", rf"metadataVersion:\s+Optional\[{NAME}\]",
                     r"brokers:\s+1:\s+BrokerRegistration\(id=1, ", r"controllers:\s+1:\s+ControllerRegistration\(id=1, ",
                     rf"^ +{PARTITIONS - 1}:\s+PartitionRegistration\(replicas=\[1\], directories=\[{node.directory}\]")
        # It says so of those of any snapshot.
        tools.refuse(said, "ERROR (?!Ignoring control record)|Exception")
