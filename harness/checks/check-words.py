#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Count the odd idioms of harness/checks/words.list in what people read.

usage: check-words.py [-v] [FILE...]     (all tracked files)

Pages and commit messages are read whole; of code the comments and the strings that
are sentences. An idiom that must not occur fails the check where it does. The others
may occur 0.5 times per 1,000 words, counted over all files; -v lists them too.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = "harness/checks/words.list"
LIMIT = 0.5             # idioms per 1,000 words
MOST_SHOWN = 40

PAGE = re.compile(r".*\.(md|rst)|harness/series/(\d\d-.*|cover|diff-head)|.*\.yml")
C_LIKE = re.compile(r".*\.([ch]|pml|awk)")
# no prose, or not ours
SKIPPED = re.compile(rf"COPYING|{LIST}|.*\.(svg|zone)|.*/identifiers\..*|VERSION|.*/VERSION")

IN_C = re.compile(r'/\*(.*?)\*/|//([^\n]*)|"((?:\\.|[^"\\\n])*)"', re.S)
IN_HASH = re.compile(r'"""(.*?)"""|(?:^|(?<=\s))#([^\n]*)|"((?:\\.|[^"\\\n])*)"|'
                     r"'([^'\n]*)'", re.S | re.M)
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def prose(path, text):
    """Yield (line number, text) for each part of a file that is prose. A comment of
    several lines is one part, so that an idiom is found across their ends."""
    if PAGE.fullmatch(path):
        for found in re.finditer(r"(?:.+\n?)+", text):
            yield text.count("\n", 0, found.start()) + 1, found[0]
        return
    if path.endswith(".patch"):
        # what the patch adds
        text = "\n".join(l[1:] if l.startswith("+") else "" for l in text.splitlines())
    scanner = IN_C if C_LIKE.fullmatch(path) or path.endswith(".c.patch") else IN_HASH
    part, first, last = [], 0, 0
    for found in scanner.finditer(text):
        words = next((g for g in found.groups() if g is not None), "")
        line = text.count("\n", 0, found.start()) + 1
        if found.lastindex and found.lastindex > 2 and len(WORD.findall(words.lower())) < 3:
            continue
        if part and line > last + 1:
            yield first, "\n".join(part)
            part = []
        first = first if part else line
        part.append(words)
        last = text.count("\n", 0, found.end()) + 1
    if part:
        yield first, "\n".join(part)


def plain(text):
    """Lower case, without comment marks and line ends."""
    text = re.sub(r"\n[ \t]*[*#]*", " ", text)
    return re.sub(r"\s+", " ", text.lower())


def read_list():
    idioms = []
    for line in (ROOT / LIST).read_text().splitlines():
        if line and not line.startswith("#"):
            never, pattern, reason = line.split("\t")
            idioms.append((never == "never", re.compile(pattern), reason))
    return idioms


def main():
    names = sys.argv[1:]
    verbose = names[:1] == ["-v"]
    names = names[1:] if verbose else names
    if not names:
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, check=True,
                               capture_output=True).stdout.splitlines()
    idioms, words, count, bad, shown = read_list(), 0, 0, 0, []
    for name in names:
        path = ROOT / name
        if SKIPPED.fullmatch(name) or path.is_symlink() or not path.is_file():
            continue
        for line, text in prose(name, path.read_text()):
            text = plain(text)
            words += len(WORD.findall(text))
            for never, pattern, reason in idioms:
                for found in pattern.finditer(text):
                    count += 1
                    bad += never
                    if never or verbose:
                        shown.append(f'{name}:{line}: "{found[0]}": {reason}')
    for line in shown if verbose else shown[:MOST_SHOWN]:
        print(f"check-words: {line}", file=sys.stderr)
    if bad > MOST_SHOWN and not verbose:
        print(f"check-words: ... and {bad - MOST_SHOWN} more", file=sys.stderr)
    rate = 1000 * count / max(words, 1)
    failed = (bad > 0) + (rate > LIMIT)
    print(f"check-words: {count} odd idioms in {words} words, {rate:.2f} per 1,000 "
          f"({LIMIT} at most); {bad} that must not occur", file=sys.stderr)
    print(f"{2 - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
