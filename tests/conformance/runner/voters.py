"""A quorum whose voters come and go, changed and described by Kafka's own tool."""
import contextlib
import re

from . import brokers, tools
from .shell import CACHE, ROOT, run, wait_for

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
OTTLA = ROOT / "target" / brokers.PROFILE / "ottla"


class Node:
    """One of a quorum whose first voter is node 1."""

    def __init__(self, number, port, controllers):
        self.number, self.port = number, port
        self.home = brokers.fresh(f"voters-{number}")
        self.properties = CACHE / f"voters-{number}.properties"
        settings = {
            "node.id": number, "process.roles": "broker,controller", "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controllers[number]}",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controllers[1]}", "log.dirs": self.home,
        }
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        voters = "--standalone" if number == 1 else "--no-initial-controllers"
        run(OTTLA, "format", "--cluster-id", CLUSTER, voters, "--properties", self.properties)
        self.directory = re.search(r"directory\.id=(\S+)", (self.home / "meta.properties").read_text())[1]

    def start(self):
        command = [OTTLA, "start", "--console", "off", "--properties", self.properties]
        return brokers.started(f"voters-{self.number}", command, self.port, self.home)


def change():
    run("cargo", "build", *brokers.RELEASE, limit=1800)
    controllers = {number: brokers.free_port() for number in (1, 2)}
    one, two = (Node(number, brokers.free_port(), controllers) for number in (1, 2))
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(node.start()) for node in (one, two)]

        def quorum(*args, expect=0):
            out = tools.tool("metadata-quorum", nodes[0].bootstrap, *args, expect=expect)
            return out.replace(one.directory, "DIRECTORY-1").replace(two.directory, "DIRECTORY-2")

        def refused(args, pattern):
            tools.expect(quorum(*args, expect=None), pattern)

        def is_so(*patterns):
            said = quorum("describe", "--status")
            return all(re.search(pattern, said) for pattern in patterns)

        wait_for("the second to be observed", lambda: is_so(r'CurrentObservers: +\[{"id": 2'), nodes)
        as_second = ["--command-config", two.properties, "add-controller"]
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
