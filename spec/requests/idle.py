# SPDX-License-Identifier: Apache-2.0
"""Connections that leave their application between two requests. Pure; `tc/hand_back.h` and
`xdp/offer.h` are it in C.

The agent of a server that is to lose its connections names one that seems idle. If it is, and this
server is the first one of it, it waits here, without its application (`spec.handshake.unattached`,
IDLE). If another is, it is offered to that server, as a request is to an owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from spec.requests.moving import Around, quiet


class Fate(Enum):
    """STAYS: nothing changes. WAITS: here, and its application is told the end. OFFERED: to its
    first server.
    """

    STAYS = "stays"
    WAITS = "waits"
    OFFERED = "offered"


@dataclass(frozen=True, slots=True)
class Owned:
    """A connection of ours. `around` is as for a request that would come now.

    `followed`: where its next request begins is known, and it is all here up to there. `busy`: its
    next request is held, or it is offered already. `mine`: this is its first server, else `up` says
    whether that one is there.
    """

    around: Around
    followed: bool = True
    busy: bool = False
    mine: bool = True
    up: bool = True


def named(owned: Owned) -> Fate:
    """What the agent's word does."""
    known = owned.followed and owned.around.unanswered is not None
    if not known or owned.busy or not quiet(owned.around):
        return Fate.STAYS
    if owned.mine:
        return Fate.WAITS
    return Fate.OFFERED if owned.up and owned.around.room else Fate.STAYS


class Answer(Enum):
    """To an offer without an application. WAITS: it is ours to keep. TAKEN: it was, and may have
    gone on since. REFUSED: its owner goes on with it.
    """

    WAITS = "waits"
    TAKEN = "taken"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Known:
    """What a first server has of a four-tuple: one row at most, of the connection `iss`.

    `owner`: of a row of Forward, None for a connection that waits here. `acknowledged`: the owner
    has taken it.
    """

    iss: int
    migration: int
    owner: int | None = None
    acknowledged: bool = True


def returns(
    known: Known | None, iss: int, migration: int, *, room: bool, holds: bool = False
) -> Answer:
    """An endpoint that comes from its owner, or from a server where it waited. `room`: among those
    that wait. `holds`: we answer for its address now, so that its client's packets come here. The
    sender need not be the owner that we know: the number says that it has moved since."""
    if known is None:
        return Answer.WAITS if holds and room else Answer.REFUSED
    if known.iss != iss:
        return Answer.REFUSED
    if known.owner is None:
        return Answer.TAKEN if known.migration >= migration else Answer.REFUSED
    if known.migration > migration:
        return Answer.TAKEN
    if not known.acknowledged or known.migration == migration or not room:
        return Answer.REFUSED
    return Answer.WAITS
