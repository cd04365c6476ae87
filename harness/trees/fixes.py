# SPDX-License-Identifier: GPL-2.0
"""The fixes for Linux as it is: harness/series/fixes/NN-NAME.patch.

Such a file is a commit message, a line "---", a note for the reader and a diff. The note
has a line "Applies to Linux 6.1, 6.12." (the bases that take the fix) and a line
"Tests: ..." (see harness/series/check-fixes).
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[1] / "series/fixes"


class Fix:
    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.message, _, rest = path.read_text().partition("\n---\n")
        self.note, _, diff = rest.partition("\n--- a/")
        applies = re.search(r"^Applies to Linux ([0-9., ]+)\.$", self.note, re.M)
        self.diffs = {part.split("\n")[0]: "--- a/" + part
                      for part in diff.split("\n--- a/") if part}
        if not self.message or not applies or not self.diffs:
            sys.exit(f"fixes: {path} is no message, note and diff; see {__file__}")
        self.bases = applies[1].replace(" ", "").split(",")

    def apply(self, tree, texts):
        """Change texts, a dict of those files of tree that differ from it."""
        for name, diff in self.diffs.items():
            before = texts[name] if name in texts else (tree / name).read_bytes()
            with tempfile.NamedTemporaryFile() as old:
                old.write(before)
                old.flush()
                done = subprocess.run(["patch", "-s", "-F0", "-r", "-", "-o", "-", old.name],
                                      input=diff.rstrip("\n").encode() + b"\n",
                                      capture_output=True)
            if done.returncode:
                sys.exit(f"fixes: {self.path.name} does not apply to {name} of {tree}:\n"
                         f"{done.stderr.decode(errors='replace')}")
            texts[name] = done.stdout

    def added_lines(self, name):
        return [line[1:] for line in self.diffs[name].split("\n")[2:] if line.startswith("+")]


def fixes(base):
    """Those that Linux of this base needs, in order."""
    found = [Fix(path) for path in sorted(DIRECTORY.glob("[0-9][0-9]-*.patch"))]
    return [fix for fix in found if base in fix.bases]


def fixed_texts(stock, base):
    """Each file that the fixes change, with all of them."""
    texts = {}
    for fix in fixes(base):
        fix.apply(stock, texts)
    return texts
