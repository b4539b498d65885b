# SPDX-License-Identifier: Apache-2.0
"""What the agent does once a second."""

import time

from ipos.agent.drain.emptying import Emptying
from ipos.agent.http.history import History
from ipos.agent.http.readiness import Readiness
from ipos.agent.loop.tasks import Tasks
from ipos.agent.network.interfaces import Network
from ipos.agent.network.policy_routes import Policy, policy
from ipos.agent.network.untracked import TranslationWatch
from ipos.agent.rows import desired
from ipos.agent.startup import Parts
from ipos.agent.view.snapshot_file import SnapshotFile
from ipos.errors import IposError
from ipos.kernel.capture import end_unread

_ROUTES_NS = 3_000_000_000


def _police(network: Network, wanted: Policy) -> str:
    """Put back what the kernel has removed, as it does when an interface is set down."""
    try:
        network.police(wanted)
    except (IposError, OSError) as error:
        return f"answers may leave by a wrong uplink: {error}"
    return ""


class Housekeeping:
    """Follows the wall clock, removes what was left over, and counts.

    history: takes a sample of the counters from time to time; None if nobody can look at it.
    """

    def __init__(
        self,
        parts: Parts,
        emptying: Emptying,
        readiness: Readiness,
        translation: TranslationWatch,
        snapshot: SnapshotFile,
        history: History | None,
        tasks: Tasks,
    ) -> None:
        self._parts = parts
        self._emptying = emptying
        self._readiness = readiness
        self._translation = translation
        self._snapshot = snapshot
        self._history = history
        self._tasks = tasks
        self._routed_ns = 0

    def keep(self, now_ns: int, *, settled: bool, is_ready: bool) -> None:
        """settled: a member that nobody has heard is gone. is_ready: all rows and routes stand."""
        parts = self._parts
        parts.clock.keep(
            parts.config,
            watched=parts.decisions.watching.is_on,
            withheld=desired.withheld(parts.members, now_ns),
            servers=len(parts.members.by_ip),
            all_answer=settled and parts.members.all_answer(now_ns),
            drains=self._emptying.drains,
        )
        end_unread(parts.tables)
        if is_ready:
            self._tasks.spawn(self._readiness.keep(parts.config.server.ready_port))
        self._translation.begin(now_ns)
        parts.own_programs.look(parts.config, now_ns)
        if self._history is not None and self._history.is_due(now_ns):
            self._sample(self._history, now_ns)
        self._snapshot.save()
        if parts.config.uplink and now_ns - self._routed_ns >= _ROUTES_NS:
            self._routed_ns = now_ns
            wanted = policy(parts.config.uplink, parts.config.farm.return_)
            self._tasks.in_thread(
                lambda: _police(parts.network, wanted),
                lambda failed: parts.undone.note("uplink routes", failed),
            )

    def _sample(self, history: History, now_ns: int) -> None:
        parts = self._parts
        counters = {counter.name.lower(): n for counter, n in parts.tables.counters()}
        parts.members.take_numbers()
        servers = {
            member.state.server: (member.state.tcp_connections, member.state.cpu_permille / 1000)
            for member in parts.members.by_ip.values()
            if member.state is not None
        }
        history.take(counters, servers, now_ns, int(time.time()))
