"""Processes: those that must succeed, those that run beside, and the words that tell how far the run is."""
import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time
import traceback
from collections import deque

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = ROOT / "target" / "conformance"
HERE = ROOT / "tests" / "conformance"
BEGIN = time.time()
SAYING = threading.Lock()


class Failed(Exception):
    pass


class Lane(threading.local):
    """The step that this thread runs, and where its files are: two may run at a time."""

    step, files = None, CACHE


LANE = Lane()


def scratch(name):
    """A file or directory of this lane's own."""
    LANE.files.mkdir(parents=True, exist_ok=True)
    return LANE.files / name


def say(text):
    told = f"{LANE.step}: {text}" if LANE.step else text
    with SAYING:
        print(f"[{time.time() - BEGIN:6.1f} s] {told}", flush=True)


def run(*command, expect=0, stdin=None, env=None, limit=600):
    """Runs to its end and answers all it said; `expect` is the exit status it must have, None for any but 0. `stdin`: text, or a file's path."""
    command = [str(part) for part in command]
    with open(stdin, "rb") if isinstance(stdin, pathlib.Path) else contextlib.nullcontext() as file:
        given = {"stdin": file} if file else {"input": stdin}
        done = subprocess.run(command, **given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, **(env or {})}, timeout=limit, cwd=ROOT)
    wrong = done.returncode == 0 if expect is None else done.returncode != expect
    if wrong:
        raise Failed(f"exit status {done.returncode} of: {' '.join(command)}\n{done.stdout[-4000:]}")
    return done.stdout


class Beside:
    """A process beside the runner, its output in files; ended with the `with` block, whatever happens."""

    begun = []

    def __init__(self, name, *command, env=None):
        self.out, self.log, self.step = scratch(f"{name}.out"), scratch(f"{name}.log"), LANE.step
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=log, env={**os.environ, **(env or {})}, cwd=ROOT,
                                            start_new_session=True)
        Beside.begun.append(self)

    def end(self, limit=60):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def said(self):
        return self.log.read_text(errors="replace")

    def last_words(self):
        state, lines = self.process.poll(), self.said().splitlines()
        state = "runs" if state is None else f"ended with {state}"
        return "\n".join([f"--- {self.log.stem} {state}, its last lines:", *(line[:300] for line in lines[-20:])])

    def must_live(self):
        if self.process.poll() is not None:
            raise Failed(self.last_words())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def wait_for(what, reached, beside=(), limit=120):
    begin = time.time()
    while not reached():
        for process in beside:
            process.must_live()
        if time.time() - begin > limit:
            raise Failed("\n".join([f"waited {limit} s for {what}", *(process.last_words() for process in beside)]))
        time.sleep(0.1)


def last_words(step, told):
    """Of those that a step has begun and of the one that all steps share, unless told: their files are gone when somebody reads of it."""
    newest = {process.log: process for process in Beside.begun if process.step in (None, step)}
    words = [process.last_words() for process in list(newest.values())[-12:]]
    return "\n".join(text for text in words if text not in told)


def failure(name, step):
    """Why the step failed, if it did."""
    LANE.step = name
    say("...")
    try:
        told = step()
        say(f"ok{', ' + told if told else ''}")
        return None
    except Exception as error:
        foreseen = isinstance(error, (Failed, AssertionError, subprocess.SubprocessError, OSError))
        told = foreseen and str(error) or traceback.format_exc()
        say(f"FAILED\n{told}\n{last_words(name, told)}")
        return told
    finally:
        LANE.step = None


def main(alone, *lanes):
    """
    Runs the steps by name; all of them although one failed, and tells at the end: whether all passed. `alone`: one after the other;
    then those of each lane, beside the other lanes. A lane that has come to its end takes over from the last one.
    """
    failed = {}

    def judge(name, step):
        if (why := failure(name, step)) is not None:
            failed[name] = why

    for step in alone:
        judge(*step)
    queues = [deque(steps) for steps in lanes]

    def work(number):
        LANE.files = CACHE / f"lane-{number}"
        for queue in (queues[number], queues[-1]):
            while queue:
                try:
                    step = queue.popleft()
                except IndexError:
                    # Another lane was faster.
                    break
                judge(*step)

    threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(len(lanes))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        for process in Beside.begun:
            process.process.kill()
        raise
    # Once more: whoever reads the end alone is to know.
    for name, why in failed.items():
        say(f"failed: {name}: {why[:2000]}")
    if not failed:
        say("all conformance steps passed")
    return not failed
