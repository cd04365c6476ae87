#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make the four kernel trees under build/, each in TREE/src.

usage: trees.py           make stock, fixed, stripped and ours; rewrite only what changed
       trees.py save      write edits made in build/ours/src back as our files

stock     the base tarball with the patches of harness/base/BASE
fixed     stock with the fixes of harness/series/fixes
stripped  stock without the map type (harness/trees/strip.py)
ours      stripped with the patch half of this repository: whole files, and
          NAME.patch applied to NAME

BASE=6.1 in the environment selects that Linux instead of the default one
(harness/base/default), and build/6.1 instead of build. Where our files have to
differ there is a NAME.6.1.patch: it replaces NAME.patch, or is applied to our
NAME. Everything else that a base needs is in harness/base/BASE.

The trees are hard-linked to each other; files are replaced, never written to.
"""
import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fixes
import strip

ROOT = Path(__file__).resolve().parents[2]
BASES = ROOT / "harness/base"
DEFAULT = (BASES / "default").read_text().strip()
BASE = os.environ.get("BASE") or DEFAULT
VARIANT = "" if BASE == DEFAULT else BASE
BASE_DIR = BASES / BASE
BUILD = ROOT / "build" / VARIANT
STOCK, FIXED, STRIPPED, OURS = (BUILD / t / "src" for t in ("stock", "fixed", "stripped", "ours"))
PATCH_HALF = ["kernel", "include", "net", "tools", "Documentation"]
IDENTIFIERS = r"reuseport_array|REUSEPORT_SOCKARRAY|SK_USER_DATA_BPF|" \
              r"bpf_sk_reuseport_detach|reuseport_backref"


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(text):
    sys.exit(f"trees: {text}")


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, **options)


def replace(path, data, mode=0o644):
    """Give path new content, by renaming. Return whether there was a change."""
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.chmod(mode)
    os.replace(new, path)
    return True


def hard_link(source, target):
    """Copy a tree in a second or two."""
    if target.is_dir():
        return
    partial = target.with_name("src.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial, symlinks=True, copy_function=os.link)
    partial.rename(target)


def version(tree):
    head = (tree / "Makefile").read_text()[:400]
    return ".".join(re.search(rf"^{k} = (\d+)", head, re.M)[1]
                    for k in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def bases():
    return sorted((p.parent.name for p in BASES.glob("*/version")), key=lambda b: b != DEFAULT)


def debian(name):
    """A file of /usr/src, which a package of the base has: installed, or unpacked."""
    fetched = BUILD / "packages" if (BASE_DIR / "suites").is_file() else Path("/")
    return fetched / "usr/src" / name


def lay_stock():
    tested, series = (BASE_DIR / "version").read_text().strip(), BASE
    tarball = Path(os.environ.get("BASE_TARBALL") or debian(f"linux-source-{series}.tar.xz"))
    if not tarball.is_file():
        die(f"{tarball} does not exist; install Debian's linux-source-{series} "
            f"or name a tarball with BASE_TARBALL=")
    patches = sorted(BASE_DIR.glob("*.patch"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in patches)).hexdigest()[:12]
    stat = tarball.stat()
    base = f"{tarball} {stat.st_size} {int(stat.st_mtime)} patches {digest}\n"
    stamp = BUILD / "stock/base"
    if not (stamp.is_file() and stamp.read_text() == base):
        say(f"base: unpacking {tarball} (20 s)")
        for tree in (STOCK, FIXED, STRIPPED, OURS):
            shutil.rmtree(tree.parent, ignore_errors=True)
        partial = BUILD / "stock/src.partial"
        partial.mkdir(parents=True)
        done = run("tar", "-xf", tarball, "-C", partial, "--strip-components=1")
        if done.returncode:
            die(f"cannot unpack {tarball}: {done.stderr.strip()}")
        if not version(partial).startswith(series + "."):
            die(f"{tarball} contains Linux {version(partial)}, not {series}.y "
                f"(BASE= selects another base: {', '.join(bases())})")
        for patch in patches:
            done = run("patch", "-s", "--no-backup-if-mismatch", "-p1", "-d", partial, "-i", patch)
            if done.returncode:
                die(f"{patch.relative_to(ROOT)} does not apply:\n{done.stdout}")
        partial.rename(STOCK)
        stamp.write_text(base)
    found = version(STOCK)
    note = "" if found == tested else f" (tested with {tested})"
    say(f"base: Linux {found} from {tarball}{note}")


def identifiers(name):
    return BASE_DIR / f"identifiers.{name}"


def check_identifiers(tree, name):
    """The tree may name the map type only in the places listed."""
    skip = [f"--exclude-dir={d}" for d in ("reuseport_array", "reuseportctl")]
    done = run("grep", "-rIoEi", *skip, IDENTIFIERS, ".", cwd=tree)
    found = sorted({line[2:] for line in done.stdout.splitlines()})
    listed = identifiers(name)
    text = listed.read_text() if listed.is_file() else ""
    allowed = [l for l in text.splitlines() if not l.startswith("#")]
    for line in sorted(set(found) - set(allowed)):
        say(f"  in the tree, not in the list: {line}")
    for line in sorted(set(allowed) - set(found)):
        say(f"  in the list, not in the tree: {line}")
    if found != allowed:
        die(f"{tree.relative_to(ROOT)} names the map type in other places than "
            f"{listed.relative_to(ROOT)} lists; correct the tree or the list")
    say(f"identifiers: {len(found)} in {name}, all as listed")


def changed_since(name, *parts):
    """Whether any of parts has changed since the last call with this name."""
    stamp = BUILD / f"stock/{name}.sum"
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    same = stamp.is_file() and stamp.read_text() == digest
    return None if same else lambda: stamp.write_text(digest)


def lay_stripped():
    texts = strip.stripped_texts(STOCK, BASE_DIR)
    hard_link(STOCK, STRIPPED)
    for name, text in texts.items():
        replace(STRIPPED / name, text.encode())
    for name in strip.GONE:
        (STRIPPED / name).unlink(missing_ok=True)
    return {name: text.encode() for name, text in texts.items()}


def lay_fixed():
    texts = fixes.fixed_texts(STOCK, BASE)
    hard_link(STOCK, FIXED)
    manifest = BUILD / "fixed/laid"
    before = manifest.read_text().split() if manifest.is_file() else []
    for name in before:
        texts.setdefault(name, (STOCK / name).read_bytes())
    changed = sum(replace(FIXED / name, text) for name, text in texts.items())
    manifest.write_text("\n".join(sorted(texts)) + "\n")
    say(f"fixed: {len(fixes.fixes(BASE))} fixes in the stock tree, {changed} files changed")


def our_files():
    """Path in the tree -> its sources: our file, or a .patch, or both."""
    exclude = BASE_DIR / "exclude"
    exclude = exclude.read_text().splitlines() if exclude.is_file() else []
    files = {}
    paths = [p for top in PATCH_HALF for p in (ROOT / top).rglob("*")
             if p.is_file() and "__pycache__" not in p.parts]
    for path in paths + list(ROOT.glob("MAINTAINERS*.patch")):
        name = str(path.relative_to(ROOT)).removesuffix(".patch")
        base = next((b for b in bases() if path.name.endswith(f".{b}.patch")), "")
        name = name.removesuffix(f".{base}")
        if base in ("", BASE) and not any(fnmatch.fnmatch(name, l) for l in exclude):
            files.setdefault(name, {})[base or path.suffix == ".patch"] = path
    # The whole file, if it is ours, then the patch, preferably the one for this base.
    return {name: [found[k] for k in (False, BASE if BASE in found else True) if k in found]
            for name, found in files.items()}


def patched(name, text, patch):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        done = subprocess.run(["patch", "-s", "-r", "-", "-o", "-", file.name, str(patch)],
                              capture_output=True)
    if done.returncode:
        die(f"{patch.relative_to(ROOT)} does not apply to {name} of Linux "
            f"{version(STRIPPED)}:\n{done.stdout.decode(errors='replace')[-400:]}"
            f"{done.stderr.decode(errors='replace')}")
    return done.stdout


def our_texts():
    texts = {}
    for name, paths in our_files().items():
        text = (STRIPPED / name).read_bytes() if (STRIPPED / name).is_file() else b""
        for path in paths:
            text = patched(name, text, path) if path.suffix == ".patch" else path.read_bytes()
        texts[name] = text
    return texts


def lay_ours(stripped):
    hard_link(STRIPPED, OURS)
    ours = our_texts()
    wanted = {**stripped, **ours}
    manifest = BUILD / "ours/laid"
    before = set(manifest.read_text().split()) if manifest.is_file() else set()
    changed = 0
    for name, data in wanted.items():
        source = ROOT / name
        mode = source.stat().st_mode & 0o777 if source.is_file() else 0o644
        changed += replace(OURS / name, data, mode)
    for name in before - set(wanted):
        (OURS / name).unlink(missing_ok=True)
        if (STRIPPED / name).is_file():
            os.link(STRIPPED / name, OURS / name)
        changed += 1
    manifest.write_text("\n".join(sorted(wanted)) + "\n")
    say(f"ours: {len(ours)} files added to the stripped tree, {changed} changed")
    return wanted


def save():
    """Write edits of build/ours/src back into this repository."""
    laid = our_texts()
    for name, paths in sorted(our_files().items()):
        edited, path = OURS / name, paths[-1]
        data = edited.read_bytes()
        if data == laid[name]:
            continue
        if path.suffix == ".patch":
            before = paths[0] if len(paths) > 1 else STRIPPED / name
            data = run("diff", "-u", "--label", f"a/{name}", "--label", f"b/{name}",
                       before, edited).stdout.encode()
        replace(path, data, path.stat().st_mode & 0o777)
        say(f"saved: {path.relative_to(ROOT)}")


def main():
    if sys.argv[1:] == ["save"]:
        return save()
    if sys.argv[1:]:
        sys.exit(__doc__)
    if BASE not in bases():
        die(f"no base {BASE}; the bases are: {', '.join(bases())}")
    lay_stock()
    lay_fixed()
    stripped = lay_stripped()
    wanted = lay_ours(stripped)
    for tree, name, texts in ((STRIPPED, "stripped", stripped), (OURS, "ours", wanted)):
        listed = identifiers(name)
        listed = listed.read_bytes() if listed.is_file() else b""
        remember = changed_since(name, listed, repr(sorted(texts.items())).encode())
        if remember:
            check_identifiers(tree, name)
            remember()


if __name__ == "__main__":
    main()
