#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Check that a stalled guest is not reported as loss by the restarted servers.

usage: test-stall.py

nsd is restarted in a guest that is stopped (SIGSTOP) for 7 s in the middle of the first
run, longer than the clients wait for an answer. The run must be repeated, and its verdict
must be that of a run without a stall.
"""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "harness/lib"))
import supervise  # noqa: E402

RESTARTS, STOPPED = 3, 7
passed = failed = 0


def judge(what, good, why=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"test-stall: {'ok' if good else 'FAILED'}: {what}{'' if good else ': ' + why}",
          file=sys.stderr)


def kernel_process():
    """The guest's kernel: the first process of User-mode Linux below this one."""
    for _ in range(200):
        for pid in sorted(supervise.descendants()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"/um/linux"):
                return pid
        time.sleep(0.1)
    sys.exit("test-stall: no guest has started")


def main():
    subprocess.run([ROOT / "harness/demos/servers/fetch-servers"], check=True)
    command = [ROOT / "harness/guest/boot", "-t", "900", "-m", "2048", "-f",
               ROOT / "build/servers/root", "-o", ROOT / "build/log/stall", "ours/um",
               "env", f"RESTARTS={RESTARTS}", "VERBOSE=1",
               "/servers/run-servers", "nsd"]
    supervise.adopt_descendants()
    guest = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    kernel = kernel_process()
    output = []
    for line in guest.stdout:
        output.append(line)
        print(f"  {line}", end="", file=sys.stderr)
        if line == "nsd, with: under load\n" and output.count(line) == 1:
            time.sleep(2)
            os.kill(kernel, signal.SIGSTOP)
            time.sleep(STOPPED)
            os.kill(kernel, signal.SIGCONT)
    status = guest.wait()
    text = "".join(output)
    stood = re.search(r"nsd +with +.*stood still for .* s, ([\d.]+) s at once: run again", text)
    judge("the stalled run is recognised and repeated", stood, "no run was repeated")
    judge("the stall has its length", stood and float(stood[1]) >= STOPPED - 1,
          f"{stood[1] if stood else 0} s, not {STOPPED}")
    row = re.search(r"nsd +with +(\d+) +(\d+) +(\d+) ", text)
    judge("no loss is reported", row and row[3] == "0", row[0] if row else "no result")
    judge("the verdict is good", status == 0, f"exit status {status}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
