#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write the patch half as patches that others can take.

usage: split.py          the series, a patch per concern: build/series/*.patch
       split.py fixes    the fixes for Linux's own map of this type: build/fixes/*.patch
       split.py diff     one patch against Linux with its own map of this type:
                         build/reuseport_array-VERSION.diff

All three apply to Linux as it is. How the patch half splits is told by the files NN-NAME
beside this one, a part each, in order. Such a file begins with one of

  fix NAME          that fix of fixes/, with its message; this is the whole file
  strip             what harness/trees/strip.py takes out of Linux
  PATH...           paths (shell patterns). Regular expressions indented under a path are
                    pieces of that file: the part brings these, another part, an earlier
                    one, the rest. After REGEX ==> TEXT, the part brings the piece in
                    place of the text. A file that no part brings is an error.

and after an empty line has the commit's message. Files of the patch half that are not
part of what is sent are listed in `exclude`.

Author and Signed-off-by are those of the last commit of this repository, or AUTHOR=
('NAME <ADDRESS>'). The dates are fixed: the same sources give the same bytes.
"""
import fnmatch
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "trees"))
import fixes  # noqa: E402
import strip  # noqa: E402
import trees  # noqa: E402

DAY = 1767225600    # 2026-01-01; part N is dated N minutes later


def die(text):
    sys.exit(f"series: {text}")


class Part:
    def __init__(self, path, names):
        head, _, self.message = path.read_text().partition("\n\n")
        self.name, self.whole, self.pieces, self.fix = path.name, set(), {}, None
        self.strips = head.strip() == "strip"
        if self.strips:
            return
        if head.startswith("fix "):
            self.fix = fixes.Fix(fixes.DIRECTORY / f"{head.split()[1]}.patch")
            self.message = self.fix.message
            return
        for line in head.splitlines():
            if line.startswith("\t"):
                for name in matching:
                    self.whole.discard(name)
                    self.pieces.setdefault(name, []).append(line.strip())
                continue
            matching = fnmatch.filter(names, line)
            if not matching:
                die(f"{self.name} names {line}, and the patch half has no such file")
            self.whole.update(matching)


class Series:
    """The states that Linux goes through: after parts[:number] are applied."""
    def __init__(self, ours):
        self.ours, self.fixed = ours, {}
        self.parts = [Part(path, sorted(ours)) for path in sorted(HERE.glob("[0-9][0-9]-*"))]
        self.parts = [p for p in self.parts if not p.fix or trees.BASE in p.fix.bases]
        for part in self.parts:
            if part.fix:
                part.fix.apply(trees.STOCK, self.fixed)
        self.stripped = self.strip()
        self.names = sorted({*ours, *self.fixed, *self.stripped})
        for name in ours:
            self.check_owner(name)
        for part in filter(lambda p: p.fix, self.parts):
            self.check_fix(part)

    def strip(self):
        """What is stripped of Linux with all fixes; what they leave there is in the series."""
        texts = {name: text.encode()
                 for name, text in strip.stripped_texts(trees.FIXED, trees.BASE_DIR).items()}
        texts.update(dict.fromkeys(strip.GONE))
        for name, text in fixes.fixed_texts(trees.STOCK, trees.BASE).items():
            if texts.setdefault(name, text) is not None and self.fixed.get(name) != text:
                die(f"the fixes of {name} are not all in the series")
        return texts

    def check_owner(self, name):
        owners = [p for p in self.parts if name in p.whole]
        if not owners and self.stripped.get(name) != self.ours[name]:
            die(f"no part brings {name}; add it to one of harness/series/NN-*")
        if len(owners) > 1:
            die(f"{owners[0].name} and {owners[1].name} both bring {name}")
        for part in self.parts[:self.parts.index(owners[0]) if owners else 0]:
            if name in part.pieces:
                die(f"{part.name} brings pieces of {name} before {owners[0].name} brings it")

    def check_fix(self, part):
        """A fix stays as it is: no later patch rewrites it."""
        for name in part.fix.diffs:
            final = self.ours.get(name, b"").decode().splitlines()
            for line in part.fix.added_lines(name):
                if line not in final:
                    die(f"{part.fix.path.name} and the patch half differ in {name}:\n{line}")

    def text(self, name, number):
        """The file once parts[:number] are in; None where it is not there."""
        parts = self.parts[:number]
        if any(name in p.whole for p in parts):
            later = [piece for p in self.parts[number:] for piece in p.pieces.get(name, [])]
            data = self.ours[name]
            return without(name, data.decode(), later).encode() if later else data
        if name in self.stripped and any(p.strips for p in parts):
            return self.stripped[name]
        texts = {}
        for part in parts:
            if part.fix and name in part.fix.diffs:
                part.fix.apply(trees.STOCK, texts)
        if name in texts:
            return texts[name]
        path = trees.STOCK / name
        return path.read_bytes() if path.is_file() else None

    def files(self, number):
        return {name: self.text(name, number) for name in self.names}


def without(name, text, pieces):
    for piece in pieces:
        regex, _, before = piece.partition(" ==> ")
        text, found = re.subn(regex, before, text, flags=re.M | re.S)
        if found != 1:
            die(f"{name} has {found} pieces, not 1, that match\n  {regex}")
    return text


def sent(texts):
    """Without what is not sent."""
    lines = (HERE / "exclude").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {name: text for name, text in texts.items()
            if not any(fnmatch.fnmatch(name, p) for p in patterns)}


def author():
    who = os.environ.get("AUTHOR") or trees.run(
        "git", "-C", trees.ROOT, "log", "-1", "--format=%an <%ae>").stdout.strip()
    found = re.fullmatch(r"(.+) <(.+)>", who)
    if not found:
        die(f"who is the author? '{who}' does not tell; AUTHOR='NAME <ADDRESS>' does")
    return found.groups()


class Repository:
    """A git repository of nothing but the files that the patch touches."""
    def __init__(self, directory):
        self.top, self.minutes = Path(directory), 0
        self.name, self.address = author()
        self.git("init", "-q", "-b", "base")

    def git(self, *arguments):
        date = f"{DAY + 60 * self.minutes} +0000"
        environment = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1",
                           GIT_DIR=str(self.top / ".git"), GIT_WORK_TREE=str(self.top))
        for role in ("AUTHOR", "COMMITTER"):
            environment.update({f"GIT_{role}_NAME": self.name, f"GIT_{role}_EMAIL": self.address,
                                f"GIT_{role}_DATE": date})
        done = trees.run("git", *arguments, cwd=self.top, env=environment)
        if done.returncode:
            die(f"git {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}")
        return done.stdout

    def commit(self, files, message):
        for name, data in files.items():
            if data is None:
                (self.top / name).unlink(missing_ok=True)
                continue
            trees.replace(self.top / name, data, mode_of(name))
        self.git("add", "-f", "-A", ".")
        self.git("commit", "-q", "--allow-empty", "-s", "-m", message)
        self.minutes += 1


def mode_of(name):
    for path in (trees.ROOT / name, trees.STOCK / name):
        if path.is_file():
            return path.stat().st_mode & 0o777
    return 0o644


def write_patches(repository, states, messages, cover, directory):
    """A commit for each state but the first, then a patch for each commit."""
    for number, files in enumerate(states):
        repository.commit(files, messages[number - 1] if number else "base")
        if number == 0:
            repository.git("checkout", "-q", "-b", "series")
    out = trees.BUILD / directory
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.patch"):
        old.unlink()
    repository.git("config", "branch.series.description", cover)
    repository.git("format-patch", "-q", "--cover-letter", "--cover-from-description=subject",
                   "--zero-commit", "--full-index", "--no-stat", "--no-signature",
                   "--no-renames", f"--subject-prefix=PATCH {series()}", "-o", out, "base")
    # git has no way to leave the diffstat out of the cover letter alone.
    letter = out / "0000-cover-letter.patch"
    letter.write_text(re.split(r"\n\n (?=\S+ +\|)", letter.read_text())[0] + "\n")
    trees.say(f"series: {len(messages)} patches and a cover letter in "
              f"{out.relative_to(trees.ROOT)}/, for Linux {series()}: git am")
    return sorted(out.glob("*.patch"))[1:]


def cover_of(parts):
    """The cover letter; @NAME@ in it is the number of the part NN-NAME."""
    numbers = {part.name[3:]: str(n) for n, part in enumerate(parts, 1)}
    text = (HERE / "cover").read_text()
    for name in re.findall(r"@([a-z-]+)@", text):
        if name not in numbers:
            die(f"the cover letter refers to the part {name}, which is not there")
        text = text.replace(f"@{name}@", numbers[name])
    return text


def write_series(repository):
    if (trees.BASE_DIR / "exclude").is_file():
        die(f"Linux {trees.BASE} takes a part of the patch half only; for it there is `make diff`")
    steps = Series(sent(trees.our_texts()))
    count = len(steps.parts)
    for name, text in steps.files(count).items():
        if text != steps.ours.get(name, steps.stripped.get(name)):
            die(f"with all parts applied, {name} is not what the patch half has")
    write_patches(repository, [steps.files(n) for n in range(count + 1)],
                  [p.message for p in steps.parts], cover_of(steps.parts), "series")


def write_fixes(repository):
    wanted, texts = fixes.fixes(trees.BASE), {}
    states = [{name: (trees.STOCK / name).read_bytes()
               for fix in wanted for name in fix.diffs}]
    for fix in wanted:
        fix.apply(trees.STOCK, texts)
        states.append(dict(texts))
    patches = write_patches(repository, states, [fix.message for fix in wanted],
                            (fixes.DIRECTORY / "cover").read_text(), "fixes")
    for patch, fix in zip(patches, wanted):
        patch.write_text(patch.read_text().replace(
            "\n\ndiff --git", f"\n---\n{fix.note}\ndiff --git", 1))


def series():
    return trees.version(trees.STOCK).rsplit(".", 1)[0]


def write_diff(repository):
    final = dict.fromkeys(strip.GONE)
    final.update((name, text.encode())
                 for name, text in strip.stripped_texts(trees.STOCK, trees.BASE_DIR).items())
    final.update(sent(trees.our_texts()))
    stock = {name: trees.STOCK / name for name in final}
    repository.commit({name: path.read_bytes() if path.is_file() else None
                       for name, path in stock.items()}, "stock")
    repository.commit(final, "ours")
    version = trees.version(trees.STOCK)
    out = trees.BUILD / f"reuseport_array-{version}.diff"
    head = (HERE / "diff-head").read_text().replace("VERSION", version)
    out.write_text(head + "\n" + repository.git("diff", "--no-renames", "--full-index", "HEAD~1"))
    trees.say(f"series: {out.relative_to(trees.ROOT)}; in a tree of Linux {series()}.y:\n"
              f"  patch -p1 <{out}")


WRITERS = {"": write_series, "fixes": write_fixes, "diff": write_diff}


def main():
    what = " ".join(sys.argv[1:])
    if what not in WRITERS:
        sys.exit(__doc__)
    if not trees.FIXED.is_dir():
        die("no trees; run: make trees")
    with tempfile.TemporaryDirectory() as directory:
        WRITERS[what](Repository(directory))


if __name__ == "__main__":
    main()
