# SPDX-License-Identifier: Apache-2.0
"""Connections that live at another server: what their first server makes of notices, and one that
has given them on of what still comes there. Pure; `xdp/notice.h` and `xdp/moved.h` are it in C.

A notice counts if it is about the connection that the row is of (the same ISN) and from its owner,
an acknowledgement if it is one of the last offer. Any server may tell of a move, because who tells
it is not the owner any more. Moves are numbered: notices may come in any order, and the row follows
the latest. What an owner denies to know must be the last packet that was sent to it, because by now
the row may be a successor's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

TOLD_AGAIN_NS = 50_000_000
TOLD_BY_DATA_NS = 1_000_000_000
_NUMBERS = 1 << 16  # of a move, as a notice has room for


class Notice(Enum):
    """Types 3, 4, 6 and 7; UNKNOWN is a 7 of a server that has no such connection."""

    TAKEN = 3
    CLOSED = 4
    MOVED = 6
    REFUSED = 7
    UNKNOWN = "unknown"


class Fate(Enum):
    """KEPT: nothing changes. TAKEN: what is held goes back. MOVED: the row has another owner.
    OURS: our own application is told the end first, because the connection was ours. AGAIN: chosen
    again. CLOSED, RESET: the row is gone, and late packets are answered so. FORGOTTEN: it is gone,
    and all servers are asked about the next packet.
    """

    KEPT = "kept"
    TAKEN = "taken"
    MOVED = "moved"
    OURS = "ours"
    AGAIN = "again"
    CLOSED = "closed"
    RESET = "reset"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Given:
    """A row of Forward. `ours`: we own the connection, and offer it with its next request.

    `last`: what the client has acknowledged last, `last_syn` the number of its last SYN, 0: none.
    """

    owner: int
    iss: int
    acknowledged: bool
    migration: int
    last: int
    last_syn: int = 0
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """`about`: the ISN, or of UNKNOWN the number of the packet. MOVED: `to` is the server that has
    it now, None for an unknown one, `number` that of the move. TAKEN: `number` is that of the
    offer."""

    notice: Notice
    by: int
    about: int
    to: int | None = None
    number: int = 0


def heard(row: Given, told: Told, *, locates: bool = False) -> tuple[Fate, Given | None]:
    """What becomes of the row. `locates`: owners are asked for.

    A row that is OURS or AGAIN is changed where that is seen to.
    """
    if told.notice is Notice.MOVED:
        return _moved(row, told)
    if told.by != row.owner:
        return Fate.KEPT, row
    if told.notice is Notice.UNKNOWN:
        by_syn = told.about == row.last_syn != 0
        if not row.acknowledged or not (by_syn or told.about == row.last):
            return Fate.KEPT, row
        if by_syn:
            return Fate.CLOSED, None
        return (Fate.FORGOTTEN if locates else Fate.RESET), None
    if told.about != row.iss:
        return Fate.KEPT, row
    if told.notice is Notice.CLOSED:
        if row.ours and not row.acknowledged:
            return Fate.OURS, row  # it was taken and is over: our application sees the end
        return Fate.CLOSED, None
    if row.acknowledged:
        return Fate.KEPT, row
    if told.notice is Notice.REFUSED:
        return Fate.AGAIN, row
    if (told.number - row.migration) % _NUMBERS:
        return Fate.KEPT, row
    return (Fate.OURS, row) if row.ours else (Fate.TAKEN, replace(row, acknowledged=True))


def _moved(row: Given, told: Told) -> tuple[Fate, Given | None]:
    newer = (told.number - row.migration) % _NUMBERS
    if told.about != row.iss or told.to is None or not 0 < newer < _NUMBERS // 2:
        return Fate.KEPT, row
    if row.ours and not row.acknowledged:
        return Fate.OURS, row  # its type 3 was lost, and it has moved on since
    migration = row.migration + newer
    return Fate.MOVED, replace(row, owner=told.to, migration=migration, acknowledged=True)


class Way(Enum):
    """TOLD: its sender is told of the move again, and the client sends the packet again. ON: to the
    server that has the connection, with one hop less. LOOP: it has gone round too often. DENIED:
    the connection is not known here."""

    TOLD = "told"
    ON = "on"
    LOOP = "loop"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Left:
    """A connection that was given on. owner 0: it ended here. told_ns: when `first` was told."""

    first: int
    owner: int
    iss: int
    migration: int
    told_ns: int


def strayed(left: Left, by: int, length: int, ttl: int, now_ns: int) -> Way:
    """A client's packet of `length` bytes that another server sent us still."""
    if not left.owner or left.owner == by:
        return Way.DENIED
    patience_ns = TOLD_BY_DATA_NS if length else TOLD_AGAIN_NS
    if by == left.first and now_ns - left.told_ns > patience_ns:
        return Way.TOLD
    return Way.ON if ttl > 1 else Way.LOOP


class Answer(Enum):
    """To an offer, type 1. TAKEN: it was, and the connection has gone on since. REFUSED: this
    four-tuple is another's. COMES: we shall own it.
    """

    TAKEN = "taken"
    REFUSED = "refused"
    COMES = "comes"


def offered(left: Left | None, given: Given | None, iss: int, migration: int, live: bool) -> Answer:
    """An offer with that number. `live`: it moves between two requests; else it is its first."""
    if left is not None and left.iss == iss and left.migration > migration:
        return Answer.TAKEN
    home = given is None or (
        live and given.acknowledged and given.iss == iss and given.migration < migration
    )
    return Answer.COMES if home else Answer.REFUSED
