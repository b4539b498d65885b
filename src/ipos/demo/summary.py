# SPDX-License-Identifier: Apache-2.0
"""The report at the end of the demo."""

import json
from dataclasses import dataclass

from ipos.demo.recording import Recording
from ipos.demo.tally import Tally


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a demo.

    ``drained``: the server that was drained; ``after``: requests by server from shortly after that
    on; ``client``: the client's true address.
    """

    tally: Tally
    first: str
    address: str
    drained: str
    after: dict[str, int]
    client: str
    seconds: float
    recording: Recording

    @property
    def client_address_seen(self) -> bool:
        """Whether every application saw the client's own address, and no other."""
        return self.tally.clients == [self.client]

    @property
    def succeeded(self) -> bool:
        return self.tally.failures == 0 and self.tally.migrated > 0


def as_json(outcome: Outcome) -> str:
    tally = outcome.tally
    return json.dumps(
        {
            "requests": tally.requests,
            "failures": tally.failures,
            "migrated": tally.migrated,
            "answered_by": dict(sorted(tally.answered_by.items())),
            "client_address_seen": outcome.client_address_seen,
        }
    )


def as_text(outcome: Outcome) -> str:
    tally, recording = outcome.tally, outcome.recording
    answered = max(1, tally.requests - tally.failures)
    servers = sorted(tally.answered_by.items())
    after = ", ".join(f"{name} {count}" for name, count in sorted(outcome.after.items()))
    rows = {
        "requests": f"{tally.requests} in {outcome.seconds:.0f} s, all of them to "
        f"{outcome.address} ({outcome.first})",
        "failures": "; ".join([str(tally.failures), *tally.faults]),
        "migrated": f"{tally.migrated} ({tally.migrated / answered:.0%}) answered by another "
        "server, directly",
        "answered by": ", ".join(f"{name} {count / answered:.0%}" for name, count in servers),
        "draining": f"answered once {outcome.drained} was drained: {after}",
        "client": f"the applications saw {', '.join(tally.clients) or 'nobody'}; it is "
        f"{outcome.client}",
    }
    title = f"A connection to {outcome.address} ({recording.first}), answered by {recording.owner}:"
    lines = [f"{name:<12} {text}" for name, text in rows.items()]
    return "\n".join([title, "", recording.ladder(), "", *lines])
