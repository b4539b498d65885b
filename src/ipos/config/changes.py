# SPDX-License-Identifier: Apache-2.0
"""What a running server can take from a changed file, and what it cannot."""

from ipos.config.schema import Config

_ANEW = "cannot change while the data plane runs; `ipos detach` and start the agent anew"
_FIXED = {
    "farm": ("name", "limits", "discover"),
    "server": ("name", "front", "back", "front_vlan", "back_vlan"),
}


def refused(old: Config, new: Config) -> list[str]:
    """A sentence for every change that is not possible; none when all of it can be taken."""
    return [
        f"{table}.{key} {_ANEW}"
        for table, keys in _FIXED.items()
        for key in keys
        if getattr(getattr(old, table), key) != getattr(getattr(new, table), key)
    ]
