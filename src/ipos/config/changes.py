# SPDX-License-Identifier: Apache-2.0
"""Says which changes of a file a running server cannot take."""

from ipos.config.schema import Config

_ANEW = "cannot change while the data plane runs; `ipos detach` and start the agent anew"
_RESTART = "[agent] is taken when the agent starts: systemctl restart ipos-agent"
_FIXED = {
    "farm": ("name", "limits", "discover", "announce", "return_"),
    "server": ("name", "front", "back", "front_vlan", "back_vlan"),
}


def refused(old: Config, new: Config) -> list[str]:
    """A sentence for every change that is not possible; none when all of it can be taken."""
    if old.agent != new.agent:
        return [_RESTART]
    if old.uplink != new.uplink:
        return [f"[[uplink]] {_ANEW}"]
    return [
        f"{table}.{key.rstrip('_')} {_ANEW}"
        for table, keys in _FIXED.items()
        for key in keys
        if getattr(getattr(old, table), key) != getattr(getattr(new, table), key)
    ]
