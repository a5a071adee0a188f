"""The flights through one client after the other, and back through a group of three of it."""
import hashlib
import re
import signal
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager

from . import brokers, install, tools
from .shell import HERE, Beside, Failed, run, wait_for

PARTITIONS = 12


# Of a member that does not say farewell, as one whose coordinator does not answer.
SESSION_MS = 10_000


def kcat_commands(bootstrap, topic, session_ms=SESSION_MS):
    settings = ["-X", "enable.idempotence=true", "-X", "auto.offset.reset=earliest", "-X", f"session.timeout.ms={session_ms}"]
    # -E: else it ends as soon as no broker is there.
    produce = ["kcat", "-E", "-b", bootstrap, *settings, "-P", "-t", topic, "-K", "\\t", "-l", install.FLIGHTS]
    consume = ["kcat", "-E", "-b", bootstrap, *settings, "-u", "-f", "%p\\t%o\\t%k\\t%s\\n", "-G", topic, topic]
    return produce, consume


def kafka_python_commands(bootstrap, topic, session_ms=SESSION_MS):
    program = [install.python(), HERE / "runner" / "kafka_python_client.py", bootstrap, topic]
    return program + ["produce", install.FLIGHTS], program + ["consume", session_ms]


def java_commands(bootstrap, topic, session_ms=SESSION_MS):
    program = install.program("JavaClient", bootstrap, topic)
    return program + ["produce", install.FLIGHTS], program + ["consume", session_ms]


def console_commands(bootstrap, topic):
    """The producer reads the flights where others are told of the file."""
    to = ["--bootstrap-server", bootstrap, "--topic", topic]
    show = [word for what in ("partition", "offset", "key") for word in ("--formatter-property", f"print.{what}=true")]
    produce = tools.command("console-producer", *to, "--reader-property", "parse.key=true")
    return produce, tools.command("console-consumer", *to, "--group", topic, "--from-beginning", *show)


AMID_KILLS = {"kcat": kcat_commands, "kafka-python": kafka_python_commands, "java": java_commands}
CLIENTS = {**AMID_KILLS, "console": console_commands}


def commands_amid_kills(client, bootstrap, topic, session_ms=SESSION_MS):
    """Java's consumer is told to commit what each poll gave.

    Left to itself it may read twice after a kill, with any broker. While it cannot connect it forgets all metadata
    (metadata.recovery.strategy=rebootstrap); the group's leader takes the lost topic for a change and joins again, and
    all give up their partitions. Before that each commits its positions, but none that the new leader epoch has made
    AWAIT_VALIDATION, and goes on from its last commit. Its log then has `Sending asynchronous auto-commit of offsets {}`
    and `Setting offset for partition java-6 to the committed offset FetchPosition{offset=0`. So read 1,100 to 13,200
    records twice in 3 of 6 runs with Kafka 4.4.0; in 0 of 6 with `commit`.
    """
    produce, consume = AMID_KILLS[client](bootstrap, topic, session_ms)
    return produce, consume + (["commit"] if client == "java" else [])


def through(client, bootstrap):
    topic = f"flights-{client}-{time.time_ns()}"
    tools.tool("topics", bootstrap, "--create", "--topic", topic, "--partitions", PARTITIONS)
    produce, consume = CLIENTS[client](bootstrap, topic)
    members = []
    try:
        members = [Beside(f"{client}-{n}", *consume) for n in range(3)]
        says = (lambda: described(bootstrap, topic)) if client == "console" else (lambda: shared_out(members))
        wait_for("a group of three", says, members)
        begin = time.time()
        run(*produce, stdin=install.FLIGHTS if client == "console" else None)
        produced = time.time() - begin
        wait_for("all flights", lambda: sum(map(lines, members)) >= install.FLIGHT_COUNT, members, 300)
        consumed = time.time() - begin
    finally:
        for member in members:
            member.end()
    digest = verify([member.out for member in members])
    lag = tools.lag(bootstrap, topic)
    assert lag == 0, f"the group's lag is {lag} after its members left"
    tools.tool("topics", bootstrap, "--delete", "--topic", topic)
    return f"produced in {produced:.1f} s, read by {consumed:.1f} s, {digest[:16]}"


def amid_kills(client):
    """kill -9 while a producer and a group are at work, and again between that group and the next members of it."""
    with ExitStack() as stack:
        beside = stack.enter_context
        node = beside(brokers.ottla("killed-data"))
        tools.tool("topics", node.bootstrap, "--create", "--topic", client, "--partitions", PARTITIONS)
        produce, consume = commands_amid_kills(client, node.bootstrap, client)

        def group(name):
            members = [beside(Beside(f"{client}-{name}-{n}", *consume)) for n in range(3)]
            wait_for("a group of three", lambda: shared_out(members), members)
            return members

        def read(tenths, members):
            enough = install.FLIGHT_COUNT * tenths // 10
            wait_for(f"{enough} flights", lambda: sum(map(lines, members)) >= enough, members, 300)

        def killed(node):
            assert producer.process.poll() is None, f"the producer ended before the kill:\n{producer.said()[-2000:]}"
            return beside(brokers.killed_and_started_again(node))

        before = group("before")
        producer = beside(Beside(f"{client}-producer", *produce))
        read(1, before)
        node = killed(node)
        had = {member: lines(member) for member in before}
        wait_for("each to read on", lambda: all(lines(member) > had[member] for member in before), before, 120)
        read(3, before)
        with at_rest(client, node, producer, before):
            end_all(before)
        left = sum(map(lines, before))
        node = killed(node)
        after = group("after")
        wait_for("all flights", lambda: left + sum(map(lines, after)) >= install.FLIGHT_COUNT, after, 300)
        assert producer.process.wait(60) == 0, producer.said()[-2000:]
        end_all(after)
        # Not one of them twice: the second group resumed at the very offsets where the first had left.
        digest = verify([member.out for member in before + after])
        lag = tools.lag(node.bootstrap, client)
        assert lag == 0, f"the group's lag is {lag} after its members left"
    return f"resumed behind {left} of {install.FLIGHT_COUNT}, {digest[:16]}"


@contextmanager
def at_rest(client, node, producer, members):
    """kcat drops the record that it has in hand when it is told to end, and yet commits it: it is told when it has none."""
    if client == "kcat":
        producer.process.send_signal(signal.SIGSTOP)
        wait_for("all so far", lambda: sum(map(lines, members)) == sum(tools.offsets_at(node.bootstrap, client, -1).values()), members)
    yield
    producer.process.send_signal(signal.SIGCONT)


def end_all(members):
    """All are told before the first is waited for."""
    for member in members:
        member.process.terminate()
    for member in members:
        member.end()


def shared_out(members):
    """Each member says what it was assigned as `assigned: topic [0], topic [1]`."""
    shares = []
    for member in members:
        said = re.findall(r"assigned: *(.*)", member.said())
        shares.append(said[-1].count("[") if said else 0)
    return sum(shares) == PARTITIONS and all(shares)


def described(bootstrap, group):
    """The same of those that do not say it: as the group's coordinator has it."""
    try:
        shares = [int(row["#PARTITIONS"]) for row in tools.group_rows(bootstrap, group, "--members")]
    except Failed:
        return False
    return len(shares) == 3 and sum(shares) == PARTITIONS and all(shares)


def lines(member):
    with open(member.out, "rb") as file:
        file.seek(getattr(member, "seen", 0))
        more = file.read()
        member.seen = getattr(member, "seen", 0) + len(more)
        member.count = getattr(member, "count", 0) + more.count(b"\n")
    return member.count


def verify(files, sent=install.FLIGHTS, count=install.FLIGHT_COUNT):
    """Same count, no record twice, same order for each key; answers a hash that heeds the order within each key only."""
    received = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            partition, offset, key, value = line.split("\t", 3)
            # Kafka's console says `Partition:3` where others say `3`.
            partition, offset = (int(number.rpartition(":")[2]) for number in (partition, offset))
            received.append((partition, offset, key, value))
    received.sort(key=lambda record: record[:2])
    places = {record[:2] for record in received}
    assert len(places) == len(received), f"{len(received) - len(places)} records were read twice"
    assert len(received) == count, f"{len(received)} read, {count} produced"
    with open(sent, encoding="utf-8") as file:
        sent = by_key(line.rstrip("\n").split("\t", 1) for line in file)
    got = by_key(record[2:] for record in received)
    wrong = [key for key in sent if sent[key] != got.get(key)]
    assert not wrong and len(sent) == len(got), f"keys whose order or values differ: {wrong[:10]}"
    assert digest(sent) == digest(got)
    return digest(got)


def by_key(pairs):
    keys = defaultdict(list)
    for key, value in pairs:
        keys[key].append(value)
    return keys


def digest(keys):
    total = 0
    for key, values in keys.items():
        total ^= int.from_bytes(hashlib.sha256("\n".join([key, *values]).encode()).digest(), "big")
    return f"{total:064x}"
