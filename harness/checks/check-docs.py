#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the errors that the map's page names with those that the tests expect.

The page has a section per call, with a table whose first column names errors. The
tests say EXPECT_EQ(-EBUSY, put(...)): below stands which call put() is. A helper
that is new in the tests has to be added there, or nothing is known of its errors.
Each error of each call on the page counts as passed.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Documentation/bpf/map_reuseport_sockarray.rst"
TESTS = ROOT / "tools/testing/selftests/reuseport_array"

# call -> helpers of the tests that make it and return what it returns
CALLS = {
    "bpf_sk_select_reuseport": "",
    "bpf_prog_load": "",
    "bpf_map_create": "create create_map create_type",
    "bpf_map_update_elem": "put put4 store store_fd store_wide open_worker take_over",
    "bpf_map_delete_elem": "del",
    "bpf_map_lookup_elem": "get bpf_map_lookup_elem_flags",
    "bpf_map_get_next_key": "",
    "bpf_map_update_batch": "update update_from fill",
    "bpf_map_delete_batch": "delete delete_from",
    "bpf_map_lookup_batch": "lookup",
    "bpf_map_lookup_and_delete_elem": "",
    "bpf_map_lookup_and_delete_batch": "",
}
# calls that are not about this map
OTHERS = "bpf_map_freeze".split()
# where the tests keep errors in tables, or hand them on
TABLES = [
    (r"\bexpect_error\([^;]*, (-E\w+)\);", "bpf_sk_select_reuseport"),
    (r"\bADD_HELPER\(\w+, \w+, (-E\w+),", "bpf_prog_load"),
    (r"\{ BPF_MAP_TYPE_\w+, \d, \w+, (-E\w+) \}", "bpf_prog_load"),
    (r"\{ (-E\w+), BPF_\w+", "bpf_map_update_batch"),
]
ERROR = re.compile(r"-?\b(E[A-Z0-9]{3,})\b")


def said():
    errors, call, lines = {}, None, PAGE.read_text().splitlines()
    cell = None
    for line, below in zip(lines, lines[1:]):
        if re.fullmatch(r"\^+", below):
            call = line.removesuffix("()")
            errors[call] = set()
        elif re.fullmatch(r"[-=]{4,}", below):
            call = None
        if line.startswith("   * - "):
            cell = "error"
        elif line.startswith("     - "):
            cell = "prose"
        if call and cell == "error":
            errors[call] |= set(ERROR.findall(line))
    return errors


def expected():
    helpers = {h: c for c, names in CALLS.items() for h in [c, *names.split()]}
    errors = {call: set() for call in CALLS}
    unknown = set()
    for path in sorted(TESTS.glob("*.[ch]")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        text = re.sub(r"\s+", " ", text)
        for want, helper in re.findall(r"(?:EXPECT|ASSERT)_EQ\(([^(),]*-E[^,]*), ?(\w+)\(", text):
            if helper in helpers:
                errors[helpers[helper]] |= set(ERROR.findall(want))
            elif helper not in OTHERS:
                unknown.add(f"{path.name}: {helper}() returns {want}: which call is it? "
                            f"Say so in {Path(__file__).name}")
        for pattern, call in TABLES:
            errors[call] |= {e.removeprefix("-") for e in re.findall(pattern, text)}
    return errors, unknown


def main():
    page, (tests, wrong) = said(), expected()
    for call in sorted(set(page) | set(tests)):
        for error in sorted(page.get(call, set()) - tests.get(call, set())):
            wrong.add(f"{PAGE.name}: {call}() says {error}, which no test expects")
        for error in sorted(tests.get(call, set()) - page.get(call, set())):
            wrong.add(f"{PAGE.name}: {call}() does not say {error}, which a test expects")
    for line in sorted(wrong):
        print(f"check-docs: {line}", file=sys.stderr)
    count = sum(map(len, page.values()))
    print(f"{count} passed, {len(wrong)} failed")
    return bool(wrong) or not count


if __name__ == "__main__":
    sys.exit(main())
