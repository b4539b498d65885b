# SPDX-License-Identifier: Apache-2.0
"""The giver's side of one migration with state, as a table of transitions. Pure: time is an
argument.

The giver decides. Until its row of the endpoint has become one of `left_behind`, the endpoint is
its own: it may take it back at any time, and does when something fails. From then on it is the
taker's for good. The taker's socket goes live when it hears of that, and never before; so whatever
is lost, doubled or late, and whoever dies, there are never two owners.

    OFFERED    the application's state is on its way; the connection goes on here
    FREEZING   the taker has the state and a place: the endpoint is frozen and read
    SENT       the image is on its way; nothing comes or goes
    GIVING     the taker has made a socket of it: our row is to go
    GIVEN      it is the taker's, who is told so until it says that it knows
    KEPT       it stays here, and the taker is told so in the same way
    OVER       nothing is left to be said
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

OFFER_NS = 5_000_000_000
"""How long the taker has for the state and its answer; the connection goes on meanwhile."""
FROZEN_NS = 1_500_000_000
"""How long it has for the image; the connection stands still meanwhile."""
AGAIN_NS = 20_000_000
"""How often the outcome is told until it is known."""
FORGET_NS = 10_000_000_000
"""How long it is told. Later the rows of the data plane answer for us."""


class Step(Enum):
    OFFERED = auto()
    FREEZING = auto()
    SENT = auto()
    GIVING = auto()
    GIVEN = auto()
    KEPT = auto()
    OVER = auto()


class Event(Enum):
    """What the taker says, what became of an action, and the clock."""

    READY = auto()
    PREPARED = auto()
    REFUSED = auto()
    DONE = auto()
    ASKED = auto()
    READ = auto()
    NOT_READ = auto()
    GAVE = auto()
    NOT_GIVEN = auto()
    TICK = auto()
    TAKER_DOWN = auto()
    WITHDRAWN = auto()


class Do(Enum):
    """What is to be done, in this order. FREEZE and GIVE are answered by an event."""

    FREEZE = auto()
    SHIP = auto()
    GIVE = auto()
    THAW = auto()
    LEAVE = auto()
    COMMIT = auto()
    ABORT = auto()
    TELL_GIVEN = auto()
    TELL_KEPT = auto()


@dataclass(frozen=True, slots=True)
class Giving:
    """since_ns: when this step began; told_ns: when the outcome was told last."""

    step: Step = Step.OFFERED
    since_ns: int = 0
    told_ns: int = 0


Result = tuple[Giving, tuple[Do, ...]]
_MOVES: dict[tuple[Step, Event], tuple[Step, tuple[Do, ...]]] = {
    (Step.OFFERED, Event.READY): (Step.FREEZING, (Do.FREEZE,)),
    (Step.OFFERED, Event.REFUSED): (Step.OVER, (Do.TELL_KEPT,)),
    (Step.OFFERED, Event.TAKER_DOWN): (Step.KEPT, (Do.TELL_KEPT, Do.ABORT)),
    (Step.OFFERED, Event.WITHDRAWN): (Step.KEPT, (Do.ABORT,)),
    (Step.FREEZING, Event.READ): (Step.SENT, (Do.SHIP,)),
    (Step.FREEZING, Event.NOT_READ): (Step.KEPT, (Do.THAW, Do.TELL_KEPT, Do.ABORT)),
    (Step.SENT, Event.PREPARED): (Step.GIVING, (Do.GIVE,)),
    (Step.SENT, Event.ASKED): (Step.GIVING, (Do.GIVE,)),
    (Step.SENT, Event.REFUSED): (Step.OVER, (Do.THAW, Do.TELL_KEPT)),
    (Step.SENT, Event.TAKER_DOWN): (Step.KEPT, (Do.THAW, Do.TELL_KEPT, Do.ABORT)),
    (Step.GIVING, Event.GAVE): (Step.GIVEN, (Do.COMMIT, Do.LEAVE, Do.TELL_GIVEN)),
    (Step.GIVING, Event.NOT_GIVEN): (Step.KEPT, (Do.THAW, Do.TELL_KEPT, Do.ABORT)),
    (Step.GIVEN, Event.ASKED): (Step.GIVEN, (Do.COMMIT,)),
    (Step.GIVEN, Event.PREPARED): (Step.GIVEN, (Do.COMMIT,)),
    (Step.GIVEN, Event.DONE): (Step.OVER, ()),
    (Step.KEPT, Event.ASKED): (Step.KEPT, (Do.ABORT,)),
    (Step.KEPT, Event.PREPARED): (Step.KEPT, (Do.ABORT,)),
    (Step.KEPT, Event.READY): (Step.KEPT, (Do.ABORT,)),
    (Step.KEPT, Event.DONE): (Step.OVER, ()),
    (Step.KEPT, Event.REFUSED): (Step.OVER, ()),
}
_PATIENCE_NS = {Step.OFFERED: OFFER_NS, Step.SENT: FROZEN_NS}


def step(giving: Giving, event: Event, now_ns: int) -> Result:
    """The next state, and what is to be done. Events that a state does not expect change nothing:
    they are late or doubled."""
    if event is Event.TICK:
        return _tick(giving, now_ns)
    found = _MOVES.get((giving.step, event))
    if found is None:
        return giving, ()
    to, do = found
    since_ns = giving.since_ns if to is giving.step else now_ns
    told = Do.COMMIT in do or Do.ABORT in do
    return Giving(to, since_ns, now_ns if told else giving.told_ns), do


def _tick(giving: Giving, now_ns: int) -> Result:
    waited_ns = now_ns - giving.since_ns
    if waited_ns > _PATIENCE_NS.get(giving.step, waited_ns):
        return step(giving, Event.TAKER_DOWN, now_ns)
    if giving.step not in (Step.GIVEN, Step.KEPT):
        return giving, ()
    if waited_ns > FORGET_NS:
        return replace(giving, step=Step.OVER), ()
    if now_ns - giving.told_ns < AGAIN_NS:
        return giving, ()
    do = Do.COMMIT if giving.step is Step.GIVEN else Do.ABORT
    return replace(giving, told_ns=now_ns), (do,)


def is_frozen(giving: Giving) -> bool:
    """Whether the endpoint is ours and stands still."""
    return giving.step in (Step.FREEZING, Step.SENT, Step.GIVING)


def word(*, has_given: bool, is_under_way: bool) -> Do | None:
    """What a taker is told of an attempt that this agent does not know: it is an earlier agent's.

    has_given: the rows of the data plane say that the endpoint went to that server by this very
    attempt. is_under_way: this agent works on it. What an earlier agent has not given, nobody will
    ever give by this attempt.
    """
    if is_under_way:
        return None
    return Do.COMMIT if has_given else Do.ABORT
