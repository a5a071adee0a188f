"""The brokers that are judged and asked: an Ottla node of this checkout, and a real Apache Kafka beside it."""
import functools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import threading

from . import install
from .shell import ROOT, Beside, Failed, run, scratch, wait_for

# OTTLA_PROFILE=release judges what is shipped.
PROFILE = os.environ.get("OTTLA_PROFILE", "debug")
RELEASE = ["--release"] if PROFILE == "release" else []
# In debug what `cargo test --workspace` has built: by itself each would be built anew, as its dependencies have other features then.
SHARED = [] if RELEASE else ["--workspace"]


@functools.cache
def build(*targets):
    """The node, and `targets`."""
    run("cargo", "build", *(RELEASE + list(targets) if RELEASE else [*SHARED, "--all-targets"]), limit=1800)


PORTS, CHOOSING = list(range(12_000, 20_000, 2)), threading.Lock()
random.shuffle(PORTS)


def free_port():
    """A free port with a free one behind it, where Ottla's controller listens; below those handed out to clients. None is given twice."""
    with CHOOSING:
        while True:
            port = PORTS.pop()
            if free(port) and free(port + 1):
                return port


def free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def serves(port):
    """It answers ApiVersions: an open port alone does not say so."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(2)
            connection.sendall(bytes.fromhex("0000000a 0012 0000 00000001 0000"))
            return connection.recv(8)[4:] == bytes.fromhex("00000001")
    except OSError:
        return False


def started(name, command, port, home):
    broker = Beside(name, *command)
    broker.bootstrap, broker.home, broker.port, broker.command = f"127.0.0.1:{port}", home, port, command
    try:
        wait_for(f"{name} to serve", lambda: serves(port), [broker], 60)
    except BaseException:
        broker.end()
        raise
    return broker


# The oracle alters retention.ms and cleanup.policy on both: what is then deleted must not depend on when either looks. (A cleaner
# deletes too, what is both compacted and old.)
NO_RETENTION = {
    "log.initial.task.delay.ms": 3_600_000, "log.retention.check.interval.ms": 3_600_000, "log.cleaner.backoff.ms": 3_600_000,
}


def ottla(name="ottla-data", home=None, dirs=(), descriptors=None, console=None, **own):
    """`home`: a directory of before, else a fresh one; `dirs`: log directories in it; `console`: its port; settings with `_` for their dots."""
    build()
    home, port = home or fresh(name), free_port()
    command = [ROOT / "target" / PROFILE / "ottla", "start", "--data", home, "--listen", f"127.0.0.1:{port}",
               "--console", f"127.0.0.1:{console}" if console else "off"]
    settings = {"group.initial.rebalance.delay.ms": 0, **NO_RETENTION, **log_dirs(home, dirs), **dotted(own)}
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    if descriptors:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"', *command]
    return started(name.removesuffix("-data"), command, port, home)


def log_dirs(home, dirs):
    paths = [str(home / name) for name in dirs]
    return {"log.dirs": ",".join(paths), "metadata.log.dir": paths[0]} if paths else {}


def dotted(settings):
    return {name.replace("_", "."): value for name, value in settings.items()}


def killed_and_started_again(node):
    """kill -9, and the same again on the same directory and port."""
    node.process.kill()
    node.process.wait()
    return started("ottla-again", node.command, node.port, node.home)


def kafka(formatted=None, machine=(*install.LIGHT, "-Xmx700m"), dirs=(), **own):
    """On a directory that is there, or a fresh one; `dirs`: log directories in it; settings with `_` for their dots."""
    home, port, controller = formatted or fresh("kafka-data"), free_port(), free_port()
    settings = {
        "process.roles": "broker,controller", "node.id": 1, "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER", "log.dirs": home, "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0, **NO_RETENTION,
        **log_dirs(home, dirs), **dotted(own),
    }
    properties = scratch("kafka.properties")
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    if formatted is None:
        run(*install.java("server", "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", properties))
    return started("kafka", install.java("server", "kafka.Kafka", properties, machine=machine), port, home)


def archive_classes():
    """Of Kafka's broker and of its tools, by a run of each."""
    if install.archive("server").exists() and install.archive("tools").exists():
        return
    with install.archived("server") as machine, kafka(machine=machine) as broker:
        with install.archived("tools") as machine:
            run(*install.java("tools", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap, "--list",
                              machine=machine))
        broker.end(120)
        assert broker.process.returncode == 128 + signal.SIGTERM, broker.last_words()


def resident_kb(broker):
    status = open(f"/proc/{broker.process.pid}/status", encoding="ascii").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def fresh(name):
    home = scratch(name)
    shutil.rmtree(home, ignore_errors=True)
    return home


class Given:
    """A broker that is there already: judged, not ended."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.home = pathlib.Path(os.environ["OTTLA_DATA"]) if "OTTLA_DATA" in os.environ else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def measured(target, *filters, **env):
    """What a test of this checkout, which starts nodes of its own, says that it measured or skipped."""
    env = {"OTTLA_FLIGHTS": str(install.flights()), **env}
    # In one thread: what is measured here should not wait for a neighbour.
    said = run("cargo", "test", *RELEASE, *SHARED, "--test", target, "--", "--nocapture", "--test-threads", "1", *filters,
               env=env, limit=1800)
    if not re.search(r"test result: ok\. [1-9]", said):
        raise Failed(f"{target}: no test is called {' '.join(filters)}\n{said[-1000:]}")
    return [line.split("MEASURED: ")[-1] for line in said.splitlines() if "MEASURED: " in line or "SKIPPED" in line]
