# SPDX-License-Identifier: Apache-2.0
"""The agent's life: start, run, become ready, stop.

The end of an agent, of whatever kind, changes nothing in the kernel: the data plane goes on, and
only `ipos detach` removes it. What a running agent does ten times a second is in
`ipos.agent.beat`, how it takes a new configuration in `ipos.agent.reload`.
"""

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path

import msgspec
import structlog

from ipos.agent import startup
from ipos.agent.beat import Beat
from ipos.agent.drain.emptying import Emptying
from ipos.agent.examination.examiner import Examiner, host
from ipos.agent.exchange import Exchange
from ipos.agent.expiry.silent_clients import SilentClients
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.flows.idle_flows import IdleFlows
from ipos.agent.heartbeat import probe, transport
from ipos.agent.heartbeat.learned_cookies import CookieGossip
from ipos.agent.holders import announcements
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.holders.neighbours import Neighbours
from ipos.agent.host import paths
from ipos.agent.host.links import Links
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.routing import Routing
from ipos.agent.host.systemd import READY, STOPPING, notify
from ipos.agent.http import http_server
from ipos.agent.http.agent_control import AgentControl, Reloads
from ipos.agent.http.history import History
from ipos.agent.http.readiness import Readiness, unready
from ipos.agent.http.web_port import WebPort, open_port
from ipos.agent.loop import tasks
from ipos.agent.reload import Reload
from ipos.agent.rows import desired
from ipos.agent.startup import Parts
from ipos.agent.view.drain_report import only_server_of
from ipos.agent.view.snapshot_file import SnapshotFile
from ipos.agent.view.table_views import View
from ipos.config.schema import Config
from ipos.kernel.capture import end_unread
from ipos.kernel.libbpf.map_store import Map

_HAND_OVER_S = 5
"""How long a server that leaves waits for others to take its addresses, beside its timeout."""
_LOOK_S = 0.05
_RETRY_S = 1.0
"""How long after a failure the ready file is tried again."""
log = structlog.get_logger()


class Agent:
    """One server's agent. Call `start` once, then `run`, which ends when it is told to stop."""

    def __init__(self, config: Config, file: Path) -> None:
        self._config = config
        self._file = file.absolute()
        self._reloads = Reloads()
        self._history = History()
        self._web: WebPort | None = None
        self._leaving = False
        self._parts: Parts
        self._tasks: tasks.Tasks
        self._exchange: Exchange
        self._snapshot: SnapshotFile
        self._beat: Beat

    def start(self) -> None:
        """Make the data plane serve. IposError says what is in the way."""
        # First of all: until it is handled, a SIGHUP would end this process.
        signal.signal(signal.SIGHUP, lambda *_: self._reloads.ask() and None)
        self._parts = startup.start(self._config, self._file)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; read the configuration again on SIGHUP."""
        self._tasks = tasks.Tasks()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.ask)
        with ExitStack() as stack:
            await self._live(stack)
        await asyncio.to_thread(self._parts.decisions.close)
        paths.api_socket().unlink(missing_ok=True)
        paths.ready_file().unlink(missing_ok=True)
        if self._tasks.fault is not None:
            raise self._tasks.fault

    def _end(self, number: int) -> None:
        """Stop, or first leave the farm in order; told twice, stop at once."""
        server = self._parts.config.server
        leaves = number == signal.SIGTERM and server.on_stop == "leave"
        if not leaves or self._leaving or self._tasks.stopping.is_set():
            self._tasks.stopping.set()
            return
        alone = only_server_of(self.view(), server.name)
        if alone:
            log.warning("this server stays, because no other can serve the same", what=alone)
            self._tasks.stopping.set()
            return
        self._leaving = True
        self._tasks.spawn(self._leave(server.name, server.leave_timeout_s))

    async def _leave(self, name: str, timeout_s: int) -> None:
        """Lose all connections and addresses, or as many as there is time for, then stop."""
        extra = f"EXTEND_TIMEOUT_USEC={(timeout_s + _HAND_OVER_S + 1) * 1_000_000:.0f}"
        await asyncio.to_thread(notify, STOPPING, extra)
        log.info("this server leaves the farm", timeout_s=timeout_s)
        now_ms = time.time_ns() // 1_000_000
        self._emptying.leave(name, now_ms, now_ms + timeout_s * 1000)
        loop = asyncio.get_running_loop()
        patience_s = loop.time() + timeout_s + _HAND_OVER_S
        while loop.time() < patience_s and not self._has_left():
            await tasks.wait_for(self._tasks.stopping, _LOOK_S)
        told = self._emptying.leaving()
        log.info(
            "this server has left the farm",
            took_s=round(loop.time() - patience_s + timeout_s + _HAND_OVER_S, 1),
            holds_addresses=self._keeper_of_addresses.holds_any,
            **({} if told is None else msgspec.structs.asdict(told)),
        )
        self._tasks.stopping.set()

    def _has_left(self) -> bool:
        leaving = self._emptying.leaving()
        if leaving is None or leaving.left:
            return False
        return not (leaving.gives and (self._keeper_of_addresses.holds_any or leaving.unattached))

    async def _live(self, stack: ExitStack) -> None:
        parts, loop = self._parts, asyncio.get_running_loop()
        prober = stack.enter_context(probe.Prober(parts.back.name, parts.config.farm.ethertype))
        running = [asyncio.create_task(one) for one in self._open(stack, prober)]
        loop.add_reader(prober.fileno(), self._exchange.take_probe_answers)
        parts.checks.converge(parts.config.service)
        # A member from before has the usual time to answer from now on: nobody has asked it yet.
        now_ns = boottime_ns()
        parts.members.slept(now_ns - parts.recalled_ns, now_ns)
        self._beat.start()
        try:
            await self._tasks.stopping.wait()
        finally:
            self._tasks.stopping.set()
            self._beat.stop()
            await asyncio.to_thread(notify, STOPPING)
            parts.checks.stop()
            loop.remove_reader(prober.fileno())
            for task in running:
                await tasks.stop(task)
            await self._tasks.wait()

    def _open(self, stack: ExitStack, prober: probe.Prober) -> list[Coroutine[None, None, None]]:
        """Open the sockets and rings that the parts use. Returns what runs until the end."""
        parts = self._parts
        server, undone = parts.config.server, parts.undone
        port = stack.enter_context(transport.Port(parts.back.name))
        self._listener = http_server.listen(paths.api_socket())
        stack.callback(self._listener.close)
        self._web = open_port(parts.config.agent, parts.file.parent)
        if self._web is not None:
            stack.callback(self._web.close)
        expiry = stack.enter_context(
            Sweep(
                parts.maps,
                (parts.front.name, parts.back.name),
                parts.datagram_keys,
                port.send,
                timed_out=self._timed_out,
                heard=lambda: parts.members.begun(boottime_ns()),
                connections=parts.connections,
                found_again=parts.config.farm.announce != "none"
                and bool(parts.config.farm.locates_per_s),
                flows=IdleFlows(parts.maps),
            )
        )
        links = stack.enter_context(
            Links(parts.front, parts.back, server.addresses[0], server.front_vlan)
        )
        silence = stack.enter_context(SilentClients(parts.pins, parts.tables))
        cookies = CookieGossip(
            Map.open(parts.maps / "cookies"),
            Map.open(parts.maps / "cookie_news"),
            parts.datagram_keys,
            parts.members.me,
            port.send,
        )
        self._examiner = Examiner(
            parts.members, parts.datagram_keys, port.send, self._tasks, host(parts.file)
        )
        keeper = self._keeper(stack)
        self._prepare_to_leave(stack, keeper)
        self._snapshot = SnapshotFile(
            paths.snapshot_file(), parts.file, parts.config, parts.members, parts.rows,
            parts.observer, parts.own_programs, parts.checks, parts.decisions.counts, keeper,
            undone, self._tasks,
        )  # fmt: skip
        self._exchange = Exchange(
            parts.config, parts.front, parts.back, parts.datagram_keys, port, prober,
            parts.members, parts.orders, parts.checks, parts.observer, parts.rows, expiry,
            cookies, parts.tables, Map.open(parts.maps / "heard"), keeper, self._emptying,
            self._examiner,
        )  # fmt: skip
        routing = Routing(parts.network, undone, self._tasks.spawn)
        reload = Reload(
            parts, self._reloads, self._exchange, routing, self._snapshot, undone, self._tasks
        )
        parts.observer.search = self._tasks.in_thread
        self._beat = Beat(
            self._exchange, parts.members, parts.orders, parts.rows, routing, expiry, links,
            self._snapshot, keeper, undone, self._tasks,
            refresh=self._refresh, ready=self._announce, reload=reload.begin,
        )  # fmt: skip
        return [
            expiry.run(),
            silence.run(),
            self._emptying.run(),
            parts.decisions.run(self._snapshot.now),
        ]

    def _prepare_to_leave(self, stack: ExitStack, keeper: Keeper | Announcements) -> None:
        """What takes connections from this server, and what says whether it is to get any."""
        parts = self._parts
        self._emptying = stack.enter_context(
            Emptying(
                parts.maps,
                parts.tables,
                lambda: self._beat.refresh(),
                keeper.holder,
                gives=parts.config.farm.locates_per_s > 0,
            )
        )
        self._keeper_of_addresses = keeper
        self._readiness = Readiness(
            paths.serving_file(),
            str(parts.members.me),
            lambda: unready(self._recently()),
            parts.undone,
        )
        stack.callback(self._readiness.close)

    def _keeper(self, stack: ExitStack) -> Keeper | Announcements:
        parts = self._parts
        server, neighbours = parts.config.server, None
        if parts.config.farm.announce == "bgp":
            return Announcements(
                parts.members,
                server.addresses,
                announcements.teller(parts.config),
                self._tasks.spawn,
                parts.undone,
                boottime_ns(),
            )
        if parts.config.farm.announce == "arp":
            neighbours = stack.enter_context(Neighbours(parts.front, server.front_vlan))
        return Keeper(
            parts.members, neighbours, parts.addresses_found, server.addresses, boottime_ns()
        )

    def _refresh(self, now_ns: int) -> None:
        """Once a second: what follows the wall clock, what may be left over, and the counts."""
        parts = self._parts
        parts.clock.keep(
            parts.config,
            watched=parts.decisions.watching.is_on,
            withheld=desired.withheld(parts.members, now_ns),
            servers=len(parts.members.by_ip),
            all_answer=self._beat.settled and parts.members.all_answer(now_ns),
            drains=self._emptying.drains,
        )
        end_unread(parts.tables)
        if self._beat.is_ready:
            self._tasks.spawn(self._readiness.keep(parts.config.server.ready_port))
        parts.own_programs.look(parts.config, now_ns)
        if self._web is not None and self._history.is_due(now_ns):
            self._sample(now_ns)
        self._snapshot.save()

    def _sample(self, now_ns: int) -> None:
        parts = self._parts
        counters = {counter.name.lower(): n for counter, n in parts.tables.counters()}
        parts.members.take_numbers()
        servers = {
            member.state.server: (member.state.tcp_connections, member.state.cpu_permille / 1000)
            for member in parts.members.by_ip.values()
            if member.state is not None
        }
        self._history.take(counters, servers, now_ns, int(time.time()))

    def _announce(self) -> None:
        self._tasks.spawn(self._become_ready())
        self._tasks.spawn(self._mark_ready())

    async def _become_ready(self) -> None:
        """Tell the service manager and the log, then answer the API until the end."""
        await self._snapshot.flush()
        said = self._snapshot.now()
        log.info(
            "serving",
            server=said.me,
            farm=said.farm,
            services=len(self._parts.config.service),
            heard=f"{len(said.servers)} of {len(self._parts.members.by_ip)} servers",
        )
        await asyncio.to_thread(notify, READY)
        parts = self._parts
        control = AgentControl(
            parts.maps,
            self.view,
            parts.orders,
            self._reloads,
            self._tasks.stopping,
            parts.decisions.watching,
            parts.decisions.rule,
            self._history.document,
            self._examiner.ask_all,
        )
        await http_server.serve(self._listener, control, self._web)

    async def _mark_ready(self) -> None:
        """Make the ready file, which other programs may wait for; try again until it is there."""
        await self._snapshot.flush()
        while not self._tasks.stopping.is_set():
            try:
                await asyncio.to_thread(paths.ready_file().touch)
                self._parts.undone.note("ready", "")
                return
            except OSError as error:
                reason = f"cannot make {paths.ready_file()}: {error.strerror}"
                self._parts.undone.note("ready", reason)
            await tasks.wait_for(self._tasks.stopping, _RETRY_S)

    def _timed_out(self, key: bytes, service: int) -> None:
        """A request head has not ended in time: that is a decision for the access log."""
        slots = self._parts.rows.slots
        name = slots[service] if service < len(slots) else ""
        index = self._parts.members.myself.index
        self._parts.decisions.timed_out(key, service, name, index)

    def _recently(self) -> View:
        return View(self._parts.tables, self._snapshot.recent(), boottime_ns())

    def view(self) -> View:
        """What there is to see at this moment."""
        return View(self._parts.tables, self._snapshot.now(), boottime_ns())
