# SPDX-License-Identifier: GPL-2.0
"""How Linux 6.1 differs from the cuts of harness/trees/strip.py."""

CUTS = {
    # In 6.1 map_create() has no list of types by capability.
    "create": None,
}
