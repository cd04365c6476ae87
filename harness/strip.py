# SPDX-License-Identifier: GPL-2.0
"""What to take out of Linux to be rid of its BPF_MAP_TYPE_REUSEPORT_SOCKARRAY.

Each cut names a file, a pattern and how often it has to match, or for a base
of another version what that says; one match too few or too many stops the run
and names both.

Left in place: the UAPI enum (its numbers are positional), everything under
tools/, and what other code shares (reuseport_lock, reuseport_id,
array_map_alloc_check).
"""
import re
import sys

GONE = ["kernel/bpf/reuseport_array.c"]

# (file, matches, what goes, what stays in its place)
CUTS = [
    # Build, registration, creation.
    ("kernel/bpf/Makefile", 1,
     r"ifeq \(\$\(CONFIG_INET\),y\)\n[^\n]* reuseport_array\.o\nendif\n", ""),
    ("include/linux/bpf_types.h", 1,
     r"^BPF_MAP_TYPE\(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,[^\n]*\n", ""),
    ("kernel/bpf/syscall.c", {"6.12": 1, "6.1": 0},
     r"^\tcase BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:\n", ""),

    # The two ways in from the bpf() syscall: update, lookup.
    ("kernel/bpf/syscall.c", 2,
     r"\} else if \(map->map_type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY\) \{\n"
     r"(?:\t\t[^\n]*\n)+?\t(?=\} else)", ""),
    ("include/linux/bpf.h", 1,
     r"#if defined\(CONFIG_INET\) && defined\(CONFIG_BPF_SYSCALL\)\n"
     r"void bpf_sk_reuseport_detach\(.*?\n"
     r"#endif /\* defined\(CONFIG_INET\) && defined\(CONFIG_BPF_SYSCALL\) \*/\n\n", ""),

    # What a program may do with the map.
    ("kernel/bpf/verifier.c", 1,
     r"^\tcase BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:\n"
     r"\t\tif [^\n]*\n\t\t\tgoto error;\n\t\tbreak;\n", ""),
    ("kernel/bpf/verifier.c", 1,
     r"(\t\tif \()map->map_type != BPF_MAP_TYPE_REUSEPORT_SOCKARRAY &&\n\t\t    ", r"\1"),
    ("net/core/filter.c", 1,
     r"^\tbool is_sockarray = [^\n]*\n", ""),
    ("net/core/filter.c", 1,
     r"\t\t/\* reuseport_array has only.*?\*/\n\t\terr = is_sockarray [^\n]*\n",
     "\t\terr = -EINVAL;\n"),

    # How a socket left the map, and where it kept its slot.
    ("net/core/sock_reuseport.c", 1,
     r"\t/\* Notify the bpf side\..*?\*/\n\tbpf_sk_reuseport_detach\(sk\);\n\n", ""),
    ("net/core/sock_reuseport.c", 1,
     r"^\t\t\tbpf_sk_reuseport_detach\(sk\);\n\n", ""),
    ("include/net/sock.h", 1,
     r"^ \* - SK_USER_DATA_BPF: .*?\n \*\n", ""),
    ("include/net/sock.h", 1,
     r"^#define SK_USER_DATA_BPF\t2UL\n", ""),
    ("include/net/sock.h", 1,
     r"\(SK_USER_DATA_NOCOPY \| SK_USER_DATA_BPF \|\\\n\t\t\t\t  SK_USER_DATA_PSOCK\)",
     "(SK_USER_DATA_NOCOPY | SK_USER_DATA_PSOCK)"),
    ("include/net/sock.h", 1,
     r"^/\*\*\n \* __locked_read_sk_user_data_with_flags .*?\n\}\n\n", ""),
]


def stripped_texts(stock, base):
    """Map each file that is cut to its text without the map type."""
    texts = {}
    for name, wanted, pattern, stays in CUTS:
        if name not in texts:
            try:
                texts[name] = (stock / name).read_text()
            except OSError as e:
                sys.exit(f"strip: {stock / name}: {e.strerror}; is {stock} a whole kernel tree?")
        regex = re.compile(pattern, re.M | re.S)
        texts[name], found = regex.subn(stays, texts[name])
        if isinstance(wanted, dict):
            wanted = wanted[base]
        if found != wanted:
            sys.exit(f"strip: {name}: expected {wanted} match(es), found {found}, of the "
                     f"pattern\n  {pattern}\nThis base differs from the tested one there; "
                     f"adapt the cut in harness/strip.py.")
    for name in GONE:
        if not (stock / name).is_file():
            sys.exit(f"strip: {stock / name} is not there; nothing to take out?")
    return texts
