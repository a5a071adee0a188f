"""Ottla and Kafka in one cluster."""
import contextlib

from . import mixed_quorum as quorum
from . import tools
from .mixed_cluster import BOTH, BROKER, CONTROLLER, Cluster
from .mixed_rig import Rig
from .shell import run

# Kafka's controller waits so long for a broker that died; ours sees it.
SESSION = {"broker_session_timeout_ms": 6000, "broker_heartbeat_interval_ms": 1000}


def exercised(plan, clients, leaves):
    """`leaves`: the kind of the broker that is stopped in order."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(Cluster(plan, **SESSION))
        rig = Rig(made, clients, stack)
        for _ in range(2):
            rig.led_by_the_other_kind()
            rig.all_go_on()
        rig.was_led_by_both()
        for kind in ("kafka", "ottla"):
            rig.killed(made.of(kind))
        rig.preferred()
        rig.all_go_on()
        rig.away_and_back(made.of(leaves))
        cordoned(made, made.of(leaves))
        said = rig.finish()
        made.directories_are_known(rig.replicated)
        return said


def cordoned(made, node):
    """What this broker has checked the controller takes from it, in its client's name; of itself it cordons no directory."""
    directory, (controller, *_) = str(node.dirs[1]), made.voters

    def configure(*how, expect=0):
        of_broker = ["--entity-type", "brokers", "--entity-name", str(node.id)]
        return run(*tools.command("configs", *how, *of_broker), expect=expect, limit=120)

    def is_cordoned():
        return f"cordoned.log.dirs={directory}" in configure("--bootstrap-server", node.bootstrap, "--describe")

    cordon = ["--alter", "--add-config", f"cordoned.log.dirs={directory}"]
    at_controller = ["--bootstrap-controller", f"127.0.0.1:{controller.controller}"]
    tools.expect(configure(*at_controller, *cordon, expect=None), "InvalidConfigurationException.*must be a subset of the current")
    configure("--bootstrap-server", node.bootstrap, *cordon)
    made.until(f"node {node.id} to cordon {directory}", is_cordoned)
    # One that is cordoned the controller lets stay so.
    configure(*at_controller, *cordon)
    configure(*at_controller, "--alter", "--delete-config", "cordoned.log.dirs")
    made.until(f"node {node.id} to cordon nothing", lambda: not is_cordoned())


def under_kafka():
    """Ottla's brokers, and one of Kafka's, under a controller of Kafka's."""
    plan = {1: ("kafka", CONTROLLER), 2: ("kafka", BROKER), 3: ("ottla", BROKER), 4: ("ottla", BROKER)}
    return exercised(plan, ["kcat", "java"], "ottla")


def under_ottla():
    """Kafka's brokers, and one of Ottla's, under a controller of Ottla's."""
    plan = {1: ("ottla", CONTROLLER), 2: ("kafka", BROKER), 3: ("kafka", BROKER), 4: ("ottla", BROKER)}
    return exercised(plan, ["kcat", "kafka-python"], "kafka")


def shared_quorum(*kinds, dynamic=False):
    """
    Voters of both kinds. Each leader in turn is killed, is followed by one of the other kind, and comes back without its log; where
    the quorum is `dynamic` it is removed then, and added again.
    """
    with contextlib.ExitStack() as stack:
        plan = {number: (kind, BOTH) for number, kind in enumerate(kinds, 1)}
        made = stack.enter_context(Cluster(plan, dynamic, **SESSION))
        rig = Rig(made, ["kcat"], stack)
        for _ in range(2):
            killed = quorum.succeeded(made)
            rig.gone(killed)
            rig.back_without_metadata(killed)
            if dynamic:
                quorum.left_and_joined(made, killed)
        quorum.described(made)
        said = rig.finish()
        return f"{said}, {quorum.same_metadata(made)} batches of metadata"


def migrated():
    """Three nodes of Kafka's become Ottla's one by one, and Kafka's again, on the same directories, with clients at work."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(Cluster({number: ("kafka", BOTH) for number in (1, 2, 3)}))
        rig = Rig(made, ["kcat", "kafka-python", "java"], stack)
        for kind in ("ottla", "kafka"):
            for node in made.nodes.values():
                made.end(node)
                rig.all_go_on()
                node.kind = kind
                made.start(node)
                rig.all_in_sync()
                rig.all_go_on()
        rig.was_led_by_both()
        return rig.finish()
