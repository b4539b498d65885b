# SPDX-License-Identifier: Apache-2.0
"""Has applications started for requests that wait, and stopped when they are idle.

`Supervisor` brings together what the parts of this folder know: which requests wait here
(`awaiting`), which server is to start what (`placement`), and how far each application of this
server is (`lifecycle`). It looks ten times a second while anything goes on, else once a second,
and never in a farm without such services.

An end of the agent ends no application: their records are in a file, and the next agent goes on.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from ipos.abi import rows
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Choice, Starting, State
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.network import service_sockets
from ipos.agent.on_demand import placement
from ipos.agent.on_demand.awaiting import Awaiting
from ipos.agent.on_demand.calls import Calls, Held, args_of
from ipos.agent.on_demand.lifecycle import Application, Sight
from ipos.closing import Closing
from ipos.config.schema import Config, Service
from ipos.config.slots import Slot
from ipos.config.starting import Start
from ipos.errors import IposError
from ipos.instance import record
from ipos.instance.process import new_record
from ipos.instance.record import Phase, Record

BUSY_S, QUIET_S = 0.1, 1.0
_SECOND_NS = 1_000_000_000

log = structlog.get_logger()


class Supervisor(Closing):
    """group: the cgroup of a service's command, by the service's name.

    trouble: says of a service why its application is not there, "" if it is well. decided: how many
    requests this server's data plane has decided for a service. settled: whether all servers that
    are there have been heard.
    """

    def __init__(
        self,
        config: Config,
        file: Path,
        group: Callable[[str], Path],
        members: Members,
        awaiting: Awaiting,
        trouble: Callable[[str], str | None],
        decided: Callable[[str], int],
        calls: Calls,
        tasks: Tasks,
        undone: Undone,
        *,
        by_systemd: bool,
    ) -> None:
        self._file = file
        self._group = group
        self._members = members
        self._awaiting = awaiting
        self._trouble = trouble
        self._decided = decided
        self._tasks = tasks
        self._undone = undone
        self._config = config
        self._decider = placement.Decider()
        self._choices: list[Choice] = []
        self._wanted: set[str] = set()
        self._counts: dict[str, int] = {}
        self._used_s: dict[str, int] = {}
        self._counted_ns = 0
        self._records = {one.service: one for one in record.take(file, log.error)}
        self._applications: dict[str, Application] = {}
        self._again = asyncio.Event()
        self._by_systemd = by_systemd
        self._calls = calls
        self.settled: Callable[[], bool] = lambda: False
        self.take(config)

    # ---- what others ask -----------------------------------------------------------------------

    def tell(self, state: State) -> State:
        """The state of this server, with what there is to say about these services."""
        told = [
            one
            for name, application in self._applications.items()
            if (one := self._said(name, application)) != Starting(name)
        ]
        called = self._calls.said()
        if not (told or called or self._choices):
            return state
        return msgspec.structs.replace(state, starting=told, choices=self._choices, calls=called)

    def may_serve(self, service: str) -> bool:
        """Whether its application, if it is well, may be chosen: it is not about to be stopped."""
        application = self._applications.get(service)
        return application is None or application.may_serve

    def is_starting(self, service: str) -> bool | None:
        """Whether its application is being started, else whether it runs at all: False or None."""
        application = self._applications.get(service)
        if application is None or application.record.phase == Phase.RUNNING:
            return None
        if application.record.phase == Phase.STARTING:
            return True
        return False if self._trouble(service) is None else None

    def wake(self) -> None:
        """Something is new: look at once."""
        self._again.set()

    def take(self, config: Config) -> None:
        """Use another configuration. What runs goes on; its new command is for its next start."""
        self._config = config
        wanted = {one.name: one for one in config.service if one.start is not None}
        for name, service in wanted.items():
            assert service.start is not None
            fresh = self._new_record(service, service.start)
            known = self._applications.get(name)
            if known is not None and known.record.place == fresh.place:
                known.start = service.start
                continue
            self._applications[name] = self._application(service.start, fresh)
        for name in self._applications.keys() - wanted.keys():
            self._applications.pop(name).abandon()
        self._awaiting.keep(wanted)
        self.wake()

    def _new_record(self, service: Service, start: Start) -> Record:
        group = self._group(service.name)
        return new_record(service.name, start, group, by_systemd=self._by_systemd)

    def _application(self, start: Start, fresh: Record) -> Application:
        name = fresh.service
        found = self._records.get(name)
        if found is None or found.place != fresh.place:
            found = self._records[name] = fresh
        return Application(found, start, self._config.server.name, self._work(name))

    def _work(self, name: str) -> Callable[[Callable[[], None]], None]:
        def begin(work: Callable[[], None]) -> None:
            application = self._applications.get(name)

            def done(_: None) -> None:
                if application is None:  # abandoned
                    return
                application.done()
                if not application.rests:
                    self.wake()

            self._tasks.in_thread(work, done)

        return begin

    # ---- the clock -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Round after round, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._awaiting.fileno(), self._named)
        try:
            while True:
                await self._next()
                self._again.clear()
                if self._applications:
                    failed = self._tasks.attempt(self.look)
                    self._undone.note("start", failed)
        finally:
            loop.remove_reader(self._awaiting.fileno())

    async def _next(self) -> None:
        if not self._applications:
            await self._again.wait()
            return
        busy = self._wanted or self._choices or self._calls.are_starting
        rests = not busy and all(one.rests for one in self._applications.values())
        if not rests:  # a thread that has ended wakes us; not faster than this
            await asyncio.sleep(BUSY_S)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._again.wait(), QUIET_S)

    def _named(self) -> None:
        """The data plane has named requests."""
        self._awaiting.take(boottime_ns())
        self.wake()

    def look(self) -> None:
        """One round."""
        now_ns, wall_ms = self._members.known_at(boottime_ns()), _wall_ms()
        self._wanted = self._awaiting.wanted()
        self._follow_calls(now_ns, wall_ms)
        self._decide(now_ns, wall_ms)
        if now_ns - self._counted_ns >= _SECOND_NS:
            self._counted_ns = now_ns
            self._count(wall_ms)
        for choice in placement.orders(self._members, self._config.server.name, now_ns):
            application = self._applications.get(choice.service)
            args = self._args(choice)
            if application is not None and args is not None:
                application.obey(choice, wall_ms, args)
        fresh = [
            one
            for one in self._applications.values()
            if one.changed and one.record.phase == Phase.STARTING
        ]
        self._save()
        for one in fresh:
            one.launch()
        for name, application in self._applications.items():
            application.follow(self._sight(name, application, now_ns, wall_ms), wall_ms)
        self._save()
        self._decide_again(now_ns)

    def _follow_calls(self, now_ns: int, wall_ms: int) -> None:
        before = self._calls.copied()
        if self.settled():
            self._calls.look(self._config, self._members, now_ns, wall_ms)
        self._save_calls(before)

    def _save_calls(self, before: list[Held]) -> None:
        try:
            self._calls.save(before)
        except IposError as error:
            self._undone.note("calls", str(error))
        else:
            self._undone.note("calls", "")

    def _args(self, choice: Choice) -> list[str] | None:
        """Of the call that it is started for; None: there is none any more, or it may not be."""
        if not choice.call:
            return []
        args = args_of(choice.call, self._members)
        service = next((one for one in self._config.service if one.name == choice.service), None)
        if args is None or not isinstance(service, Slot) or service.spawn.refusal(args):
            return None
        return args

    # ---- calls for spawned programs ------------------------------------------------------------

    def call(self, program: str, args: list[str], pid: int) -> Held:
        """A call of a program on this server. IposError says why there is none."""
        before = self._calls.copied()
        made = self._calls.ask(
            self._config, self._members, program, args, pid, boottime_ns(), _wall_ms()
        )
        self._save_calls(before)
        self.wake()
        return made

    def end_call(self, name: str) -> None:
        """End it. NoSuchCall."""
        before = self._calls.copied()
        self._calls.end(name, _wall_ms())
        self._save_calls(before)
        self.wake()

    def calls(self) -> list[Held]:
        return self._calls.listed()

    def _decide(self, now_ns: int, wall_ms: int) -> None:
        deciding = placement.decider(self._members, now_ns)
        if deciding is not self._members.myself or not self.settled():
            self._decider.forget()
            self._choices = []
            return
        self._members.take_numbers()
        services = self._config.service
        self._choices = self._decider.choose(services, self._members, now_ns, wall_ms)

    def _count(self, wall_ms: int) -> None:
        """Until when services were used, rounded up, so that it is not news each second."""
        for name, application in self._applications.items():
            if not application.start.idle_stop_s:
                continue
            count, before = self._decided(name), self._counts.get(name)
            self._counts[name] = count
            if before is not None and count != before:
                step = max(1, application.start.idle_stop_s // 10)
                self._used_s[name] = (wall_ms // 1000 // step + 1) * step

    def _said(self, name: str, application: Application) -> Starting:
        wanted, used_s = name in self._wanted, self._used_s.get(name, 0)
        return application.said(wanted=wanted, used_s=used_s)

    def _sight(self, name: str, application: Application, now_ns: int, wall_ms: int) -> Sight:
        """Of an application that does not run nothing is looked at."""
        if application.record.phase not in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING):
            return Sight(well=False)
        found = placement.seen(self._members, name, now_ns)
        trouble = self._trouble(name)
        service = next(one for one in self._config.service if one.name == name)
        start = application.start
        counts = application.record.phase != Phase.STARTING and (start.idle_stop_s or start.load)
        used_s = max((one.starting.used_s for one in found), default=0)
        return Sight(
            well=trouble == "",
            trouble=trouble or "",
            connections=service_sockets.count(service.port) if counts else 0,
            used_ms=1000 * max(used_s, self._used_s.get(name, 0)),
            wanted=any(one.starting.wanted for one in found) or name in self._wanted,
            withdrawn=self.settled()
            and bool(application.record.call)
            and self._calls.is_over(application.record.call, self._members, now_ns, wall_ms),
        )

    def _save(self) -> None:
        if not any(one.changed for one in self._applications.values()):
            return
        try:
            record.write(self._file, [one.record for one in self._applications.values()])
        except IposError as error:
            self._undone.note("instances", str(error))
        else:
            self._undone.note("instances", "")
        for one in self._applications.values():
            one.changed = False

    def _decide_again(self, now_ns: int) -> None:
        """Those that wait are decided where there is a server, or none will be, or at the end."""
        for service in self._config.service:
            if service.start is None or service.name not in self._wanted:
                continue
            found = placement.seen(self._members, service.name, now_ns)
            waits = placement.starts(service, self._members, now_ns) == rows.Starts.WAIT
            now = placement.is_served(found) or not waits
            late_ns = now_ns - service.start.start_timeout_s * _SECOND_NS
            self._awaiting.decide_again(service.name, now_ns if now else late_ns, now_ns)

    def close(self) -> None:
        self._awaiting.close()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
