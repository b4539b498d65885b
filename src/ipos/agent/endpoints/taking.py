# SPDX-License-Identifier: Apache-2.0
"""The taker's side of one migration with state, as a table of transitions. Pure: time is an
argument.

    OFFERED    the application's state arrives
    WAITING    it is here, a place is kept, and the giver may freeze
    MAKING     the image is here: a socket is made of it, and the application is given it
    PREPARED   the socket stands still until the giver says whose it is; the giver is asked
    LIVE       it is ours
    DROPPED    it is not, or nothing came of it
    FORGOTTEN  nobody asks any more
"""

from dataclasses import dataclass
from enum import Enum, auto

OFFERED_NS = 10_000_000_000
"""After that long without the image nothing will come of it."""
DOUBT_NS = 60_000_000_000
"""How long the giver's word is waited for. Then the connection is lost, and nobody has it."""
ASK_NS = 50_000_000
"""How often the giver is asked."""
REMEMBER_NS = 20_000_000_000
"""Longer than any datagram is believed, whatever the clocks say."""


class Step(Enum):
    OFFERED = auto()
    WAITING = auto()
    MAKING = auto()
    PREPARED = auto()
    LIVE = auto()
    DROPPED = auto()
    FORGOTTEN = auto()


class Event(Enum):
    """What the giver says, what became of an action, and the clock."""

    OFFER = auto()
    STATE = auto()
    IMAGE = auto()
    MADE = auto()
    NOT_MADE = auto()
    COMMIT = auto()
    ABORT = auto()
    TICK = auto()
    APPLICATION_GONE = auto()


class Do(Enum):
    """What is to be done, in this order. MAKE is answered by an event."""

    READY = auto()
    MAKE = auto()
    PREPARED = auto()
    REFUSE = auto()
    GO = auto()
    DROP = auto()
    DONE = auto()
    ASK = auto()


@dataclass(frozen=True, slots=True)
class Taking:
    """since_ns: when this step began; asked_ns: when the giver was asked last."""

    step: Step = Step.OFFERED
    since_ns: int = 0
    asked_ns: int = 0


Result = tuple[Taking, tuple[Do, ...]]
_MOVES: dict[tuple[Step, Event], tuple[Step, tuple[Do, ...]]] = {
    (Step.OFFERED, Event.STATE): (Step.WAITING, (Do.READY,)),
    (Step.OFFERED, Event.ABORT): (Step.DROPPED, (Do.DONE,)),
    (Step.OFFERED, Event.APPLICATION_GONE): (Step.DROPPED, (Do.REFUSE,)),
    (Step.WAITING, Event.OFFER): (Step.WAITING, (Do.READY,)),
    (Step.WAITING, Event.STATE): (Step.WAITING, (Do.READY,)),
    (Step.WAITING, Event.IMAGE): (Step.MAKING, (Do.MAKE,)),
    (Step.WAITING, Event.ABORT): (Step.DROPPED, (Do.DONE,)),
    (Step.WAITING, Event.APPLICATION_GONE): (Step.DROPPED, (Do.REFUSE,)),
    (Step.MAKING, Event.MADE): (Step.PREPARED, (Do.PREPARED,)),
    (Step.MAKING, Event.NOT_MADE): (Step.DROPPED, (Do.DROP, Do.REFUSE)),
    (Step.PREPARED, Event.OFFER): (Step.PREPARED, (Do.PREPARED,)),
    (Step.PREPARED, Event.IMAGE): (Step.PREPARED, (Do.PREPARED,)),
    (Step.PREPARED, Event.COMMIT): (Step.LIVE, (Do.GO, Do.DONE)),
    (Step.PREPARED, Event.ABORT): (Step.DROPPED, (Do.DROP, Do.DONE)),
    (Step.LIVE, Event.COMMIT): (Step.LIVE, (Do.DONE,)),
    (Step.DROPPED, Event.ABORT): (Step.DROPPED, (Do.DONE,)),
    (Step.DROPPED, Event.OFFER): (Step.DROPPED, (Do.REFUSE,)),
    (Step.DROPPED, Event.IMAGE): (Step.DROPPED, (Do.REFUSE,)),
    (Step.DROPPED, Event.COMMIT): (Step.DROPPED, (Do.DONE,)),
}


def step(taking: Taking, event: Event, now_ns: int) -> Result:
    """The next state, and what is to be done. Events that a state does not expect change nothing:
    they are late or doubled."""
    if event is Event.TICK:
        return _tick(taking, now_ns)
    found = _MOVES.get((taking.step, event))
    if found is None:
        return taking, ()
    to, do = found
    asked_ns = now_ns if Do.PREPARED in do else taking.asked_ns
    return Taking(to, taking.since_ns if to is taking.step else now_ns, asked_ns), do


def _tick(taking: Taking, now_ns: int) -> Result:
    waited_ns = now_ns - taking.since_ns
    at = taking.step
    if at in (Step.OFFERED, Step.WAITING) and waited_ns > OFFERED_NS:
        return Taking(Step.DROPPED, now_ns), ()
    if at in (Step.LIVE, Step.DROPPED) and waited_ns > REMEMBER_NS:
        return Taking(Step.FORGOTTEN, now_ns), ()
    if at is not Step.PREPARED:
        return taking, ()
    if waited_ns > DOUBT_NS:
        return Taking(Step.DROPPED, now_ns), (Do.DROP,)
    if now_ns - taking.asked_ns < ASK_NS:
        return taking, ()
    return Taking(at, taking.since_ns, now_ns), (Do.ASK,)


def recovered(now_ns: int) -> Taking:
    """What an earlier agent has left as a prepared row: the giver knows whose it is."""
    return Taking(Step.PREPARED, now_ns, now_ns - ASK_NS)
