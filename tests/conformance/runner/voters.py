"""A quorum that keeps its voters in its log, formatted, changed and described by Kafka's own tools."""
import contextlib
import re
import shutil

from . import brokers, mixed_quorum, tools
from .mixed_cluster import BOTH, Cluster
from .shell import ROOT, Beside, Failed, run, scratch, wait_for

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
OTTLA = ROOT / "target" / brokers.PROFILE / "ottla"


class Node:
    """One of a quorum whose first voter is node 1, or whose voters are `fixed`. `format`: options; settings with `_` for their dots."""

    def __init__(self, number, controllers, fixed=False, format=(), **own):
        self.number, self.port = number, brokers.free_port()
        self.home = brokers.fresh(f"voters-{number}")
        self.properties = scratch(f"voters-{number}.properties")
        addresses = {each: f"127.0.0.1:{port}" for each, port in controllers.items()}
        quorum, first = ("bootstrap.servers", addresses[1]), ["--standalone" if number == 1 else "--no-initial-controllers"]
        if fixed:
            quorum, first = ("voters", ",".join(f"{each}@{at}" for each, at in addresses.items())), []
        settings = {
            "node.id": number, "process.roles": "broker,controller", "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://{addresses[number]}",
            f"controller.quorum.{quorum[0]}": quorum[1], "log.dirs": self.home,
            **brokers.dotted(own),
        }
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        run(OTTLA, "format", "--cluster-id", CLUSTER, *first, *format, "--properties", self.properties)
        self.directory = re.search(r"directory\.id=(\S+)", (self.home / "meta.properties").read_text())[1]

    def start(self):
        node = Beside(f"voters-{self.number}", OTTLA, "start", "--console", "off", "--properties", self.properties)
        node.bootstrap = f"127.0.0.1:{self.port}"
        return node


def change():
    """Of a quorum that was formatted with one voter, and of one whose voters were fixed."""
    brokers.build()
    changed()
    changed(fixed=True)


def upgraded(nodes):
    """A quorum of fixed voters becomes one whose voters change: `kafka-features upgrade`. What the real one says was asked of it."""
    def features(*args, expect=0):
        return tools.tool("features", nodes[1].bootstrap, *args, expect=expect)

    failed_to = "upgrade kraft.version to {0}. The update failed for all features since the following feature had an error: "
    level = r"Feature: kraft.version\s.*FinalizedVersionLevel: {}\s"
    tools.expect(features("describe"), level.format(0))
    wrong = "Invalid update version 2 for feature kraft.version. Local controller [12] only supports versions 0-1"
    tools.expect(features("upgrade", "--feature", "kraft.version=2", expect=1), "Could not " + failed_to.format(2) + wrong)
    up = ["upgrade", "--feature", "kraft.version=1"]
    alone = r"Invalid upgrade of kraft.version to KRAFT_VERSION_1 because not all of the voters support it"

    def may_be_upgraded():
        try:
            return features(*up, "--dry-run")
        except Failed as failed:
            # A voter says who it is once it follows.
            tools.expect(str(failed), "Can not " + failed_to.format(1) + alone)
            return False

    wait_for("both to say who they are", may_be_upgraded, nodes)
    tools.expect(features("describe"), level.format(0))
    for _ in range(2):
        tools.expect(features(*up), "kraft.version was upgraded to 1.")
    wait_for("the node that is asked to know of it", lambda: re.search(level.format(1), features("describe")), nodes)
    down = "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature."
    tools.expect(features("downgrade", "--feature", "kraft.version=0", expect=1), down)


def changed(fixed=False):
    controllers = {number: brokers.free_port() for number in (1, 2)}
    # A change of voters that two disks are slow to write is not given up.
    one, two = (Node(number, controllers, fixed, controller_quorum_request_timeout_ms=30_000) for number in (1, 2))
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(node.start()) for node in (one, two)]
        wait_for("both to serve", lambda: brokers.serves(one.port) and brokers.serves(two.port), nodes)
        if fixed:
            upgraded(nodes)

        def quorum(*args, expect=0):
            out = tools.tool("metadata-quorum", nodes[0].bootstrap, *args, expect=expect)
            return out.replace(one.directory, "DIRECTORY-1").replace(two.directory, "DIRECTORY-2")

        def refused(args, pattern):
            tools.expect(quorum(*args, expect=None), pattern)

        def is_so(*patterns):
            said = quorum("describe", "--status")
            return all(re.search(pattern, said) for pattern in patterns)

        as_second = ["--command-config", two.properties, "add-controller"]
        if fixed:
            tools.expect(quorum("remove-controller", "--controller-id", 2, "--controller-directory-id", two.directory),
                         "Removed +KRaft controller 2 with directory id DIRECTORY-2")
        wait_for("the second to be observed", lambda: is_so(r'CurrentObservers: +\[{"id": 2'), nodes)
        tools.expect(quorum(*as_second), f"Added controller 2 with directory id DIRECTORY-2 and endpoints: "
                     f"CONTROLLER://127.0.0.1:{controllers[2]}")
        voters = r"\[ReplicaKey\(id=1, directoryId=DIRECTORY-1\), ReplicaKey\(id=2, directoryId=DIRECTORY-2\)\]"
        refused(as_second, "DuplicateVoterException: The voter id for ReplicaKey\\(id=2, directoryId=DIRECTORY-2\\) is already "
                f"part of the set of voters {voters}")
        removed = ["remove-controller", "--controller-id", 1, "--controller-directory-id"]
        refused([*removed, two.directory], "VoterNotFoundException: Cannot remove voter ReplicaKey\\(id=1, "
                f"directoryId=DIRECTORY-2\\) from the set of voters {voters}")
        tools.expect(quorum(*removed, one.directory), "Removed +KRaft controller 1 with directory id DIRECTORY-1")
        wait_for("the second to lead alone", lambda: is_so(
            "LeaderId: +2", r'CurrentVoters: +\[{"id": 2, "directoryId": "DIRECTORY-2", "endpoints": \["CONTROLLER://[^"]*"\]}\]',
            r'CurrentObservers: +\[{"id": 1, "directoryId": "DIRECTORY-1"}\]'), nodes)


def given():
    """Voters that are named when directories are formatted: written down as by Kafka's tool, and what each node then says."""
    made = Cluster({number: ("ottla", BOTH) for number in (1, 2, 3)}, dynamic=True)
    node = made.nodes[1]
    ours, aside = formatted(node), brokers.fresh("voters-aside")
    shutil.move(node.home, aside)
    node.kind = "kafka"
    node.format(*made.first)
    theirs = formatted(node)
    assert ours == theirs, f"formatted by Ottla:\n{ours}\nand by Kafka:\n{theirs}"
    shutil.rmtree(node.home)
    shutil.move(aside, node.home)
    node.kind = "ottla"
    with made:
        mixed_quorum.described(made)
        said = mixed_quorum.tool(node, "describe", "--status")
        tools.expect(said, *(rf'CurrentVoters:.*"id": {voter.id}, "directoryId": "{voter.directory}", '
                             rf'"endpoints": \["CONTROLLER://[^"]*:{voter.controller}"' for voter in made.voters))
        tools.expect(tools.tool("features", node.bootstrap, "describe"), r"Feature: kraft.version\s.*FinalizedVersionLevel: 1\s")


def formatted(node):
    """What the metadata directory holds, but for the times."""
    (file,) = node.metadata.iterdir()
    said = run(*tools.command("dump-log", "--cluster-metadata-decoder", "--files", file), limit=120)
    tools.expect(said, f'KRaftVoters .*"voterId":{node.id},"voterDirectoryId":"{node.directory}"')
    meta = set((node.dirs[0] / "meta.properties").read_text().splitlines())
    return re.sub(r'(CreateTime: |crc: |LogTimestamp":)\d+', r"\1", said), {line for line in meta if not line.startswith("#")}
