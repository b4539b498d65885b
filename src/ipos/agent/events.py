# SPDX-License-Identifier: Apache-2.0
"""Decisions of the data plane as `ipos watch -o json` prints them. Pure."""

from typing import Any

from ipos.agent.snapshot import Snapshot
from ipos.inic import decisions
from ipos.inic.rows import Decision, Outcome

EVENTS = {
    Outcome.NEW: "new",
    Outcome.AGAIN: "again",
    Outcome.MOVED: "moved",
    Outcome.REFUSED: "refused",
    Outcome.TAKEN: "taken over",
}


def event(record: bytes, snapshot: Snapshot, wall_offset_ns: int) -> dict[str, Any]:
    """One record of the ring, with names for indices; None for what has no name any more."""
    decision, text = decisions.decode(record)
    names = {server.index: server.server for server in snapshot.servers}
    key = decision.tuple
    told = {
        "time": round((decision.when_ns + wall_offset_ns) / 1e9, 6),
        "event": EVENTS[decision.outcome],
        "client": f"{key.client_ip}:{key.client_port}",
        "service_address": f"{key.service_ip}:{key.service_port}",
        "service": _service(decision, snapshot),
        "first_server": names.get(decision.first),
        "server": names.get(decision.server),
        "reason": decisions.reasons().get(decision.reason, f"reason {decision.reason}"),
    }
    if text:
        told["request"] = text.decode(errors="replace")
    return told


def more(count: int, time_s: float) -> dict[str, Any]:
    """In the place of events that nobody kept."""
    return {"time": round(time_s, 6), "event": "more", "count": count}


def _service(decision: Decision, snapshot: Snapshot) -> str | None:
    names = snapshot.services
    return (names[decision.service] or None) if decision.service < len(names) else None
