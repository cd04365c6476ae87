#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Count instructions on our kernel and on stock, under QEMU's icount.

usage: harness/bench/run-bench.py [-r | -n] [-p] [-s SIZE,...] [ROW...]
       harness/bench/run-bench.py -g

ROW is a name as in the report, wildcards allowed: udp-select, udp-select/sockmap,
'close-*'. Without one: all rows, then the figures with their limits.

  -r  boot everything twice, and fail unless both runs agree to the digit
  -n  boot nothing, report what earlier runs have left
  -p  publish: put the report and the picture onto the page, harness/bench/README.md
  -s  these sizes only (numbers of slots)
  -g  the guard: our kernel alone, against the limits in harness/base/BASE/limits

The kernels are build/TREE/bench, and build/TREE/bench-smp for the rows on two CPUs, of stock
and ours; `make bench` builds them.
Results: build/bench/TREE-GROUP.tsv as the guest wrote them, build/bench/report.txt and
bench.json, and a picture, bench.svg and .png. A measurement that fails leaves a gap in
the report and fails the run. BASE=7.3 selects another base, with build/7.3 for build.
"""
import fnmatch
import getopt
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "harness/trees"))
import socket_sizes  # pylint: disable=wrong-import-position
import trees as layout  # pylint: disable=wrong-import-position

OUT = layout.BUILD / "bench"
TREES = ("stock", "ours")
MOST = 16777216
SIZES = (16, 256, 4096, 60000)

# What one boot measures: the guest program's name for it, its sizes, its rows.
SELECT = ("hash", "pass", "select", "nested")
GROUPS = {
    "udp": (SIZES, [f"udp-{r}" for r in SELECT]),
    "syn": (SIZES, [f"syn-{r}" for r in SELECT]),
    "lookup": ((16, 4096), [f"{p}-{r}" for p in ("udp", "syn") for r in ("lookup-pass", "lookup")]),
    "service-udp": ((16,), ["udp-service", "udp-new-service"]),
    "service-syn": ((16,), ["syn-service"]),
    "quic": ((16,), ["udp-send", "udp-service", "udp-new-service", "udp-moved-service"]),
    "calls": (SIZES, ["update", "lookup-first", "lookup", "next-key", "replace", "delete"]),
    "batch": ((16, 1024, 16384), ["batch-update", "batch-lookup", "batch-delete"]),
    "close-udp": (SIZES, ["close-udp"]),
    "close-tcp": (SIZES, ["close-tcp"]),
    "hold": ((16, 30000), ["chunk-update", "chunk-delete"]),
    "free": ((1, 1024, 1048576, MOST),
             ["create", "free-empty", "stall-empty", "free-one", "stall-one"]),
    "memory": ((1,), ["bytes", "bytes-per-slot"]),
    "parallel": ((16,), ["calls-alone", "calls-two-maps", "udp-alone", "udp-with-updates"]),
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    sys.exit(f"bench: {text}")


class Failure(Exception):
    """A measurement that failed; the others go on."""


def build_guest():
    tools = ROOT / "build/ours/src/tools"
    if not tools.is_dir():
        die("no tree build/ours/src; run: make trees")
    program = OUT / "guest/bench/bench"
    program.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror",
                           "-iquote", tools / "include", "-isystem", tools / "include/uapi",
                           "-o", program, *sorted(Path(__file__).parent.glob("*.c")),
                           "-lpthread"])
    if done.returncode:
        die("the guest's program does not compile")


def boot(tree, groups):
    """Run groups, name -> sizes, in one boot of a kernel; return what they wrote."""
    exact, config = (["-s", "2"], "bench-smp") if "parallel" in groups else (["-i"], "bench")
    command = "; ".join(f"/bench/bench {group} {' '.join(map(str, sizes))} || exit"
                        for group, sizes in groups.items())
    kernel = str(Path(layout.VARIANT) / tree / config)
    if not (ROOT / "build" / kernel / "arch/x86/boot/bzImage").is_file():
        raise Failure(f"{kernel} is not built; run: harness/kernel/build {kernel}")
    # The tables are made for 60,000 sockets, so that their chains are no part of the row.
    done = subprocess.run(
        [ROOT / "harness/guest/boot", *exact, "-t", "3600", "-m", "4096", "-f", OUT / "guest",
         "-a", "uhash_entries=65536 thash_entries=65536", "-o", OUT / "out", kernel,
         "sh", "-c", f"({command}) >/out/result.tsv"],
        text=True, capture_output=True)
    if done.returncode:
        raise Failure(f"{' '.join(groups)} on {tree} failed:\n"
                      f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return (OUT / "out/result.tsv").read_text()


def measure(tree, group, sizes, twice):
    start = time.time()
    path = OUT / f"{tree}-{group}.tsv"
    path.unlink(missing_ok=True)  # a failure leaves no older result
    text = boot(tree, {group: sizes})
    if twice and group != "parallel" and boot(tree, {group: sizes}) != text:
        raise Failure(f"{group} on {tree}: two runs differ")
    path.write_text(text)
    say(f"bench: {tree}: {group} ({time.time() - start:.0f} s)")


def measure_all(wanted, twice):
    """Return the number of measurements that failed."""
    failures = 0
    for group, sizes in wanted.items():
        for tree in TREES if sizes else ():
            try:
                measure(tree, group, sizes, twice)
            except Failure as failure:
                say(f"bench: {failure}")
                failures += 1
    return failures


def parse(results, tree, text):
    """Add to results: (row, map, size) -> tree -> result; None: no such thing there"""
    for line in text.splitlines():
        row, kind, size, samples, *values = line.split("\t")
        result = dict(zip(("mean", "median", "min", "max"), map(float, values)))
        results.setdefault((row, kind, int(size)), {})[tree] = \
            {"samples": int(samples), **result} if values else None


def read():
    results = {}
    for group in GROUPS:
        for tree in TREES:
            path = OUT / f"{tree}-{group}.tsv"
            if path.is_file():
                parse(results, tree, path.read_text())
    return results


def matches(key, patterns):
    row, kind, size = key
    names = (row, f"{row}/{kind}", f"{row}/{kind}/{size}")
    return any(fnmatch.fnmatch(n, p) for p in patterns for n in names)


def number(value):
    """At most two decimals, and those only where they say something."""
    if value is None:
        return "-"
    if value >= 1000000:
        return f"{value / 1000000:,.2f}M"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def table(results):
    head = f"{'row':<17}{'map':<9}{'size':>10}"
    for tree in TREES:
        head += f"{tree:>10}{'mean':>10}{'spread':>9}"
    lines = [head + f"{'ratio':>6}"]
    for (row, kind, size), trees in results.items():
        line = f"{row:<17}{kind:<9}{size:>10,}"
        for tree in TREES:
            r = trees.get(tree)
            line += "".join(f"{number(v):>{w}}" for v, w in (
                (r and r["median"], 10), (r and r["mean"], 10),
                (r and r["max"] - r["min"], 9)))
        medians = [trees.get(t) and trees[t]["median"] for t in TREES]
        lines.append(line + (f"{medians[1] / medians[0]:>6.3f}" if all(medians) else f"{'-':>6}"))
    return "\n".join(lines)


class Figures:
    """The figures to reach: a name, a value, a limit. The value may be a pair, whose
    quotient is meant. What was not measured, or what a kernel does not have, is None and
    counts as not met. A figure that cannot be met is argued in harness/bench/README.md."""

    def __init__(self, results, sizes):
        self.results, self.sizes, self.list = results, sizes, []
        self.all()

    def get(self, tree, row, kind, size, what="median"):
        result = self.results.get((row, kind, size), {}).get(tree)
        if not result:
            raise KeyError(row)
        return result[what]

    def add(self, name, relation, limit, value, argued=False):
        pair = None
        try:
            value = value()
            if isinstance(value, tuple):
                pair, value = value, value[0] / value[1]
        except (KeyError, TypeError, ZeroDivisionError):
            value = None
        met = value is not None and (value < limit if relation == "<" else
                                     value == limit if relation == "=" else value <= limit)
        self.list.append({"name": name, "pair": pair, "value": value, "relation": relation,
                          "limit": limit, "met": met, "argued": argued and not met})

    def selection(self, tree, proto, row="select", kind="map", size=16):
        return self.get(tree, f"{proto}-{row}", kind, size) - \
            self.get(tree, f"{proto}-pass", "-", size)

    def lookup(self, tree, proto, kind):
        return self.get(tree, f"{proto}-lookup", kind, 16) - \
            self.get(tree, f"{proto}-lookup-pass", "-", 16)

    def close_cost(self, tree, proto, base=None):
        return self.get(tree, f"close-{proto}", "map", 4096) - \
            self.get(base or tree, f"close-{proto}", "-", 4096)

    def flat(self, value, sizes=SIZES):
        values = [value(size) for size in sizes]
        return max(values), min(values)

    def all(self):
        get, add = self.get, self.add
        for p in ("udp", "syn"):
            add(f"{p}: selection from our map / stock's", "<=", 0.85,
                lambda: (self.selection("ours", p), self.selection("stock", p)))
            for peer in ("sockmap", "sockhash"):
                add(f"{p}: selection from our map / from a {peer.upper()}", "<", 1,
                    lambda: (self.selection("ours", p), self.selection("ours", p, kind=peer)))
            for peer in ("sockmap", "sockhash"):
                add(f"{p}: lookup by a program in our map / in a {peer.upper()}", "<=", 1,
                    lambda: tuple(self.lookup("ours", p, kind) for kind in ("map", peer)))
            for row, what in (("hash", "no program"), ("pass", "program that passes")):
                add(f"{p}: group in no map, {what}, ours / stock", "<=", 1,
                    lambda: tuple(get(t, f"{p}-{row}", "-", 16) for t in ("ours", "stock")))
        for row, limit in (("update", 0.98), ("replace", 0.98), ("delete", 1),
                           ("lookup-first", 1), ("lookup", 1)):
            add(f"{row}, ours / stock", "<=", limit,
                lambda: tuple(get(t, row, "map", 4096) for t in ("ours", "stock")))
        for row, limit in (("update", 0.28), ("lookup", 0.20), ("delete", 0.17)):
            add(f"batch of 1,024: {row} per slot / stock's single one", "<=", limit,
                lambda: (get("ours", f"batch-{row}", "map", 1024),
                         get("stock", row, "map", 4096)))
        for p in ("udp", "tcp"):
            add(f"close-{p}: in a map minus not, ours / stock", "<=", 0.80,
                lambda: tuple(self.close_cost(t, p) for t in ("ours", "stock")), argued=True)
            # Stock makes every socket of a group pay, in a map or not: take ours that is
            # in none for both.
            add(f"close-{p}: in a map minus ours not in one, ours / stock", "<=", 0.80,
                lambda: tuple(self.close_cost(t, p, "ours") for t in ("ours", "stock")))
        for p in ("udp", "syn"):
            add(f"{p}: selection, 16 to 60,000 sockets, most / least", "<=", 1.01,
                lambda: self.flat(lambda n: self.selection("ours", p, size=n)))
        for row in ("update", "replace", "delete", "lookup"):
            add(f"{row}, 16 to 60,000 slots, most / least", "<=", 1.01,
                lambda: self.flat(lambda n: get("ours", row, "map", n)))
        add("longest hold of the lock, in a call of (instructions)", "<=", 8000,
            lambda: max(get("ours", f"chunk-{row}", "map", 30000, "max")
                        for row in ("update", "delete")))
        for row in ("update", "delete"):
            add(f"{row} of 32, 16 to 30,000 stopped sockets, most / least", "<=", 1.01,
                lambda: self.flat(lambda n: get("ours", f"chunk-{row}", "map", n), (16, 30000)))
        add("free of 16M empty slots, per slot (no walk)", "<", 1,
            lambda: (get("ours", "free-empty", "map", MOST), MOST))
        add("longest stall, freeing 16M slots, in millions", "<=", 1,
            lambda: get("ours", "stall-one", "map", MOST, "max") / 1000000)
        add("bytes per slot", "=", 8, lambda: get("ours", "bytes-per-slot", "map", 1048576))
        for what, changes in (("structures of sockets that grew", socket_sizes.grown),
                              ("their members in another cache line", socket_sizes.moved)):
            add(f"{what}, Debian's amd64 and cloud", "=", 0,
                lambda: len([*changes(self.sizes)]) if self.sizes else None)

    def missed(self):
        return sum(not f["met"] and not f["argued"] for f in self.list)

    def __str__(self):
        lines = [f"{'figure':<56}{'from':>16}{'value':>8} {'limit':<7} verdict"]
        for f in self.list:
            pair = " / ".join(map(number, f["pair"])) if f["pair"] else ""
            value = "-" if f["value"] is None else f"{f['value']:,.3f}".rstrip("0").rstrip(".")
            limit = f"{f['relation']} {f['limit']:,}"
            verdict = "met" if f["met"] else "no result" if value == "-" else \
                "not met, argued" if f["argued"] else "NOT MET"
            lines.append(f"{f['name']:<56}{pair:>16}{value:>8} {limit:<7} {verdict}")
        return "\n".join(lines)


# What the chart shows: a label, the row, its size, and the row to take off, if any.
CHART = (
    ("select, UDP", "udp-select", 16, "udp-pass"),
    ("select, SYN", "syn-select", 16, "syn-pass"),
    ("update", "update", 4096, None),
    ("batched", "batch-update", 1024, None),
    ("lookup", "lookup", 4096, None),
    ("batched", "batch-lookup", 1024, None),
    ("delete", "delete", 4096, None),
    ("batched", "batch-delete", 1024, None),
    ("free, 16M empty", "free-empty", MOST, None),
    ("stall, 16M slots", "stall-one", MOST, None),
)


def draw(results):
    """Ours, stock and the other maps, on a logarithmic scale."""
    lines = []
    for label, row, size, base in CHART:
        bars = []
        for tree, kind in (("ours", "map"), ("stock", "map"),
                           ("ours", "sockmap"), ("ours", "sockhash")):
            r = results.get((row, kind, size), {}).get(tree)
            less = results.get((base, "-", size), {}).get(tree) if base else {"median": 0}
            bars.append(f"{r['median'] - less['median']:.0f}" if r and less else "-")
        lines.append("\t".join([label.replace(", ", ",\\n"), *bars]))
    (OUT / "bars.tsv").write_text("\n".join(lines) + "\n")
    for kind in ("svg", "png"):
        if subprocess.run(["gnuplot", "-e", f"type = '{kind}'",
                           ROOT / "harness/bench/chart.gp"], cwd=OUT).returncode:
            die("gnuplot failed")


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, text=True,
                          capture_output=True).stdout.strip()


def publish(report):
    """Replace the base's report on the page, and for the default base the picture."""
    page = ROOT / "harness/bench/README.md"
    title = f"## The report for Linux {layout.BASE}\n"
    command = "make bench" + (f" BASE={layout.BASE}" if layout.VARIANT else "")
    where = (f"commit {output('git', 'describe', '--always', '--dirty')}, "
             f"Linux {layout.version(layout.STOCK)}, gcc {output('gcc', '-dumpfullversion')}")
    lines = "".join(f"    {line}".rstrip() + "\n" for line in report.splitlines())
    before, _, after = page.read_text().partition(title)
    rest = re.search(r"^## .*", after, re.M | re.S)
    page.write_text(f"{before.rstrip()}\n\n{title}\n`{command}` at {where}:\n\n{lines}" +
                    (f"\n{rest[0]}" if rest else ""))
    if not layout.VARIANT:
        (ROOT / "harness/bench/chart.svg").write_bytes((OUT / "bench.svg").read_bytes())


def guard():
    """Check the limits in one boot of our kernel; a limit may apply to the difference of
    two rows."""
    results = {}
    try:
        text = boot("ours", {"udp": [16], "syn": [16], "service-udp": [16], "service-syn": [16],
                             "quic": [16],
                             "calls": [4096], "batch": [1024], "close-udp": [4096]})
    except Failure as failure:
        die(failure)
    parse(results, "ours", text)
    medians = {f"{row}/{kind}/{size}": trees["ours"]["median"]
               for (row, kind, size), trees in results.items() if trees["ours"]}
    met = []
    print(f"{'instructions':<44}{'counted':>8}{'limit':>7}")
    limits = layout.BASE_DIR / "limits"
    if not limits.is_file():
        die(f"no {limits.relative_to(ROOT)}: Linux {layout.BASE} has no limits yet")
    for line in limits.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        limit, figure = line.split(maxsplit=1)
        terms = figure.split(" - ")
        if not set(terms) <= set(medians):
            die(f"{limits}: there is no {figure}; there are: {' '.join(medians)}")
        value = medians[terms[0]] - sum(medians[t] for t in terms[1:])
        met.append(value <= int(limit))
        print(f"{figure:<44}{number(value):>8}{int(limit):>7,} {'' if met[-1] else 'TOO MUCH'}")
    print(f"{sum(met)} passed, {len(met) - sum(met)} failed, 0 skipped")
    return 0 if all(met) else 1


def main():
    try:
        options, patterns = getopt.getopt(sys.argv[1:], "rnps:gh")
    except getopt.GetoptError as error:
        die(f"{error}; see harness/bench/run-bench.py -h")
    options = dict(options)
    if "-h" in options:
        sys.exit(__doc__)
    only = [int(s) for s in options["-s"].split(",")] if "-s" in options else None
    build_guest()
    if "-g" in options:
        return guard()
    wanted = {}
    for group, (sizes, rows) in GROUPS.items():
        asked = any(fnmatch.fnmatch(r, p.split("/")[0]) for r in rows for p in patterns)
        if asked or not patterns:
            wanted[group] = [s for s in sizes if not only or s in only]
    if not any(wanted.values()):
        die(f"no row {' '.join(patterns)}; there are: "
            f"{' '.join(r for _, rows in GROUPS.values() for r in rows)}")
    failures = 0 if "-n" in options else measure_all(wanted, "-r" in options)
    results = read()
    if patterns:
        print(table({k: v for k, v in results.items() if matches(k, patterns)
                     and (not only or k[2] in only)}))
        return 1 if failures else 0
    try:
        sizes = socket_sizes.measure()
    except socket_sizes.Failure as failure:
        say(f"bench: {failure}")
        failures, sizes = failures + 1, None
    figures = Figures(results, sizes)
    report = "\n".join([
        str(figures), "",
        "Instructions per packet, per slot or per call (two CPUs: ns); median, mean,",
        "longest minus shortest; ratio: median of ours / median of stock.", "",
        table(results), "",
        "The sockets' structures in Debian's configurations:", "",
        socket_sizes.table(sizes) if sizes else "not known"])
    print(report)
    (OUT / "report.txt").write_text(report + "\n")
    (OUT / "bench.json").write_text(json.dumps({
        "results": [{"row": r, "map": m, "size": s, **trees}
                    for (r, m, s), trees in results.items()],
        "sizes": {c: {t: {s: l["size"] for s, l in structures.items()}
                      for t, structures in by_tree.items()}
                  for c, by_tree in (sizes or {}).items()},
        "figures": figures.list}, indent=1) + "\n")
    draw(results)
    if "-p" in options:
        publish(report)
    missed = figures.missed()
    argued = sum(f["argued"] for f in figures.list)
    out = OUT.relative_to(ROOT)
    met = len(figures.list) - missed - argued
    print(f"\n{met} figures met, {missed} not met, {argued} argued in harness/bench/README.md; "
          f"{failures} measurements failed")
    print(f"{out}/report.txt, bench.json, bench.svg, bench.png")
    print("A row alone: harness/bench/run-bench.py udp-select, or update/sockmap, or 'close-*'")
    print(f"{len(figures.list) - missed} passed, {missed + failures} failed, 0 skipped")
    return 1 if missed or failures else 0


if __name__ == "__main__":
    sys.exit(main())
