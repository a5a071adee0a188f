"""Clusters of Ottla and Kafka nodes, each started with the same server.properties whichever of both it is."""
import json
import re

from . import brokers, install
from .shell import CACHE, ROOT, Beside, run, wait_for

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
# What no node of Kafka's may say because of us.
WRONG = re.compile(r"\b(?:ERROR|FATAL)\b|Exception")


class Node:
    def __init__(self, number, kind, roles):
        self.id, self.kind, self.roles = number, kind, roles
        self.port, self.controller = brokers.free_port(), brokers.free_port()
        self.serving = self.port if "broker" in roles else self.controller
        self.bootstrap = f"127.0.0.1:{self.serving}"
        self.home = brokers.fresh(f"mixed-{number}")
        self.properties = CACHE / f"mixed-{number}.properties"
        self.running, self.runs = None, []

    def write(self, settings):
        listeners = {"broker": f"PLAINTEXT://127.0.0.1:{self.port}", "controller": f"CONTROLLER://127.0.0.1:{self.controller}"}
        own = {"node.id": self.id, "process.roles": self.roles, "controller.listener.names": "CONTROLLER",
               "listeners": ",".join(listeners[role] for role in self.roles.split(",")), "log.dirs": self.home, **settings}
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

    def serves(self):
        return brokers.serves(self.serving)


def ottla():
    return ROOT / "target" / brokers.PROFILE / "ottla"


class Cluster:
    """`plan`: kind and roles of each node. All are ended with the `with` block."""

    def __init__(self, plan, **own):
        run("cargo", "build", *brokers.RELEASE, limit=1800)
        self.nodes = {number: Node(number, *of) for number, of in plan.items()}
        self.voters = [node for node in self.nodes.values() if "controller" in node.roles]
        self.brokers = [node for node in self.nodes.values() if "broker" in node.roles]
        settings = {
            "controller.quorum.voters": ",".join(f"{node.id}@127.0.0.1:{node.controller}" for node in self.voters),
            "default.replication.factor": 3, "offsets.topic.replication.factor": 3, "offsets.topic.num.partitions": 6,
            "min.insync.replicas": 2, "group.initial.rebalance.delay.ms": 0, "replica.lag.time.max.ms": 10_000,
            **brokers.NO_RETENTION, **brokers.dotted(own),
        }
        for node in self.nodes.values():
            node.write(settings)
            node.format()

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

    def stop(self):
        """The brokers first: each wants a controller that lets it go."""
        for nodes in ([node for node in self.brokers if node not in self.voters], self.voters):
            running = [node.running for node in nodes if node.running]
            for process in running:
                if process.process.poll() is None:
                    process.process.terminate()
            for process in running:
                process.end(60)

    def __enter__(self):
        try:
            self.start(*self.nodes.values())
            return self
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def partitions(self, topic, asked):
        """Leader, replicas and ISR by partition, as this node tells them."""
        told = json.loads(run("kcat", "-b", asked.bootstrap, "-m", 30, "-L", "-J", "-t", topic, limit=60))
        ids = lambda replicas: [replica["id"] for replica in replicas]
        (found,) = [found["partitions"] for found in told["topics"]]
        return {part["partition"]: (part["leader"], ids(part["replicas"]), sorted(ids(part["isrs"]))) for part in found}

    def faults_of_kafka(self, *excused):
        """Asserts that no node of Kafka's said what it should not; `excused` are patterns of what it may."""
        wrong = []
        for kind, process in (run for node in self.nodes.values() for run in node.runs):
            lines = process.said().splitlines() if kind == "kafka" else []
            wrong += [f"{process.log.name}: {line}" for line in lines
                      if WRONG.search(line) and not any(re.search(pattern, line) for pattern in excused)]
        assert not wrong, f"Kafka's nodes said {len(wrong)} lines of errors:\n" + "\n".join(wrong[:20])

    def same_records(self, topics):
        """The bytes of each replica's log are those of every other; answers how many bytes one of each has. After `stop`."""
        sizes = 0
        for topic in topics:
            found = {path.name for node in self.brokers for path in node.home.glob(f"{topic}-*")}
            assert found, f"no replica of {topic}"
            for name in found:
                logs = [log_of(node.home / name) for node in self.brokers]
                lengths = [len(log) for log in logs]
                assert all(log == logs[0] for log in logs), f"{name}: replicas differ, of {lengths} bytes"
                sizes += lengths[0]
        return sizes


def log_of(directory):
    return b"".join(file.read_bytes() for file in sorted(directory.glob("*.log")))
