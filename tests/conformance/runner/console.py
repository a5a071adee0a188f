"""The console's pages in a real Chromium, on a node with thousands of topics and under load; and a picture of each.

OTTLA_BLESS=1 puts the pictures where docs/ shows them.
"""
import os
import shutil

from . import brokers, install
from .shell import HERE, ROOT, Beside, run, scratch

TOPICS = 5000
SCRIPT = HERE / "runner" / "kafka_python_console.py"
PAGES = HERE / "runner" / "console.mjs"
SHOWN = ROOT / "docs" / "console"
# As they are in the repository.
MOST_BYTES = 150_000
PICTURES = ["tree", "tree-dark", "topics", "topic", "messages", "group", "groups", "brokers", "quorum", "charts", "charts-dark"]


def browser():
    """Debian's Chromium, and what drives it; where the latter lies."""
    install.from_debian(chromium="chromium", node="nodejs", npm="npm")
    return install.npm("playwright-core", "1.65.1")


def pages():
    driver, home = browser(), scratch("console-pictures")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    console = brokers.free_port()
    with brokers.ottla("console-data", console=console, ottla_faults_enable="true") as node:
        run(install.python(), SCRIPT, node.bootstrap, "topics", TOPICS, limit=120)
        with Beside("console-load", install.python(), SCRIPT, node.bootstrap, "load") as load:
            told = run("node", PAGES, driver, f"http://127.0.0.1:{console}", home, TOPICS, limit=120)
            load.must_live()
        node.must_live()
    for name in PICTURES:
        size = (home / f"{name}.png").stat().st_size
        assert size < MOST_BYTES, f"{name}.png has {size} bytes"
    if os.environ.get("OTTLA_BLESS"):
        SHOWN.mkdir(exist_ok=True)
        for name in PICTURES:
            shutil.copy(home / f"{name}.png", SHOWN)
    missing = [name for name in PICTURES if not (SHOWN / f"{name}.png").exists()]
    assert not missing, f"docs/console lacks {missing}: OTTLA_BLESS=1 makes them"
    return told.strip().splitlines()[-1]
