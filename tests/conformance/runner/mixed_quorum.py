"""A metadata quorum of voters of both kinds."""
import re
import signal
import struct

from . import tools
from .shell import Failed


# A broker of Kafka's may send such requests to a former leader for as long as that answers, and tells its client what it says.
BY_A_FORMER_LEADER = "NotLeaderOrFollowerException"


def tool(asked, *args):
    for _ in range(10):
        try:
            return tools.tool("metadata-quorum", asked.bootstrap, *args)
        except Failed as failed:
            if BY_A_FORMER_LEADER not in str(failed):
                raise
            last = failed
    raise last


def status(asked):
    """Who leads, and who votes, as this node says by Kafka's tool."""
    said = tool(asked, "describe", "--status")
    voters = re.search(r"CurrentVoters:(.*)", said)[1]
    return int(re.search(r"LeaderId:\s+(\S+)", said)[1]), {int(id) for id in re.findall(r'"id": (\d+)', voters)}


def described(made):
    """Every node tells the same leader and voters, and each that all voters follow; answers the leader."""
    told = []

    def is_agreed():
        """Where the machine is busy another one may come to lead while the nodes are asked, one after the other."""
        told.append([status(node) for node in made.voters])
        leaders = {leader for leader, _ in told[-1]}
        for node in made.voters:
            said = tool(node, "describe", "--replication")
            rows = {int(row[0]): row for row in map(str.split, said.splitlines()[1:]) if row}
            leaders.update(id for id, row in rows.items() if row[-1] == "Leader")
            assert set(rows) == set(made.nodes) and {row[-1] for row in rows.values()} == {"Leader", "Follower"}, said
        assert all(voters == set(made.nodes) for _, voters in told[-1]), told[-1]
        return len(leaders) == 1

    made.until("all to tell the same leader", is_agreed, 180)
    return made.nodes[told[-1][0][0]]


def succeeded(made):
    """Kills the quorum's leader where only a voter of the other kind can follow it: the third lacks what is committed. Answers it."""
    leader = described(made)
    follows, *_ = [node for node in made.voters if node.kind != leader.kind]
    (third,) = [node for node in made.voters if node not in (leader, follows)]
    third.signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            before = size(follows)
            made.until(f"node {follows.id} to follow node {leader.id} alone", lambda: size(follows) > before)
        leader.kill()
    finally:
        third.signal(signal.SIGCONT)
    made.until(f"node {follows.id} to lead the quorum, as {third.id} tells too",
               lambda: all(status(node)[0] == follows.id for node in (follows, third)))
    return leader


def left_and_joined(made, voter):
    """A voter is removed and added again, by Kafka's tool."""
    asked = next(node for node in made.voters if node != voter)
    removed = ["remove-controller", "--controller-id", voter.id, "--controller-directory-id", voter.directory]
    tools.expect(tool(asked, *removed), f"Removed +KRaft controller {voter.id} with directory id {voter.directory}")
    made.until(f"node {voter.id} to observe", lambda: re.search(rf'CurrentObservers:.*"id": {voter.id}\b', tool(asked, "describe", "--status")))
    added = tool(asked, "--command-config", voter.properties, "add-controller")
    tools.expect(added, f"Added controller {voter.id} with directory id {voter.directory}")


def size(node):
    return sum(file.stat().st_size for file in node.metadata.glob("*.log"))


def same_metadata(made):
    """The batches that voters have in common are the same; answers how many there are. After `stop`."""
    first, *others = [batches(node) for node in made.voters]
    common = set(first).intersection(*others)
    assert len(common) > 10 and max(common) >= max(first) - 10, (len(common), max(first))
    for offset in common:
        assert all(other[offset] == first[offset] for other in others), f"the batches at offset {offset} of the metadata log differ"
    return len(common)


def batches(node):
    found = {}
    for file in sorted(node.metadata.glob("*.log")):
        log, at = file.read_bytes(), 0
        while at + 12 <= len(log):
            offset, length = struct.unpack_from(">qi", log, at)
            found[offset] = log[at:at + 12 + length]
            at += 12 + length
    return found
