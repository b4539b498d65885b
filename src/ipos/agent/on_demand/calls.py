# SPDX-License-Identifier: Apache-2.0
"""Calls of programs on this server for spawned programs: `ipos spawn`.

A call is given a service that nobody has, and is told to all in this server's state until its
caller has ended, or the program has. The server that decides has it started once
(`ipos.agent.on_demand.placement`). Where two servers give one service to two calls at the same
time, one of them is started, and the other call takes another service. The calls are in a file, so
the end of an agent ends none.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from ipos import state_file
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Call
from ipos.agent.on_demand import placement
from ipos.agent.on_demand.placement import Seen
from ipos.config.schema import Config
from ipos.config.slots import Slot
from ipos.errors import IposError
from ipos.instance.record import Phase

LATE_MS = 55_000
"""What has not been started by then is given up."""
UNABLE_MS = 3_000
"""And by then, where no server could start it."""
LOST_MS = 60_000
"""A server that is down may only have no agent for the moment: its programs may go on so long."""
_IDLE = (Phase.NONE, Phase.FAILED)
KEPT_MS = 600_000
ENDED_MAX = 64
"""Calls that are over are listed so long, and so many of them."""


class Progress(StrEnum):
    """Of a call."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


class Held(msgspec.Struct):
    """A call of this server. Times are ms since 1970.

    `pid` and `started` are its caller: a process, and when that was started, in clock ticks.
    `server` is where the program runs, and `lost_ms` since when that server is down, 0 if it is up.
    """

    name: str
    program: str
    service: str
    port: int
    args: list[str]
    pid: int
    started: int
    since_ms: int
    progress: Progress = Progress.STARTING
    server: str = ""
    lost_ms: int = 0
    why: str = ""


class NoSuchCall(IposError):
    """No call of this server has that name."""


class PortsTaken(IposError):
    """No port is free. are_leaving: the program at one of them is being stopped, or has just ended,
    and its server has not said yet that it is gone."""

    def __init__(self, sentence: str, *, are_leaving: bool) -> None:
        super().__init__(sentence)
        self.are_leaving = are_leaving


class Calls:
    """`me` is this server's name. started: when a process was started, 0 where there is none."""

    def __init__(
        self, me: str, file: Path, started: Callable[[int], int], say: state_file.Say
    ) -> None:
        self._me = me
        self._file = file
        self._started = started
        self._held = state_file.take(file, list[Held], say) or []
        self._last = 0
        self._lost_ms: dict[str, int] = {}

    # ---- what callers ask ----------------------------------------------------------------------

    def ask(
        self, config: Config, members: Members, program: str, args: list[str], pid: int,
        now_ns: int, wall_ms: int,
    ) -> Held:  # fmt: skip
        """A new call. IposError says why there is none."""
        spawn = next((one for one in config.spawn if one.name == program), None)
        if spawn is None:
            known = ", ".join(one.name for one in config.spawn) or "none"
            raise IposError(f"no [[spawn]] is called {program}; there is {known}")
        refused = spawn.refusal(args)
        if refused:
            raise IposError(refused)
        started = self._started(pid)
        if not started:
            raise IposError(f"there is no process {pid} here, for which {program} could run")
        slot = self._free(config, members, program, now_ns, wall_ms)
        self._last = max(wall_ms, self._last + 1)
        made = Held(
            f"{self._me}.{self._last}", program, slot.name, slot.port, args, pid, started, wall_ms
        )
        self._held.append(made)
        return made

    def _free(
        self, config: Config, members: Members, program: str, now_ns: int, wall_ms: int
    ) -> Slot:
        """A service that nobody has. Servers that ask at one moment seldom take the same."""
        own = {one.service for one in self._open()}
        slots = [one for one in config.service if isinstance(one, Slot)]
        mine = [one for one in slots if one.spawn.name == program]
        others = {
            one.name: (one, placement.seen(members, one.name, now_ns))
            for one in mine
            if one.name not in own
        }
        free = [one for one, found in others.values() if _is_free(found, one.name)]
        if not free:
            raise PortsTaken(
                f"all {len(mine)} ports of {program} are in use; stop one by `ipos spawn --stop`, "
                "or give it more ports in [[spawn]]",
                are_leaving=any(self._is_leaving(found) for _, found in others.values()),
            )
        return free[(wall_ms + sum(self._me.encode())) % len(free)]

    def _is_leaving(self, found: list[Seen]) -> bool:
        """Whether nobody calls any more for what was spawned there. None of our calls is open."""
        callers = {call.name.rpartition(".")[0] for one in found for call in one.calls}
        return callers <= {self._me} and any(
            one.starting.call and (one.serves or one.starting.phase not in _IDLE) for one in found
        )

    def end(self, name: str, wall_ms: int) -> None:
        """End a call, whose program is stopped then. NoSuchCall where it is none of this server."""
        for one in self._open():
            if one.name == name:
                self._end(one, "it was stopped", wall_ms)
                return
        asked = name.rpartition(".")[0]
        where = f", so ask there: it is a call of {asked}" if asked not in ("", self._me) else ""
        raise NoSuchCall(f"{name} is no program that {self._me} has spawned and that runs{where}")

    def named(self, name: str) -> Held | None:
        return next((one for one in self._held if one.name == name), None)

    def listed(self) -> list[Held]:
        return list(self._held)

    # ---- the clock -----------------------------------------------------------------------------

    @property
    def are_starting(self) -> bool:
        return any(one.progress is Progress.STARTING for one in self._held)

    def said(self) -> list[Call]:
        """What other servers are told."""
        return [
            Call(one.service, one.name, wanted := one.progress is Progress.STARTING,
                 one.args if wanted else [])
            for one in self._open()
        ]  # fmt: skip

    def look(self, config: Config, members: Members, now_ns: int, wall_ms: int) -> None:
        """One round, once all servers that are there have been heard."""
        for one in list(self._open()):
            if self._started(one.pid) != one.started:
                self._end(one, f"its caller, the process {one.pid}, has ended", wall_ms)
            elif one.progress is Progress.STARTING:
                self._follow_start(one, config, members, now_ns, wall_ms)
            else:
                self._follow_run(one, members, now_ns, wall_ms)
        ended = [one for one in self._held if one.progress is Progress.ENDED]
        old = {one.name for one in ended if wall_ms - one.since_ms >= KEPT_MS}
        old |= {one.name for one in ended[: max(0, len(ended) - ENDED_MAX)]}
        self._held = [one for one in self._held if one.name not in old]

    def _follow_start(
        self, one: Held, config: Config, members: Members, now_ns: int, wall_ms: int
    ) -> None:
        found = placement.seen(members, one.service, now_ns)
        tried = [each for each in found if each.starting.call == one.name]
        others = [each for each in found if each.starting.call != one.name]
        runs = next((each for each in tried if each.starting.phase == Phase.RUNNING), None)
        age_ms = wall_ms - one.since_ms
        if runs is not None and runs.serves:
            one.progress, one.server = Progress.RUNNING, runs.state.server
        elif any(each.starting.phase not in _IDLE and each.starting.call for each in others):
            self._move(one, config, members, now_ns, wall_ms)
        elif any(each.starting.phase == Phase.NONE for each in tried):
            self._end(one, _told(tried), wall_ms)
        elif all(each.starting.phase == Phase.FAILED for each in tried) and not placement.able(
            others, one.name
        ):
            if tried or age_ms >= UNABLE_MS:
                self._end(one, _told(tried) or "no server is ready to start it", wall_ms)
        elif age_ms >= LATE_MS:
            self._end(one, _told(tried) or "no server has started it in time", wall_ms)

    def _move(self, one: Held, config: Config, members: Members, now_ns: int, wall_ms: int) -> None:
        """Another call has its service."""
        try:
            slot = self._free(config, members, one.program, now_ns, wall_ms)
        except IposError as error:
            self._end(one, str(error), wall_ms)
        else:
            one.service, one.port = slot.name, slot.port

    def _follow_run(self, one: Held, members: Members, now_ns: int, wall_ms: int) -> None:
        found = placement.seen(members, one.service, now_ns)
        there = next((each for each in found if each.state.server == one.server), None)
        if there is None:
            one.lost_ms = one.lost_ms or wall_ms
            if wall_ms - one.lost_ms >= LOST_MS:
                self._end(one, f"its server {one.server} is down", wall_ms)
            return
        one.lost_ms = 0
        if there.starting.call != one.name:
            self._end(one, f"its server {one.server} has not got it any more", wall_ms)
        elif there.starting.phase in (Phase.NONE, Phase.FAILED):
            self._end(one, there.starting.why or "it has ended", wall_ms)

    def _open(self) -> Iterator[Held]:
        return (one for one in self._held if one.progress is not Progress.ENDED)

    def _end(self, one: Held, why: str, wall_ms: int) -> None:
        one.progress, one.why, one.since_ms = Progress.ENDED, why, wall_ms

    def save(self, before: list[Held]) -> None:
        """Write the file if anything is new since then. FileError."""
        if before != self._held:
            state_file.write(self._file, self._held, durable=False)

    def copied(self) -> list[Held]:
        """As they are now."""
        return [msgspec.structs.replace(one) for one in self._held]

    # ---- of all servers ------------------------------------------------------------------------

    def is_over(self, name: str, members: Members, now_ns: int, wall_ms: int) -> bool:
        """Whether a program's call is over, which some server of the farm has."""
        asked = name.rpartition(".")[0]
        if asked == self._me:
            return all(one.name != name for one in self._open())
        for member in members.others():
            state = member.state
            if state is None or state.server != asked or member.age(now_ns) is Age.DOWN:
                continue
            self._lost_ms.pop(name, None)
            return bool(state.boot) and all(one.name != name for one in state.calls)
        since_ms = self._lost_ms.setdefault(name, wall_ms)
        return wall_ms - since_ms >= LOST_MS


def args_of(name: str, members: Members) -> list[str] | None:
    """The arguments of a call that is to be carried out now; None: it is over, or not known."""
    for member in members.by_ip.values():
        for one in member.state.calls if member.state is not None else ():
            if one.name == name and one.wanted:
                return one.args
    return None


def _is_free(found: Iterable[Seen], service: str) -> bool:
    return not any(
        one.serves
        or one.calls
        or one.starting.phase not in _IDLE
        or any(choice.service == service for choice in one.state.choices)
        for one in found
    )


def _told(tried: Iterable[Seen]) -> str:
    """Why it does not run, as the servers say that have tried to start it."""
    return "; ".join(f"on {one.state.server} {one.starting.why}" for one in tried)


def process_started(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0: it is not there, or has ended."""
    try:
        said = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return 0 if said[0] in (b"Z", b"X") else int(said[19])
    except (OSError, ValueError, IndexError):
        return 0
