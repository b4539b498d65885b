# SPDX-License-Identifier: Apache-2.0
"""Decisions of the data plane as JSON objects, for `ipos watch -o json` and the access log.
Pure."""

from collections.abc import Callable
from typing import Any

from ipos.abi.families import AnyDecision
from ipos.abi.rows import DecisionFlags, Outcome
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.agent.view.service_places import place
from ipos.kernel import decisions

EVENTS = {
    Outcome.NEW: "new",
    Outcome.AGAIN: "again",
    Outcome.MOVED: "moved",
    Outcome.REFUSED: "refused",
    Outcome.TAKEN: "taken over",
    Outcome.STAYS: "stays",
    Outcome.ANSWERED: "answered",
}
_VERSIONS = {10: "1.0", 11: "1.1", 20: "2.0"}
RuleName = Callable[[int], str | None]
"""A rule's number to what its `[[route]]` says; None for 0 and for one that is gone."""


def event(record: bytes, snapshot: Snapshot, wall_offset_ns: int, rule: RuleName) -> dict[str, Any]:
    """One record of the ring, with names for indices; None for what has no name any more.

    `host` and `path` are what was read of the request, None where nothing was; `cut` names those
    of them that go on. Bytes that are no UTF-8 are shown as the path's own percent-encoding would.
    """
    decision = decisions.decode(record)
    names = {server.index: server.server for server in snapshot.servers}
    key = decision.tuple
    told = {
        "time": round((decision.when_ns + wall_offset_ns) / 1e9, 6),
        "event": EVENTS[decision.outcome],
        "client": place(key.client_ip, key.client_port),
        "service_address": place(key.service_ip, key.service_port),
        "service": _name(snapshot.services, decision.service),
        "method": decision.method.name if decision.method else None,
        "version": _VERSIONS.get(decision.version),
        "host": _text(decision.host[: decision.host_len]),
        "path": _text(decision.path[: decision.path_len]),
        "route": decision.rule or None,
        "rule": rule(decision.rule),
        "pool": _pool(snapshot, decision),
        "first_server": names.get(decision.first),
        "server": names.get(decision.server),
        "reason": decisions.words(decision),
    }
    cut = _cut(decision)
    if cut:
        told["cut"] = cut
    return told


def is_logged(record: bytes) -> bool:
    """Whether it was drawn for the access log."""
    return DecisionFlags.LOGGED in decisions.decode(record).flags


def more(count: int, time_s: float) -> dict[str, Any]:
    """The object that stands in place of events that were lost."""
    return {"time": round(time_s, 6), "event": "more", "count": count}


def _pool(snapshot: Snapshot, decision: AnyDecision) -> str | None:
    known = decision.server and not decisions.is_of_request(decision)
    return _name(snapshot.labels, decision.pool) if known else None


def _cut(decision: AnyDecision) -> list[str]:
    flags = {DecisionFlags.HOST_CUT: "host", DecisionFlags.PATH_CUT: "path"}
    return [name for flag, name in flags.items() if flag in decision.flags]


def _text(said: bytes) -> str | None:
    return "".join(_readable(said)) or None


def _readable(said: bytes) -> list[str]:
    try:
        return [said.decode()]
    except UnicodeDecodeError:
        return [chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in said]


def _name(names: list[str], index: int) -> str | None:
    return (names[index] or None) if index < len(names) else None
