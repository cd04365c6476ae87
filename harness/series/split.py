#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write the patch half as patches that others can take.

usage: split.py          the series, a patch per concern: build/series/*.patch
       split.py diff     one patch against Linux with its own map of this type:
                         build/reuseport_array-VERSION.diff

How the tree splits is told by the files NN-NAME beside this one, a part each, in order.
Such a file lists paths (shell patterns), then after an empty line it is the commit's
message. Regular expressions indented under a path are pieces of that file: the part
brings these, another part, an earlier one, the rest. Whatever no part brings is an error.

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
import trees  # noqa: E402

DAY = 1767225600    # 2026-01-01; part N is dated N minutes later


def die(text):
    sys.exit(f"series: {text}")


class Part:
    def __init__(self, path, names):
        head, _, self.message = path.read_text().partition("\n\n")
        self.name, self.whole, self.pieces = path.name, set(), {}
        for line in head.splitlines():
            if line.startswith("\t"):
                for name in matching:
                    self.whole.discard(name)
                    self.pieces.setdefault(name, []).append(line.strip())
                continue
            matching = fnmatch.filter(names, line)
            if not matching:
                die(f"{self.name} speaks of {line}, and the patch half has no such file")
            self.whole.update(matching)


def read_parts(names):
    parts = [Part(path, names) for path in sorted(HERE.glob("[0-9][0-9]-*"))]
    for name in names:
        owners = [p for p in parts if name in p.whole]
        if not owners:
            die(f"no part brings {name}; add it to one of harness/series/NN-*")
        if len(owners) > 1:
            die(f"{owners[0].name} and {owners[1].name} both bring {name}")
        for part in parts[:parts.index(owners[0])]:
            if name in part.pieces:
                die(f"{part.name} brings pieces of {name} before {owners[0].name} brings it")
    return parts


def without(name, text, pieces):
    for piece in pieces:
        text, found = re.subn(piece, "", text, flags=re.M | re.S)
        if found != 1:
            die(f"{name} has {found} pieces, not 1, that match\n  {piece}")
    return text


def text_after(name, data, parts, number):
    """The file once parts[:number] are in; None where it is not there yet."""
    if not any(name in p.whole for p in parts[:number]):
        base = trees.STRIPPED / name
        return base.read_bytes() if base.is_file() else None
    later = [piece for p in parts[number:] for piece in p.pieces.get(name, [])]
    return without(name, data.decode(), later).encode() if later else data


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
    for path in (trees.ROOT / name, trees.STRIPPED / name):
        if path.is_file():
            return path.stat().st_mode & 0o777
    return 0o644


def write_series(repository, ours):
    parts = read_parts(sorted(ours))
    for number in range(len(parts) + 1):
        files = {name: text_after(name, data, parts, number) for name, data in ours.items()}
        repository.commit(files, parts[number - 1].message if number else "base")
        if number == 0:
            repository.git("checkout", "-q", "-b", "series")
    out = trees.BUILD / "series"
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.patch"):
        old.unlink()
    cover = (HERE / "cover").read_text()
    repository.git("config", "branch.series.description", cover)
    repository.git("format-patch", "-q", "--cover-letter", "--cover-from-description=subject",
                   "--zero-commit", "--full-index", "--no-stat", "--no-signature",
                   "--no-renames", f"--subject-prefix=PATCH {series()}", "-o", out, "base")
    # git has no way to leave the diffstat out of the cover letter alone.
    letter = out / "0000-cover-letter.patch"
    letter.write_text(letter.read_text().split("\n\n ")[0] + "\n")
    trees.say(f"series: {len(parts)} patches and a cover letter in {out.relative_to(trees.ROOT)}/, "
              f"for Linux {series()} without its map of this type (build/stripped/src)")


def series():
    return trees.version(trees.STRIPPED).rsplit(".", 1)[0]


def write_diff(repository, ours):
    final = dict.fromkeys(trees.strip.GONE)
    final.update((name, text.encode())
                 for name, text in trees.strip.stripped_texts(trees.STOCK, trees.BASE_DIR).items())
    final.update(ours)
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


def main():
    if sys.argv[1:] not in ([], ["diff"]):
        sys.exit(__doc__)
    if trees.VARIANT and not sys.argv[1:]:
        die(f"the series is for Linux {trees.DEFAULT}; of {trees.BASE} there is `make diff`")
    if not trees.STRIPPED.is_dir():
        die("no trees; run: make trees")
    ours = trees.our_texts()
    with tempfile.TemporaryDirectory() as directory:
        (write_diff if sys.argv[1:] else write_series)(Repository(directory), ours)


if __name__ == "__main__":
    main()
