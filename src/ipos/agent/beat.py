# SPDX-License-Identifier: Apache-2.0
"""What the agent does ten times a second, in large farms eight times (`pace`), in this order.

    x.000 s   `_speak`: send our own state; in large farms every second time
    x.003 s   `_listen`: read what the others have just sent, then bring the maps up to date
    x.023 s   `_listen` once more, if the state of a server had not come by then

All servers speak at the same tenth of a second of the wall clock, so each of them finds all states
in its socket when it listens: it wakes up twice for one beat, however many servers there are. Both
steps are timers of the event loop, and nothing in them waits.

To wake up costs more than most of what is done then. So the agent listens at every second beat
only, while it *rests*: all servers are heard, nothing is new and nothing is to be done. The data
plane takes the numbers that they say meanwhile. In a small farm a datagram wakes the agent; in a
large one it is read at the beat that is skipped. Up to `FEW` servers is small: datagrams of more
servers would wake the agent more often than the beats that are saved. As soon as a server is late
or something is new, the agent listens at each beat.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from ipos.agent.exchange import Exchange
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.heartbeat.member import LATE_NS
from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.order_file import OrderFile
from ipos.agent.heartbeat.pace import pace
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.holders.states import SLEPT_NS
from ipos.agent.host.links import Links
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.systemd import Watchdog
from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.rows.convergence import Convergence
from ipos.agent.update import Update
from ipos.agent.uplinks.watch import UplinkLinks

LISTEN_S = 0.003
"""From our own state to listening: on a LAN, and by clocks that agree, all states are there."""
AGAIN_S = 0.02
"""From listening to listening again: a clock may differ a little, a server may be busy."""
FEW = 8
"""Each server says its whole state once a second."""
HEARD_NS = 50_000_000
"""We have heard the states of a beat so long after its begin."""

log = structlog.get_logger()


class Beat:
    """The clock of a running agent: speaks, listens, and calls `update` for what follows of it.

    `reload` is called at each beat, and returns whether a reload is going on.
    """

    def __init__(
        self,
        exchange: Exchange,
        members: Members,
        orders: OrderFile,
        rows: Convergence,
        expiry: Sweep,
        links: Links | UplinkLinks,
        keeper: Keeper | Announcements,
        update: Update,
        undone: Undone,
        tasks: Tasks,
        reload: Callable[[], bool],
    ) -> None:
        self._exchange = exchange
        self._members = members
        self._orders = orders
        self._rows = rows
        self._expiry = expiry
        self._links = links
        self._keeper = keeper
        self._update = update
        self._undone = undone
        self._tasks = tasks
        self._reload = reload
        self._watchdog = Watchdog()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._beaten_ns = 0
        self._pace = pace(0)
        self._late = self._spoke = False
        self._rests = self._skipped = False
        self._failed = self._reported = ""

    def start(self) -> None:
        self._beaten_ns = boottime_ns()
        self._speak()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._exchange.wake(None)

    def _speak(self) -> None:
        if self._tasks.stopping.is_set():
            return
        now_ns = boottime_ns()
        gap_ns, self._beaten_ns = now_ns - self._beaten_ns, now_ns
        self._wake(gap_ns, now_ns)
        if gap_ns >= SLEPT_NS:
            # First of all: others may have our addresses by now.
            self._attempt(lambda: self._update.hold(now_ns))
        self._watchdog.alive(now_ns)
        self._failed = ""
        self._orders.look(now_ns)
        self._spoke = self._pace.speaks(time.time())
        if self._spoke:
            self._attempt(self._exchange.speak)
        if self._may_skip(now_ns):
            self._skipped = True
            self._end()
            return
        self._skipped = False
        self._timer = self._loop.call_later(LISTEN_S if self._spoke else 0, self._listen)

    def _may_skip(self, now_ns: int) -> bool:
        """Whether nothing is to be heard and to be done at this beat, as far as is known."""
        if not self._rests or self._skipped:
            return False
        if self._spoke and len(self._members.by_ip) > FEW:
            return False
        links = [Fault.NONE]
        self._attempt(lambda: links.append(self._glance(now_ns)))
        return links[-1] == self._update.found and not (
            self._failed or self._update.is_news or self._orders.is_due or self._reload()
        )

    def _glance(self, now_ns: int) -> Fault:
        """What is looked at ten times a second by an agent that rests, too."""
        if not self._spoke:  # no datagram wakes us
            self._exchange.hear(self._hear_more, frames=False)
        return self._links.look(now_ns)

    def _woken(self) -> None:
        """A datagram has come while we rest."""
        if self._tasks.stopping.is_set():
            return
        self._attempt(lambda: self._exchange.hear(self._hear_more, frames=False))
        if self._update.is_news and self._timer is not None:
            self._timer.cancel()
            self._listen()

    def _wake(self, gap_ns: int, now_ns: int) -> None:
        """Go on after a time without a beat."""
        if gap_ns <= LATE_NS:
            return
        if gap_ns >= SLEPT_NS and self._exchange.heard_since(now_ns) <= now_ns - gap_ns + HEARD_NS:
            # Those that are heard by our data plane have asked it, and it has answered.
            self._keeper.ran(now_ns)
        # We were stopped or had no CPU: that we heard nobody proves nothing about the others.
        self._members.slept(gap_ns, now_ns)
        self._rows.faults.begin(now_ns)

    def _listen(self, again: bool = False) -> None:
        if self._tasks.stopping.is_set():
            return
        self._attempt(self._hear)
        self._late = self._members.is_somebody_late(self._beaten_ns)
        if self._late and not again:
            self._timer = self._loop.call_later(AGAIN_S, self._listen, True)
            return
        # One time for all that follows: if we are stopped in between, nobody grows older by it.
        now_ns = boottime_ns()
        self._wake(now_ns - self._beaten_ns, now_ns)  # the first beat takes long
        self._rests = False
        if not self._reload():
            self._follow(now_ns)
        self._exchange.wake(
            self._woken if self._rests and len(self._members.by_ip) <= FEW else None
        )
        self._end()

    def _follow(self, now_ns: int) -> None:
        if self._late:
            self._attempt(lambda: self._exchange.probe_the_silent(now_ns))
        self._attempt(lambda: self._update.follow(now_ns))
        self._rests = self._update.rests and not (self._late or self._failed)

    def _end(self) -> None:
        """The end of a beat."""
        self._expiry.tick(self._beaten_ns)
        self._report()
        self._pace = pace(len(self._members.by_ip))
        self._exchange.again_ms = self._pace.again_ms
        self._timer = self._loop.call_later(self._pace.until_next(time.time()), self._speak)

    def _hear(self) -> None:
        # At a beat at which no server speaks only a late one is looked for.
        self._exchange.hear(self._hear_more, frames=self._spoke or self._late)

    def _hear_more(self) -> None:
        if not self._tasks.stopping.is_set():
            self._attempt(self._hear)

    def _attempt(self, step: Callable[[], object]) -> None:
        failed = self._tasks.attempt(step)
        self._failed = self._failed or failed

    def _report(self) -> None:
        """Log what cannot be done; a message that stays the same is logged once."""
        failed = "; ".join(filter(None, (self._failed, *self._undone.reasons())))
        if failed != self._reported and failed:
            log.error("a part of the agent's work cannot be done; it is tried again", reason=failed)
        self._reported = failed
