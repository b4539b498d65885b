# SPDX-License-Identifier: Apache-2.0
"""The agent's life: set up, tell and listen ten times a second, leave the data plane behind.

Everything that decides is elsewhere and pure; here are the socket, the clocks and the order of
things. A start adopts what it finds: maps and programs of an earlier agent stay as they are, and
rows of members are removed only when those had time to speak. An end, of whatever kind, changes
nothing in the kernel; that is what `ipos detach` is for.
"""

import asyncio
import functools
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from ipos.agent import apiserver, message, orders, places, plan, pools, setup, signs, snapshot
from ipos.agent.accesslog import AccessLog
from ipos.agent.checks import Checks
from ipos.agent.columns import Columns
from ipos.agent.control import AgentControl, Reloads
from ipos.agent.cookiegossip import CookieGossip, Peer
from ipos.agent.cookiekeys import CookieKeys, SessionKeys
from ipos.agent.events import event, is_logged
from ipos.agent.members import Age, Member, Members
from ipos.agent.network import Network, interface
from ipos.agent.notify import READY, STOPPING, Watchdog, notify, reloading
from ipos.agent.observer import Observer, boottime_ns, slept_ns, wall_offset_ns
from ipos.agent.reaping import Reaping
from ipos.agent.slowstart import Starts
from ipos.agent.snapshot import Snapshot
from ipos.agent.urls import compile_urls
from ipos.agent.views import View
from ipos.agent.watching import LOOK_S, Watching
from ipos.agent.writer import Writer
from ipos.config.changes import refused
from ipos.config.crosscheck import read_secret, secret_path
from ipos.config.reader import load
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.handshake.keys import FarmKeys
from ipos.inic import decisions, kernel, rows
from ipos.inic.decisions import DecisionRing
from ipos.inic.libbpf.maps import Map
from ipos.inic.maps import Tables, switch
from ipos.inic.pins import pin_directory
from ipos.inic.rows import SettingsFlag

INTERVAL_S = 0.1
GRACE_S = 3.0
"""Until then a member that has not spoken keeps the rows that were found."""
_LATE_NS = 300_000_000
_SETTLED_NS = 1_000_000
_SECOND_NS = 1_000_000_000
_TOGETHER_NS = 5 * _SECOND_NS
"""A farm's servers start together: none of them is held back for being heard a little later."""
_KEEP_NS = 10_000_000_000
_LOOK_NS = 250_000_000
_TRAFFIC = Columns("ipos_traffic", ("sent", "closed"), tuple)

T = TypeVar("T")
log = structlog.get_logger()


class Agent(asyncio.DatagramProtocol):
    """One server's agent. `start` once, then `run` until it is told to stop."""

    def __init__(self, config: Config, file: Path) -> None:
        self._config = config
        self._file = file.absolute()
        self._keys = FarmKeys(read_secret(secret_path(config, file)))
        self._pins = pin_directory(config.farm.name, config.server.name)
        self._tables = Tables(self._pins / "maps")
        self._traffic: dict[int, rows.Traffic] = {}
        self._starts = Starts()
        self._ramps: Mapping[tuple[str, int], int] = {}
        self._seen: dict[IPv4Address, tuple[object, ...]] = {}
        self._routes: set[IPv4Address] = set()
        self._foreign: set[IPv4Address] = set()
        self._refreshed_ns = self._saved_ns = self._looked_ns = 0
        self._saved = Snapshot()
        self._offset_ns = 0
        self._checks = Checks()
        self._settled = False
        self._ready = False
        self._failure = ""
        self._loaded = 1
        self._refused = ""
        self._started_ns = 0
        self._reloads = Reloads()
        self._watching = Watching(self._decision_ring, self._switch_watch)
        self._access_log = AccessLog(config.server.access_log_file)
        self._stop = asyncio.Event()
        self._watchdog = Watchdog()
        self._answering: asyncio.Task[None] | None = None
        self._reaping: Reaping
        self._cookies: CookieGossip

    def start(self) -> None:
        """Network, data plane, first rows, hooks. IposError says what is in the way."""
        places.run_directory().mkdir(parents=True, exist_ok=True)
        self._lock = places.lock_agent()
        places.ready_file().unlink(missing_ok=True)
        server = self._config.server
        self._front, self._back = interface(server.front), interface(server.back)
        me = setup.my_back_address(self._config, self._back)
        self._network = Network(places.changes_file())
        self._network.prepare(self._front, self._back, server.addresses)
        self._members = Members(
            self._config.farm.name, self._keys.state, me, self._config.farm.discover
        )
        if not kernel.is_loaded(self._pins):
            kernel.load(kernel.objects_directory(), self._pins, setup.sizes(self._config))
        self._writer = Writer(self._tables)
        self._traffic_map = Map.open(self._pins / "maps" / "traffic")
        self._members.expect(self._config.farm.members, self._writer.known_servers())
        self._orders = orders.Kept(places.orders_file())
        before = snapshot.read(places.snapshot_file())
        self._slots = plan.number_services(self._config, before.services)
        wanted = pools.definitions(self._config)
        self._numbers = pools.number_pools(wanted, before.pools, before.pools)
        self._writer.prepare(compile_urls(self._config, self._slots, self._numbers))
        self._cookie_keys = CookieKeys(self._tables, self._keys)
        self._session_keys = SessionKeys(self._tables, self._keys)
        cgroup = places.own_cgroup()
        boot = time.time_ns() // 1_000_000
        self._observer = Observer(self._config, self._tables, me, self._back.mac, cgroup, boot)
        self._refresh(boottime_ns())
        self._converge(boottime_ns(), prune=False)
        kernel.attach(
            self._pins,
            kernel.default_plan(self._front.index, self._back.index, places.sockops_cgroup()),
        )

    async def run(self) -> None:
        """Speak and listen until SIGTERM or SIGINT; read the configuration anew on SIGHUP."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.ask)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, sock=setup.state_socket(self._back.name)
        )
        with (
            closing(transport),
            closing(apiserver.listen(places.api_socket())) as self._listener,
            signs.Prober(self._back.name, self._config.farm.ethertype) as prober,
            Reaping(
                self._pins / "maps",
                (self._front.name, self._back.name),
                self._keys.state,
                transport.sendto,
                timed_out=self._timed_out,
            ) as self._reaping,
        ):
            self._cookies = CookieGossip(
                Map.open(self._pins / "maps" / "cookies"),
                Map.open(self._pins / "maps" / "cookie_news"),
                self._keys.state,
                self._members.me,
                transport.sendto,
            )
            reaping = asyncio.create_task(self._reaping.run())
            logging = asyncio.create_task(self._log_decisions())
            loop.add_reader(prober.fileno(), self._signs_of_life, prober)
            self._checks.converge(self._config.service)
            try:
                await self._tick_until_stopped(transport, prober)
            finally:
                self._stop.set()
                notify(STOPPING)
                self._checks.stop()
                loop.remove_reader(prober.fileno())
                for task in (reaping, logging):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
                if self._answering is not None:
                    await self._answering
        self._access_log.close()
        places.api_socket().unlink(missing_ok=True)
        places.ready_file().unlink(missing_ok=True)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        now_ns = boottime_ns()
        wall_ms = time.time_ns() // 1_000_000
        if self._reaping.receive(data, addr, now_ns) or self._cookies.receive(
            data, now_ns, wall_ms
        ):
            return
        member = self._members.receive(data, _address(addr[0]), now_ns, wall_ms)
        if member is not None and member.state is not None:
            self._orders.hear(member.state.orders)
            self._row(member, now_ns)

    def _signs_of_life(self, prober: signs.Prober) -> None:
        settings = self._tables.settings.get(0)
        now_ns = boottime_ns()
        if settings is not None:
            for address, mac in prober.answers(settings, now_ns):
                self._members.sign(address, mac, now_ns)

    def _probe_the_silent(self, prober: signs.Prober, now_ns: int) -> None:
        silent = self._members.silent(now_ns)
        settings = self._tables.settings.get(0) if silent else None
        for member in silent:
            state = member.state
            if settings is not None and state is not None and state.addresses:
                address = IPv4Address(state.addresses[0])
                prober.ask(settings, member.back_ip, address, state.mac, now_ns)

    async def _tick_until_stopped(
        self, transport: asyncio.DatagramTransport, prober: signs.Prober
    ) -> None:
        last_ns = self._started_ns = boottime_ns()
        while not self._stop.is_set():
            now_ns = boottime_ns()
            if now_ns - last_ns > _LATE_NS:
                # We were stopped or starved: read what waits in the socket before judging anyone.
                self._members.slept(now_ns - last_ns)
                await asyncio.sleep(0)
            last_ns = now_ns
            self._watchdog.alive(now_ns)
            if self._reloads.is_due:
                await self._reload(transport)
            try:
                await self._tick(transport, prober, now_ns)
                self._failure = ""
            except (IposError, OSError) as error:
                # One bad moment of the machine must not take the agent away; say it once.
                if str(error) != self._failure:
                    self._failure = str(error)
                    log.error("cannot do all of it, trying on", reason=self._failure)
            # Not a wait for `_stop`: that wakes the loop four times for each sleep.
            await asyncio.sleep(_until_next(time.time()))

    async def _tick(
        self, transport: asyncio.DatagramTransport, prober: signs.Prober, now_ns: int
    ) -> None:
        self._writer.tidy()
        self._speak(transport, now_ns)
        self._probe_the_silent(prober, now_ns)
        peers = [
            Peer(member.back_ip, member.state.boot)
            for member in self._members.others()
            if member.state is not None and member.age(now_ns) is not Age.DOWN
        ]
        self._cookies.tick(peers, now_ns, time.time_ns() // 1_000_000)
        heard_all = all(m.state is not None for m in self._members.by_ip.values())
        settled = heard_all or now_ns - self._started_ns > GRACE_S * _SECOND_NS
        self._converge(now_ns, prune=settled)
        await self._converge_routes()
        if now_ns - self._refreshed_ns > _SECOND_NS:
            self._refresh(now_ns)
        if settled and not self._ready:
            self._save()
            places.ready_file().touch()
            notify(READY)
            self._ready = True
            control = AgentControl(
                self._pins / "maps",
                self.view,
                self._reloads,
                self._stop,
                self._watching,
                self._rule,
            )
            self._answering = asyncio.create_task(apiserver.serve(self._listener, control))

    def _speak(self, transport: asyncio.DatagramTransport, now_ns: int) -> None:
        """Our own state, to our own maps and to everybody."""
        if now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self._orders.look()
        wall_ms = time.time_ns() // 1_000_000
        state = self._observer.observe(now_ns, wall_ms, self._orders.orders, self._checks.well)
        me = self._members.myself
        self._members.hear_myself(state, now_ns)
        self._row(me, now_ns)
        datagram = message.encode(state, self._keys.state)
        if self._config.farm.discover:
            transport.sendto(datagram, (str(setup.broadcast(self._back, me.back_ip)), message.PORT))
            return
        for member in self._members.others():
            transport.sendto(datagram, (_text(member.back_ip), message.PORT))

    def error_received(self, exc: Exception) -> None:
        """A member that cannot be reached is seen by its silence."""

    def _row(self, member: Member, now_ns: int) -> None:
        """Write what a server has just said, beside what we had sent it by then."""
        raw = self._traffic_map.get(member.index.to_bytes(4, sys.byteorder))
        traffic = plan.NO_TRAFFIC if raw is None else rows.Traffic(*_TRAFFIC.read(raw))
        self._traffic[member.index] = traffic
        self._writer.server(member.index, plan.server_row(member, traffic, now_ns))

    def _converge(self, now_ns: int, *, prune: bool) -> None:
        """Rewrite the maps when anybody's standing has changed."""
        standing = {
            member.back_ip: _standing(member, now_ns) for member in self._members.by_ip.values()
        }
        services = self._config.service
        opening = now_ns - self._started_ns < _TOGETHER_NS
        self._starts.look(services, self._members, now_ns, opening=opening)
        ramps = self._starts.ramps(services, now_ns)
        changed = standing != self._seen or prune != self._settled
        if changed or ramps != self._ramps:
            wanted = plan.plan(
                self._config,
                self._slots,
                self._numbers,
                self._members,
                self._traffic,
                now_ns,
                ramps,
            )
            self._writer.write(wanted, prune=prune)
            self._ramps = ramps
        if changed:
            self._report(standing)
            self._foreign = plan.foreign_addresses(self._members)
            self._seen, self._settled = standing, prune
            self._save()

    def _report(self, standing: dict[IPv4Address, tuple[object, ...]]) -> None:
        """Only what an operator wants to be woken for."""
        for address, (age, *_) in standing.items():
            before = self._seen.get(address, (None,))[0]
            if age is Age.DOWN and before is not Age.DOWN:
                log.warning("server is down", back_address=str(address))
            elif before is Age.DOWN and age is Age.FRESH:
                log.warning("server is back", back_address=str(address))

    async def _converge_routes(self) -> None:
        wanted = self._foreign
        if wanted != self._routes:
            # Netlink blocks, and rarely: in a thread, so that nobody thinks us dead meanwhile.
            await asyncio.to_thread(self._network.route, set(wanted))
            self._routes = wanted

    def _refresh(self, now_ns: int) -> None:
        """What follows the wall clock: its offset and the cookie keys. Counts for the commands."""
        self._refreshed_ns = now_ns
        self._cookie_keys.fill(time.time())
        self._session_keys.fill(time.time())
        offset = wall_offset_ns()
        if abs(offset - self._offset_ns) > _SETTLED_NS:
            self._offset_ns = offset
            found = self._tables.settings.get(0)
            kept = found.flags & SettingsFlag.CAPTURE if found else SettingsFlag(0)
            if self._watching.is_on:
                kept |= SettingsFlag.WATCH
            server = self._config.server
            self._tables.settings.put(
                0,
                plan.settings(
                    self._config,
                    plan.Interface(self._front.index, server.front_vlan, self._front.mac),
                    plan.Interface(self._back.index, server.back_vlan, self._back.mac),
                    self._members.myself.index,
                    self._keys,
                    offset,
                    kept,
                    slept_ns(),
                ),
            )
        self._save()

    async def _log_decisions(self) -> None:
        """The access log of what the data plane draws for it, while a service has one."""
        while True:
            while not self._has_log():
                await asyncio.sleep(INTERVAL_S)
            with self._watching.feed(watches=False) as feed:
                while self._has_log():
                    records, lost = feed.take()
                    self._access_log.miss(lost)
                    if records:
                        now, offset_ns = self._snapshot(), wall_offset_ns()
                        self._access_log.put(
                            event(record, now, offset_ns, self._rule)
                            for record in records
                            if is_logged(record)
                        )
                    await asyncio.sleep(LOOK_S)

    def _timed_out(self, key: bytes, service: int) -> None:
        """A decision of ours: nobody gets a request whose head did not end in time."""
        name = self._slots[service] if service < len(self._slots) else ""
        shares = [one.access_log for one in self._config.service if one.name == name]
        self._watching.told(
            decisions.timed_out(
                key,
                service,
                self._members.myself.index,
                boottime_ns(),
                logged=any(random.random() < share for share in shares),
            )
        )

    def _has_log(self) -> bool:
        return any(service.access_log for service in self._config.service)

    def _rule(self, number: int) -> str | None:
        """A rule as its `[[route]]` says it."""
        routes = self._config.route
        return (
            f"{routes[number - 1].host}{routes[number - 1].path}"
            if 0 < number <= len(routes)
            else None
        )

    def _decision_ring(self) -> DecisionRing:
        if not (self._pins / "maps" / "decisions").exists():
            raise IposError(
                "the loaded data plane is older than this agent and reports no decisions: "
                "run `ipos upgrade`"
            )
        return DecisionRing(self._pins / "maps")

    def _switch_watch(self, on: bool) -> None:
        switch(self._tables, SettingsFlag.WATCH, on=on)

    async def _aside(self, transport: asyncio.DatagramTransport, work: Callable[[], T]) -> T:
        """What takes its time, in a thread; the others keep hearing of us meanwhile."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        while not (await asyncio.wait({task}, timeout=INTERVAL_S))[0]:
            with suppress(IposError, OSError):
                self._speak(transport, boottime_ns())
        return task.result()

    async def _reload(self, transport: asyncio.DatagramTransport) -> None:
        """Take all of a changed file, or none of it."""
        self._reloads.begin()
        notify(*reloading())
        try:
            fresh = await self._aside(transport, lambda: load(self._file))
            problems = refused(self._config, fresh)
            if FarmKeys(read_secret(secret_path(fresh, self._file))) != self._keys:
                problems.append("the farm's secret cannot change while the data plane runs")
            if problems:
                raise IposError("; ".join(problems))
            front = await asyncio.to_thread(interface, fresh.server.front)
            addresses = fresh.server.addresses
            slots = plan.number_services(fresh, self._slots)
            # Until we are settled, requests still follow the rules of the agent before us.
            live = pools.definitions(self._config) if self._settled else self._numbers
            numbers = pools.number_pools(pools.definitions(fresh), self._numbers, live)
            await asyncio.to_thread(self._network.prepare, front, self._back, addresses)
            await self._aside(
                transport, lambda: self._writer.prepare(compile_urls(fresh, slots, numbers))
            )
        except (IposError, OSError) as error:
            self._refused = str(error)
            log.error("configuration not taken", reason=self._refused)
        else:
            self._refused = ""
            self._config = self._observer.config = fresh
            self._slots, self._numbers = slots, numbers
            self._members.expect(fresh.farm.members)
            self._checks.converge(fresh.service)
            self._access_log.reopen(fresh.server.access_log_file)
            self._seen, self._offset_ns, self._refreshed_ns = {}, 0, 0
            with suppress(IposError, OSError):  # the next tick tries again, and says so
                self._converge(boottime_ns(), prune=self._settled)
        self._loaded += 1
        self._save()
        notify(READY)
        self._reloads.end(self._refused)

    def view(self) -> View:
        """What there is to see at this moment."""
        return View(self._tables, self._snapshot(), boottime_ns())

    def _save(self) -> None:
        """At once when it says something new; that datagrams are accepted is news of no hurry."""
        fresh, now_ns = self._snapshot(), boottime_ns()
        counts = {reason: n for reason, n in fresh.datagrams.items() if reason != "accepted"}
        said = msgspec.structs.replace(fresh, datagrams=counts, access_log={})
        if said != self._saved or now_ns - self._saved_ns > _KEEP_NS:
            snapshot.write(places.snapshot_file(), fresh)
            self._saved, self._saved_ns = said, now_ns

    def _snapshot(self) -> Snapshot:
        known = pools.definitions(self._config)
        return Snapshot(
            farm=self._config.farm.name,
            me=self._config.server.name,
            config=str(self._file),
            loaded=self._loaded,
            refused=self._refused,
            services=self._slots,
            pools=self._numbers,
            labels=[known[key].label if key in known else "" for key in self._numbers],
            servers=snapshot.advertised(self._members),
            datagrams=dict(self._members.counts),
            access_log={"written": self._access_log.written, "lost": self._access_log.lost},
        )


def _until_next(now_s: float) -> float:
    """Seconds to the next tenth of a second of the wall clock, when all servers speak.

    A timer that rings a little early must not make it two ticks for one.
    """
    left_s = INTERVAL_S - now_s % INTERVAL_S
    return left_s if left_s > INTERVAL_S / 4 else left_s + INTERVAL_S


@functools.lru_cache(maxsize=512)
def _address(text: str) -> IPv4Address:
    """A sender's, of whom there are few: parsing it costs more than believing it."""
    return IPv4Address(text)


@functools.lru_cache(maxsize=512)
def _text(address: IPv4Address) -> str:
    return str(address)


def _standing(member: Member, now_ns: int) -> tuple[object, ...]:
    """All that the maps other than Server state depend on."""
    state = member.state
    if state is None:
        return (Age.UNHEARD,)
    return (
        member.age(now_ns), state.state, state.server, state.mac, state.addresses, state.services,
        state.listening,
    )  # fmt: skip
