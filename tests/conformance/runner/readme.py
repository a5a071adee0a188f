"""Every command of the README, as it stands there: only ports, files and directories of a machine's own are put in."""
import re
from contextlib import ExitStack, contextmanager

from . import brokers, install
from .shell import ROOT, Beside, run, wait_for

# Run by CI beside this.
NOT_RUN = ("cargo test",)
KINDS = {"start": r"(cargo run --release -- |ottla )start", "format": "ottla format", "example": "cargo run --example"}
# What a command that has some words in it must say.
SAYS = {"-C -t greetings": "hello", "ottla tree": "greetings-0 (partition)", "ottla top": ", by slow", "ottla explain": "verdict: all is well", "/tree": '"name":"greetings-0"',
        "/metrics": "# TYPE ottla_actors gauge", "dump-log": "baseOffset: 0", "ottla format": "formatted",
        "-t shouted": "HELLO"}


def blocks():
    """The lines of its shell examples without their comments, and the file that it shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
    lines = [re.sub(r"\s+#.*$", "", line) for line in shell.splitlines()]
    return [line for line in lines if line], re.search(r"^```toml\n(.*?)^```", text, re.M | re.S)[1]


def actors(drawn):
    """The names of the actors in a drawn tree, but for connections, which come and go."""
    return {name for name, kind in re.findall(r"[├└]─ (\S+)(?: \(([\w-]+)\))?", drawn) if kind != "connection"}


class Place:
    """A directory to be in and ports to listen on, in place of the README's."""

    def __init__(self):
        self.home = brokers.fresh("readme")
        self.home.mkdir(parents=True)
        self.ports = {port: brokers.free_port() for port in (9092, 9093, 9094, 9192, 9193, 9194, 8080)}
        self.port = self.ports[9092]
        shipped = (ROOT / "tests/conformance/kafka/server.properties").read_text(encoding="utf-8")
        self.write("server.properties", shipped.replace("/tmp/kraft-combined-logs", "properties-data"))
        example = (ROOT / "examples/cluster.toml").read_text(encoding="utf-8")
        assert example.partition("\n")[2] == blocks()[1], "examples/cluster.toml is not what is shown"
        self.write("cluster.toml", example)

    def write(self, name, text):
        (self.home / name).write_text(self.own(text), encoding="utf-8")

    def own(self, text):
        return re.sub(r":(9\d\d\d|8080)\b", lambda found: f":{self.ports[int(found[1])]}", text)

    def command(self, line):
        """Of what is built already; ports and names that the README leaves to the defaults or to its reader are given."""
        line = re.sub(r"^cargo run --release -- ", "ottla ", line)
        line = re.sub(r"^cargo run --example (\w+)", r"examples/\1 127.0.0.1:9092", line)
        line = line.replace("--data DIR --listen HOST:PORT", "--data other-data --listen 127.0.0.1:9092")
        line = line.replace("--cluster-id ID", "--cluster-id 4L6g3nShT-eMCtK--X86sw")
        line += " --listen 127.0.0.1:9092" if line == "ottla start" else ""
        if re.match(r"ottla (start|tree|top|trace|explain)", line) and "--console" not in line:
            line += " --console 127.0.0.1:8080"
        return self.own(re.sub(r"^(ottla|examples)", rf"exec {ROOT}/target/{brokers.PROFILE}/\1", line))

    def shell(self, line):
        return ["bash", "-euo", "pipefail", "-c", f"cd {self.home} && {self.command(line)}"]

    def run(self, line):
        said = run(*self.shell(line), limit=60)
        wanted = next((text for words, text in SAYS.items() if words in line), "")
        assert wanted in said, f"{line}: no {wanted!r} in\n{said[-2000:]}"
        if line == "ottla tree":
            drawn = actors((ROOT / "README.md").read_text(encoding="utf-8"))
            assert drawn == actors(said), f"README draws {sorted(drawn)}, there is\n{said}"

    @contextmanager
    def beside(self, line):
        """With the cluster's other nodes, where it has some: one alone has no quorum."""
        others = (line.replace("--node 1", f"--node {n} --console off") for n in (2, 3) if "--node" in line)
        with ExitStack() as stack:
            nodes = [stack.enter_context(Beside(f"readme-node-{at}", *self.shell(each)))
                     for at, each in enumerate([line, *others])]
            wait_for(f"a node by {line!r}", lambda: brokers.serves(self.port), nodes, 30)
            yield nodes[0]


def ends_in_order(node, line):
    node.end()
    assert node.process.returncode == 0, f"{line}: {node.process.returncode}\n{node.said()[-2000:]}"


def commands():
    install.from_debian(kcat="kcat")
    brokers.build("--bins", "--examples")
    lines = [line for line in blocks()[0] if not line.startswith(NOT_RUN)]
    kinds = {kind: [line for line in lines if re.match(pattern, line)] for kind, pattern in KINDS.items()}
    place = Place()
    first, *others = kinds["start"]
    with place.beside(first) as node:
        for line in lines:
            if not any(line in of_kind for of_kind in kinds.values()):
                place.run(line)
        ends_in_order(node, first)
    for line in kinds["format"]:
        place.run(line)
    for line in others:
        with place.beside(line) as node:
            ends_in_order(node, line)
    for line in kinds["example"]:
        with place.beside(line):
            place.run("echo 'hello' | kcat -b 127.0.0.1:9092 -P -t lines")
            # The topic is there once something was shouted.
            listen = "kcat -b 127.0.0.1:9092 -C -t shouted -o beginning -c 1"
            place.run(f"timeout 30 bash -c 'until {listen}; do sleep 0.1; done'")
    return f"{len(lines)} commands"
