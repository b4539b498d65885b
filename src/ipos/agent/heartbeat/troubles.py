# SPDX-License-Identifier: Apache-2.0
"""Keeps whose datagrams were not believed lately, and why. Pure."""

from ipaddress import IPv4Address
from typing import NamedTuple

TROUBLE_NS = 5_000_000_000
TROUBLES_MAX = 16


class Trouble(NamedTuple):
    """Whose datagrams are not believed, and why. `member`: it should be one of ours."""

    text: str
    member: bool
    when_ns: int


class Troubles:
    """The last of each source. Anybody who can send can fill this, so it is short."""

    def __init__(self) -> None:
        self._found: dict[int, Trouble] = {}

    def name(self, source: int, why: str, now_ns: int, *, member: bool) -> None:
        if source not in self._found and len(self._found) >= TROUBLES_MAX:
            del self._found[min(self._found, key=lambda one: self._found[one].when_ns)]
        self._found[source] = Trouble(f"{IPv4Address(source)}: {why}", member, now_ns)

    def lately(self, now_ns: int) -> list[Trouble]:
        """Those of the last few seconds."""
        since_ns = now_ns - TROUBLE_NS
        return [one for _, one in sorted(self._found.items()) if one.when_ns > since_ns]
