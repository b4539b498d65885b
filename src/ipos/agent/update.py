# SPDX-License-Identifier: Apache-2.0
"""Brings addresses, maps, routes and files up to date with what the agent has heard."""

from collections.abc import Callable

from ipos.agent.exchange import Exchange
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.heartbeat.member_faults import FRONT, Fault
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.order_file import OrderFile
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.host.links import Links
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.routing import Routing
from ipos.agent.housekeeping import Housekeeping
from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.on_demand.supervisor import Supervisor
from ipos.agent.rows import desired
from ipos.agent.rows.convergence import Convergence
from ipos.agent.uplinks.outages import Outages
from ipos.agent.uplinks.watch import UplinkLinks
from ipos.agent.view.snapshot_file import SnapshotFile

GRACE_S = 3.0
"""How long a member that has not spoken yet keeps the rows that were found at the start."""
_SECOND_NS = 1_000_000_000
_TOGETHER_NS = 5 * _SECOND_NS
"""Servers of one farm start together. In this time none of them counts as a new one, which would
get only a part of its requests (`slow_start_ms`).
"""


class Update:
    """Calls the parts that change something, in their order.

    `ready` is called once, when all rows and routes are there.
    """

    def __init__(
        self,
        exchange: Exchange,
        members: Members,
        orders: OrderFile,
        rows: Convergence,
        routing: Routing,
        expiry: Sweep,
        links: Links | UplinkLinks,
        snapshot: SnapshotFile,
        keeper: Keeper | Announcements,
        housekeeping: Housekeeping,
        supervisor: Supervisor,
        undone: Undone,
        tasks: Tasks,
        ready: Callable[[], None],
        outages: Outages,
    ) -> None:
        self._outages = outages
        self._exchange = exchange
        self._members = members
        self._orders = orders
        self._rows = rows
        self._routing = routing
        self._expiry = expiry
        self._links = links
        self._snapshot = snapshot
        self._keeper = keeper
        self._housekeeping = housekeeping
        self._supervisor = supervisor
        self._undone = undone
        self._tasks = tasks
        self._announce = ready
        self._started_ns = boottime_ns()
        self._refreshed_ns = 0
        self._changes = 0
        self._is_ready = self._is_still = False
        self.found = Fault.NONE
        """What was wrong with our links when they were looked at last."""
        self.settled = False
        """Whether a member that nobody has heard counts as gone."""

    @property
    def is_news(self) -> bool:
        """Whether something about a member has changed since the last update."""
        return self._members.changes != self._changes

    @property
    def rests(self) -> bool:
        """Whether the last update has changed nothing, and the next one would not, either."""
        return self._is_still and not self._undone.reasons()

    def follow_now(self) -> str:
        """Bring all up to date outside a beat. Returns what failed, or ""."""
        return self._tasks.attempt(lambda: self.follow(self._members.known_at(boottime_ns())))

    def follow(self, now_ns: int) -> None:
        """Bring all up to date."""
        self._is_still = False
        self._exchange.tell_cookies(now_ns)
        self._exchange.note_alone(now_ns)
        since_ns = now_ns - self._started_ns
        self.settled = since_ns > GRACE_S * _SECOND_NS or self._members.all_heard()
        changed = self.hold(now_ns)
        self._undone.note("rows", self._rows.not_in_force)
        if changed or self.is_news:
            self._supervisor.wake()
        if changed:
            self._expiry.look()
            config = self._snapshot.config
            self._routing.foreign = desired.local_addresses(config, self._members)
            self._exchange.address()
            self._snapshot.save()
        self._routing.begin(self._snapshot.config.server.addresses, settled=self.settled)
        self._orders.save()
        if changed or now_ns - self._refreshed_ns > _SECOND_NS:
            self.refresh()
        if not self._is_ready and self._is_complete(since_ns):
            self._is_ready = True
            self._announce()
        self._changes = self._members.changes
        self._is_still = (
            self._is_ready
            and not changed
            and self.found is Fault.NONE
            and self._rows.rests
            and self._keeper.rests
            and self._exchange.rests
            and self._outages.rests
        )

    def hold(self, now_ns: int) -> bool:
        """Hold and give up addresses, and bring the maps up to date; whether they have changed."""
        self._outages.look(now_ns, settled=self.settled)
        if isinstance(self._keeper, Keeper):
            self._keeper.out = self._outages.addresses
        cut_off = self.found in FRONT and self._members.hears_nobody(now_ns)
        self._keeper.look(now_ns, settled=self.settled, cut_off=cut_off)
        self._expiry.learns = self._keeper.learns(now_ns)
        returned = self._keeper.returned()
        if returned:
            self._expiry.returned(returned)
        # Before the first question, too: who asks in the name of an address draws its packets.
        self._links.silent = self._keeper.silent
        if isinstance(self._links, UplinkLinks):
            self._links.well_elsewhere = self._outages.well_elsewhere(now_ns)
        self.found = self._links.look(now_ns)
        return self._rows.converge(
            now_ns,
            prune=self.settled,
            opening=now_ns - self._started_ns < _TOGETHER_NS,
            links=self.found,
            front_ns=self._links.answered_ns,
            held=self._keeper.taken,
            arps=self._keeper.arps(),
            asks=self._keeper.asks(now_ns),
        )

    def _is_complete(self, since_ns: int) -> bool:
        """Whether all stands and each of our addresses is held, or waiting would be in vain."""
        held = self._keeper.has_its_own or since_ns > _TOGETHER_NS
        return self.settled and self._routing.is_complete and held

    def refresh(self) -> None:
        """Do what is done once a second."""
        self._refreshed_ns = boottime_ns()
        self._housekeeping.keep(self._refreshed_ns, settled=self.settled, is_ready=self._is_ready)
        self._exchange.renew()
