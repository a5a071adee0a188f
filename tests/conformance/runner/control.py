"""Kafka's tools for operators, against a cluster of three nodes: replicas move, leaders change, features, brokers that are forgotten."""
import json
import re
from contextlib import contextmanager

from . import brokers, tools
from .shell import ROOT, Beside, run, scratch, wait_for
from .tools import expect, refuse, tool

IDS = (1, 2, 3)
# Four times what others have to lead in: who is found to be dead is so long before its session ends.
SESSION_MS = 120_000


class Node:
    def __init__(self, number, listen, controller):
        self.id, self.listen, self.controller, self.bootstrap = number, listen, controller, f"127.0.0.1:{listen}"
        self.process = None


class Cluster:
    def __init__(self):
        brokers.build()
        self.home = brokers.fresh("cluster-data")
        self.home.mkdir(parents=True)
        self.nodes = []
        for number in IDS:
            port = brokers.free_port()
            self.nodes.append(Node(number, port, port + 1))
        tables = "".join(f'[[node]]\nid = {node.id}\nlisten = "127.0.0.1:{node.listen}"\n'
                         f'controller = "127.0.0.1:{node.controller}"\ndata = "{self.home}/{node.id}"\n'
                         for node in self.nodes)
        (self.home / "cluster.toml").write_text(f'[cluster]\nname = "tools"\n[settings]\n"broker.session.timeout.ms" = {SESSION_MS}\n{tables}', encoding="utf-8")

    def start(self, node):
        ottla = ROOT / "target" / brokers.PROFILE / "ottla"
        node.process = Beside(f"cluster-node-{node.id}", ottla, "start", "--config", self.home / "cluster.toml",
                              "--node", node.id, "--console", "off")

    def wait_until_up(self, nodes):
        for node in nodes:
            wait_for(f"node {node.id}", lambda node=node: brokers.serves(node.listen), [node.process], 60)


@contextmanager
def cluster():
    made = Cluster()
    try:
        for node in made.nodes:
            made.start(node)
        made.wait_until_up(made.nodes)
        yield made
    finally:
        for node in made.nodes:
            if node.process:
                node.process.end()


def partitions(bootstrap, topic):
    """Leader, replicas and ISR of each partition, in their order."""
    described = tool("topics", bootstrap, "--describe", "--topic", topic)
    found = re.findall(r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: (\S*)", described)
    ids = lambda text: [int(part) for part in text.split(",") if part]
    return {int(number): (leader, ids(replicas), sorted(ids(isr))) for number, leader, replicas, isr in found}


def reassignment(name, topic, wanted):
    file = scratch(f"{name}.json")
    moves = [{"topic": topic, "partition": number, "replicas": replicas} for number, replicas in wanted.items()]
    file.write_text(json.dumps({"version": 1, "partitions": moves}))
    return file


def reassigned(bootstrap, topic):
    wanted = {0: [3, 1], 1: [1], 2: [1, 2, 3]}
    file = reassignment("reassignment", topic, wanted)
    said = tool("reassign-partitions", bootstrap, "--reassignment-json-file", file, "--execute")
    expect(said, "Successfully started partition reassignments")
    verify = lambda: tool("reassign-partitions", bootstrap, "--reassignment-json-file", file, "--verify")
    wait_for("the replicas to have moved", lambda: verify().count("is completed") == len(wanted))
    are = lambda: {number: (replicas, isr) for number, (_, replicas, isr) in partitions(bootstrap, topic).items()}
    wait_for("the broker that is asked to know of it", lambda: are() == {number: (ids, sorted(ids)) for number, ids in wanted.items()})
    expect(tool("reassign-partitions", bootstrap, "--list"), "No partition reassignments found")
    nobody = reassignment("nobody", topic, {0: [77]})
    refused = tool("reassign-partitions", bootstrap, "--reassignment-json-file", nobody, "--execute", expect=None)
    expect(refused, "Unknown broker id 77|no such broker")
    end = tools.offsets_at(bootstrap, topic, -1)
    assert sum(end.values()) == 300, end
    back = reassignment("reassignment", topic, {number: [1, 2, 3] for number in range(3)})
    tool("reassign-partitions", bootstrap, "--reassignment-json-file", back, "--execute")
    wait_for("three replicas of each", lambda: verify().count("is completed") == len(wanted))


def verified(bootstrap, topic):
    """`kafka-replica-verification` reads all replicas side by side from their beginning, until it is ended."""
    asked = tools.command("replica-verification", "--broker-list", bootstrap, "--topics-include", topic, "--time", -2,
                          "--report-interval-ms", 500)
    with Beside("replica-verification", *asked) as verification:
        def said():
            return verification.out.read_text() + verification.said()

        wait_for("the replicas to be compared",
                 lambda: re.search("max lag is 0 for partition .* among 3 partitions", said()), [verification])
        refuse(said(), "doesn't match|unmatched checksum|Exception")


def elected(made, topic):
    first, second = made.nodes[0], made.nodes[1]
    first.process.process.kill()
    first.process.process.wait()
    leaders = lambda: [leader for leader, _, _ in partitions(second.bootstrap, topic).values()]
    wait_for("others to lead", lambda: not set(leaders()) & {"1", "none"}, [second.process], SESSION_MS / 4000)
    made.start(first)
    made.wait_until_up([first])
    in_sync = lambda: all(isr == [1, 2, 3] for _, _, isr in partitions(second.bootstrap, topic).values())
    wait_for("its replicas to be in sync", in_sync, [second.process])
    preferred = ["--election-type", "preferred", "--all-topic-partitions"]
    expect(tool("leader-election", second.bootstrap, *preferred), r"Successfully completed leader election \(PREFERRED\)")
    wait_for("it to lead again", lambda: set(leaders()) == {"1"}, [second.process])
    one = ["--topic", topic, "--partition", 0]
    expect(tool("leader-election", second.bootstrap, "--election-type", "unclean", *one), "Valid replica already elected")


def features(bootstrap, controller):
    described = tool("features", bootstrap, "describe")
    expect(described, r"Feature: metadata.version\s.*FinalizedVersionLevel: \S+", r"Feature: transaction.version\s")
    expect(tool("features", bootstrap, "downgrade", "--feature", "transaction.version=1"), "transaction.version was downgraded to 1")
    expect(tool("features", bootstrap, "upgrade", "--feature", "transaction.version=2"), "transaction.version was upgraded to 2")
    wrong = tool("features", bootstrap, "upgrade", "--feature", "transaction.version=9", expect=None)
    expect(wrong, "Could not upgrade|only supports versions|INVALID_UPDATE_VERSION")
    by_controller = run(*tools.command("features", "--bootstrap-controller", controller, "describe"), limit=120)
    expect(by_controller, r"Feature: metadata.version\s", r"Feature: kraft.version\s")


def forgotten(made):
    last, first = made.nodes[2], made.nodes[0]
    last.process.end()
    endpoints = lambda: tool("cluster list-endpoints", first.bootstrap, "--include-fenced-brokers")
    wait_for("a broker that stopped to be fenced", lambda: re.search(r"^3\s.*fenced", endpoints(), re.M), [first.process])
    expect(tool("cluster unregister", first.bootstrap, "--id", 3), "Broker 3 is no longer registered")
    wait_for("the broker that is asked to forget it", lambda: not re.search(r"^3\s", endpoints(), re.M), [first.process])
    expect(tool("cluster unregister", first.bootstrap, "--id", 3, expect=None), "not currently registered|not registered")


def operators():
    with cluster() as made:
        bootstrap = made.nodes[0].bootstrap
        topic = tools.name("moved")
        tool("topics", bootstrap, "--create", "--topic", topic, "--replica-assignment", "1:2,2:3,3:1")
        tool("console-producer", bootstrap, "--topic", topic, stdin="".join(f"{n}\n" for n in range(300)))
        reassigned(bootstrap, topic)
        verified(bootstrap, topic)
        elected(made, topic)
        features(bootstrap, f"127.0.0.1:{made.nodes[1].controller}")
        forgotten(made)
