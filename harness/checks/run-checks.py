#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run checks in parallel, one per CPU, say how long is left, and add up the results.

usage: run-checks.py [--resume] [COMMAND... --] CHECK...

Each CHECK is a command whose last line of output is 'N passed, N failed' (', N skipped' may
follow), and so is the last line of this one: their sum. Their output is kept in
build/log/check-*.log. A check keeps one CPU busy most of the time, however many its guest
has. The longest should come first.

The COMMANDs before -- run first, one at a time: what builds the kernels. If one fails, no
check runs.

--resume: a check that has passed before, on the same files, is not run again.

How long a check takes is remembered in build/checks/durations, and before its first run
taken from harness/checks/durations. When it is interrupted, it ends all that it has started.
"""
import hashlib
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "harness/lib"))
import supervise  # noqa: E402

LOG = ROOT / "build/log"
DEFAULTS = ROOT / "harness/checks/durations"
REMEMBERED = ROOT / "build/checks/durations"
UNKNOWN = 60            # seconds that a check takes of which nothing is known
QUIET = 60              # seconds between two lines of progress where there is no terminal
VERDICT = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")

base = os.environ.get("BASE") or ""
if base == (ROOT / "harness/base/default").read_text().strip():
    base = ""
terminal = sys.stderr.isatty()
printing = threading.Lock()
stopping = threading.Event()


def say(text, status=False):
    """A line on stderr; a status, on a terminal, is overwritten by the next line."""
    with printing:
        if terminal:
            width = os.get_terminal_size(2).columns - 1
            sys.stderr.write("\r\033[K" + (text[:width] if status else text + "\n"))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def read_durations(path):
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (l.split(None, 1) for l in lines if l and not l.startswith("#"))
    return {command: float(seconds) for seconds, command in pairs}


class Durations:
    """How long each command takes, in seconds"""

    def __init__(self):
        self.remembered = read_durations(REMEMBERED)
        self.known = {**read_durations(DEFAULTS), **self.remembered}

    @staticmethod
    def key(command):
        # A kernel that has been built takes seconds, the first time it is minutes.
        variant = re.fullmatch(r"harness/kernel/build (\S+)", command)
        if variant and (ROOT / "build" / variant[1] / "vmlinux").is_file():
            command += " again"
        return f"BASE={base} {command}" if base else command

    def of(self, key):
        return self.known.get(key, UNKNOWN)

    def remember(self, key, seconds):
        self.known[key] = self.remembered[key] = seconds
        REMEMBERED.parent.mkdir(parents=True, exist_ok=True)
        new = REMEMBERED.with_suffix(".new")
        new.write_text("".join(f"{s:.0f} {k}\n" for k, s in sorted(self.remembered.items())))
        new.rename(REMEMBERED)


class Job:
    def __init__(self, command, durations):
        self.command, self.key = command, durations.key(command)
        self.expected = durations.of(self.key)
        self.log = log_of(command)
        self.begun = None
        self.result = None      # (passed, failed, skipped)
        self.took = 0

    def elapsed(self):
        return time.monotonic() - self.begun if self.begun else 0

    def left(self):
        # On a busy machine a check takes longer than it did: then by another quarter.
        return max(self.expected - self.elapsed(), self.elapsed() / 4)


def log_of(command):
    name = re.sub(r"[^a-z0-9-]+", "-", f"{base} {command}".strip().replace("harness/", ""))
    return LOG / f"check-{name}.log"


class Runner:
    def __init__(self, first, checks, resume):
        self.durations = Durations()
        self.first = [Job(c, self.durations) for c in first]
        self.checks = [Job(c, self.durations) for c in checks]
        self.running, self.done = [], 0
        self.cpus = len(os.sched_getaffinity(0))
        self.resume, self.state = resume, state_of_files()
        self.begun = time.monotonic()

    def left(self):
        """An estimate: what is waiting, in its order, each on the CPU that is free first."""
        waiting = [j for j in self.checks if not j.begun and not j.result]
        one_at_a_time = [j for j in self.first if j in self.running or not j.begun]
        start = sum(j.left() for j in one_at_a_time)
        free = [start] * self.cpus
        for number, job in enumerate(j for j in self.running if j in self.checks):
            free[number] += job.left()
        for job in waiting:
            free.sort()
            free[0] += job.expected
        return max(free)

    def progress(self):
        total = len(self.first) + len(self.checks)
        now = ", ".join(f"{short(j.command)} {clock(j.elapsed())}" for j in self.running)
        return (f"check: {self.done} of {total} done, about {clock(self.left())} left; "
                f"running: {now or 'nothing'}")

    def execute(self, job):
        """Run a job's command: its output goes to the log, its messages are passed on."""
        if stopping.is_set():
            threading.Event().wait()    # until the process ends, see interrupted()
        job.begun = time.monotonic()
        self.running.append(job)
        say(f"check: {job.command} (about {clock(job.expected)}; "
            f"{clock(self.left())} left in all)")
        with open(job.log, "w") as log:
            process = subprocess.Popen(shlex.split(job.command), cwd=ROOT, text=True, stdout=log,
                                       stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                       errors="replace")
            for line in process.stderr:
                say(line.rstrip("\n"))
            status = process.wait()
        if stopping.is_set():
            threading.Event().wait()
        job.took = job.elapsed()
        self.running.remove(job)
        self.done += 1
        return status

    def build(self):
        for job in self.first:
            if self.execute(job):
                print(job.log.read_text()[-2000:], file=sys.stderr)
                sys.exit(f"check: FAILED: {job.command}, see {job.log.relative_to(ROOT)}")
            self.durations.remember(job.key, job.took)

    def check(self, job):
        row = job.log.with_suffix(".row")
        if self.resume and row.is_file():
            result, took, state = row.read_text().rstrip("\n").split("\t")
            verdict = VERDICT.match(result)
            if state == self.state and verdict and verdict[2] == "0":
                job.result, job.took = counts(verdict), float(took)
                self.done += 1
                say(f"check: {job.command} has passed already, see {job.log.relative_to(ROOT)}")
                return
        row.unlink(missing_ok=True)
        self.execute(job)
        lines = [l for l in job.log.read_text(errors="replace").splitlines() if VERDICT.match(l)]
        if lines:
            job.result = counts(VERDICT.match(lines[-1]))
            self.durations.remember(job.key, job.took)
        else:
            job.result = (0, 1, 0)
            say("\n".join(job.log.read_text(errors="replace").splitlines()[-5:]))
            say(f"check: FAILED: {job.command} gave no verdict, see "
                f"{job.log.relative_to(ROOT)}")
        row.write_text(f"{text_of(job.result)}\t{job.took:.0f}\t{self.state}\n")
        say(f"check: {job.command}: {text_of(job.result)} ({clock(job.took)})")

    def work(self, jobs):
        while True:
            try:
                self.check(jobs.get_nowait())
            except queue.Empty:
                return

    def run(self):
        say(f"check: {len(self.checks)} checks on {self.cpus} CPUs, "
            f"about {clock(self.left())} in all")
        threading.Thread(target=self.report, daemon=True).start()
        self.build()
        jobs = queue.Queue()
        for job in self.checks:
            jobs.put(job)
        workers = [threading.Thread(target=self.work, args=(jobs,)) for _ in range(self.cpus)]
        for worker in workers:
            worker.daemon = True
            worker.start()
        for worker in workers:
            worker.join()
        return self.sum()

    def report(self):
        last = time.monotonic()
        while True:
            time.sleep(1)
            if self.running and time.monotonic() - last >= (1 if terminal else QUIET):
                last = time.monotonic()
                say(self.progress(), status=True)

    def sum(self):
        table = "".join(f"{j.command:<55} {text_of(j.result):<40} {clock(j.took)}\n"
                        for j in self.checks)
        (LOG / "check-table").write_text(table)
        say(table.rstrip("\n"))
        say(f"check: {clock(time.monotonic() - self.begun)} in all")
        total = tuple(map(sum, zip(*(j.result for j in self.checks))))
        print(text_of(total))
        return total[1] > 0 or total[0] == 0


def short(command):
    return command.rpartition("/")[2] if " " not in command else \
        re.sub(r"^\S*/", "", command)


def counts(verdict):
    return tuple(int(n or 0) for n in verdict.groups())


def text_of(result):
    return "{} passed, {} failed, {} skipped".format(*result)


def state_of_files():
    """A digest of the files that a check may read: pages and the list of checks are none."""
    paths = ["--", ".", ":!*.md", ":!Makefile", ":!.github"]
    digest = hashlib.sha256()
    for command in (["ls-files", "-s"], ["diff", "HEAD"]):
        digest.update(subprocess.run(["git", *command, *paths], cwd=ROOT, check=True,
                                     capture_output=True).stdout)
    return digest.hexdigest()[:12]


def interrupted(number):
    stopping.set()
    say("check: interrupted; ending what is running")
    supervise.end_descendants()
    os._exit(128 + number)


def main():
    arguments = sys.argv[1:]
    resume = arguments[:1] == ["--resume"]
    arguments = arguments[1:] if resume else arguments
    first = arguments[:arguments.index("--")] if "--" in arguments else []
    checks = arguments[len(first) + ("--" in arguments):]
    if not checks:
        sys.exit(__doc__)
    LOG.mkdir(parents=True, exist_ok=True)
    supervise.guard()
    supervise.on_signal(interrupted)
    return Runner(first, checks, resume).run()


if __name__ == "__main__":
    sys.exit(main())
