#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Check what the compilers do not: the layout of every tracked file, and the version.

- .editorconfig: each file's encoding, line ends, trailing blanks, indentation and
  length of lines
- .clang-format has the settings of the kernel's, but for the length of lines, and the C
  files are close to it: clang-format would change few of their lines
- CHANGELOG.md begins with the version that VERSION holds
"""
import difflib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "build/stock/src/.clang-format"
# Of 100 lines so many may differ from what clang-format makes of them: it does not know
# tables that are aligned by hand, nor the macros of tests.
MOST_CHANGED = 5
TAB = 8

passed, failed = 0, 0


def say(text):
    print(f"check-style: {text}", file=sys.stderr)


def judge(what, faults):
    global passed, failed
    if faults:
        failed += 1
        say(f"FAILED: {what}")
        for fault in faults[:12]:
            print(f"  {fault}", file=sys.stderr)
        if len(faults) > 12:
            print(f"  ... and {len(faults) - 12} more", file=sys.stderr)
    else:
        passed += 1
        say(f"{what}: ok")


def run(*command):
    return subprocess.run(command, text=True, check=True, capture_output=True, cwd=ROOT).stdout


def tracked():
    names = run("git", "ls-files").splitlines()
    return [n for n in names if (ROOT / n).is_file() and not (ROOT / n).is_symlink()]


def properties(names):
    """name -> its properties in .editorconfig"""
    found, current = {}, None
    for line in run("editorconfig", *(str(ROOT / n) for n in names)).splitlines():
        if line.startswith("["):
            current = found.setdefault(str(Path(line[1:-1]).relative_to(ROOT)), {})
        elif line:
            key, _, value = line.partition("=")
            current[key] = value
    return found


def width(line):
    return len(line.expandtabs(TAB))


def faults_of(name, want):
    data = (ROOT / name).read_bytes()
    try:
        text = data.decode(want.get("charset", "utf-8"))
    except UnicodeDecodeError as error:
        return [f"{name}: not {want['charset']}: {error}"]
    faults = []
    if want.get("end_of_line") == "lf" and "\r" in text:
        faults.append(f"{name}: a carriage return")
    if want.get("insert_final_newline") == "true" and text and not text.endswith("\n"):
        faults.append(f"{name}: no newline at the end")
    longest = int(want["max_line_length"]) if "max_line_length" in want else None
    for number, line in enumerate(text.splitlines(), 1):
        at = f"{name}:{number}"
        if want.get("trim_trailing_whitespace") == "true" and line != line.rstrip():
            faults.append(f"{at}: trailing blanks")
        if want.get("indent_style") == "tab" and re.match(r"\t* {8}", line):
            faults.append(f"{at}: indented by spaces, not tabs")
        if want.get("indent_style") == "space" and line.startswith("\t"):
            faults.append(f"{at}: indented by a tab, not spaces")
        if longest and width(line) > longest:
            faults.append(f"{at}: {width(line)} columns, {longest} at most")
    return faults


def check_editorconfig():
    wants = properties(tracked())
    judge(".editorconfig", [f for name, want in wants.items() for f in faults_of(name, want)])


def settings(path):
    """The settings that clang-format reads from a file, without the macros and the width"""
    text = run("clang-format", f"--style=file:{path}", "--dump-config")
    return re.sub(r"^ForEachMacros:\n(  - .*\n)*|^ColumnLimit:.*\n", "", text, flags=re.M)


def check_clang_format():
    if not KERNELS.is_file():
        sys.exit("check-style: no tree build/stock/src; run: make trees")
    kernel, ours = (settings(p).splitlines() for p in (KERNELS, ROOT / ".clang-format"))
    judge(".clang-format has the kernel's settings",
          [l for l in difflib.unified_diff(kernel, ours, "kernel", "ours", "", "", 0)])
    lines, changed = 0, {}
    for name in tracked():
        if not re.search(r"\.[ch]$", name):
            continue
        text = (ROOT / name).read_text().splitlines()
        formatted = run("clang-format", name).splitlines()
        lines += len(text)
        matcher = difflib.SequenceMatcher(None, text, formatted, autojunk=False)
        changed[name] = sum(max(i2 - i1, j2 - j1)
                            for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")
    total = sum(changed.values())
    worst = sorted(changed, key=changed.get, reverse=True)
    judge(f"clang-format would change {total} of {lines} lines, "
          f"{100 * total / lines:.1f} % ({MOST_CHANGED} % at most)",
          [f"{n}: {changed[n]} lines" for n in worst] if 100 * total > MOST_CHANGED * lines else [])


def check_version():
    version = (ROOT / "VERSION").read_text().strip()
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    judge("VERSION is the first heading of CHANGELOG.md",
          [] if found and found[1] == version else
          [f"VERSION says {version}, CHANGELOG.md {found[1] if found else 'nothing'}"])


def main():
    check_editorconfig()
    check_clang_format()
    check_version()
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
