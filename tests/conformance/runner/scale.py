"""Five thousand partitions on one node: how long to create, to start with after a clean stop and after kill -9, and their memory."""
import re
import re
import signal
import time

from . import brokers, install
from .brokers import resident_kb
from .shell import HERE, run

TOPICS, PARTITIONS = 5, 1000
SCRIPT = HERE / "runner" / "kafka_python_scale.py"


def asked(node, *what):
    return [float(line) for line in run(install.python(), SCRIPT, node.bootstrap, *what).split()]


def ready_ms(node):
    return int(re.search(r"after (\d+) ms", node.out.read_text() + node.said())[1])


def ended(node, how):
    begin = time.time()
    node.process.send_signal(how)
    node.process.wait(120)
    return time.time() - begin


def many_partitions():
    count = TOPICS * PARTITIONS
    with brokers.ottla("scale-data") as node:
        empty = resident_kb(node)
        creating = asked(node, "create", TOPICS, PARTITIONS)
        asked(node, "offsets", count)
        each = (resident_kb(node) - empty) / count
        stopping = ended(node, signal.SIGTERM)
        home = node.home
    with brokers.ottla("scale-data", home=home) as node:
        clean, answered = ready_ms(node), asked(node, "offsets", count)[0]
        ended(node, signal.SIGKILL)
    with brokers.ottla("scale-data", home=home) as node:
        killed, again = ready_ms(node), asked(node, "offsets", count)[0]
    return (f"{count} partitions: {PARTITIONS} created in {min(creating):.2f} to {max(creating):.2f} s, {each:.1f} KB each, "
            f"stopped in {stopping:.1f} s; ready after {clean} ms (all answered {answered:.2f} s later), "
            f"after kill -9 {killed} ms ({again:.2f} s)")
