# SPDX-License-Identifier: Apache-2.0
"""The agent's life: set up, tell and listen ten times a second, leave the data plane behind.

Everything that decides is elsewhere and pure; here are the clocks and the order of things. A start
adopts what it finds: maps and programs of an earlier agent stay as they are, and rows of members
are removed only when those had time to speak. An end, of whatever kind, changes nothing in the
kernel; that is what `ipos detach` is for.

    x.000 s   `_beat`: say our own state
    x.003 s   `_listen`: read what all others said just now, then make the maps follow
    x.023 s   and once more, when somebody's state had not come by then

A core that was given to others for some milliseconds runs the same code at a third of its speed, so
what there is to do is done close together; and in callbacks, for a coroutine wakes its loop twice.
Those three milliseconds are slept through, and all else that the loop does waits for them.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from ipos.agent import (
    apiserver,
    cookiegossip,
    message,
    orders,
    places,
    plan,
    pools,
    port,
    questions,
    setup,
    signs,
    snapshot,
)
from ipos.agent.checks import Checks
from ipos.agent.control import AgentControl, Reloads
from ipos.agent.converging import Converging
from ipos.agent.cookiegossip import CookieGossip, Peer
from ipos.agent.decisionlog import DecisionLog
from ipos.agent.members import Age, Members
from ipos.agent.network import Network, interface
from ipos.agent.notify import READY, STOPPING, Watchdog, notify, reloading
from ipos.agent.observer import Observer, boottime_ns
from ipos.agent.reaping import Reaping
from ipos.agent.silence import Silence
from ipos.agent.snapshot import Snapshot
from ipos.agent.views import View
from ipos.agent.wallclock import WallClock
from ipos.config.changes import refused
from ipos.config.crosscheck import read_secret, secret_path
from ipos.config.reader import load
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.handshake.keys import FarmKeys
from ipos.inic import kernel
from ipos.inic.libbpf.maps import Map
from ipos.inic.maps import Tables
from ipos.inic.pins import pin_directory

INTERVAL_S = 0.1
LISTEN_S = 0.003
"""After all have spoken: until then what they said has come, on a LAN and by clocks that agree."""
AGAIN_S = 0.02
"""By clocks that nearly agree, or from a busy server."""
GRACE_S = 3.0
"""Until then a member that has not spoken keeps the rows that were found."""
_OTHER_KINDS = (*questions.KINDS, cookiegossip.KIND)
"""First bytes of datagrams on our port that are no states."""
_LATE_NS = 300_000_000
_SECOND_NS = 1_000_000_000
_TOGETHER_NS = 5 * _SECOND_NS
"""A farm's servers start together: none of them is held back for being heard a little later."""
_KEEP_NS = 10_000_000_000
_LOOK_NS = 250_000_000

log = structlog.get_logger()


class Agent:
    """One server's agent. `start` once, then `run` until it is told to stop."""

    def __init__(self, config: Config, file: Path) -> None:
        self._config = config
        self._learns = _learns(config)
        self._file = file.absolute()
        self._keys = FarmKeys(read_secret(secret_path(config, file)))
        self._key = self._keys.state
        self._pins = pin_directory(config.farm.name, config.server.name)
        self._tables = Tables(self._pins / "maps")
        self._routes: set[IPv4Address] = set()
        self._foreign: set[IPv4Address] = set()
        self._routing: asyncio.Task[None] | None = None
        self._refreshed_ns = self._saved_ns = self._looked_ns = 0
        self._saved = Snapshot()
        self._ready = self._hearing = self._late = False
        self._failure = self._failed = self._unrouted = ""
        self._fault: BaseException | None = None
        self._loaded = 1
        self._refused = ""
        self._started_ns = self._beaten_ns = 0
        self._reloads = Reloads()
        self._reloading: asyncio.Task[None] | None = None
        self._decisions = DecisionLog(config, self._tables, self._pins / "maps")
        self._stop = asyncio.Event()
        self._watchdog = Watchdog()
        self._answering: asyncio.Task[None] | None = None
        self._port: port.Port
        self._prober: signs.Prober
        self._checks: Checks
        self._reaping: Reaping
        self._silence: Silence
        self._cookies: CookieGossip

    def start(self) -> None:
        """Network, data plane, first rows, hooks. IposError says what is in the way."""
        # Before anybody can know our process: a SIGHUP that is not handled would end it.
        signal.signal(signal.SIGHUP, lambda *_: self._reloads.ask() and None)
        places.run_directory().mkdir(parents=True, exist_ok=True)
        self._lock = places.lock_agent()
        places.ready_file().unlink(missing_ok=True)
        server = self._config.server
        self._front, self._back = interface(server.front), interface(server.back)
        me = setup.my_back_address(self._config, self._back)
        self._network = Network(places.changes_file())
        self._network.prepare(self._front, self._back, server.addresses)
        self._members = Members(self._config.farm.name, self._key, me, self._config.farm.discover)
        if not kernel.is_loaded(self._pins):
            kernel.load(kernel.objects_directory(), self._pins, setup.sizes(self._config))
        setup.compare_programs(self._pins)
        self._orders = orders.Kept(places.orders_file())
        before = snapshot.read(places.snapshot_file())
        self._checks = Checks(before.services_of(server.name))
        self._rows = Converging(
            self._config,
            self._tables,
            Map.open(self._pins / "maps" / "traffic"),
            self._members,
            before,
        )
        index = self._members.myself.index
        self._clock = WallClock(self._tables, self._keys, self._front, self._back, index)
        cgroup = places.own_cgroup()
        boot = time.time_ns() // 1_000_000
        self._observer = Observer(self._config, self._tables, me, self._back.mac, cgroup, boot)
        self._refresh(boottime_ns())
        self._rows.converge(boottime_ns(), prune=False, opening=True)
        kernel.attach(
            self._pins,
            kernel.default_plan(self._front.index, self._back.index, places.sockops_cgroup()),
        )

    async def run(self) -> None:
        """Speak and listen until SIGTERM or SIGINT; read the configuration anew on SIGHUP."""
        self._loop = loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.ask)
        maps = self._pins / "maps"
        with ExitStack() as stack:
            self._port = stack.enter_context(port.Port(self._back.name))
            self._listener = apiserver.listen(places.api_socket())
            stack.callback(self._listener.close)
            self._prober = stack.enter_context(
                signs.Prober(self._back.name, self._config.farm.ethertype)
            )
            self._reaping = stack.enter_context(
                Reaping(
                    maps,
                    (self._front.name, self._back.name),
                    self._key,
                    self._port.send,
                    timed_out=self._timed_out,
                )
            )
            self._silence = stack.enter_context(Silence(self._pins, self._tables))
            self._cookies = CookieGossip(
                Map.open(maps / "cookies"),
                Map.open(maps / "cookie_news"),
                self._key,
                self._members.me,
                self._port.send,
            )
            await self._live()
        self._decisions.close()
        places.api_socket().unlink(missing_ok=True)
        places.ready_file().unlink(missing_ok=True)
        if self._fault is not None:
            raise self._fault

    async def _live(self) -> None:
        tasks = [
            asyncio.create_task(self._reaping.run()),
            asyncio.create_task(self._silence.run()),
            asyncio.create_task(self._decisions.run(self._snapshot)),
        ]
        self._loop.add_reader(self._prober.fileno(), self._signs_of_life)
        self._checks.converge(self._config.service)
        self._address()
        self._beaten_ns = self._started_ns = boottime_ns()
        self._beat()
        try:
            await self._stop.wait()
        finally:
            self._stop.set()
            notify(STOPPING)
            self._checks.stop()
            self._loop.remove_reader(self._prober.fileno())
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for last in (self._reloading, self._routing, self._answering):
                if last is not None:
                    await last

    # ---- ten times a second ------------------------------------------------------------------

    def _beat(self) -> None:
        if self._stop.is_set():
            return
        now_ns = boottime_ns()
        gap_ns, self._beaten_ns = now_ns - self._beaten_ns, now_ns
        if gap_ns > _LATE_NS:
            # We were stopped or starved: silence in that time proves nothing about the others.
            self._members.slept(gap_ns)
        self._watchdog.alive(now_ns)
        self._failed = ""
        self._attempt(self._speak)
        time.sleep(LISTEN_S)  # the loop's own way of waking up later costs three times as much
        self._listen()

    def _listen(self, again: bool = False) -> None:
        if self._stop.is_set():
            return
        self._attempt(self._hear)
        self._late = self._members.is_somebody_late(self._beaten_ns)
        if self._late and not again:
            self._loop.call_later(AGAIN_S, self._listen, True)
            return
        if self._reloads.is_due and self._reloading is None:
            self._reloading = self._spawn(self._reload())
        if self._reloading is None:
            self._attempt(self._follow)
        self._reaping.tick(self._beaten_ns)
        failed = self._failed or self._unrouted
        if failed != self._failure:  # one bad moment of the machine is said once
            self._failure = failed
            if failed:
                log.error("cannot do all of it, trying on", reason=self._failure)
        self._loop.call_later(_until_next(time.time()), self._beat)

    def _attempt(self, step: Callable[[], None]) -> None:
        """What fails now may succeed the next time; what is no fault of the machine ends us."""
        try:
            step()
        except (IposError, OSError) as error:
            self._failed = self._failed or str(error)
        except Exception as error:
            self._end(error)

    def _end(self, fault: BaseException) -> None:
        self._fault = fault
        self._stop.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """What takes its time. A fault that it does not handle ends us, as any other does."""

        def done(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._end(error)

        task = self._loop.create_task(work)
        task.add_done_callback(done)
        return task

    def _hear(self) -> None:
        """Take in what waits in the socket: rows of those who have spoken, and our own."""
        now_ns = boottime_ns()
        wall_ms = time.time_ns() // 1_000_000
        me = self._members.myself
        heard = {} if me.state is None else {me.index: me}
        taken = self._port.take()
        for data, source in taken:
            if data[:1] in _OTHER_KINDS:
                address = (source.host, source.port)
                if not self._reaping.receive(data, address, now_ns):
                    self._cookies.receive(data, now_ns, wall_ms)
                continue
            member = self._members.receive(data, source.number, now_ns, wall_ms)
            if member is not None and member.state is not None:
                self._orders.hear(member.state.orders)
                heard[member.index] = member
        self._rows.said(heard.values(), now_ns)
        if len(taken) >= port.PIECE - 1 and not self._hearing:  # one may have been our own
            self._hearing = True
            self._loop.call_soon(self._hear_on)

    def _hear_on(self) -> None:
        self._hearing = False
        if not self._stop.is_set():
            self._attempt(self._hear)

    def _speak(self) -> None:
        """Our own state, to everybody."""
        now_ns = boottime_ns()
        if now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self._orders.look()
        wall_ms = time.time_ns() // 1_000_000
        state = self._observer.observe(now_ns, wall_ms, self._orders.orders, self._checks.well)
        self._members.hear_myself(state, now_ns)
        self._port.tell(message.encode(state, self._key))

    def _follow(self) -> None:
        """Make all else follow what has been heard."""
        now_ns = boottime_ns()
        if self._late:
            self._probe_the_silent(now_ns)
        if self._learns:
            self._tell_cookies(now_ns)
        since_ns = now_ns - self._started_ns
        settled = since_ns > GRACE_S * _SECOND_NS or self._members.all_heard()
        if self._rows.converge(now_ns, prune=settled, opening=since_ns < _TOGETHER_NS):
            self._reaping.look()
            self._foreign = plan.foreign_addresses(self._members)
            self._address()
            self._save()
        if self._foreign != self._routes and self._routing is None:
            self._routing = self._spawn(self._route(set(self._foreign)))
        if now_ns - self._refreshed_ns > _SECOND_NS:
            self._refresh(now_ns)
        if settled and not self._ready and self._foreign == self._routes:
            self._announce()

    def _announce(self) -> None:
        self._save()
        places.ready_file().touch()
        notify(READY)
        self._ready = True
        control = AgentControl(
            self._pins / "maps",
            self.view,
            self._reloads,
            self._stop,
            self._decisions.watching,
            self._decisions.rule,
        )
        self._answering = asyncio.create_task(apiserver.serve(self._listener, control))

    def _signs_of_life(self) -> None:
        settings = self._tables.settings.get(0)
        now_ns = boottime_ns()
        if settings is not None:
            for address, mac in self._prober.answers(settings, now_ns):
                self._members.sign(address, mac, now_ns)

    def _probe_the_silent(self, now_ns: int) -> None:
        silent = self._members.silent(now_ns)
        settings = self._tables.settings.get(0) if silent else None
        for member in silent:
            state = member.state
            if settings is not None and state is not None and state.addresses:
                address = IPv4Address(state.addresses[0])
                self._prober.ask(settings, member.back_ip, address, state.mac, now_ns)

    def _tell_cookies(self, now_ns: int) -> None:
        peers = [
            Peer(member.back_ip, member.state.boot)
            for member in self._members.others()
            if member.state is not None and member.age(now_ns) is not Age.DOWN
        ]
        self._cookies.tick(peers, now_ns, time.time_ns() // 1_000_000)

    # ---- more rarely -------------------------------------------------------------------------

    def _address(self) -> None:
        """Whom our state is for."""
        others = [member.back_ip for member in self._members.others()]
        self._port.address(
            port.audience(
                self._back,
                self._members.me,
                others,
                all_there=self._config.farm.discover,
                lan=self._back.index != self._front.index,
            )
        )

    async def _route(self, wanted: set[IPv4Address]) -> None:
        try:
            # Netlink blocks, and rarely: in a thread, so that nobody thinks us dead meanwhile.
            await asyncio.to_thread(self._network.route, wanted)
            self._routes, self._unrouted = wanted, ""
        except (IposError, OSError) as error:
            self._unrouted = str(error)
        finally:
            self._routing = None

    def _refresh(self, now_ns: int) -> None:
        """Once a second: the wall clock, and counts for the commands."""
        self._refreshed_ns = now_ns
        self._clock.keep(self._config, watched=self._decisions.watching.is_on)
        self._save()

    def _timed_out(self, key: bytes, service: int) -> None:
        slots = self._rows.slots
        name = slots[service] if service < len(slots) else ""
        self._decisions.timed_out(key, service, name, self._members.myself.index)

    async def _reload(self) -> None:
        """Take all of a changed file, or none of it. Meanwhile we speak and listen, no more."""
        self._reloads.begin()
        notify(*reloading())
        try:
            fresh = await asyncio.to_thread(load, self._file)
            problems = refused(self._config, fresh)
            if FarmKeys(read_secret(secret_path(fresh, self._file))) != self._keys:
                problems.append("the farm's secret cannot change while the data plane runs")
            if problems:
                raise IposError("; ".join(problems))
            front = await asyncio.to_thread(interface, fresh.server.front)
            addresses = fresh.server.addresses
            await asyncio.to_thread(self._network.prepare, front, self._back, addresses)
            slots, numbers = await asyncio.to_thread(self._rows.prepare, fresh)
        except (IposError, OSError) as error:
            self._refused = str(error)
            log.error("configuration not taken", reason=self._refused)
        else:
            self._refused = ""
            self._config = self._observer.config = fresh
            self._learns = _learns(fresh)
            self._rows.take(fresh, slots, numbers)
            self._address()
            self._checks.converge(fresh.service)
            self._decisions.take(fresh)
            self._refreshed_ns = 0
            self._attempt(self._follow)
        finally:
            self._reloading = None
        self._loaded += 1
        self._save()
        notify(READY)
        self._reloads.end(self._refused)

    def view(self) -> View:
        """What there is to see at this moment."""
        return View(self._tables, self._snapshot(), boottime_ns())

    def _save(self) -> None:
        """At once when it says something new. Counts, and what applications use, can wait."""
        fresh, now_ns = self._snapshot(), boottime_ns()
        if now_ns - self._saved_ns > _KEEP_NS or fresh.is_news(self._saved):
            snapshot.write(places.snapshot_file(), fresh)
            self._saved, self._saved_ns = fresh, now_ns

    def _snapshot(self) -> Snapshot:
        known = pools.definitions(self._config)
        return Snapshot(
            farm=self._config.farm.name,
            me=self._config.server.name,
            config=str(self._file),
            loaded=self._loaded,
            refused=self._refused,
            services=self._rows.slots,
            pools=self._rows.numbers,
            labels=[known[key].label if key in known else "" for key in self._rows.numbers],
            servers=snapshot.advertised(self._members),
            datagrams=dict(self._members.counts),
            access_log=self._decisions.counts(),
        )


def _learns(config: Config) -> bool:
    """Whether a service's sessions are the cookies of its applications."""
    return any(one.session is not None and one.session.kind == "learn" for one in config.service)


def _until_next(now_s: float) -> float:
    """Seconds to the next tenth of a second of the wall clock, when all servers speak.

    A timer that rings a little early must not make it two ticks for one.
    """
    left_s = INTERVAL_S - now_s % INTERVAL_S
    return left_s if left_s > INTERVAL_S / 4 else left_s + INTERVAL_S
