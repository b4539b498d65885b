# SPDX-License-Identifier: Apache-2.0
"""The state of a lab's servers at one moment, read from their pinned maps."""

from dataclasses import dataclass

from ipos.abi.layout import counter
from ipos.abi.rows import ServerState
from ipos.kernel.maps import Tables
from ipos.lab.lab import Lab


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server: rows of its tables now, and how many connections it has given away so far."""

    name: str
    state: str
    temporary: int
    local: int
    forward: int
    forward_connect: int
    migrated_away: int


class Farm:
    """A running lab's tables."""

    def __init__(self, lab: Lab) -> None:
        self._tables = {place.node: Tables(place.maps_dir) for place in lab.places()}
        self._fronts = {lab.front(name): name for name in self._tables}
        self._migrated = counter("MIGRATED")

    def look(self) -> list[ServerView]:
        """All of them, in the lab's order. The states are those that the first one knows."""
        states = self._states()
        found = []
        for name, tables in self._tables.items():
            found.append(
                ServerView(
                    name=name,
                    state=states.get(name, "unknown"),
                    temporary=tables.temporary.count(),
                    local=tables.local.count(),
                    forward=tables.forward.count(),
                    forward_connect=tables.connect.count(),
                    migrated_away=tables.counter(self._migrated),
                )
            )
        return found

    def _states(self) -> dict[str, str]:
        first = next(iter(self._tables.values()))
        return {
            self._fronts[str(row.address)]: row.state.name.lower()
            for _, row in first.servers.items()
            if row.state is not ServerState.NONE and str(row.address) in self._fronts
        }
