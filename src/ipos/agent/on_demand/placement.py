# SPDX-License-Identifier: Apache-2.0
"""Decides which server starts an application. Pure.

One server decides for all: of those that are heard, the one with the lowest back address. It says
its choices in its state, and the chosen server carries one out once, as its number says. So exactly
one server starts an application, also when the deciding server changes meanwhile: the new one hears
that it is being started, or it hears of a choice that nobody has withdrawn, and waits.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ipos.abi import rows
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Choice, Starting, State
from ipos.config.schema import Service
from ipos.instance.record import Phase

IGNORED_NS = 2_000_000_000
"""A choice that its server has not carried out by then is withdrawn."""
AVOIDED_NS = 10_000_000_000
"""And so long that server is not chosen again."""
_TENTH = 100  # of CPU utilisation in permille
_ON_ITS_WAY = (Phase.STARTING, Phase.STOPPING)


class Seen(NamedTuple):
    """One server, as far as a service's application is concerned.

    `ready`: it would be given requests. `serves`: the application is there and well.
    """

    state: State
    ready: bool
    serves: bool
    starting: Starting


def said(state: State, service: str) -> Starting:
    """What a server says of a service that it may start."""
    found = (one for one in state.starting if one.service == service)
    return next(found, Starting(service))


def seen(members: Members, service: str, now_ns: int) -> list[Seen]:
    """All servers that are not down."""
    return [
        Seen(state, _is_ready(member), service in state.services, said(state, service))
        for member, state in _heard(members)
        if member.serves and member.age(now_ns) is not Age.DOWN
    ]


def decider(members: Members, now_ns: int) -> Member | None:
    """The server that decides for all."""
    fresh = [one for one, _ in _heard(members) if one.serves and one.age(now_ns) is Age.FRESH]
    return min(fresh, key=lambda one: one.back_ip, default=None)


def is_served(found: Iterable[Seen]) -> bool:
    return any(one.ready and one.serves for one in found)


def is_wanted(found: Iterable[Seen]) -> bool:
    """Whether a request waits for it, in any server."""
    return any(one.starting.wanted for one in found)


def able(found: Iterable[Seen]) -> list[Seen]:
    """Those that could start it now."""
    return [
        one for one in found if one.ready and not one.serves and one.starting.phase == Phase.NONE
    ]


def starts(service: Service, members: Members, now_ns: int) -> rows.Starts:
    """What becomes of a request that no server can serve now."""
    if service.start is None:
        return rows.Starts.NOT
    found = seen(members, service.name, now_ns)
    coming = any(one.starting.phase in (*_ON_ITS_WAY, Phase.RUNNING) for one in found)
    return rows.Starts.WAIT if coming or is_served(found) or able(found) else rows.Starts.FAILED


def best(candidates: Sequence[Seen], memory: int) -> Seen | None:
    """By free CPU in tenths, then by free memory, of those that have `memory` bytes left.

    Where none has, the one with the most memory.
    """
    roomy = [one for one in candidates if one.state.memory_available >= memory]
    if not roomy:
        return max(candidates, key=lambda one: one.state.memory_available, default=None)
    return min(roomy, key=_rank)


def _rank(one: Seen) -> tuple[int, int, int]:
    state = one.state
    return state.cpu_permille // _TENTH, -state.memory_available, state.back_ip


class Decider:
    """The choices of the server that decides, and those that it has withdrawn."""

    def __init__(self) -> None:
        self._choices: dict[str, tuple[Choice, int]] = {}
        self._avoided: dict[tuple[str, str], int] = {}
        self._last = 0

    def forget(self) -> None:
        """Another server decides."""
        self._choices.clear()

    def choose(
        self, services: Iterable[Service], members: Members, now_ns: int, wall_ms: int
    ) -> list[Choice]:
        """Who is to start what, as long as he has not yet."""
        known = [service for service in services if service.start is not None]
        names = {service.name for service in known}
        self._choices = {name: one for name, one in self._choices.items() if name in names}
        self._avoided = {key: until for key, until in self._avoided.items() if until > now_ns}
        for service in known:
            self._choose(service, seen(members, service.name, now_ns), now_ns, wall_ms)
        return [choice for choice, _ in self._choices.values()]

    def _choose(self, service: Service, found: list[Seen], now_ns: int, wall_ms: int) -> None:
        assert service.start is not None
        if self._is_pending(service.name, found, now_ns):
            return
        if not is_wanted(found) or is_served(found):
            return
        if any(one.starting.phase in _ON_ITS_WAY for one in found):
            return
        others = (choice for one in found for choice in one.state.choices)
        if any(one.service == service.name and _is_open(one, found) for one in others):
            return  # of the server that decided before us
        needed = max((service.start.memory_bytes, *(one.starting.memory for one in found)))
        candidates = [
            one for one in able(found) if (service.name, one.state.server) not in self._avoided
        ]
        chosen = best(candidates, needed)
        if chosen is not None:
            self._last = max(wall_ms, self._last + 1)
            choice = Choice(service.name, chosen.state.server, self._last)
            self._choices[service.name] = choice, now_ns

    def _is_pending(self, service: str, found: list[Seen], now_ns: int) -> bool:
        """Whether a choice of ours is still to be carried out."""
        if service not in self._choices:
            return False
        choice, since_ns = self._choices[service]
        if _is_open(choice, found) and now_ns - since_ns < IGNORED_NS:
            return True
        if _is_open(choice, found):
            self._avoided[service, choice.server] = now_ns + AVOIDED_NS
        del self._choices[service]
        return False


def _is_open(choice: Choice, found: Iterable[Seen]) -> bool:
    """Whether the chosen server has not said yet that it has carried it out."""
    of = [one for one in found if one.state.server == choice.server]
    return not any(one.starting.obeyed >= choice.number for one in of)


def orders(members: Members, me: str, now_ns: int) -> list[Choice]:
    """What the server that decides wants of the one called `me`."""
    deciding = decider(members, now_ns)
    if deciding is None or deciding.state is None:
        return []
    return [one for one in deciding.state.choices if one.server == me]


def _is_ready(member: Member) -> bool:
    assert member.state is not None
    return (member.standing.state or member.state.state) == rows.ServerState.READY


def _heard(members: Members) -> list[tuple[Member, State]]:
    return [(one, one.state) for one in members.by_ip.values() if one.state is not None]
