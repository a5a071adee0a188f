"""Ottla and Kafka in one cluster."""
import contextlib
import json

from . import flights, tools
from .mixed_cluster import Cluster
from .mixed_work import Work
from .shell import CACHE, wait_for

OFFSETS = "__consumer_offsets"
# A node of Kafka's says so of any node that was killed.
OF_KILLS = [r"java\.io\.IOException: (Connection to|Client was shutdown before response)"]


def java_hash(text):
    total = 0
    for char in text:
        total = (31 * total + ord(char)) & 0xFFFFFFFF
    return total & 0x7FFFFFFF


class Rig:
    """Clients at work on topics whose replicas are on every broker of a cluster of three."""

    def __init__(self, made, clients, stack):
        self.made, self.ids = made, [node.id for node in made.brokers]
        self.bootstrap = ",".join(node.bootstrap for node in made.brokers)
        self.topics = [f"mixed-{client}" for client in clients]
        self.led_by, self.coordinated_by = set(), set()
        for topic, node in zip(self.topics, [made.of("kafka"), made.of("ottla")] * 2):
            placed = [":".join(str(id) for id in self.order(number)) for number in range(flights.PARTITIONS)]
            tools.tool("topics", node.bootstrap, "--create", "--topic", topic, "--replica-assignment", ",".join(placed))
        self.works = [Work(client, self.bootstrap, topic, stack) for client, topic in zip(clients, self.topics)]
        for work in self.works:
            wait_for(f"a group of {work.topic}", work.shared_out, [*made.alive(), *work.members])
        self.all_go_on()

    def order(self, number):
        return [self.ids[(number + place) % 3] for place in range(3)]

    def all_go_on(self):
        """Also notes of which kind leaders and coordinators are."""
        for work in self.works:
            work.goes_on()
        asked, nodes = self.any_alive(), self.made.nodes
        offsets = self.made.partitions(OFFSETS, asked)
        for topic in self.topics:
            self.led_by |= {(topic, number, nodes[leader].kind) for number, (leader, _, _) in self.made.partitions(topic, asked).items()}
            leader, _, _ = offsets[java_hash(topic) % len(offsets)]
            self.coordinated_by.add((topic, nodes[leader].kind))

    def any_alive(self):
        return next(node for node in self.made.brokers if node.running.process.poll() is None)

    def agreed(self, what, is_so, *but):
        """Every broker tells so of each partition."""
        def told():
            asked = [node for node in self.made.brokers if node not in but]
            return all(is_so(*of) for node in asked for topic in [*self.topics, OFFSETS]
                       for of in self.made.partitions(topic, node).values())
        self.made.until(what, told)

    def all_in_sync(self):
        self.agreed("all replicas to be in sync", lambda leader, replicas, isr: isr == sorted(self.ids))

    def leaders_moved(self):
        """Each partition's leadership goes to the next of its replicas, by Kafka's tools."""
        asked = self.any_alive()
        moves = [{"topic": topic, "partition": number, "replicas": replicas[1:] + replicas[:1]}
                 for topic in [*self.topics, OFFSETS] for number, (_, replicas, _) in self.made.partitions(topic, asked).items()]
        file = CACHE / "mixed-moves.json"
        file.write_text(json.dumps({"version": 1, "partitions": moves}))
        said = tools.tool("reassign-partitions", asked.bootstrap, "--reassignment-json-file", file, "--execute")
        tools.expect(said, "Successfully started partition reassignments")
        self.preferred()

    def preferred(self):
        preferred = ["--election-type", "preferred", "--all-topic-partitions"]
        # From its second on it finds some led so already.
        tools.expect(tools.tool("leader-election", self.any_alive().bootstrap, *preferred), r"Success|Valid replica already elected")
        self.agreed("the preferred replicas to lead", lambda leader, replicas, _: leader == replicas[0])

    def killed(self, node):
        """kill -9 of a broker: the others lead, and it is in no ISR; when it is back it is, and leads again what it preferred."""
        node.kill()
        gone = lambda leader, _, isr: leader not in (-1, node.id) and node.id not in isr
        self.agreed(f"the others to lead without {node.id}", gone, node)
        self.all_go_on()
        self.made.start(node)
        self.all_in_sync()
        self.preferred()
        self.all_go_on()

    def finish(self):
        """Answers what the clients did, once nothing is lost or there twice and all replicas hold the same."""
        records = sum(work.finish() for work in self.works)
        both = {"ottla", "kafka"}
        for topic in self.topics:
            kinds = {kind for of, kind in self.coordinated_by if of == topic}
            assert kinds == both, f"{topic} was coordinated by {kinds} only"
            for number in range(flights.PARTITIONS):
                kinds = {kind for of, at, kind in self.led_by if (of, at) == (topic, number)}
                assert kinds == both, f"{topic}-{number} was led by {kinds} only"
        self.all_in_sync()
        self.made.stop()
        size = self.made.same_records([*self.topics, OFFSETS])
        self.made.faults_of_kafka(*OF_KILLS)
        return f"{records} records, {size} bytes on each of three replicas"


def exercised(plan, clients, **own):
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(Cluster(plan, **own))
        rig = Rig(made, clients, stack)
        rig.leaders_moved()
        rig.all_go_on()
        rig.leaders_moved()
        rig.all_go_on()
        for kind in ("kafka", "ottla"):
            rig.killed(made.of(kind))
        return rig.finish()


def under_kafka():
    """Ottla's brokers, and one of Kafka's, under a controller of Kafka's."""
    plan = {1: ("kafka", "controller"), 2: ("kafka", "broker"), 3: ("ottla", "broker"), 4: ("ottla", "broker")}
    return exercised(plan, ["kcat", "java"], broker_session_timeout_ms=6000, broker_heartbeat_interval_ms=1000)


def under_ottla():
    """Kafka's brokers, and one of Ottla's, under a controller of Ottla's."""
    plan = {1: ("ottla", "controller"), 2: ("kafka", "broker"), 3: ("kafka", "broker"), 4: ("ottla", "broker")}
    return exercised(plan, ["kcat", "kafka-python"])
