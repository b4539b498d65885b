# SPDX-License-Identifier: Apache-2.0
"""One application that this server may start: from a choice to its end, step by step.

What is done to processes takes time, so a thread does it, one thing at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from ipos.agent.heartbeat.message import Choice, Starting
from ipos.config.starting import Start
from ipos.instance.process import process_of
from ipos.instance.record import Phase, Record

WITHDRAWN_MS = 1_000
"""For so long it has been no server's choice when it is asked to end."""
LEAVES_MS = 30_000
"""Connections that are left then keep it from being stopped."""
ENDS_MS = 10_000
"""What has not ended by then is killed."""
BACKOFF_MS, BACKOFF_MAX_MS = 1_000, 60_000
PROVEN_MS = 10_000
"""What has run so long and ends by itself may be started again at once."""
TOLD_MS = 600_000
"""So long a failure is told, if the application is not started here meanwhile."""
ENDED_MS = 60_000
"""And so long how a spawned program has ended."""
_MEMORY_MS = 5_000

log = structlog.get_logger()
InThread = Callable[[Callable[[], None]], None]


class Sight(NamedTuple):
    """What is seen of the application now.

    `well`: it listens and its check passes. `trouble`: why not. `connections`: sockets that it has.
    `used_ms`: when any server of the farm has used it last. `wanted`: a request waits for it.
    `withdrawn`: the call that it was spawned for is over.
    """

    well: bool
    trouble: str = ""
    connections: int = 0
    used_ms: int = 0
    wanted: bool = False
    withdrawn: bool = False


class Application:
    """`work` runs a function in a thread; it is called once at a time.

    changed: whether the record says anything new since it was saved.
    """

    def __init__(self, record: Record, start: Start, server: str, work: InThread) -> None:
        self.record = record
        self.start = start
        self._server = server
        self._work = work
        self._process = process_of(record)
        self._alive = True
        self._failed = ""
        self._args: Sequence[str] = ()
        self._busy = self._surplus = False
        self._connections = 0
        self._asked_ms = self._measured_ms = self._told_ms = 0
        self.changed = False

    @property
    def rests(self) -> bool:
        """Whether nothing but time changes it, and not soon."""
        if self.record.phase == Phase.FAILED and not self.record.call:
            return False
        return self.record.phase not in (Phase.STARTING, Phase.STOPPING) and not self._busy

    @property
    def may_serve(self) -> bool:
        """Whether it may be chosen, if it is well."""
        return self.record.phase != Phase.STOPPING

    def said(self, *, wanted: bool, used_s: int) -> Starting:
        """What the other servers are told."""
        record = self.record
        return Starting(
            record.service, record.phase, wanted, used_s, record.memory, record.obeyed, record.why,
            self._rounded(), record.call,
        )  # fmt: skip

    def _rounded(self) -> int:
        """Up to a tenth of its load: what changes all the time is no news."""
        step = max(1, self.start.load // 10)
        return -(-self._connections // step) * step if self.start.load else 0

    def obey(self, choice: Choice, wall_ms: int, args: Sequence[str] = ()) -> None:
        """Start or stop it, because this server was chosen, unless that was done already.

        args: of the call that it is started for.
        """
        if choice.number <= self.record.obeyed or self._busy:
            return
        self.record.obeyed = choice.number
        self.changed = True
        if choice.stops:
            if self.record.phase == Phase.RUNNING:
                self._turn(Phase.STOPPING, wall_ms)
                self._surplus = True
                log.warning("stopping an application", service=self.record.service)
            return
        if self.record.phase not in (Phase.NONE, Phase.FAILED):
            return
        self.record.call, self.record.why, self._args = choice.call, "", args
        self._turn(Phase.STARTING, wall_ms)
        self._alive, self._failed = True, ""
        log.warning("starting an application", service=self.record.service, what=self.start.what)

    def launch(self) -> None:
        """Run the command; called when the file says so."""
        added = {"IPOS_SERVICE": self.record.service, "IPOS_SERVER": self._server}
        self._begin(lambda: self._start(added))

    def follow(self, sight: Sight, wall_ms: int) -> None:
        """One step."""
        self._connections = sight.connections
        if self._busy:
            return
        since_ms = wall_ms - self.record.since_ms
        match self.record.phase:
            case Phase.STARTING:
                self._follow_start(sight, since_ms, wall_ms)
            case Phase.RUNNING:
                self._follow_run(sight, since_ms, wall_ms)
            case Phase.STOPPING:
                self._follow_stop(sight, since_ms, wall_ms)
            case Phase.FAILED | Phase.NONE if self.record.call:
                if since_ms >= ENDED_MS:
                    self._forget(wall_ms)
            case Phase.FAILED if wall_ms >= self.record.retry_ms:
                self._turn(Phase.NONE, wall_ms)
            case Phase.NONE if self.record.why and since_ms >= TOLD_MS:
                self.record.why, self.changed = "", True

    def _follow_start(self, sight: Sight, since_ms: int, wall_ms: int) -> None:
        if sight.withdrawn:
            self._turn(Phase.STOPPING, wall_ms)
        elif self._failed:
            self._fail(self._failed, wall_ms)
        elif sight.well:
            self.record.failures, self.record.why = 0, ""
            self._turn(Phase.RUNNING, wall_ms)
            log.warning("application started", service=self.record.service, took_ms=since_ms)
        elif not self._alive:
            self._fail(self._process.ending(), wall_ms)
        elif since_ms >= self.start.start_timeout_s * 1000:
            why = sight.trouble or "nothing listens where the service is served"
            self._begin(lambda: self._process.end(at_once=True))
            self._fail(f"it was not ready after {self.start.start_timeout_s} s: {why}", wall_ms)
        else:
            self._look()

    def _follow_run(self, sight: Sight, since_ms: int, wall_ms: int) -> None:
        if not self._alive:
            self._lose(since_ms, wall_ms)
            return
        if sight.withdrawn:
            self._turn(Phase.STOPPING, wall_ms)
            log.warning("stopping a spawned program", call=self.record.call)
            return
        used_ms = max(self.record.since_ms, sight.used_ms)
        if sight.connections or sight.wanted:
            self._asked_ms = wall_ms
        idle_ms = wall_ms - max(used_ms, self._asked_ms)
        if self.start.idle_stop_s and idle_ms >= self.start.idle_stop_s * 1000:
            self._turn(Phase.STOPPING, wall_ms)
            if self.record.call:
                self.record.why = f"it had no connection for {self.start.idle_stop_s} s"
            log.warning("stopping an idle application", service=self.record.service)
            return
        self._look(wall_ms)

    def _follow_stop(self, sight: Sight, since_ms: int, wall_ms: int) -> None:
        if not self._alive:
            self._begin(self._process.forget)
            self._turn(Phase.NONE, wall_ms)
            log.warning("application stopped", service=self.record.service)
        elif self._told_ms:
            late = wall_ms - self._told_ms >= ENDS_MS
            self._begin(lambda: self._process.end(at_once=True) if late else None)
        elif not sight.withdrawn and (sight.wanted or self._is_kept(sight, since_ms)):
            self.record.why = ""
            self._turn(Phase.RUNNING, wall_ms)
        elif since_ms >= WITHDRAWN_MS and (sight.withdrawn or not sight.connections):
            self._told_ms = wall_ms
            self._begin(lambda: self._process.end(at_once=False))

    def _is_kept(self, sight: Sight, since_ms: int) -> bool:
        """Whether connections keep an application that was idle; one too many waits for them."""
        return bool(sight.connections) and since_ms >= LEAVES_MS and not self._surplus

    def _lose(self, since_ms: int, wall_ms: int) -> None:
        """It has ended by itself."""
        ending = self._process.ending()
        log.warning("application has ended", service=self.record.service, reason=ending)
        if self.record.call:
            self.record.why = ending
            self._turn(Phase.NONE, wall_ms)
        elif since_ms < PROVEN_MS:
            self._fail(ending, wall_ms)
        else:
            self._turn(Phase.NONE, wall_ms)

    def _fail(self, why: str, wall_ms: int) -> None:
        record = self.record
        record.failures += 1
        wait_ms = min(BACKOFF_MAX_MS, BACKOFF_MS << min(record.failures - 1, 10))
        record.retry_ms = wall_ms + wait_ms
        record.why = why
        if not record.call:
            record.why = self._sentence(why, wait_ms)
        self._turn(Phase.FAILED, wall_ms)
        log.warning("application could not be started", reason=record.why)

    def _sentence(self, why: str, wait_ms: int) -> str:
        return (
            f"service {self.record.service} could not be started on {self._server}: {why}; look at "
            f"{self.start.what}, which is tried again for the next request after "
            f"{wait_ms // 1000} s"
        )

    def _forget(self, wall_ms: int) -> None:
        """Nobody asks any more how a spawned program has ended."""
        record = self.record
        record.call, record.why = "", ""
        record.obeyed = record.failures = record.memory = 0
        self._turn(Phase.NONE, wall_ms)
        self._begin(self._process.forget)

    def abandon(self) -> None:
        """Its place has gone from the configuration: a spawned program could not be reached."""
        if self.record.call and not self._busy:
            self._begin(lambda: self._process.end(at_once=True))

    def _turn(self, phase: Phase, wall_ms: int) -> None:
        self.record.phase, self.record.since_ms = phase, wall_ms
        self._told_ms, self._surplus = 0, False
        self.changed = True

    # ---- in the thread -----------------------------------------------------------------------

    def _begin(self, work: Callable[[], None]) -> None:
        self._busy = True

        def run() -> None:
            work()
            self._alive = self._process.is_alive()

        self._work(run)

    def done(self) -> None:
        """The thread has ended."""
        self._busy = False

    def _start(self, added: dict[str, str]) -> None:
        try:
            command = [*(self.start.command or []), *self._args]
            self._process.start(command, self.start.memory_bytes, added)
        except Exception as error:  # whatever it is, it is why the application is not there
            self._failed = str(error)

    def _look(self, wall_ms: int = 0) -> None:
        measures = wall_ms - self._measured_ms >= _MEMORY_MS
        self._begin(self._measure if measures and wall_ms else lambda: None)
        self._measured_ms = wall_ms if measures else self._measured_ms

    def _measure(self) -> None:
        memory = self._process.memory()
        if memory > self.record.memory * 5 // 4:  # a new number is told to all
            self.record.memory, self.changed = memory, True
