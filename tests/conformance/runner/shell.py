"""Processes: those that must succeed, those that run beside, and the words that tell how far the run is."""
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = ROOT / "target" / "conformance"
HERE = ROOT / "tests" / "conformance"
BEGIN = time.time()


class Failed(Exception):
    pass


def say(text):
    print(f"[{time.time() - BEGIN:6.1f} s] {text}", flush=True)


def run(*command, expect=0, stdin=None, env=None, limit=600):
    """Runs to its end and answers all it said; `expect` is the exit status it must have, None for any but 0."""
    command = [str(part) for part in command]
    done = subprocess.run(command, input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **(env or {})}, timeout=limit, cwd=ROOT)
    wrong = done.returncode == 0 if expect is None else done.returncode != expect
    if wrong:
        raise Failed(f"exit status {done.returncode} of: {' '.join(command)}\n{done.stdout[-4000:]}")
    return done.stdout


class Beside:
    """A process beside the runner, its output in files; ended with the `with` block, whatever happens."""

    begun = []

    def __init__(self, name, *command, env=None):
        CACHE.mkdir(parents=True, exist_ok=True)
        self.out, self.log = CACHE / f"{name}.out", CACHE / f"{name}.log"
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=log, env={**os.environ, **(env or {})}, cwd=ROOT,
                                            start_new_session=True)
        Beside.begun.append(self)

    def end(self, limit=20):
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


def last_words(begun, told):
    """Of those that a step has begun and of the one that all steps share, unless told: their files are gone when somebody reads of it."""
    newest = {process.log: process for process in Beside.begun[:1] + Beside.begun[begun:]}
    words = [process.last_words() for process in list(newest.values())[-12:]]
    return "\n".join(text for text in words if text not in told)


def main(steps):
    """Runs the steps by name; all of them although one failed, and tells at the end."""
    failed = []
    for name, step in steps:
        say(f"{name} ...")
        begun = len(Beside.begun)
        try:
            told = step()
            say(f"{name}: ok{', ' + told if told else ''}")
        except (Failed, AssertionError, subprocess.SubprocessError, OSError) as error:
            told = str(error) or repr(error)
            say(f"{name}: FAILED\n{told}\n{last_words(begun, told)}")
            failed.append(name)
    say("failed: " + ", ".join(failed) if failed else "all conformance steps passed")
    sys.exit(1 if failed else 0)
