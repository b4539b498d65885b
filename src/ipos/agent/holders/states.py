# SPDX-License-Identifier: Apache-2.0
"""How one server takes and gives up service addresses. Pure: time is an argument.

    state    what happens                                        next     what it does
    AWAY     the choice is this server                           CLAIMS   says so to all
    AWAY     it will be, if a silent server goes down            PROBES   asks on front
    CLAIMS   nobody says that he holds it                        PROBES   asks on front
    CLAIMS   the choice is another server                        AWAY
    PROBES   another server holds it, or is the choice           AWAY
    PROBES   a neighbour answers for it                          AWAY     waits before it asks again
    PROBES   nobody has answered, and the choice is this server  HOLDS    announces it, five times
    HOLDS    the choice is another server, which claims or       AWAY
             holds it
    HOLDS    a neighbour answers for another server's address    AWAY     waits before it asks again
    HOLDS    a neighbour answers for its own address             HOLDS    announces it again
    HOLDS    this server has not run for longer than others      AWAY
             wait for one that is silent, or is cut off: it has
             no front and hears nobody (see `Keeper.ran`)
    HOLDS    its agent has begun, and another server holds it    AWAY

A server gives an address up only when another server wants it. A server answers for an address only
when all that held it have said that they do not any more, and no neighbour on front answers for it.
Two halves of a farm whose back LAN is cut do not hear each other on back, but on front they do (RFC
5227, with shorter times: one LAN, and machines that answer at once). Between giving up and
announcing, routers still send to the old holder, whose data plane serves every service address.
"""

import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ipos.agent.holders import choice
from ipos.agent.holders.actions import Action, Kind
from ipos.agent.holders.choice import Server

_MS = 1_000_000
PROBE_NS = 180 * _MS
"""How long an answer to a question on front is waited for."""
PROBE_AGAIN_NS = 80 * _MS
"""And after which time it is asked once more: a frame may be lost."""
STALE_PROBE_NS = 500 * _MS
"""An old silence says nothing about now."""
WATCH_NS = 1_000 * _MS
"""How often a server that stands in for another asks whether that one answers."""
BACK_OFF_NS = 1_000 * _MS
"""After an answer; and up to twice that, different for each server."""
TURN_NS = 1_000 * _MS
"""How much longer each next server waits, should the one that is chosen not know the address."""
ANNOUNCED_NS = tuple(ms * _MS for ms in (0, 100, 300, 1_000, 2_000))
"""Routers may lose an announcement, or not believe one that follows another too soon."""
SLEPT_NS = 520 * _MS
"""Who has not run for so long may be taken for dead before it is heard again (`DOWN_NS`)."""
NEVER = sys.maxsize
DOUBT_NS = 1_000 * _MS  # after a start, another server's word counts more than what was found
ASKS_NS = 40_000 * _MS
"""After an address has come here, cookies of its former holder may be of connections."""
LEARN_NS = 1_300 * _MS  # who was away wants nothing: in this time all say whole states
LISTEN_NS = 300 * _MS
"""Before a server takes its own addresses after a start, in which all others have spoken."""


_AWAY = ("this server did not run for a while", "this server has no front and hears nobody")


class State(Enum):
    """What an address is to this server."""

    AWAY = "away"
    CLAIMS = "claims"
    PROBES = "probes"
    HOLDS = "holds"


@dataclass(slots=True)
class _Address:
    state: State = State.AWAY
    since_ns: int = 0
    asked_ns: int = 0
    asked: int = 0
    announced: int = 0
    """How often it has been announced since it was taken."""
    not_before_ns: int = 0
    wanted: bool = False
    """Whether this server is to hold it."""
    free_ns: int | None = None
    """Since when nobody else has been seen to hold or claim it."""
    last: int | None = None
    """The other server that held it last; `came_ns`: when it came here from that one."""
    came_ns: int | None = None
    away: int = 0
    """Until when this server, which was away while it held it, learns who came after it."""
    holder: int | None = None
    """The server that holds it, as far as is known; `holder_ns`: since when."""
    holder_ns: int = 0


class _Others:
    """What all other servers say about addresses, at one moment."""

    def __init__(self, servers: Sequence[Server], me: int) -> None:
        self.holding: dict[int, list[Server]] = {}
        self.claimed: set[int] = set()
        for server in servers:
            if server.number == me:
                continue
            if not server.down:
                for address in server.holds:
                    self.holding.setdefault(address, []).append(server)
            if not server.why:
                self.claimed.update(server.claims)


@dataclass(slots=True)
class Addresses:
    """All addresses, as the server `me` has them. `held`: those it held before this agent.

    rest_ns: until then a look at the same servers would change nothing. `returned` are those that
    other servers held while this one was away; the reader empties it.
    """

    me: int
    started_ns: int
    held: Collection[int] = ()
    returned: dict[int, int] = field(default_factory=dict)
    _known: dict[int, _Address] = field(default_factory=dict)
    _looked_ns: int = 0
    rest_ns: int = 0

    def __post_init__(self) -> None:
        self._looked_ns = self.started_ns
        for address in self.held:
            self._known[address] = _Address(
                State.HOLDS, self.started_ns, announced=len(ANNOUNCED_NS)
            )

    @property
    def holds(self) -> list[int]:
        return [address for address, one in self._known.items() if one.state is State.HOLDS]

    @property
    def claims(self) -> list[int]:
        """The addresses that this server is to hold and does not."""
        return [
            address
            for address, one in self._known.items()
            if one.wanted and one.state is not State.HOLDS
        ]

    def asks(self, now_ns: int) -> set[int]:
        """Addresses held here that another server held a short while ago."""
        return {
            address
            for address, one in self._known.items()
            if one.state is State.HOLDS and one.came_ns and now_ns - one.came_ns < ASKS_NS
        }

    def holder(self, address: int) -> tuple[int | None, int]:
        """The known holder of an address, None for none, and since when."""
        known = self._known.get(address, _Address())
        return known.holder, known.holder_ns

    def begin(self, now_ns: int) -> None:
        """We have spoken for the first time: the others will have answered `LISTEN_NS` later."""
        self.started_ns = self._looked_ns = now_ns
        for held in self._known.values():
            held.since_ns = now_ns

    def learns(self, now_ns: int) -> bool:
        until_ns = max((one.away for one in self._known.values()), default=0)
        return now_ns < max(until_ns, self.started_ns + LISTEN_NS)

    def slept(self, now_ns: int) -> bool:
        """Whether the last look is so long ago that others may have taken our addresses."""
        return now_ns - self._looked_ns >= SLEPT_NS

    def rest(self, now_ns: int) -> None:
        """Have looked now, at nothing new."""
        self._looked_ns = now_ns

    def state(self, address: int) -> State:
        return self._known.get(address, _Address()).state

    def look(
        self,
        servers: Sequence[Server],
        answered: Collection[int],
        now_ns: int,
        *,
        settled: bool,
        cut_off: bool = False,
    ) -> list[Action]:
        """Go on with all addresses that some server lists.

        `answered` are those for which a neighbour has answered since the last look. settled: a
        server that has not spoken by now is none. cut_off: see the table.
        """
        slept = self.slept(now_ns) or cut_off
        self._looked_ns = now_ns
        listed = {address for server in servers for address in server.lists}
        done: list[Action] = []
        for address in [one for one in self._known if one not in listed]:
            if self._known.pop(address).state is State.HOLDS:
                done.append(Action(Kind.GIVEN_UP, address, "no server lists it any more"))
        mine = {address for one in servers if one.number == self.me for address in one.lists}
        others = _Others(servers, self.me)
        able = choice.Index(servers)
        likely = choice.Index(one for one in servers if not one.doubtful)
        doubts = any(one.doubtful for one in servers)
        self.rest_ns = NEVER if settled and not slept and not doubts else 0
        for address in sorted(listed):
            known = self._known.setdefault(address, _Address(since_ns=now_ns))
            own = address in mine
            if slept and len(servers) > 1 and (known.away or known.state is State.HOLDS):
                if known.state is State.HOLDS:
                    done.append(Action(Kind.GIVEN_UP, address, _AWAY[cut_off]))
                known.state, known.not_before_ns = State.AWAY, now_ns + LEARN_NS
                known.away = known.not_before_ns
            chosen = able.choose(address)
            done += self._step(
                address, known, servers, others, chosen, likely.choose(address),
                own=own, answered=address in answered, now_ns=now_ns,
                may=not cut_off and (settled or (own and now_ns - self.started_ns >= LISTEN_NS)),
            )  # fmt: skip
            self._see(address, known, others, chosen, now_ns)
            due_ns = self._due_ns(address, known, servers, chosen, own=own)
            self.rest_ns = min(self.rest_ns, due_ns)
        return done

    def _due_ns(
        self,
        address: int,
        known: _Address,
        servers: Sequence[Server],
        chosen: Server | None,
        *,
        own: bool,
    ) -> int:
        """When an address is to be looked at again, if nothing is new. What is past: at once."""
        if known.state is State.HOLDS:
            due_ns = NEVER if own else known.asked_ns + WATCH_NS
            if known.announced < len(ANNOUNCED_NS):
                due_ns = min(due_ns, known.since_ns + ANNOUNCED_NS[known.announced])
            return due_ns
        if known.state is not State.AWAY:
            return 0
        if chosen is not None and chosen.number == self.me:
            return min(known.not_before_ns, known.away or NEVER)
        if chosen is None or address in chosen.lists or known.free_ns is None:
            return NEVER
        turn_ns = known.free_ns + choice.rank(address, self.me, servers) * TURN_NS
        return max(turn_ns, known.not_before_ns) if known.wanted else turn_ns

    def _see(
        self,
        address: int,
        known: _Address,
        others: _Others,
        chosen: Server | None,
        now_ns: int,
    ) -> None:
        """The holder. Of several, the one that should hold it: the others give it up soon."""
        holding = others.holding.get(address, [])
        found = next((one.number for one in holding if one is chosen), None)
        if found is None and known.state is State.HOLDS:
            found = self.me
        if found is None and holding:
            found = holding[0].number
        known.last = known.last if found in (None, self.me) else found
        if found != known.holder or not known.holder_ns:
            known.holder, known.holder_ns = found, now_ns

    def _step(
        self,
        address: int,
        known: _Address,
        servers: Sequence[Server],
        others: _Others,
        chosen: Server | None,
        likely: Server | None,
        *,
        own: bool,
        answered: bool,
        may: bool,
        now_ns: int,
    ) -> Iterator[Action]:
        holding = others.holding.get(address, [])
        held = bool(holding)
        if held and known.away:
            known.away, known.not_before_ns = 0, now_ns
            self.returned[address] = holding[0].number
        wanted = held or address in others.claimed
        known.free_ns = None if wanted else (known.free_ns or now_ns)
        is_mine = may and self._is_mine(address, known, servers, chosen, now_ns)
        known.wanted = is_mine and now_ns >= known.away
        if known.state is State.HOLDS and held and self._is_doubtful(known, now_ns):
            known.state, known.since_ns = State.AWAY, now_ns
            self.returned[address] = holding[0].number
            yield Action(Kind.GIVEN_UP, address, f"{holding[0].name} has taken it meanwhile")
        if known.state is State.HOLDS:
            yield from self._hold(address, known, chosen, own=own, answered=answered, now_ns=now_ns)
            return
        hopes = may and likely is not None and likely.number == self.me
        if not is_mine and not hopes:
            known.state = State.AWAY
        elif answered:
            yield from self._answered(address, known, now_ns)
        elif now_ns >= known.not_before_ns:
            yield from self._ask(address, known, held=held, is_mine=is_mine, now_ns=now_ns)
            if address in self.holds:
                yield Action(Kind.TAKEN, address, choice.because(address, servers, own=own), own)
                yield from self._announce(address, known, now_ns)

    def _is_doubtful(self, known: _Address, now_ns: int) -> bool:
        """Whether it is held only because an agent before this one held it."""
        return known.since_ns == self.started_ns and now_ns - self.started_ns < DOUBT_NS

    def _is_mine(
        self,
        address: int,
        known: _Address,
        servers: Sequence[Server],
        chosen: Server | None,
        now_ns: int,
    ) -> bool:
        """Whether this server is chosen, or all that come before it have had their time."""
        if chosen is None or chosen.number == self.me:
            return chosen is not None
        if address in chosen.lists or known.free_ns is None:
            return False
        me = next((one for one in servers if one.number == self.me), None)
        if me is None or me.why or not me.takes or address in me.unusable:
            return False
        turn = choice.rank(address, self.me, servers)
        return now_ns - known.free_ns >= turn * TURN_NS

    def _ask(
        self, address: int, known: _Address, *, held: bool, is_mine: bool, now_ns: int
    ) -> Iterator[Action]:
        """Up to the moment when nobody has answered for long enough."""
        if known.state is State.AWAY and is_mine:
            known.state, known.since_ns = State.CLAIMS, now_ns
        if held and is_mine:
            known.state, known.asked = State.CLAIMS, 0
            return
        if known.state != State.PROBES or now_ns - known.since_ns >= STALE_PROBE_NS:
            known.state, known.since_ns, known.asked = State.PROBES, now_ns, 0
        if not known.asked or (known.asked < 2 and now_ns - known.asked_ns >= PROBE_AGAIN_NS):
            known.asked, known.asked_ns = known.asked + 1, now_ns
            yield Action(Kind.ASK, address)
        elif is_mine and known.asked == 2 and now_ns - known.since_ns >= PROBE_NS:
            known.state, known.since_ns, known.announced = State.HOLDS, now_ns, 0
            known.asked_ns, known.away = now_ns, 0
            known.came_ns = now_ns if known.last is not None else None

    def _hold(
        self,
        address: int,
        known: _Address,
        chosen: Server | None,
        *,
        own: bool,
        answered: bool,
        now_ns: int,
    ) -> Iterator[Action]:
        wants = chosen is not None and (address in chosen.claims or chosen.is_holding(address))
        if chosen is not None and chosen.number != self.me and wants:
            known.state, known.since_ns = State.AWAY, now_ns
            yield Action(Kind.GIVEN_UP, address, f"{chosen.name} takes it")
            return
        if answered and not own:
            yield Action(Kind.GIVEN_UP, address, "another machine on front answers for it")
            yield from self._answered(address, known, now_ns)
            return
        if answered and known.announced >= len(ANNOUNCED_NS):
            known.since_ns, known.announced = now_ns, 0  # the routers are to hear the last word
            yield Action(Kind.ANSWERED, address)
        yield from self._announce(address, known, now_ns)
        if not own and now_ns - known.asked_ns >= WATCH_NS:
            known.asked_ns = now_ns
            yield Action(Kind.ASK, address)

    def _announce(self, address: int, known: _Address, now_ns: int) -> Iterator[Action]:
        due = known.announced < len(ANNOUNCED_NS)
        if due and now_ns - known.since_ns >= ANNOUNCED_NS[known.announced]:
            known.announced += 1
            yield Action(Kind.ANNOUNCE, address)

    def _answered(self, address: int, known: _Address, now_ns: int) -> Iterator[Action]:
        """A neighbour answers: who asks again, and when, must not be the same for all."""
        known.state, known.since_ns = State.AWAY, now_ns
        known.not_before_ns = now_ns + BACK_OFF_NS + _own_share(address, self.me)
        yield Action(Kind.ANSWERED, address)


def _own_share(address: int, number: int) -> int:
    """A random part of the time to wait after an answer."""
    said = hashlib.blake2b(f"{address} {number}".encode(), digest_size=2).digest()
    return int.from_bytes(said, "big") * BACK_OFF_NS // 0x10000
