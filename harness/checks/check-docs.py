#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the errors that the documentation names with those that the tests expect.

The map's page has a section per call, with a table whose first column names errors. The
page on BPF_PROG_RUN has one list. The tests have lines like EXPECT_EQ(-EBUSY, put(...)):
CALLS below names the call that put() makes. A new helper of the tests must be added
there. Each error of each call in the documentation counts as passed.

An error of bpf_map_update_elem() also has to be where ELSEWHERE says: in the map's source,
in the table of the KUnit test, and in the messages of the tools.

Also, docs/TESTING.md must have each check that the Makefile runs.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Documentation/bpf/map_reuseport_sockarray.rst"
RUN_PAGE = ROOT / "Documentation/bpf/bpf_prog_run.rst.patch"
TESTS = ROOT / "tools/testing/selftests/reuseport_array"
TESTING = ROOT / "docs/TESTING.md"

# call -> helpers of the tests that make it and return what it returns
CALLS = {
    "bpf_sk_select_reuseport": "",
    "bpf_prog_load": "workqueue__load",
    "bpf_map_create": "create create_map create_type",
    "bpf_map_update_elem": "put put4 store store_fd store_wide open_worker take_over",
    "bpf_map_delete_elem": "del",
    "bpf_map_lookup_elem": "get iterate bpf_map_lookup_elem_flags",
    "bpf_map_get_next_key": "",
    "bpf_map_update_batch": "update update_from fill",
    "bpf_map_delete_batch": "delete delete_from",
    "bpf_map_lookup_batch": "lookup",
    "bpf_map_lookup_and_delete_elem": "",
    "bpf_map_lookup_and_delete_batch": "",
    "bpf_prog_test_run_opts": "run run_with_packet",
}
# calls that do not depend on this map
OTHERS = "bpf_map_freeze send_number try_attach".split()
# errors in tables and in arguments of macros
TABLES = [
    (r"\bexpect_error\([^;]*, (-E\w+)\);", "bpf_sk_select_reuseport"),
    (r"\bADD_HELPER\(\w+, \w+, (-E\w+),", "bpf_prog_load"),
    (r"\bADD_LOOKUP\(\w+, [^,]+, (-E\w+)\)", "bpf_prog_load"),
    (r"\{ BPF_MAP_TYPE_\w+, \d, \w+, (-E\w+) \}", "bpf_prog_load"),
    (r"\{ (-E\w+), BPF_\w+", "bpf_map_update_batch"),
    (r"\bEXPECT_(?:RUN|MIGRATION)_FAILS\((-E\w+)\)", "bpf_prog_test_run_opts"),
]
# Where else an error of bpf_map_update_elem() has to be: (file, start and end of the place,
# errors that do not occur there or that strerror() explains well enough)
ELSEWHERE = [
    ("kernel/bpf/reuseport_array.c", r"^reuseport_array_check\(",
     r"^int bpf_fd_reuseport_array_update_elem\(.*?^}", "EPERM"),
    ("kernel/bpf/tests/reuseport_array_test.c", r"^} test_updates\[\] = \{", r"^};", "EPERM"),
    ("tools/bpf/bpftool/map_reuseport.c", r"^const char \*reuseport_array_strerror\(", r"^}",
     "EPERM EBADF ENOTSOCK EEXIST ENOENT"),
    # reuseportctl fills empty slots of its own map with TCP and UDP sockets that it holds.
    ("tools/bpf/reuseportctl/generation.c", r"^static int explain_update_error\(", r"^}",
     "EPERM EBADF ENOTSOCK EEXIST ENOENT E2BIG ENOTSUPP"),
]
ERROR = re.compile(r"-?\b(E[A-Z0-9]{3,})\b")


def documented():
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
    errors["bpf_prog_test_run_opts"] = {
        error for item in re.findall(r"^\+- (``E.*?``): ", RUN_PAGE.read_text(), re.M)
        for error in ERROR.findall(item)}
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
                unknown.add(f"{path.name}: {helper}() returns {want}: add the helper "
                            f"to CALLS in {Path(__file__).name}")
        for pattern, call in TABLES:
            errors[call] |= {e.removeprefix("-") for e in re.findall(pattern, text)}
    return errors, unknown


def elsewhere(errors):
    """The places of ELSEWHERE that lack one of errors, or name one that is not among them."""
    for name, start, end, others in ELSEWHERE:
        text = re.sub(r"/\*.*?\*/", "", (ROOT / name).read_text(), flags=re.S)
        place = re.search(f"(?:{start}).*?(?:{end})", text, re.M | re.S)
        if not place:
            yield f"{name}: nothing matches {start}; correct ELSEWHERE in {Path(__file__).name}"
            continue
        found = set(ERROR.findall(place[0]))
        for error in sorted(errors - found - set(others.split())):
            yield f"{name}: bpf_map_update_elem() may return {error}, which is not handled there"
        for error in sorted(found - errors):
            yield f"{name}: bpf_map_update_elem() is not documented to return {error}"


def undocumented_checks():
    """The checks of make check, check-deep and check-release that TESTING.md lacks."""
    makefile, page = (ROOT / "Makefile").read_text(), TESTING.read_text()
    for checks in re.findall(r"^(?:DEEP_|RELEASE_)?CHECKS = ((?:.*\\\n)*.*)", makefile, re.M):
        for words in re.findall(r"'.*?'|[^\s'\\]+", checks):
            words = words.strip("'")
            script = re.search(r"harness/\S+|make \S+", words)[0]
            if not re.search(rf"[`/ ]{re.escape(script)}[` ]", page):
                yield f"{TESTING.name} does not describe {words}"


def main():
    page, (tests, wrong) = documented(), expected()
    wrong |= set(elsewhere(page["bpf_map_update_elem"]))
    for call in sorted(set(page) | set(tests)):
        for error in sorted(page.get(call, set()) - tests.get(call, set())):
            wrong.add(f"{call}() is documented to return {error}, which no test expects")
        for error in sorted(tests.get(call, set()) - page.get(call, set())):
            wrong.add(f"{call}() is not documented to return {error}, which a test expects")
    wrong.update(undocumented_checks())
    for line in sorted(wrong):
        print(f"check-docs: {line}", file=sys.stderr)
    count = sum(map(len, page.values()))
    print(f"{count} passed, {len(wrong)} failed")
    return bool(wrong) or not count


if __name__ == "__main__":
    sys.exit(main())
