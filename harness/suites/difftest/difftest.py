#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make the same calls on the stock kernel and on ours, and compare the results.

usage: difftest.py [--calls N] [--seed N] [--long] [--stock TREE/CONFIG] [--ours TREE/CONFIG]
       difftest.py [...] --replay FILE    show a file's sequences, with both kernels' answers

A seeded generator makes sequences of 40 calls; player.c, which lists the calls, plays
thousands of them in one guest. Where the results differ, a line in known-differences must
match, and the rest of that sequence is not compared, as the two kernels are in different
states from there on. Any other sequence that differs is played again several times: if it
always differs, the run fails and the sequence is reduced to the calls that are needed; if
not, it is non-deterministic and printed, and too many of these fail the run as well. Rare
failures on one kernel are for the stress tests to find.

--calls N   compare N calls (100,000; 2 million with --long)
--seed N    the seed of the calls (1)
--long      also fail if a line of known-differences never matched
"""
import argparse
import collections
import errno
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build/difftest"
SOURCES = ROOT / "build/ours/src/tools/include"
LENGTH, BATCH, SOCKETS, MAPS, SLOTS, PORTS = 40, 2500, 8, 3, 4, 4
MOST_SHOWN = 3          # failures that are reduced and shown
REPEATS = 16            # how often a sequence that differs is repeated on each kernel
UNSTEADY = 1000         # one sequence in this many may be non-deterministic

errno.errorcode.update({95: "EOPNOTSUPP", 524: "ENOTSUPP"})


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    sys.exit(f"difftest: {text}")


class Generator:
    """One sequence: most calls make sense, some do not."""

    def __init__(self, rng):
        self.rng = rng
        self.calls = []
        # One family and address per port: then a port has one group, and no packet
        # runs one group's program and is then distributed by another group's hash.
        self.places = [rng.choice(["lo4", "any4", "lo6", "any6"]) for _ in range(PORTS)]
        # A sockmap's rule needs the sockets of the slots, which not every map returns.
        self.sockmaps = rng.random() < 0.2
        self.migration = rng.random() < 0.3
        self.opened = {}        # socket -> (protocol, port)
        self.filled = []        # (map, index)

    def say(self, *words):
        if self.rng.random() < 0.97:
            self.calls.append(" ".join(map(str, words)))

    def socket(self):
        if self.opened and self.rng.random() < 0.95:
            return self.rng.choice(list(self.opened))
        return self.rng.randrange(SOCKETS)

    def map(self):
        return self.rng.choice([0, 0, 0, 0, 1, 1, 2])

    def index(self):
        return self.rng.choice([0] * 10 + [1] * 6 + [2, 2, 3, 3, 4, 5, 0xffffffff])

    def port(self):
        return self.rng.choice([0, 0, 0, 1, 1, 2, 3])

    def port_of(self, protocol):
        """A port with a listener, as far as is known."""
        ports = [port for p, port in self.opened.values() if p == protocol]
        return self.rng.choice(ports) if ports and self.rng.random() < 0.9 else self.port()

    def slot(self):
        """A slot that is taken, as far as is known."""
        if self.filled and self.rng.random() < 0.6:
            return self.rng.choice(self.filled)
        return self.map(), self.index()

    def update(self, socket, flags):
        slot = self.map(), self.index()
        self.filled.append(slot)
        self.say("update", *slot, socket, flags)
        return slot

    def flags(self):
        return self.rng.choice([0] * 12 + [1, 1, 1, 2, 2, 2, 3, 4, 8, 1 << 32, (1 << 64) - 1])

    def client(self, port):
        place = self.places[port]
        dual = place == "any6" and self.rng.random() < 0.5
        return "lo4" if dual else "lo" + place[-1], port

    def new_map(self, number):
        rng = self.rng
        value = 8 if self.sockmaps else rng.choice([4, 8, 8])
        odd = rng.random() < 0.1 and number == 2
        self.say("map", number, rng.choice([0, 2, 4, 8]) if odd else 4,
                 rng.choice([0, 1, value, value, 16]) if odd else value,
                 rng.choice([0, 1, 4]) if odd else rng.choice([SLOTS] * 5 + [2, 1]),
                 rng.choice([0, 1, 2, 4, 8, 16, 1 << 10, 1 << 12, 1 << 31])
                 if odd and not self.sockmaps else
                 0 if self.sockmaps else rng.choice([0] * 40 + [1 << 3, 1 << 4]))

    def server(self, protocol=None):
        rng, port = self.rng, self.port()
        free = [s for s in range(SOCKETS) if s not in self.opened]
        socket = rng.choice(free) if free and rng.random() < 0.8 else rng.randrange(SOCKETS)
        protocol = protocol or rng.choice(["tcp", "tcp", "udp"])
        self.opened[socket] = protocol, port
        place = self.places[port]
        odd = rng.random()
        if odd < 0.06:
            kind = rng.choice(["unix", "unixgram", "raw4", "raw6", "rawmptcp4", "packet"])
        else:
            kind = protocol + place[-1]
        self.say("open", socket, kind)
        self.say("reuseport", socket, 1)
        self.say("bind", socket, place, port)
        if protocol == "tcp":
            self.say("listen", socket)
        if rng.random() < 0.3:
            self.say("attach", socket, rng.choice([0, 0, 0, 1, 2, 2, 2, 3]))
        if rng.random() < 0.7:
            index = self.update(socket, self.flags())[1]
            if rng.random() < 0.4:
                call = "send" if protocol == "udp" else rng.choice(["dial", "hang"])
                self.say(call, *self.client(port), index)
        return socket

    def stopped_listener(self):
        """A TCP socket that is connected, and was a listener before; or in a sockmap too."""
        if not self.migration and not self.sockmaps:
            return
        if self.rng.random() < 0.7:
            self.say("sysctl", "tcp_migrate_req", 1)
        socket = self.server("tcp")
        target = self.port_of("tcp")
        self.say("shutdown", socket, 2)
        if not self.migration:
            self.say("attach", socket, 2)
        if self.rng.random() < 0.6:
            self.say("connect", socket, *self.client(target))
        if self.sockmaps and self.rng.random() < 0.5:
            self.say("sockmap", 2, socket)
        self.update(socket, 0)

    def waiting(self):
        """A connection waits in a listener, which then stops."""
        port = self.port_of("tcp")
        self.say("attach", self.socket(), 2)
        self.say("heir", self.index())
        self.say("hang", *self.client(port), self.index())
        self.rng.choice([self.close, self.disconnect, self.shutdown])()
        self.say("gather")

    def close(self):
        socket = self.socket()
        self.say("close", socket)
        self.opened.pop(socket, None)

    def disconnect(self):
        self.say("disconnect", self.socket())

    def shutdown(self):
        self.say("shutdown", self.socket(), self.rng.choice([0, 1, 2, 2, 2, 3]))

    def sockmap(self):
        if self.sockmaps:
            self.say("sockmap", self.rng.choice([0, 0, 1, 2]), self.socket())

    def sockmapdel(self):
        if self.sockmaps:
            self.say("sockmapdel", self.rng.choice([0, 1, 2]))

    def drop(self):
        # A map that a program still uses stays in use after its fd is closed.
        self.say("drop", 2 if self.sockmaps else self.map())

    def bind(self):
        port = self.rng.randrange(PORTS)
        self.say("bind", self.socket(), self.places[port], port)

    def updatefd(self):
        self.say("updatefd", self.map(), self.index(),
                 self.rng.choice([-1, 0, 1, 999, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 40]),
                 self.flags())

    def batch(self):
        """Often with one socket or slot named twice: the order within the batch counts."""
        rng = self.rng
        if self.sockmaps:
            return None
        count = rng.randrange(1, 5)
        kind = rng.choice(["update", "update", "delete", "lookup"])
        if kind == "lookup":
            return self.say("batchlookup", self.map(), self.index(), rng.randrange(1, 5))
        pairs = [[self.index(), self.socket()] for _ in range(count)] + [["-", 0]] * (4 - count)
        if kind == "update":
            return self.say("batchupdate", self.map(), self.flags(), *sum(pairs, []))
        return self.say("batchdelete", self.map(), *[index for index, _ in pairs])

    def migrate(self):
        if self.migration:
            self.say("sysctl", "tcp_migrate_req", self.rng.randrange(2))

    def sequence(self):
        self.new_map(0)
        self.new_map(1)
        if self.rng.random() < 0.5:
            self.new_map(2)
        say, rng = self.say, self.rng
        for _ in range(rng.randrange(1, 4)):
            self.server()
        moves = [
            (14, lambda: self.update(self.socket(), self.flags())),
            (6, self.server),
            (7, lambda: say("lookup", *self.slot(), rng.choice([0] * 9 + [4]))),
            (3, lambda: say("delete", *self.slot())),
            (2, self.close),
            (3, self.shutdown),
            (3, lambda: say("listen", self.socket())),
            (2, self.disconnect),
            (3, lambda: say("connect", self.socket(), *self.client(self.port_of("tcp")))),
            (4, lambda: say("attach", self.socket(), rng.choice([0, 0, 1, 2, 2, 3]))),
            (5, lambda: say("send", *self.client(self.port_of("udp")), self.slot()[1])),
            (5, lambda: say("dial", *self.client(self.port_of("tcp")), self.slot()[1])),
            (2, lambda: say("hang", *self.client(self.port_of("tcp")), self.slot()[1])),
            (2, lambda: say("gather")),
            (2, self.waiting),
            (2, self.bind),
            (2, lambda: say("reuseport", self.socket(), rng.randrange(2))),
            (2, lambda: say("dup", self.socket(), self.socket())),
            (2, lambda: say("take", self.socket())),
            (2, lambda: say("next", self.map(), rng.choice(["-", self.index()]))),
            (2, self.updatefd),
            (2, lambda: say("detach", self.socket())),
            (2, self.stopped_listener),
            (2, self.migrate),
            (4, self.batch),
            (2, self.sockmap),
            (1, self.sockmapdel),
            (1, self.drop),
            (1, lambda: self.new_map(2)),
            (1, lambda: say("pop", *self.slot())),
            (1, lambda: say("dump")),
            (0.1, lambda: say("freeze", self.map())),
        ]
        weights, makes = zip(*moves)
        while len(self.calls) < LENGTH - 1:
            rng.choices(makes, weights)[0]()
        return self.calls[:LENGTH - 1] + ["dump"]


Rule = collections.namedtuple("Rule", "name call stock ours facts")


def rules():
    lines = (HERE / "known-differences").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return [Rule(*w[:4], set(w[4:])) for w in words]


def readable(answer):
    """-22 -> EINVAL"""
    return re.sub(r"(?<!\S)-(\d+)", lambda m: errno.errorcode.get(int(m[1]), m[0]), answer)


class Crash(Exception):
    """A kernel that did not finish: its name, and the output of the boot script."""


def play(variants, sequences):
    """Boot all variants at once. Return, per variant, the answers per sequence."""
    with tempfile.TemporaryDirectory(dir=BUILD) as work:
        work = Path(work)
        os.link(BUILD / "player", work / "player")
        lines = [line for s in sequences for line in ["sequence", *s]]
        (work / "sequences").write_text("\n".join(lines) + "\n")
        boots = []
        for number, variant in enumerate(variants):
            command = [ROOT / "harness/guest/boot", "-t", "900", "-f", work,
                       "-o", f"{work}/out{number}",
                       variant, "/player", "/sequences", "/out/results"]
            boots.append(subprocess.Popen(command, text=True, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT))
        answers, crash = [], None
        for number, (variant, boot) in enumerate(zip(variants, boots)):
            output = boot.communicate()[0]
            if boot.returncode:
                crash = crash or Crash(variant, output.strip())
                continue
            text = (work / f"out{number}/results").read_text()
            answers.append([[readable(a.strip()) for a in part.split("\n")[1:-1]]
                            for part in text.split("sequence")[1:]])
            expected = [len(s) for s in sequences]
            if [len(a) for a in answers[-1]] != expected:
                die(f"{variant} returned results of other calls")
        if crash:
            raise crash
        return answers


def play_or_narrow(variants, sequences):
    """Like play(); if a kernel crashes in a batch, find the part that is needed."""
    try:
        return play(variants, sequences)
    except Crash as crash:
        variant, output = crash.args
    halves = True
    while halves and len(sequences) > 1:
        middle = len(sequences) // 2
        halves = False
        for half in sequences[:middle], sequences[middle:]:
            try:
                play([variant], half)
            except Crash as crash:
                output, sequences, halves = crash.args[1], half, True
                break
    kept = BUILD / "crash"
    kept.write_text("".join("\n".join(["sequence", *s]) + "\n" for s in sequences))
    die(f"{output}\ndifftest: {variant} does not finish {len(sequences)} sequences; "
        f"again: harness/suites/difftest/difftest.py --replay {kept.relative_to(ROOT)}")


def first_difference(stock, ours):
    for number, (a, b) in enumerate(zip(stock, ours)):
        if a != b:
            return number
    return None


def matching_rule(call, stock, ours):
    """The line of the table that allows this difference."""
    stock, *stock_facts = stock.split() or [""]
    ours, *_ = ours.split() or [""]
    for rule in rules():
        if call.split()[0] == rule.call and rule.stock in (stock, "*") and \
           rule.ours in (ours, "*") and rule.facts <= set(stock_facts):
            return rule
    return None


def fails(sequence, stock, ours):
    at = first_difference(stock, ours)
    return at is not None and not matching_rule(sequence[at], stock[at], ours[at])


def cut_down(variants, sequence):
    """The fewest calls that still differ: drop smaller and smaller parts, tried in one boot."""
    part = len(sequence) // 2
    while part:
        tries = [sequence[:i] + sequence[i + part:] for i in range(0, len(sequence), part)]
        played = zip(tries, *play_or_narrow(variants, tries))
        shorter = next((t for t, stock, ours in played if fails(t, stock, ours)), None)
        sequence = shorter or sequence
        part = min(part, len(sequence) // 2) if shorter else part // 2
    return sequence


def show(variants, sequences):
    width = max(len(call) for sequence in sequences for call in sequence) + 2
    for sequence, stock, ours in zip(sequences, *play_or_narrow(variants, sequences)):
        column = max(map(len, [variants[0], *stock])) + 2
        print(f"{'':{width}}{variants[0]:{column}}{variants[1]}")
        for call, a, b in zip(sequence, stock, ours):
            print(f"{call:{width}}{a:{column}}{b if a != b else '='}")


def read(path):
    text = "\n" + path.read_text()
    return [part.strip().split("\n") for part in text.split("\nsequence\n") if part.strip()]


def build_player():
    BUILD.mkdir(parents=True, exist_ok=True)
    new = BUILD / f"player.{os.getpid()}"
    done = subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Werror", f"-I{SOURCES}",
                           f"-I{SOURCES}/uapi", "-o", new, HERE / "player.c"])
    if done.returncode:
        die("building the player failed; it needs the trees: make trees")
    new.replace(BUILD / "player")


def steady_ones(variants, suspects):
    """The sequences that differ in any two of many plays. The others are printed."""
    plays = play_or_narrow(variants, [s for s, _, _ in suspects for _ in range(REPEATS)])
    steady = []
    for number, (sequence, *answers) in enumerate(suspects):
        stock, ours = [p[number * REPEATS:(number + 1) * REPEATS] for p in plays]
        if all(fails(sequence, a, b) for a in stock for b in ours):
            steady.append(sequence)
        else:
            at = first_difference(*answers)
            said = " and ".join(f"{a[at]} on {v}" for a, v in zip(answers, variants))
            say(f"difftest: non-deterministic: {sequence[at]}: {said}, but not each time")
    return steady


def kind(call, answer):
    """What the table of answers counts: the numbers of sockets left out."""
    call = call.split()[0]
    if call == "dump":
        return call
    return f"{call} " + re.sub(r"(at|socket) \d+( at \d+)*", r"\1 N", answer)


def compare(options, variants):
    wanted = options.calls or (2_000_000 if options.long else 100_000)
    matched = collections.Counter({rule.name: 0 for rule in rules()})
    kinds = collections.Counter()
    compared = sequences = unsteady = differing = batch = 0
    failures = []
    start = time.monotonic()
    while compared < wanted and len(failures) < MOST_SHOWN:
        count = min(BATCH, (wanted - compared) // LENGTH + 50)
        made = [Generator(random.Random(f"{options.seed} {batch} {i}")).sequence()
                for i in range(count)]
        suspects = []
        for sequence, stock, ours in zip(made, *play_or_narrow(variants, made)):
            at = first_difference(stock, ours)
            kinds.update(kind(c, a) for c, a in zip(sequence[:at], stock))
            compared += len(sequence) if at is None else at + 1
            if at is None:
                continue
            rule = matching_rule(sequence[at], stock[at], ours[at])
            if rule:
                matched[rule.name] += 1
            else:
                suspects.append((sequence, stock, ours))
        sequences += count
        batch += 1
        steady = steady_ones(variants, suspects) if suspects else []
        unsteady += len(suspects) - len(steady)
        differing += len(steady)
        failures += [cut_down(variants, s) for s in steady[:MOST_SHOWN - len(failures)]]
        say(f"difftest: {compared} calls compared ({time.monotonic() - start:.0f} s)")

    for number, sequence in enumerate(failures):
        kept = BUILD / f"failure-{number}"
        kept.write_text("\n".join(sequence) + "\n")
        say(f"difftest: {variants[0]} and {variants[1]} differ; again: "
            f"harness/suites/difftest/difftest.py --replay {kept.relative_to(ROOT)}")
        show(variants, [sequence])
    (BUILD / "answers").write_text("".join(f"{n:8} {k}\n" for k, n in sorted(kinds.items())))

    failed = differing
    for name, count in matched.items():
        print(f"known difference: {name}: {count} times")
        if options.long and not count:
            say(f"difftest: FAILED: the rule {name} never matched; remove it if it is outdated")
            failed += 1
    if unsteady * UNSTEADY > max(sequences, UNSTEADY):
        say(f"difftest: FAILED: {unsteady} of {sequences} sequences are non-deterministic")
        failed += 1
    print(f"{compared} calls in {sequences} sequences compared, {len(kinds)} kinds of answers "
          f"(build/difftest/answers), {unsteady} non-deterministic sequences excluded, "
          f"{time.monotonic() - start:.0f} s")
    print(f"{sequences - unsteady - differing} passed, {failed} failed")
    return failed != 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--stock", default="stock/um")
    parser.add_argument("--ours", default="ours/um")
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    variants = options.stock, options.ours
    build_player()
    if options.replay:
        show(variants, read(options.replay))
        return 0
    return compare(options, variants)


if __name__ == "__main__":
    sys.exit(main())
