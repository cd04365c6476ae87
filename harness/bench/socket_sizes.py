#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the sizes of the kernel's sockets, stock and ours, in Debian's configurations.

usage: harness/bench/socket_sizes.py

A structure must not grow, and no member may move to another cache line. For each tree
and configuration, one file that includes the sockets' headers is compiled with debug
information; pahole reads the layout. The first run takes a minute, since four build
directories have to be prepared, the next ones seconds. BASE=7.3 selects another base.
"""
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "harness/trees"))
import trees  # pylint: disable=wrong-import-position

TREES = ("stock", "ours")
CONFIGS = ("amd64", "cloud-amd64")
LINE = 64
# A structure of the kernel, and the header that declares it.
STRUCTURES = {
    "sock": "net/sock.h",
    "unix_sock": "net/af_unix.h",
    "netlink_sock": "net/netlink/af_netlink.h",
    "packet_sock": "net/packet/internal.h",
    "vsock_sock": "net/af_vsock.h",
    "inet_sock": "net/inet_sock.h",
    "raw_sock": "net/raw.h",
    "raw6_sock": "linux/ipv6.h",
    "inet_connection_sock": "net/inet_connection_sock.h",
    "tcp_sock": "linux/tcp.h",
    "tcp6_sock": "linux/ipv6.h",
    "udp_sock": "linux/udp.h",
    "udp6_sock": "linux/ipv6.h",
    "mptcp_sock": "net/mptcp/protocol.h",
    "request_sock": "net/request_sock.h",
    "inet_request_sock": "net/inet_sock.h",
    "tcp_request_sock": "linux/tcp.h",
    "mptcp_subflow_request_sock": "net/mptcp/protocol.h",
    "inet_timewait_sock": "net/inet_timewait_sock.h",
    "tcp_timewait_sock": "linux/tcp.h",
}
# What the structures do not depend on, and what would be built before them.
WITHOUT = ("DEBUG_INFO_BTF", "DEBUG_INFO_NONE", "DEBUG_INFO_SPLIT", "DEBUG_INFO_REDUCED",
           "MODVERSIONS", "MODULE_SIG", "SYSTEM_TRUSTED_KEYRING")


class Failure(Exception):
    """The layouts cannot be compared."""


def make(tree, out, *arguments):
    log = ROOT / f"build/log/sizes-{trees.BASE}-{tree}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as file:
        done = subprocess.run(["make", "-C", trees.BUILD / tree / "src", "ARCH=x86", f"O={out}",
                               f"-j{os.cpu_count()}", *arguments], stdout=file, stderr=file)
    if done.returncode:
        raise Failure(f"make {' '.join(arguments)} of {tree} failed, see {log.relative_to(ROOT)}")


def prepare(tree, config, out):
    """Configure a build directory, and build what every object needs."""
    source = trees.debian(f"linux-config-{trees.BASE}/config.amd64_none_{config}.xz")
    if not source.is_file():
        raise Failure(f"no {source}; run: harness/packages/install qemu")
    text = lzma.decompress(source.read_bytes()).decode()
    text = re.sub(rf"^CONFIG_({'|'.join(WITHOUT)})=.*\n", "", text, flags=re.M)
    text += "".join(f"# CONFIG_{o} is not set\n" for o in WITHOUT)
    text += "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y\n"
    stamp = out / "debian.config"
    if stamp.is_file() and stamp.read_text() == text:
        return
    print(f"sizes: {tree}: preparing Debian's {config} configuration (20 s)", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    (out / ".config").write_text(text)
    make(tree, out, "olddefconfig")
    make(tree, out, "prepare")
    stamp.write_text(text)


def layouts(tree, config):
    """Map each structure to its size and its members: name -> (offset, size)."""
    out = trees.BUILD / tree / f"sizes-{config}"
    prepare(tree, config, out)
    folder = out / "sizes"
    trees.replace(folder / "Kbuild", b"obj-m := sizes.o\nccflags-y := -I$(srctree)\n")
    trees.replace(folder / "sizes.c", "".join(
        [*(f"#include <{h}>\n" for h in dict.fromkeys(STRUCTURES.values())),
         *(f"struct {s} {s}_here;\n" for s in STRUCTURES)]).encode())
    make(tree, out, f"M={folder}", "sizes.o")
    return {s: layout(s, folder / "sizes.o") for s in STRUCTURES}


def layout(structure, compiled):
    text = subprocess.run(["pahole", "-C", structure, compiled], text=True, check=True,
                          capture_output=True).stdout
    size = re.search(r"^\t/\* size: (\d+),", text, re.M)
    if not size:
        raise Failure(f"pahole does not know struct {structure} of {compiled.relative_to(ROOT)}")
    members, inside = {}, []
    for line in text.splitlines()[1:]:
        # A structure within: its name stands at its end.
        if re.match(r"\t+(struct|union) (\w+ )?\{$", line):
            inside.append(len(members))
        end = re.match(r"\t+\}\s*(\w*)", line)
        if end and inside:
            start = inside.pop()
            if end[1]:
                members = {n if i < start else f"{end[1]}.{n}": m
                           for i, (n, m) in enumerate(members.items())}
            continue
        member = re.search(r"(\w+)(?:\)\(.*\)|\[[^]]*\])*(?::\d+)?(?: __attribute__.*)?;"
                           r"\s*/\* +(\d+)(?:: *\d+)? +(\d+) \*/$", line)
        if member:
            members[member[1]] = (int(member[2]), int(member[3]))
    return {"size": int(size[1]), "members": members}


def lines(member):
    offset, size = member
    return offset // LINE, (offset + max(size, 1) - 1) // LINE


def measure():
    """Map configuration -> tree -> structure -> layout."""
    if not shutil.which("pahole"):
        raise Failure("no pahole; run: harness/packages/install qemu")
    return {c: {t: layouts(t, c) for t in TREES} for c in CONFIGS}


def table(measured):
    rows = [f"{'bytes':<28}" + "".join(f"{c:>14}{'ours':>7}{'more':>6}" for c in measured)]
    for s in STRUCTURES:
        row = f"{s:<28}"
        for by_tree in measured.values():
            stock, ours = (by_tree[t][s]["size"] for t in TREES)
            row += f"{stock:>14,}{ours:>7,}{ours - stock:>6}"
        rows.append(row)
    return "\n".join(rows)


def moved(measured):
    """What moved to another cache line, one line for each member."""
    for config, by_tree in measured.items():
        for s in STRUCTURES:
            stock, ours = (by_tree[t][s]["members"] for t in TREES)
            for name in stock.keys() & ours.keys():
                if lines(stock[name]) != lines(ours[name]):
                    yield (f"{config}: {s}.{name} moved from byte {stock[name][0]} to "
                           f"{ours[name][0]}, to another cache line")


def grown(measured):
    for config, by_tree in measured.items():
        for s in STRUCTURES:
            stock, ours = (by_tree[t][s]["size"] for t in TREES)
            if ours > stock:
                yield f"{config}: {s} grew from {stock:,} to {ours:,} bytes"


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    try:
        measured = measure()
    except Failure as failure:
        sys.exit(f"sizes: {failure}")
    print(table(measured))
    wrong = [*grown(measured), *sorted(moved(measured))]
    for line in wrong:
        print(f"sizes: FAILED: {line}", file=sys.stderr)
    compared = sum(1 + len(by_tree["stock"][s]["members"])
                   for by_tree in measured.values() for s in STRUCTURES)
    print(f"{compared - len(wrong)} passed, {len(wrong)} failed, 0 skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
