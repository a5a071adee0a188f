"""Clusters of Ottla and Kafka nodes, each started with the same server.properties whichever of both it is."""
import base64
import json
import re
import shutil
import signal

from . import brokers, install
from .shell import ROOT, Beside, run, scratch, wait_for

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
BROKER, CONTROLLER, BOTH = "broker", "controller", "broker,controller"
# What no node may say because of one of the other kind.
WRONG = {"kafka": re.compile(r"\b(?:ERROR|FATAL)\b|Exception"), "ottla": re.compile(r" ERROR |panicked|did not let this broker go")}


class Node:
    def __init__(self, number, kind, roles):
        self.id, self.kind, self.roles = number, kind, roles
        self.port, self.controller = brokers.free_port(), brokers.free_port()
        self.serving = self.port if "broker" in roles else self.controller
        self.bootstrap = f"127.0.0.1:{self.serving}"
        self.home = brokers.fresh(f"mixed-{number}")
        self.dirs = [self.home / "one", self.home / "two"]
        self.metadata = self.dirs[0] / "__cluster_metadata-0"
        self.properties = scratch(f"mixed-{number}.properties")
        self.directory = base64.urlsafe_b64encode(bytes([number]) * 16).decode().rstrip("=")
        self.running, self.runs = None, []

    def write(self, settings):
        listeners = {"broker": f"PLAINTEXT://127.0.0.1:{self.port}", "controller": f"CONTROLLER://127.0.0.1:{self.controller}"}
        own = {"node.id": self.id, "process.roles": self.roles, "controller.listener.names": "CONTROLLER",
               "listeners": ",".join(listeners[role] for role in self.roles.split(",")),
               "log.dirs": ",".join(map(str, self.dirs)), "metadata.log.dir": self.dirs[0], **settings}
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in own.items()))

    def format(self, *more):
        tool = {"kafka": [*install.java("server", "kafka.tools.StorageTool"), "format", "-t", CLUSTER, "-c", self.properties],
                "ottla": [ottla(), "format", "--cluster-id", CLUSTER, "--properties", self.properties]}[self.kind]
        run(*tool, *more)

    def start(self, kind=None):
        self.kind = kind or self.kind
        command = {"kafka": install.java("server", "kafka.Kafka", self.properties),
                   "ottla": [ottla(), "start", "--console", "off", "--properties", self.properties]}[self.kind]
        self.running = Beside(f"mixed-{self.id}-{len(self.runs)}-{self.kind}", *command)
        self.runs.append((self.kind, self.running))

    def kill(self):
        self.running.process.kill()
        self.running.process.wait()

    def signal(self, number):
        self.running.process.send_signal(number)

    def serves(self):
        return brokers.serves(self.serving)

    def replicas(self, topic):
        """Directories of its replicas, by their names."""
        return {path.name: path for dir in self.dirs for path in dir.glob(f"{topic}-[0-9]*")}

    def loses_metadata(self):
        shutil.rmtree(self.metadata)

    def took_a_snapshot(self):
        return not (self.metadata / f"{0:020}.log").exists() and any(self.metadata.glob("*.checkpoint"))


def ottla():
    return ROOT / "target" / brokers.PROFILE / "ottla"


class Cluster:
    """
    `plan`: kind and roles of each node; `dynamic`: the quorum keeps its voters in its log. All are ended with the `with` block.
    """

    def __init__(self, plan, dynamic=False, **own):
        brokers.build()
        self.nodes = {number: Node(number, *of) for number, of in plan.items()}
        self.voters = [node for node in self.nodes.values() if "controller" in node.roles]
        self.brokers = [node for node in self.nodes.values() if "broker" in node.roles]
        addresses = {node: f"127.0.0.1:{node.controller}" for node in self.voters}
        quorum, self.first = {"controller.quorum.voters": ",".join(f"{node.id}@{at}" for node, at in addresses.items())}, []
        if dynamic:
            quorum = {"controller.quorum.bootstrap.servers": ",".join(addresses.values())}
            self.first = ["--initial-controllers", ",".join(f"{node.id}@{at}:{node.directory}" for node, at in addresses.items())]
        settings = {
            **quorum,
            "default.replication.factor": 3, "offsets.topic.replication.factor": 3, "offsets.topic.num.partitions": 6,
            "min.insync.replicas": 2, "group.initial.rebalance.delay.ms": 0, "replica.lag.time.max.ms": 10_000,
            # Kafka's nodes take as long to start where the machine is busy.
            "initial.broker.registration.timeout.ms": 180_000,
            "metadata.log.max.record.bytes.between.snapshots": 4096, **brokers.NO_RETENTION, **brokers.dotted(own),
        }
        for node in self.nodes.values():
            node.write(settings)
            node.format(*self.first)

    def of(self, kind):
        """The first broker of this kind."""
        return next(node for node in self.brokers if node.kind == kind)

    def alive(self):
        return [node.running for node in self.nodes.values() if node.running.process.poll() is None]

    def until(self, what, reached, limit=90):
        wait_for(what, reached, self.alive(), limit)

    def start(self, *nodes):
        for node in nodes:
            node.start()
        for node in nodes:
            self.until(f"node {node.id} to serve", node.serves)

    def end(self, node):
        """Stopped in order, as its user does."""
        node.running.end(60)
        status, wanted = node.running.process.returncode, {"kafka": 128 + signal.SIGTERM, "ottla": 0}[node.kind]
        assert status == wanted, f"node {node.id} ended with {status}\n{node.running.said()[-3000:]}"

    def stop(self):
        """Brokers before controllers, as each wants one that lets it go; of several voters the last has none, and is killed."""
        running = [node for node in self.nodes.values() if node.running and node.running.process.poll() is None]
        running.sort(key=lambda node: node in self.voters)
        for node in running:
            if node is running[-1] and node.roles == BOTH:
                node.kill()
            node.running.end(60)

    def __enter__(self):
        try:
            self.start(*self.nodes.values())
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def partitions(self, asked):
        """Leader, replicas and ISR of each partition of each topic, as this node tells them."""
        told = json.loads(run("kcat", "-b", asked.bootstrap, "-m", 30, "-L", "-J", limit=60))
        ids = lambda replicas: [replica["id"] for replica in replicas]
        of = lambda part: (part["leader"], ids(part["replicas"]), sorted(ids(part["isrs"])))
        return {topic["topic"]: {part["partition"]: of(part) for part in topic["partitions"]} for topic in told["topics"]}

    def faults(self, *excused):
        """Asserts that no node said what it should not; `excused` are patterns of what Kafka's may."""
        wrong = []
        for kind, process in (run for node in self.nodes.values() for run in node.runs):
            for entry in re.split(r"\n(?=\[?20\d\d-)", process.said()):
                if WRONG[kind].search(entry) and not any(re.search(pattern, entry) for pattern in excused):
                    wrong.append(f"{process.log.name}: {entry[:1500]}")
        assert not wrong, f"{len(wrong)} errors:\n" + "\n".join(wrong[:10])

    def same_records(self, topics):
        """The bytes of each replica's log are those of every other; answers how many bytes one of each has. After `stop`."""
        sizes = 0
        for topic in topics:
            replicas = [node.replicas(topic) for node in self.brokers]
            for name in sorted(set().union(*replicas)):
                logs = [log_of(paths[name]) for paths in replicas]
                assert all(log == logs[0] for log in logs), f"{name}: replicas differ, of {[len(log) for log in logs]} bytes"
                sizes += len(logs[0])
        assert sizes, "no records"
        return sizes

    def directories_are_known(self, topics):
        """Each replica lies in the directory that the first voter's log tells."""
        logs = sorted(self.voters[0].metadata.glob("*.log"))
        dumped = run(ottla(), "dump-log", "--cluster-metadata-decoder", "--files", ",".join(map(str, logs)))
        names, replicas, told = {}, {}, {}
        for record in (json.loads(line.split(" payload: ", 1)[1]) for line in dumped.splitlines() if " payload: {" in line):
            data = record["data"]
            if record["type"] == "TOPIC_RECORD":
                names[data["topicId"]] = data["name"]
            elif record["type"] in ("PARTITION_RECORD", "PARTITION_CHANGE_RECORD"):
                partition = f'{names[data["topicId"]]}-{data["partitionId"]}'
                replicas[partition] = data.get("replicas") or replicas[partition]
                told[partition] = data.get("directories") or told[partition]
        for topic in topics:
            for node in self.brokers:
                for name, path in node.replicas(topic).items():
                    lies = re.search(r"directory\.id=(\S+)", (path.parent / "meta.properties").read_text())[1]
                    known = dict(zip(replicas[name], told[name]))[node.id]
                    assert lies == known, f"{name} on node {node.id} is in {lies}, and {known} is known"


def log_of(directory):
    return b"".join(file.read_bytes() for file in sorted(directory.glob("*.log")))
