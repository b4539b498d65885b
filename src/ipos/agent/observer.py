# SPDX-License-Identifier: Apache-2.0
"""What this server says of itself: put together from the kernel, the iNIC and the configuration."""

import operator
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent import host, listeners
from ipos.agent.applications import Applications
from ipos.agent.listeners import Process
from ipos.agent.message import LISTENERS_MAX, Listening, State
from ipos.agent.orders import Orders
from ipos.config.schema import Config
from ipos.inic.layout import counter
from ipos.inic.maps import Tables

_LOOK_AGAIN_NS = 1_000_000_000
_LISTENERS_NS = 350_000_000
"""Every fourth time: a request that finds nobody listening is refused and goes elsewhere."""
_SAMPLE_NS = 450_000_000
"""Memory and bandwidth are read twice a second: nothing is decided by them ten times."""


class Observer:
    """Makes a `State` ten times a second. `boot` makes those of two lives of one agent differ."""

    def __init__(
        self,
        config: Config,
        tables: Tables,
        me: IPv4Address,
        mac: bytes,
        cgroup: Path | None,
        boot: int,
    ) -> None:
        self.config = config
        self._tables = tables
        self._me = int(me)
        self._mac = mac
        self._boot = boot
        self._sequence = 0
        self._cpu = host.Cpu(cgroup)
        self._memory = host.Memory(cgroup)
        self._bandwidth = host.Bandwidth(config.server.front)
        self._listeners = listeners.Listeners()
        self._applications = Applications()
        self._found: frozenset[listeners.Listener] = frozenset()
        self._named: frozenset[listeners.Listener] | None = None
        self._judged: tuple[object, ...] = ()
        self._addresses: list[int] = []
        self._served: list[str] = []
        self._listening: list[Listening] = []
        self._listed: list[Process] = []
        self._asked_ns = self._sampled_ns = 0
        self._memory_left = self._bandwidth_left = 0
        self._processes: dict[int, Process] = {}
        self._looked_ns = 0
        self._counted = tuple(map(counter, ("ADOPTED", "CLOSED", "ENDED_UNSEEN")))

    def observe(
        self, now_ns: int, wall_ms: int, orders: Orders, well: Callable[[str], bool]
    ) -> State:
        """This server at this moment. `well` says of a service whether its check passes."""
        self._sequence += 1
        if now_ns - self._asked_ns >= _LISTENERS_NS:
            self._asked_ns, self._found = now_ns, self._listeners.now()
        if now_ns - self._sampled_ns >= _SAMPLE_NS:
            self._sampled_ns = now_ns
            self._memory_left = self._memory.available()
            self._bandwidth_left = self._bandwidth.sample(now_ns)
        self._name_processes(self._found, now_ns)
        self._judge()
        server = self.config.server
        return State(
            farm=self.config.farm.name,
            server=server.name,
            boot=self._boot,
            sequence=self._sequence,
            sent_ms=wall_ms,
            state=int(orders.state_of(server.name)),
            back_ip=self._me,
            mac=self._mac,
            addresses=self._addresses,
            tcp_connections=self._connections(),
            cpu_permille=self._cpu.sample(now_ns),
            memory_available=self._memory_left,
            bandwidth_available=self._bandwidth_left,
            services=[name for name in self._served if well(name)],
            listening=self._listening,
            orders=orders.said(),
            applications=self._applications.now(self._listed, now_ns),
            limit=server.max_connections,
            weight=orders.weight_of(server.name),
        )

    def _connections(self) -> int:
        """Sockets the kernel made of our endpoints, less those that have ended."""
        opened, *ended = self._tables.counts(self._counted)
        return max(0, opened - sum(ended))

    def _name_processes(self, found: frozenset[listeners.Listener], now_ns: int) -> None:
        """Look through /proc only for new sockets, and at most once a second."""
        if found is self._named:
            return
        inodes = {one.inode for one in found}
        unknown = inodes - self._processes.keys()
        if unknown and now_ns - self._looked_ns < _LOOK_AGAIN_NS:
            return
        kept = {inode: one for inode, one in self._processes.items() if inode in inodes}
        if unknown:
            self._looked_ns = now_ns
            kept |= listeners.processes(unknown)
        self._processes = kept
        if inodes == kept.keys():
            self._named = found

    def _judge(self) -> None:
        """Who serves what, and the rows about it: anew when anything they are made from is new."""
        made_from = (self._found, self._processes, self.config)
        if all(map(operator.is_, made_from, self._judged)) and self._judged:
            return
        self._judged = made_from
        own = self.config.server.addresses
        self._addresses = list(map(int, own))
        self._served = [
            service.name
            for service in self.config.service
            if listeners.is_served(service, self._found, own)
        ]
        self._listening = self._rows(self._found)
        self._listed = [Process(one.pid, one.process) for one in self._listening]

    def _rows(self, found: frozenset[listeners.Listener]) -> list[Listening]:
        """Services' own first, then by port; no more than a datagram has room for."""
        ports = {service.listener.port for service in self.config.service}
        ordered = sorted(found, key=lambda one: (one.port not in ports, one.port, int(one.ip)))
        rows = []
        for one in ordered[:LISTENERS_MAX]:
            process = self._processes.get(one.inode, Process(0, ""))
            rows.append(Listening(int(one.ip), one.port, process.pid, process.name))
        return rows


def boottime_ns() -> int:
    """The clock of the data plane's maps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def slept_ns() -> int:
    """Boottime clock minus monotonic clock: how long the machine has been suspended since boot."""
    awake_ns = time.monotonic_ns()  # first: the difference is never below zero
    return boottime_ns() - awake_ns


def wall_offset_ns() -> int:
    """Wall clock minus boottime clock."""
    return time.time_ns() - boottime_ns()
