#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run a command so that all its processes end with it when it is interrupted.

usage: supervise.py -c COMMAND      (as a shell; the Makefile's SHELL)

A shell that waits for a command dies of a signal and leaves the command, a build or a
guest, running. Here every descendant is ended: on SIGINT, SIGTERM and SIGHUP, when the
parent, make, is gone, and when the command has ended. As a subreaper this process stays the
ancestor of all of them, even of those whose parents have exited.
"""
import ctypes
import os
import signal
import sys
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PATIENCE = 5        # seconds between SIGTERM and SIGKILL


def adopt_descendants():
    """Orphans among our descendants become our children."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(parent):
    """Get SIGTERM when the parent, process number parent, is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def descendants():
    """The living processes below this one."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b") ")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                children.setdefault(int(parent), []).append(int(name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_descendants():
    """SIGTERM, then SIGKILL, until none is left."""
    number, until = signal.SIGTERM, time.monotonic() + PATIENCE
    signalled = set()
    while True:
        reap()
        left = descendants()
        if not left:
            return
        if time.monotonic() > until:
            number = signal.SIGKILL
        for pid in left:
            if number == signal.SIGKILL or pid not in signalled:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
                # a stopped process ends when it goes on
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        signalled.update(left)
        time.sleep(0.05)


def on_signal(handler):
    """Call handler(number) at the first of SIGNALS; ignore those that follow."""
    def first(number, _):
        for s in SIGNALS:
            signal.signal(s, signal.SIG_IGN)
        handler(number)
    for s in SIGNALS:
        signal.signal(s, first)


def guard():
    """Return in a child; this process remains its ancestor, and that of all it starts. It
    ends them when it is interrupted, and what is left of them when the child has ended."""
    def interrupted(number):
        end_descendants()
        os._exit(128 + number)

    adopt_descendants()
    here = os.getpid()
    child = os.fork()
    if not child:
        end_with_parent(here)
        return
    on_signal(interrupted)
    while True:
        pid, status = os.wait()
        if pid == child:
            end_descendants()
            status = os.waitstatus_to_exitcode(status)
            os._exit(status if status >= 0 else 128 - status)


def main():
    if len(sys.argv) < 3 or sys.argv[1] != "-c":
        sys.exit(__doc__)
    end_with_parent(os.getppid())
    guard()
    os.execv("/bin/sh", ["/bin/sh", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
