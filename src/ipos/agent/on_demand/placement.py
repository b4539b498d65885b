# SPDX-License-Identifier: Apache-2.0
"""Decides which server starts an application, and which stops one that is too many. Pure.

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
from ipos.agent.heartbeat.message import Call, Choice, Starting, State
from ipos.config.schema import Service
from ipos.config.slots import Slot
from ipos.config.starting import Start
from ipos.instance.record import Phase

IGNORED_NS = 2_000_000_000
"""A choice that its server has not carried out by then is withdrawn."""
AVOIDED_NS = 10_000_000_000
"""And so long that server is not chosen again."""
AGAIN_NS = 5_000_000_000
"""Between two choices of more servers for one service: connections need time to spread."""
_TENTH = 100  # of CPU utilisation in permille
_SECOND_NS = 1_000_000_000
_ON_ITS_WAY = (Phase.STARTING, Phase.STOPPING)


class Seen(NamedTuple):
    """One server, as far as a service's application is concerned.

    `ready`: it would be given requests. `serves`: the application is there and well.
    """

    state: State
    ready: bool
    serves: bool
    starting: Starting
    calls: tuple[Call, ...] = ()
    """Calls of its programs for this service, which is a spawned program's."""


def said(state: State, service: str) -> Starting:
    """What a server says of a service that it may start."""
    found = (one for one in state.starting if one.service == service)
    return next(found, Starting(service))


def seen(members: Members, service: str, now_ns: int) -> list[Seen]:
    """All servers that are not down."""
    return [
        Seen(
            state,
            _is_ready(member),
            service in state.services,
            said(state, service),
            tuple(one for one in state.calls if one.service == service),
        )
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
    """Whether a request waits for it, in any server, or a call."""
    found = list(found)
    return any(one.starting.wanted for one in found) or next_call(found) is not None


def next_call(found: Iterable[Seen]) -> Call | None:
    """The first call for a spawned program that nobody has run: a call is served once.

    What could not be started may be started elsewhere.
    """
    found = list(found)
    run = {one.starting.call for one in found if one.starting.phase != Phase.FAILED}
    wanted = (call for one in found for call in one.calls if call.wanted)
    return min((one for one in wanted if one.name not in run), key=_age, default=None)


def _age(call: Call) -> tuple[int, str]:
    server, _, number = call.name.rpartition(".")
    return int(number) if number.isdecimal() else 0, server


def able(found: Iterable[Seen], call: str = "") -> list[Seen]:
    """Those that could start it now. call: for which call of a spawned program."""
    return [one for one in found if one.ready and not one.serves and _may_start(one, call)]


def _may_start(one: Seen, call: str) -> bool:
    """What has failed for one call may be tried for another one."""
    failed = one.starting.phase == Phase.FAILED and one.starting.call not in ("", call)
    return one.starting.phase == Phase.NONE or failed


def starts(service: Service, members: Members, now_ns: int) -> rows.Starts:
    """What becomes of a request that no server can serve now."""
    if service.start is None or isinstance(service, Slot):
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
        self._chosen_ns: dict[str, int] = {}
        self._spare_ns: dict[str, int] = {}

    def forget(self) -> None:
        """Another server decides."""
        self._choices.clear()
        self._spare_ns.clear()

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
        spare = self._is_spare(service, found, now_ns)
        busy = is_served(found) and _is_busy(service.start, found)
        if not (spare or busy) and (is_served(found) or not is_wanted(found)):
            return
        if any(one.starting.phase in _ON_ITS_WAY for one in found):
            return
        others = (choice for one in found for choice in one.state.choices)
        if any(one.service == service.name and _is_open(one, found) for one in others):
            return  # of the server that decided before us
        if spare:
            most_idle = min(_running(found), key=_connections)
            self._say(service.name, most_idle, now_ns, wall_ms, stops=True)
            return
        if busy and now_ns - self._chosen_ns.get(service.name, 0) < AGAIN_NS:
            return
        needed = max((service.start.memory_bytes, *(one.starting.memory for one in found)))
        wanted = next_call(found)
        call = wanted.name if wanted else ""
        candidates = [
            one
            for one in able(found, call)
            if (service.name, one.state.server) not in self._avoided
        ]
        chosen = best(candidates, needed)
        if chosen is not None:
            self._say(service.name, chosen, now_ns, wall_ms, call=call)

    def _say(
        self,
        service: str,
        chosen: Seen,
        now_ns: int,
        wall_ms: int,
        *,
        stops: bool = False,
        call: str = "",
    ) -> None:
        self._last = max(wall_ms, self._last + 1)
        choice = Choice(service, chosen.state.server, self._last, stops, call)
        self._choices[service] = choice, now_ns
        self._chosen_ns[service] = now_ns
        self._spare_ns.pop(service, None)

    def _is_spare(self, service: Service, found: list[Seen], now_ns: int) -> bool:
        """Whether one server fewer would have done for long, with some room."""
        start = service.start
        assert start is not None
        serving = [one for one in found if one.ready and one.serves]
        total = sum(map(_connections, serving))
        room = start.load * (len(serving) - 1) * 6 // 10
        may_be = start.load and start.idle_stop_s and len(serving) > 1 and _running(found)
        if not may_be or total > room:
            self._spare_ns.pop(service.name, None)
            return False
        since_ns = self._spare_ns.setdefault(service.name, now_ns)
        return now_ns - since_ns >= start.idle_stop_s * _SECOND_NS

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


def _connections(one: Seen) -> int:
    return one.starting.connections


def _running(found: Iterable[Seen]) -> list[Seen]:
    """Those that serve it and have started it themselves."""
    return [one for one in found if one.serves and one.starting.phase == Phase.RUNNING]


def _is_busy(start: Start, found: Iterable[Seen]) -> bool:
    """Whether every server that could get a request has more connections than it should."""
    serving = [one for one in found if one.ready and one.serves]
    return bool(start.load) and all(_connections(one) > start.load for one in serving)


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
