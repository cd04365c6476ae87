#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run programs and libraries of Debian that use the map, on stock and on our kernel.

usage: harness/suites/clients/test-clients.py

libbpf 1.1 to 1.7 as shared objects, cilium/ebpf, bpftool 7.1 and pmacct, all as Debian
ships them (nothing is installed but Go). What they are told must be the same on both
kernels, but for the lines in known-differences; a line there that no longer differs is
an error as well. BASE=7.3 tests the kernels of that base.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
sys.path.append(str(ROOT / "harness/trees"))
import trees  # pylint: disable=wrong-import-position

OUT = ROOT / "build/clients"
GUEST = OUT / "root/clients"
# Debian's suite -> what of it is fetched
SUITES = {
    "bookworm": ["libbpf1", "bpftool"],
    "bookworm-backports": ["libbpf1"],
    "trixie": ["libbpf1", "pmacct"],
    "sid": ["libbpf1"],
}


def say(text):
    print(f"test-clients: {text}", file=sys.stderr, flush=True)


def run(*command, **options):
    if subprocess.run(command, check=False, **options).returncode:
        sys.exit(f"test-clients: failed: {' '.join(map(str, command))}")


def build():
    """Lay build/clients/root, what is added to the guest's files."""
    run(ROOT / "harness/packages/install", "clients")
    for suite, packages in SUITES.items():
        # Libraries of backports depend on those of the release.
        suites = suite.replace("bookworm-backports", "bookworm,bookworm-backports")
        run(ROOT / "harness/packages/fetch", "-d", GUEST / suite, suites, *packages)
    headers = ROOT / "build/ours/selftests/tools/bpftool/bootstrap/libbpf/include"
    if not headers.is_dir():
        sys.exit("test-clients: libbpf is not built; run: make tests")
    uapi = ROOT / "build/ours/src/tools/include/uapi"
    libbpf = next(GUEST.glob("bookworm/usr/lib/*/libbpf.so.1"))
    c_flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
    run("clang", *c_flags, "-g", "-target", "bpf", "-I", headers, "-isystem", uapi, "-idirafter",
        "/usr/include/x86_64-linux-gnu", "-c", HERE / "balancer.bpf.c", "-o",
        GUEST / "balancer.bpf.o")
    run("gcc", *c_flags, "-I", headers, "-isystem", uapi, "-o", GUEST / "libbpf-client",
        HERE / "libbpf-client.c", libbpf, "-Wl,--allow-shlib-undefined")
    run("gcc", *c_flags, "-static", "-o", GUEST / "sockets", HERE / "sockets.c")
    run("go", "build", "-o", GUEST / "ebpf-client", "ebpf-client.go", cwd=HERE, env={
        **os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "CGO_ENABLED": "0",
        "GOCACHE": str(OUT / "go-cache")})
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}",
                              "golang-github-cilium-ebpf-dev"],
                             check=True, text=True, capture_output=True).stdout
    (GUEST / "ebpf-version").write_text(version + "\n")
    for name in ("run-clients", "nfacctd.conf"):
        trees.replace(GUEST / name, (HERE / name).read_bytes(), 0o755)


def answers(tree):
    """Boot a kernel; map "PROGRAM: NAME" to what was answered there."""
    kernel = str(Path(trees.VARIANT) / tree / "um")
    log = ROOT / f"build/log/clients-{kernel.replace('/', '-')}.log"
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run([ROOT / "harness/guest/boot", "-t", "900", "-m", "4096", "-f",
                               OUT / "root", kernel, "/clients/run-clients"],
                              check=False, stdout=file)
    if done.returncode:
        sys.exit(f"test-clients: {kernel} failed, see {log.relative_to(ROOT)}")
    program, found = "", {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        name, separator, answer = line.partition(": ")
        if line.startswith("== "):
            program = line[3:]
        elif separator:
            key = f"{program}: {name}"
            while key in found:
                key += "'"
            found[key] = answer
    say(f"{kernel}: {len(found)} answers, see {log.relative_to(ROOT)}")
    return found


def known_differences():
    """List [pattern of "PROGRAM: NAME", stock's answer, ours]."""
    lines = (HERE / "known-differences").read_text().splitlines()
    return [line.split(" | ") for line in lines if line and not line.startswith("#")]


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    build()
    stock, ours = answers("stock"), answers("ours")
    known = known_differences()
    used, passed, failed = set(), 0, 0
    for key in {**stock, **ours}:
        pair = [stock.get(key, "nothing"), ours.get(key, "nothing")]
        expected = [i for i, (pattern, *_) in enumerate(known) if re.fullmatch(pattern, key)]
        used.update(expected)
        good = any(pair == known[i][1:] for i in expected) if expected else pair[0] == pair[1]
        good = good and "NO" not in pair and (not key.endswith("exit status") or pair == ["0", "0"])
        passed, failed = passed + good, failed + (not good)
        if not good:
            say(f"FAILED: {key}\n  stock: {pair[0]}\n  ours:  {pair[1]}")
    for i in set(range(len(known))) - used:
        say(f"FAILED: known-differences: no answer matches {known[i][0]}")
        failed += 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
