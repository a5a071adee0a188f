"""What Kafka's crashes leave in its directories: a Kafka and an Ottla each start on a copy of them."""
import hashlib
import re
import shutil
import struct

from . import brokers, directories, install, tools
from .shell import CACHE, run, wait_for

DIRS = ["one", "two"]
# Old files go soon after; segments are small.
SETTINGS = {"log_segment_bytes": 1 << 20, "log_segment_delete_delay_ms": 1000, "log_initial_task_delay_ms": 500,
            "auto_create_topics_enable": "true"}
LINES = 13_000
UNIQUE = "0123456789abcdef" * 2
# What is not alike, by the names of files; all else is, to the byte.
DIFFER = {
    r"left-torn-0/\S*index": "Kafka leaves an index that is torn as it is where its log was synced, and looks up what is left; here it is made anew",
    r"left-epochs-0/leader-epoch-checkpoint": "Kafka does not look for the epochs of batches that it had synced; here they are found in them",
    r"left-deleted-0/leader-epoch-checkpoint": "Kafka takes where the first epoch begins from the checkpoint of log starts, which has none where a crash came before it; here it is where the log does",
    r"left-deleted-0/\d+\.snapshot": "Kafka removes that of the first segment; here it tells where transactions began whose end is in the log",
    r"left-(others|unknown|renamed)-0\.UNIQUE-stray/\S*(index|tmp)": "Kafka opens a log before it sets it aside: its last indexes are left at their full size then, "
                                                           "and a checkpoint may be left that was being written",
    r"left-renamed-0(\.UNIQUE-stray)?/": "Kafka keeps a log that nobody knows where its topic's id is another's, under its name, and serves it to nobody; "
                                       "here it is set aside",
}


class Left:
    """Directories that a Kafka has left in order, a log of each topic in one of them, and what is then done to them."""

    def __init__(self, home):
        self.home = home

    def log(self, topic):
        (found,) = self.home.glob(f"*/{topic}-0")
        return found

    def segments(self, topic):
        bases = sorted(file.stem for file in self.log(topic).glob("*.log"))
        assert len(bases) > 3, bases
        return bases

    def copy_log(self, topic, name, elsewhere=False):
        of = self.log(topic)
        parent = next(dir for dir in map(self.home.joinpath, DIRS) if dir != of.parent) if elsewhere else of.parent
        return shutil.copytree(of, parent / name)

    def copy_segment(self, topic, base, suffix):
        for kind in ["log", "index", "timeindex"]:
            file = self.log(topic) / f"{base}.{kind}"
            shutil.copy2(file, f"{file}.{suffix}")

    def others(self):
        """Beside a log, those that were to be deleted, and that nobody knew any more."""
        self.copy_log("left-others", f"left-others-0.{UNIQUE}-delete")
        self.copy_log("left-others", f"left-others-0.{UNIQUE}-stray")
        unknown = self.copy_log("left-others", "left-unknown-0") / "partition.metadata"
        unknown.write_text("version: 0\ntopic_id: AAAAAAAAQACAAAAAAAAAAQ")
        self.copy_log("left-others", "left-renamed-0")

    def moving(self):
        """A copy in another directory that does not have all yet."""
        copy = self.copy_log("left-moving", f"left-moving-0.{UNIQUE}-future", elsewhere=True)
        for base in self.segments("left-moving")[1:]:
            for file in copy.glob(f"{base}.*"):
                file.unlink()

    def swapped(self):
        """One that takes the place of the first two has its final bytes, and not yet its name."""
        first, second = self.segments("left-swapped")[:2]
        log = self.log("left-swapped")
        logs, indexes, times = ([(log / f"{base}.{kind}").read_bytes() for base in (first, second)]
                                for kind in ["log", "index", "timeindex"])
        behind, offset = len(logs[0]), int(second) - int(first)
        indexes[1] = b"".join(struct.pack(">ii", relative + offset, position + behind)
                              for relative, position in struct.iter_unpack(">ii", indexes[1]))
        times[1] = b"".join(struct.pack(">qi", timestamp, relative + offset)
                            for timestamp, relative in struct.iter_unpack(">qi", times[1]))
        for kind, parts in [("log", logs), ("index", indexes), ("timeindex", times)]:
            (log / f"{first}.{kind}.swap").write_bytes(b"".join(parts))

    def split(self):
        """A segment is not split whole while one of those from it is not: what has its final bytes goes, too."""
        first, second = self.segments("left-split")[:2]
        self.copy_segment("left-split", first, "cleaned")
        self.copy_segment("left-split", second, "swap")

    def deleted(self):
        """By retention: the oldest has its new name."""
        base = self.segments("left-deleted")[0]
        for file in self.log("left-deleted").glob(f"{base}.*"):
            file.rename(f"{file}.deleted")

    def torn(self):
        for base in self.segments("left-torn")[:2]:
            for kind in ["index", "timeindex"]:
                file = self.log("left-torn") / f"{base}.{kind}"
                file.write_bytes(file.read_bytes()[:-5])

    def epochs(self):
        (self.log("left-epochs") / "leader-epoch-checkpoint").unlink()

    def unclean(self):
        """Half a batch follows the others."""
        log = self.log("left-tail") / f"{self.segments('left-tail')[-1]}.log"
        with open(log, "ab") as file:
            file.write(log.read_bytes()[:100])
        for name in DIRS:
            (self.home / name / ".kafka_cleanshutdown").unlink()


DAMAGES = [Left.others, Left.moving, Left.swapped, Left.split, Left.deleted, Left.torn, Left.epochs]
TOPICS = [f"left-{damage.__name__}" for damage in DAMAGES] + ["left-tail"]


def written():
    lines = CACHE / "few-of-the-flights.tsv"
    with open(install.flights(), encoding="utf-8") as flights, open(lines, "w", encoding="utf-8") as part:
        part.writelines(line for line, _ in zip(flights, range(LINES)))
    with brokers.kafka(dirs=DIRS, **SETTINGS) as kafka:
        for topic in TOPICS:
            run("kcat", "-b", kafka.bootstrap, "-X", "enable.idempotence=true", "-X", "batch.num.messages=50", "-P", "-t", topic, "-K",
                "\\t", "-l", lines)
        before = directories.of(kafka, TOPICS)
        kafka.end()
    return Left(kafka.home), before


def begun(broker, before):
    """It serves what was there; what it has to delete or to move is deleted and moved. Answers what it says of the topics."""
    with broker:
        told = [tools.tool("get-offsets", broker.bootstrap, "--topic", "left-.*", "--time", time)
                for time in ["earliest", "latest", "max-timestamp"]]
        directories.same(before, broker)

        def settled():
            logs = [path.name for path in broker.home.glob("*/left-*")]
            return not any(name.endswith(("-delete", "-future")) for name in logs) and not [*broker.home.glob("*/left-*/*.deleted")]
        wait_for("what is left to be deleted and moved", settled, [broker])
        directories.same(before, broker)
        broker.end()
    return told


def remains(home):
    """Each file of a log by its name, with what tells its contents."""
    found = {}
    for file in home.glob("*/left-*/*"):
        log = re.sub(r"\.[0-9a-f]{32}-", ".UNIQUE-", file.parent.name)
        name = f"{file.parent.parent.name}/{log}/{file.name}"
        found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        if file.name == "leader-epoch-checkpoint":
            # One without records Kafka writes down when it begins, Ottla with its first record.
            found[name] = [line for line in file.read_text().splitlines()[2:] if not line.endswith(f" {LINES}")]
    return found


def compared(of_ottla, of_kafka):
    """What is not alike is what is known to differ; answers which of that was seen."""
    seen = set()
    for name in of_ottla.keys() | of_kafka.keys():
        if of_ottla.get(name) != of_kafka.get(name):
            known = next((known for known in DIFFER if re.search(f"/{known}", name)), None)
            assert known, f"{name}: {of_ottla.get(name)} of Ottla, {of_kafka.get(name)} of Kafka"
            seen.add(known)
    return seen


def as_kafka():
    told, seen = [], set()
    for clean in [True, False]:
        left, before = written()
        for damage in DAMAGES:
            damage(left)
        if not clean:
            left.unclean()
        starts = int(left.segments("left-deleted")[0])
        before["left-deleted"] = [record for record in before["left-deleted"] if record[1] >= starts]
        ottlas, kafkas = (directories.copied(left.home, f"left-to-{name}") for name in ["ottla", "kafka"])
        of_kafka = begun(brokers.kafka(kafkas, dirs=DIRS, **SETTINGS), before)
        of_ottla = begun(brokers.ottla(home=ottlas, dirs=DIRS, **SETTINGS), before)
        assert of_ottla == of_kafka, f"of Ottla:\n{of_ottla}\nof Kafka:\n{of_kafka}"
        ottlas, kafkas = remains(ottlas), remains(kafkas)
        seen |= compared(ottlas, kafkas)
        told.append(f"{len(kafkas)} files {'after a clean stop' if clean else 'without a marker of one'}")
    unseen = DIFFER.keys() - seen
    assert not unseen, f"no longer differs: {unseen}"
    return ", ".join(told)
