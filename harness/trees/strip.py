# SPDX-License-Identifier: GPL-2.0
"""What to remove from Linux, so that it has no BPF_MAP_TYPE_REUSEPORT_SOCKARRAY.

Each cut has a key, a file, a pattern and the number of times that it must match. If the
number differs, the run stops and names file and pattern. CUTS below are for the default
base. For another one, harness/base/BASE/cuts.py has a CUTS of the same form: it replaces
cuts by key, drops a cut whose value is None, or adds cuts.

Not removed: the UAPI enum (its numbers are positional), everything under tools/, and what
other code uses too (reuseport_lock, reuseport_id, array_map_alloc_check).
"""
import re
import runpy
import sys

GONE = ["kernel/bpf/reuseport_array.c"]

# key: (file, matches, what is removed, what replaces it)
CUTS = {
    # Build, registration, creation.
    "build": ("kernel/bpf/Makefile", 1,
     r"ifeq \(\$\(CONFIG_INET\),y\)\n[^\n]* reuseport_array\.o\nendif\n", ""),
    "register": ("include/linux/bpf_types.h", 1,
     r"^BPF_MAP_TYPE\(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,[^\n]*\n", ""),
    "create": ("kernel/bpf/syscall.c", 1,
     r"^\tcase BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:\n", ""),

    # The callers in the bpf() syscall: update, lookup.
    "syscall": ("kernel/bpf/syscall.c", 2,
     r"\} else if \(map->map_type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY\) \{\n"
     r"(?:\t\t[^\n]*\n)+?\t(?=\} else)", ""),
    "prototypes": ("include/linux/bpf.h", 1,
     r"#if defined\(CONFIG_INET\) && defined\(CONFIG_BPF_SYSCALL\)\n"
     r"void bpf_sk_reuseport_detach\(.*?\n"
     r"#endif /\* defined\(CONFIG_INET\) && defined\(CONFIG_BPF_SYSCALL\) \*/\n\n", ""),

    # What a program may do with the map.
    "verifier-map": ("kernel/bpf/verifier.c", 1,
     r"^\tcase BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:\n"
     r"\t\tif [^\n]*\n\t\t\tgoto error;\n\t\tbreak;\n", ""),
    "verifier-helper": ("kernel/bpf/verifier.c", 1,
     r"(\t\tif \()map->map_type != BPF_MAP_TYPE_REUSEPORT_SOCKARRAY &&\n\t\t    ", r"\1"),
    "helper-flag": ("net/core/filter.c", 1,
     r"^\tbool is_sockarray = [^\n]*\n", ""),
    "helper-error": ("net/core/filter.c", 1,
     r"\t\t/\* reuseport_array has only.*?\*/\n\t\terr = is_sockarray [^\n]*\n",
     "\t\terr = -EINVAL;\n"),

    # How a socket leaves the map, and where it keeps its slot.
    "detach-stop": ("net/core/sock_reuseport.c", 1,
     r"\t/\* Notify the bpf side\..*?\*/\n\tbpf_sk_reuseport_detach\(sk\);\n\n", ""),
    "detach-leave": ("net/core/sock_reuseport.c", 1,
     r"^\t\t\tbpf_sk_reuseport_detach\(sk\);\n\n", ""),
    "sock-flag-doc": ("include/net/sock.h", 1,
     r"^ \* - SK_USER_DATA_BPF: .*?\n \*\n", ""),
    "sock-flag": ("include/net/sock.h", 1,
     r"^#define SK_USER_DATA_BPF\t2UL\n", ""),
    "sock-mask": ("include/net/sock.h", 1,
     r"\(SK_USER_DATA_NOCOPY \| SK_USER_DATA_BPF \|\\\n\t\t\t\t  SK_USER_DATA_PSOCK\)",
     "(SK_USER_DATA_NOCOPY | SK_USER_DATA_PSOCK)"),
    "sock-read": ("include/net/sock.h", 1,
     r"^/\*\*\n \* __locked_read_sk_user_data_with_flags .*?\n\}\n\n", ""),
}


def cuts(base_dir):
    """The cuts of a base: CUTS, with the changes in its folder."""
    own = base_dir / "cuts.py"
    changes = runpy.run_path(str(own))["CUTS"] if own.is_file() else {}
    return [cut for cut in {**CUTS, **changes}.values() if cut]


def stripped_texts(stock, base_dir):
    """Map each file that is cut to its text without the map type."""
    texts = {}
    for name, wanted, pattern, stays in cuts(base_dir):
        if name not in texts:
            try:
                texts[name] = (stock / name).read_text()
            except OSError as e:
                sys.exit(f"strip: {stock / name}: {e.strerror}; is {stock} a whole kernel tree?")
        regex = re.compile(pattern, re.M | re.S)
        texts[name], found = regex.subn(stays, texts[name])
        if found != wanted:
            sys.exit(f"strip: {name}: expected {wanted} match(es), found {found}, of the "
                     f"pattern\n  {pattern}\nThis base differs from the default one there; "
                     f"adapt the cut in {base_dir.name}/cuts.py (see harness/trees/strip.py).")
    for name in GONE:
        if not (stock / name).is_file():
            sys.exit(f"strip: {stock / name} does not exist; is {stock} a stock kernel tree?")
    return texts
