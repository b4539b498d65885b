# SPDX-License-Identifier: Apache-2.0
"""A flow of a UDP service at its first server: what each event makes of its row. Pure.

Written from docs/design.md, independently of `bpf/tc/flow_in.h` and `flow_frame.h`; `fuzz.flows`
holds the two together. Times are nanoseconds of one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

OFFER_AGAIN_NS = 50_000_000
ASK_AGAIN_NS = 1_000_000_000
REFUSERS_MAX = 5
NUMBERS = 1 << 12


class State(StrEnum):
    """How much the owner has said."""

    OFFERED = "offered"
    ACKNOWLEDGED = "acknowledged"
    ANSWERED = "answered"
    REFUSED = "refused"


class Server(StrEnum):
    """What a server does, as far as flows go."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Row:
    """A flow. number: of the last offer; 0 offered_ns: there was none."""

    server: int
    last_seen_ns: int
    state: State = State.OFFERED
    offered_ns: int = 0
    number: int = 0
    refused: tuple[int, ...] = ()
    packets: int = 0
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """What a datagram does. `offered`: the owner is told before it; `server` None: dropped."""

    row: Row | None
    server: int | None
    offered: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)


Choose = Callable[[Collection[int]], int | None]
"""The policy: a ready server that is none of these."""


def datagram(
    row: Row | None, now_ns: int, idle_ns: int, servers: Mapping[int, Server], me: int,
    choose: Choose,
) -> Came:  # fmt: skip
    """A datagram of the client's. servers: what each does now."""
    counts = {}
    if row is None or not _lives(row, now_ns, idle_ns, servers):
        idle = row is not None and now_ns - row.last_seen_ns > idle_ns
        refused = row.refused if row is not None and row.state is State.REFUSED and not idle else ()
        server = choose(refused)
        if server is None:
            left = None if row is None else replace(row, refused=())
            return Came(left, None, counts={"DROP_FLOW_NO_SERVER": 1})
        counts["FLOW_NEW" if row is None or idle else "FLOW_AGAIN"] = 1
        row = replace(row or Row(server, now_ns), server=server, state=State.OFFERED, offered_ns=0,
                      refused=refused, last_seen_ns=now_ns)  # fmt: skip
    row = replace(row, packets=row.packets + 1)
    if now_ns - row.last_seen_ns > 50_000_000:  # a time is written seldom
        row = replace(row, last_seen_ns=now_ns)
    if row.server == me:
        return Came(row, me, counts=counts)
    if not _offer_due(row, now_ns):
        return Came(row, row.server, counts={**counts, "FORWARDED": 1})
    row = replace(row, offered_ns=now_ns, number=(row.number + 1) % NUMBERS)
    counts |= {"FLOW_OFFERED": 1, "FRAMES_SENT": 1}
    return Came(row, row.server, offered=True, counts=counts)


def told(
    row: Row | None, by: int, number: int, *, refused: bool, answered: bool
) -> tuple[Row | None, str]:
    """An owner's answer to an offer. The row, and the counter of what it did; "" for none."""
    if row is None:
        return None, "DROP_FRAME_UNKNOWN"
    if row.server != by or row.number != number:
        return row, "DROP_FRAME_OFFER"
    if refused:
        known = (*row.refused, by) if len(row.refused) < REFUSERS_MAX else ()
        return replace(row, state=State.REFUSED, refused=known), ""
    new = row.state is State.OFFERED
    if new:
        row = replace(row, state=State.ACKNOWLEDGED)
    if answered and row.state is State.ACKNOWLEDGED:
        row = replace(row, state=State.ANSWERED, kept=True)
    return row, "FLOW_ACKNOWLEDGED" if new else ""


def _lives(row: Row, now_ns: int, idle_ns: int, servers: Mapping[int, Server]) -> bool:
    return (
        row.state is not State.REFUSED
        and servers[row.server] in (Server.READY, Server.DRAIN)
        and now_ns - row.last_seen_ns <= idle_ns
    )


def _offer_due(row: Row, now_ns: int) -> bool:
    since_ns = now_ns - row.offered_ns
    if not row.offered_ns:
        return True
    if row.state is State.OFFERED:
        return since_ns > OFFER_AGAIN_NS
    return row.state is State.ACKNOWLEDGED and since_ns > ASK_AGAIN_NS
