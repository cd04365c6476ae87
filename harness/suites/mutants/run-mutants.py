#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Break our kernel code in one place at a time, and check that a test fails.

usage: run-mutants.py [MUTANT...]       (all of harness/suites/mutants/mutants.list)
       run-mutants.py --check           only check that they fit the sources

Mutants are built in build/mutant, from a copy of the objects of build/ours. In a mount
namespace that copy replaces build/ours, so that only what a mutant changes is compiled.
Before the first mutant, the suites must pass without one.
"""
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
OURS, MUTANT, LOG = ROOT / "build/ours", ROOT / "build/mutant", ROOT / "build/log"
# The kernel of each suite, if it is not UML.
KERNEL = "um"
KERNELS = {"lockdep": "debug", "kcsan": "kcsan", "upstream": "upstream", "contend": "debug",
           "workqueue": "upstream"}
# The functions that clamp an index, and their objects.
CLAMPED = [("net/core/filter.o", "sk_select_reuseport"),
           ("kernel/bpf/reuseport_array.o", "bpf_fd_reuseport_array_lookup_elem"),
           ("kernel/bpf/reuseport_array.o", "reuseport_array_lookup_elem"),
           ("kernel/bpf/reuseport_array.o", "reuseport_array_lookup_batch"),
           ("kernel/bpf/reuseport_array.o", "reuseport_array_(?:prepare|modify)")]


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    sys.exit(f"mutants: {text}")


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, **options)


class Mutant:
    def __init__(self, name):
        self.name, self.by, self.file, self.hunks = name, [], None, []

    def apply(self, text):
        for hunk in self.hunks:
            old = "".join(l[1:] + "\n" for l in hunk if l[0] in " -")
            new = "".join(l[1:] + "\n" for l in hunk if l[0] in " +")
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {text.count(old)} places in {self.file} have\n"
                                 f"{old}correct harness/suites/mutants/mutants.list")
            text = text.replace(old, new)
        return text


def read_list():
    mutants = []
    for line in (ROOT / "harness/suites/mutants/mutants.list").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if line.startswith("mutant "):
            mutants.append(Mutant(rest))
        elif line.startswith("by "):
            mutants[-1].by = rest.split()
        elif line.startswith("in "):
            mutants[-1].file = rest
            mutants[-1].hunks.append([])
        elif line == "@@":
            mutants[-1].hunks.append([])
        elif line and line[0] in " -+":
            mutants[-1].hunks[-1].append(line)
        elif line and line[0] != "#":
            die(f"harness/suites/mutants/mutants.list: cannot parse {line!r}")
    return mutants


def replace(path, text):
    """The trees are hard-linked: a file gets new content by renaming."""
    if path.read_text() != text:
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        os.replace(new, path)


def kernels(suites):
    """The kernels that these suites need."""
    return sorted({KERNELS.get(s, KERNEL) for s in suites if s != "object"})


def lay(parts):
    """Update build/mutant from build/ours."""
    for part in parts:
        if not (OURS / part).is_dir():
            die(f"no build/ours/{part}; run: make " +
                ("trees" if part == "src" else f"ours/{part}"))
        if not (MUTANT / part).is_dir():
            MUTANT.mkdir(parents=True, exist_ok=True)
            how = "-al" if part == "src" else "-a"
            partial = MUTANT / f"{part}.partial"
            run("rm", "-rf", partial)
            run("cp", how, "--reflink=auto", OURS / part, partial, check=True)
            partial.rename(MUTANT / part)
    for name in (OURS / "laid").read_text().split():
        ours, mutant = OURS / "src" / name, MUTANT / "src" / name
        if not mutant.is_file() or mutant.read_bytes() != ours.read_bytes():
            mutant.parent.mkdir(parents=True, exist_ok=True)
            mutant.unlink(missing_ok=True)
            mutant.write_bytes(ours.read_bytes())


def boot(kernel, limit, name, *command):
    return (run("harness/guest/boot", "-t", str(limit), *command, cwd=ROOT),
            LOG / f"boot-ours-{kernel}-{name}.log")


def splat(done, log):
    """The kernel's report on what ran, in short."""
    if not done.returncode:
        return ""
    what = re.findall(r"WARNING: .*|BUG: .*|Kernel panic.*", log.read_text(errors="replace"))
    return what[0][:90] if what else done.stderr.strip()[-70:]


def red(done, _):
    """The tests of a program that failed, or another error."""
    tests = re.findall(r"^not ok \d+ (\S+)", done.stdout, re.M)
    if not done.returncode:
        return ""
    return f"{len(tests)} tests, {tests[0]} first" if tests else done.stderr.strip()[-70:]


def kunit():
    """The tests run while the kernel boots. Return the failures, or nothing."""
    done, log = boot(KERNEL, 120, "true", "-a", "kunit.enable=1", "ours/" + KERNEL, "true")
    text = log.read_text(errors="replace") if log.is_file() else ""
    tests = re.findall(r"\] {5}not ok \d+ (\S+)", text)
    if tests:
        return " ".join(tests)
    if done.returncode:
        return re.sub(r"^\d+:\[ *[\d.]+\] ", "", done.stderr.strip().splitlines()[-1])[-70:]
    return "" if re.search(r"\] ok \d+ reuseport_array", text) else "no verdict"


def lockdep():
    """One program frees empty maps, the other maps with sockets in them."""
    return splat(*boot("debug", 900, "sh", "ours/debug", "sh", "-c",
                       "/tests/update && /tests/lifetime && /tests/batch -t go_on && "
                       "/tests/assign -t egress"))


def kcsan():
    """Threads on two CPUs, checked for data races. KCSAN samples, so it runs three times."""
    return next((what for _ in range(3) if (what := splat(
        *boot("kcsan", 600, "contend", "ours/kcsan", "/tests/contend")))), "")


def contend():
    """The same threads, and what they observe of each other."""
    return red(*boot("debug", 600, "contend", "ours/debug", "/tests/contend"))


def stress():
    return red(*boot(KERNEL, 300, "stress", "ours/" + KERNEL, "/tests/stress", "--ops", "20000"))


def difftest():
    """100,000 calls on stock and on the mutant."""
    done = run("harness/suites/difftest/difftest.py", cwd=ROOT)
    return done.stderr.strip().splitlines()[-1][:90] if done.returncode else ""


def upstream():
    """The result of the kernel's own test of the map, compared with stock."""
    done = run("harness/suites/upstream/compare-upstream", "ours", "select_reuseport", cwd=ROOT)
    tests = re.findall(r"FAILED: (.*): ok on stock", done.stderr)
    if not done.returncode:
        return ""
    return f"{len(tests)} tests, {tests[0]} first" if tests else done.stderr.strip()[-70:]


def workqueue():
    """The program verifier, on a kernel that can check callbacks that sleep."""
    return red(*boot("upstream", 300, "verifier", "ours/upstream", "/tests/verifier"))


def selftest(program):
    return red(*boot(KERNEL, 120, program, "ours/" + KERNEL, f"/tests/{program}"))


def obj():
    """Check that lookups clamp an index that is too large to 0, without a branch.

    array_index_nospec() is cmp, sbb, and on x86-64.
    """
    build = OURS / "bench"
    for name, function in CLAMPED:
        saved = (build / name).with_name(f".{Path(name).name}.cmd").read_text()
        compile_ = re.match(r"savedcmd_\S+ := (.*)", saved)[1].split(" ; ")[0].split(";")[0]
        out = MUTANT / "clamped.o"
        words = [w for w in shlex.split(compile_.replace("$(pound)", "#"))
                 if not w.startswith("-Wp,-MMD")]
        words[words.index("-o") + 1] = str(out)
        done = run(*words, cwd=build)
        if done.returncode:
            die(f"{name} does not compile:\n{done.stderr[-500:]}")
        code = run("objdump", "-d", "--no-show-raw-insn", out).stdout
        bodies = re.findall(rf"<\w*{function}\S*>:\n(.*?)\n\n", code + "\n\n", re.S)
        if not bodies:
            die(f"{function}() is not in {name}")
        if not any(re.search(r"\bcmp\b.*\n(.*\n){0,3}.*\bsbb\b.*\n(.*\n){0,3}.*\band\b", body)
                   for body in bodies):
            return f"{function}() has no cmp, sbb, and"
    return ""


def judge(suite):
    own = {"kunit": kunit, "contend": contend, "stress": stress, "lockdep": lockdep, "kcsan": kcsan,
           "upstream": upstream, "workqueue": workqueue, "difftest": difftest, "object": obj}
    return own[suite]() if suite in own else selftest(suite)


def build(suites):
    """Build the kernels that suites run on. Return the error, or nothing."""
    for kernel in kernels(suites):
        done = run("harness/kernel/build", f"ours/{kernel}", cwd=ROOT)
        if done.returncode:
            return done.stderr.strip()[-300:]
    return ""


def check(mutants):
    """Check that each mutant applies to build/ours/src."""
    failed = 0
    for mutant in mutants:
        try:
            mutant.apply((OURS / "src" / mutant.file).read_text())
        except (OSError, ValueError) as error:
            say(f"mutants: {error}")
            failed += 1
    print(f"{len(mutants) - failed} passed, {failed} failed")
    return failed > 0


def main():
    mutants = read_list()
    if sys.argv[1:] == ["--check"]:
        return check(mutants)
    names = {m.name for m in mutants}
    unknown = set(sys.argv[1:]) - names
    if unknown:
        die(f"no mutant {' '.join(unknown)} in harness/suites/mutants/mutants.list")
    mutants = [m for m in mutants if not sys.argv[1:] or m.name in sys.argv[1:]]
    suites = {s for m in mutants if m.by[0] not in ("equivalent", "model") for s in m.by}
    if any(m.by[0] == "equivalent" for m in mutants):
        suites.add("kunit")

    if "MUTANTS_INSIDE" not in os.environ:
        lay(["src"] + kernels(suites))
        os.execvpe("unshare", ["unshare", "--map-root-user", "--mount", sys.executable,
                               __file__, *sys.argv[1:]], {**os.environ, "MUTANTS_INSIDE": "1"})
    for part in ["src"] + kernels(suites):
        if (MUTANT / part).is_dir():
            run("mount", "--bind", MUTANT / part, OURS / part, check=True)

    src = OURS / "src"
    originals = {m.file: (src / m.file).read_text() for m in read_list()}
    broken = {m.name: m.apply(originals[m.file]) for m in mutants}
    start = time.time()
    say(f"mutants: {len(mutants)}; first all suites run without a mutant")
    try:
        failed = build(suites) or "; ".join(f"{s}: {w}" for s in sorted(suites) if (w := judge(s)))
        if failed:
            die(f"without a mutant: {failed}")
        passed = sum([try_one(m, src / m.file, broken[m.name], originals[m.file])
                      for m in mutants])
    finally:
        for name, text in originals.items():
            replace(src / name, text)
    say(f"mutants: {int(time.time() - start) // 60} minutes")
    print(f"{passed} passed, {len(mutants) - passed} failed")
    sys.exit(passed != len(mutants))


def try_one(mutant, path, broken, original):
    """Whether the tests named in the list fail, or the mutant is argued to be equivalent."""
    started = time.time()
    if mutant.by[0] == "model":
        done = run("harness/suites/model/check-model", *mutant.by[1:], cwd=ROOT)
        noticed = [f"by no test, but {mutant.by[1]} of the model has a counterexample"] \
            if not done.returncode else []
    else:
        replace(path, broken)
        argued = mutant.by[0] == "equivalent"
        suites = ["kunit"] if argued else mutant.by
        failed = build(suites)
        if failed:
            replace(path, original)
            say(f"mutants: FAILED: {mutant.name} does not build: {failed}")
            return False
        found = {s: judge(s) for s in suites}
        noticed = [f"by {s}: {what}" for s, what in found.items() if what]
        replace(path, original)
        if argued:
            good = not noticed
            say(f"mutants: {'equivalent, as argued: ' if good else 'FAILED: not equivalent: '}"
                f"{mutant.name} {' '.join(noticed or mutant.by[1:])}")
            return good
        if len(noticed) < len(found):
            silent = " ".join(s for s, what in found.items() if not what)
            say(f"mutants: FAILED: {mutant.name} survived {silent}")
            return False
    if not noticed:
        say(f"mutants: FAILED: {mutant.name} survived the model")
        return False
    say(f"mutants: caught ({int(time.time() - started)} s): {mutant.name}, {'; '.join(noticed)}")
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as fault:
        die(fault)
