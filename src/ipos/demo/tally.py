# SPDX-License-Identifier: Apache-2.0
"""Counts of what a client has seen of the farm."""

import json
from dataclasses import asdict, dataclass, field

FAULTS_KEPT = 5


@dataclass(slots=True)
class Tally:
    """Counts of one client's traffic.

    ``migrated``: requests answered by another server than the one that was addressed;
    ``answered_by``: server -> requests; ``clients``: every client address an application named;
    ``faults``: the first few failures in words.
    """

    requests: int = 0
    failures: int = 0
    migrated: int = 0
    answered_by: dict[str, int] = field(default_factory=dict)
    clients: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def answered(self, server: str, client: str, *, addressed: str) -> None:
        """Count a whole and right answer."""
        self.requests += 1
        self.answered_by[server] = self.answered_by.get(server, 0) + 1
        if server != addressed:
            self.migrated += 1
        if client not in self.clients:
            self.clients.append(client)

    def failed(self, why: str) -> None:
        """Count a request that failed."""
        self.requests += 1
        self.failures += 1
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(why)

    def since(self, earlier: "Tally") -> dict[str, int]:
        """Requests by server after `earlier`, a tally of the same client."""
        return {
            server: count - earlier.answered_by.get(server, 0)
            for server, count in self.answered_by.items()
        }

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Tally":
        return cls(**json.loads(text))
