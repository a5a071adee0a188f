"""Clients at work on topics whose replicas are on every broker of a cluster of three, and what is asserted of them."""
import json

from . import flights, tools
from .mixed_work import Work
from .shell import scratch, wait_for

OFFSETS = "__consumer_offsets"
# What Kafka's nodes say also of each other: a node was killed; one leads the quorum and its controller is not active yet; a leader
# is new to a producer that has requests under way to the old one; the machine is too busy.
OF_THEIR_OWN = [r"java\.io\.IOException: (Connection to|Client was shutdown before response)",
                r"NotControllerException: The active controller appears to be node \d+",
                r"OutOfOrderSequenceException: Out of order sequence number",
                r"EventPerformanceMonitor|NotControllerException: No controller appears to be active|event queue overloaded"]


def java_hash(text):
    total = 0
    for char in text:
        total = (31 * total + ord(char)) & 0xFFFFFFFF
    return total & 0x7FFFFFFF


class Rig:
    def __init__(self, made, clients, stack):
        self.made, self.ids = made, [node.id for node in made.brokers]
        self.bootstrap = ",".join(node.bootstrap for node in made.brokers)
        self.topics = [f"mixed-{client}" for client in clients]
        self.replicated = [*self.topics, OFFSETS]
        # Of which kinds the leaders of each partition, and the coordinators of each group, have been, in their order.
        self.kinds = {}
        placed = ",".join(":".join(str(self.ids[(number + at) % 3]) for at in range(3)) for number in range(flights.PARTITIONS))
        # Also by a broker that is not of its controller's kind.
        for topic, node in zip(self.topics, [made.brokers[0], made.brokers[-1]] * 2):
            tools.tool("topics", node.bootstrap, "--create", "--topic", topic, "--replica-assignment", placed)
        self.works = [Work(client, self.bootstrap, topic, stack) for client, topic in zip(clients, self.topics)]
        for work in self.works:
            wait_for(f"a group of {work.topic}", work.shared_out, [*made.alive(), *work.members])
        self.all_go_on()

    def all_go_on(self):
        """What is sent from now on is acknowledged and read."""
        for work in self.works:
            work.goes_on()
        asked, nodes = self.any_alive(), self.made.nodes
        told = self.made.partitions(asked)
        for topic in self.topics:
            leaders = {(topic, number): leader for number, (leader, _, _) in told[topic].items()}
            leaders[topic] = told[OFFSETS][java_hash(topic) % len(told[OFFSETS])][0]
            for what, leader in leaders.items():
                self.kinds.setdefault(what, []).append(nodes[leader].kind if leader in nodes else "none")

    def any_alive(self):
        return next(node for node in self.made.brokers if node.running.process.poll() is None)

    def agreed(self, what, is_so, but=None):
        """Every broker tells so of each partition."""
        def told():
            by_nodes = (self.made.partitions(node) for node in self.made.brokers if node != but)
            return all(is_so(*of) for topics in by_nodes for topic in self.replicated for of in topics[topic].values())
        self.made.until(what, told)

    def all_in_sync(self):
        self.agreed("all replicas to be in sync", lambda leader, replicas, isr: isr == sorted(self.ids))

    def led_by_the_other_kind(self):
        """Each partition's leadership goes from Ottla to Kafka, or from Kafka to Ottla, by Kafka's tools."""
        self.all_in_sync()
        asked, kind, moves = self.any_alive(), lambda id: self.made.nodes[id].kind, []
        told = self.made.partitions(asked)
        for topic in self.replicated:
            for number, (leader, replicas, _) in told[topic].items():
                first = next(replica for replica in replicas if kind(replica) != kind(leader))
                wanted = [first, *(replica for replica in replicas if replica != first)]
                moves.append({"topic": topic, "partition": number, "replicas": wanted})
        file = scratch("mixed-moves.json")
        file.write_text(json.dumps({"version": 1, "partitions": moves}))
        said = tools.tool("reassign-partitions", asked.bootstrap, "--reassignment-json-file", file, "--execute")
        tools.expect(said, "Successfully started partition reassignments")
        self.preferred()

    def preferred(self):
        self.all_in_sync()
        preferred = ["--election-type", "preferred", "--all-topic-partitions"]
        # It may find all led so already.
        tools.expect(tools.tool("leader-election", self.any_alive().bootstrap, *preferred), "Success|Valid replica already elected")
        self.agreed("the preferred replicas to lead", lambda leader, replicas, _: leader == replicas[0])

    def gone(self, node):
        """The others lead, and it is in no ISR; the clients go on."""
        self.agreed(f"the others to lead without {node.id}", lambda leader, _, isr: leader not in (-1, node.id) and node.id not in isr,
                    node)
        self.all_go_on()

    def back(self, node):
        self.made.start(node)
        self.all_in_sync()
        self.all_go_on()

    def killed(self, node):
        node.kill()
        self.gone(node)
        self.back(node)

    def back_without_metadata(self, node):
        """It takes a snapshot of it."""
        node.loses_metadata()
        self.back(node)
        assert node.took_a_snapshot(), sorted(node.metadata.iterdir())

    def away_and_back(self, node):
        """Stopped in order, it has handed over all that it led."""
        self.made.end(node)
        self.gone(node)
        self.back_without_metadata(node)

    def was_led_by_both(self):
        """Each partition and each group went from Kafka to Ottla, and from Ottla to Kafka."""
        for what, kinds in self.kinds.items():
            assert {("kafka", "ottla"), ("ottla", "kafka")} <= set(zip(kinds, kinds[1:])), f"{what} was led by {kinds}"

    def finish(self):
        """Answers what the clients did, once nothing is lost or there twice and all replicas hold the same."""
        records = sum(work.finish() for work in self.works)
        self.all_in_sync()
        self.made.stop()
        size = self.made.same_records(self.replicated)
        self.made.faults(*OF_THEIR_OWN)
        return f"{records} records, {size} bytes on each of three replicas"
