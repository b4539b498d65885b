# SPDX-License-Identifier: Apache-2.0
"""The state of this server, put together from the kernel, the data plane and the configuration."""

import operator
import time
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from ipos.agent.heartbeat.message import LISTENERS_MAX, Listening, State
from ipos.agent.heartbeat.orders import Orders
from ipos.agent.host import listeners, load, tcp_options
from ipos.agent.host.boxes import Boxes, Look
from ipos.agent.host.processes import Applications, Process, processes
from ipos.agent.host.shortage import Shortage
from ipos.agent.network.seen_sockets import SeenSockets
from ipos.config.modes import takes_syns
from ipos.config.schema import Config
from ipos.config.slots import is_slot
from ipos.ip_family import fours, numbers, sixes

_LOOK_AGAIN_NS = 1_000_000_000
_LISTENERS_NS = 350_000_000
"""Every fourth time: a request that finds nobody listening is refused and goes elsewhere."""
_OPTIONS_NS = 450_000_000
_SAMPLE_NS = 180_000_000
"""Memory and bandwidth are read at every second beat: a shortage is known within half a second."""


Search = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Calls the first, which may take long, and then the second with its result."""
Addresses = Callable[[], tuple[frozenset[IPv4Address], bool]]
"""The farm's service addresses, and whether there are no others."""


def _search_here(look: Callable[[], Any], take: Callable[[Any], None]) -> None:
    take(look())


class Observer:
    """Makes a `State` ten times a second. `boot` makes those of two lives of one agent differ.

    connections: how many sockets our endpoints have now. seen: the sockets that the data plane sees
    to exist, None for all.
    """

    def __init__(
        self,
        config: Config,
        connections: Callable[[], int],
        me: IPv4Address,
        mac: bytes,
        cgroup: Path | None,
        boot: int,
        seen: SeenSockets | None = None,
    ) -> None:
        self.config = config
        self._connections = connections
        self._me = int(me)
        self._mac = mac
        self._boot = boot
        self._sequence = 0
        self.again_ms = 100
        self._cpu = load.Cpu(cgroup)
        self._shortage = Shortage(load.Memory(cgroup), load.Bandwidth(config.server.front))
        self._listeners = listeners.Listeners(seen)
        self._applications = Applications()
        self._own: frozenset[listeners.Listener] = frozenset()
        self._found: frozenset[listeners.Listener] = frozenset()
        self._named: frozenset[listeners.Listener] | None = None
        self._judged: tuple[object, ...] = ()
        self._addresses: list[int] = []
        self._served: list[str] = []
        self._by_syn: list[str] = []
        self._listening: list[Listening] = []
        self._listed: list[Process] = []
        self._elsewhere: list[str] = []
        self._options, self._withheld = tcp_options.Withheld(), 0
        self._asked_ns = self._optioned_ns = self._sampled_ns = 0
        self._processes: dict[int, Process] = {}
        self._looked_ns = 0
        self._searching = False
        self.search: Search = _search_here
        """How /proc is searched; a running agent does it in a thread."""
        self.boxes: Boxes | None = None
        self.farm_addresses: Addresses = lambda: (
            frozenset(fours(self.config.server.addresses)),
            False,
        )
        self.places: Mapping[str, listeners.Listener] = {}
        """By service, the socket that it is served by, where that is in a container."""
        self.listeners6: Mapping[str, IPv6Address] = {}
        """By service, the only IPv6 address of ours where its application listens."""
        self.uplinks: Callable[[], dict[str, int] | None] = lambda: None
        """What is wrong with each uplink, where there are any."""

    def observe(
        self,
        now_ns: int,
        wall_ms: int,
        orders: Orders,
        well: Callable[[str], bool],
        fault: int = 0,
        hears: bytes = b"",
    ) -> State:
        """This server at this moment. `well` says of a service whether its check passes.

        fault, hears: as a state says them.
        """
        self._sequence += 1
        self._look_into_boxes(now_ns)
        if now_ns - self._asked_ns >= _LISTENERS_NS:
            self._asked_ns, self._own = now_ns, self._listeners.now(self._udp_ports())
        self._found = self._together()
        if now_ns - self._optioned_ns >= _OPTIONS_NS:
            self._optioned_ns, self._withheld = now_ns, int(self._options.now())
        self._name_processes(self._found, now_ns)
        self._judge()
        applications = self._applications.now(self._listed, now_ns)
        self._look_at_shortage(now_ns)
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
            memory_available=self._shortage.memory_available,
            bandwidth_available=self._shortage.bandwidth_available,
            memory_short=self._shortage.memory_short,
            bandwidth_short=self._shortage.bandwidth_short,
            services=[name for name in self._served if well(name)],
            by_syn=self._by_syn,
            listening=self._listening,
            orders=orders.said(),
            applications=applications,
            limit=server.max_connections,
            weight=orders.weight_of(server.name),
            fault=fault,
            hears=hears,
            withheld=self._withheld,
            again_ms=self.again_ms,
            uplinks=self.uplinks(),
        )

    def is_served(self, service: str) -> bool:
        """Whether something listened where its application should, at the last look."""
        return service in self._served

    def _look_at_shortage(self, now_ns: int) -> None:
        if now_ns - self._sampled_ns >= _SAMPLE_NS:
            self._sampled_ns = now_ns
            ports = {service.listener.port for service in self.config.service}
            serving = {one.pid for one in self._listening if one.port in ports}
            uses = [(pid, use) for pid, use in self._applications.uses.items() if pid in serving]
            self._shortage.sample(now_ns, uses, self.config.server.bandwidth)

    def _look_into_boxes(self, now_ns: int) -> None:
        if self.boxes is not None and self.boxes.begin(now_ns):
            addresses, prune = self.farm_addresses()
            self.search(
                partial(self.boxes.look, Look(self.config, addresses, prune)), lambda _: None
            )

    def _together(self) -> frozenset[listeners.Listener]:
        """Sockets of this network namespace and of containers; the same object if none is new."""
        inside: frozenset[listeners.Listener] = self.boxes.found if self.boxes else frozenset()
        if not inside:
            return self._own
        both = self._own | inside
        return self._found if both == self._found else both

    @property
    def remarks(self) -> list[str]:
        """What an operator should know."""
        others = [self._options.remark]
        if self.boxes is not None:
            wanted = {one.name for one in self.config.service if not is_slot(one.name)}
            unserved = bool(wanted.difference(self._served))
            others += [self.boxes.trouble, self.boxes.denied if unserved else ""]
        return [*self._elsewhere, *filter(None, others)]

    def _udp_ports(self) -> frozenset[int]:
        return frozenset(one.listener.port for one in self.config.service if one.protocol == "udp")

    def _name_processes(self, found: frozenset[listeners.Listener], now_ns: int) -> None:
        """Look through /proc only for new sockets, and at most once a second."""
        if found is self._named or self._searching:
            return
        inodes = {one.inode for one in found}
        if inodes != self._processes.keys() & inodes:
            if now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
                self._looked_ns, self._searching = now_ns, True
                unknown = inodes - self._processes.keys()
                self.search(partial(processes, unknown), self._take_processes)
            return
        self._named = found
        if inodes != self._processes.keys():
            self._processes = {inode: self._processes[inode] for inode in inodes}

    def _take_processes(self, found: dict[int, Process]) -> None:
        self._searching = False
        self._processes = self._processes | found

    def _judge(self) -> None:
        """Who serves what, and the rows about it: anew when anything they are made from is new."""
        made_from = (self._found, self._listeners.six, self._processes, self.config)
        if all(map(operator.is_, made_from, self._judged)) and self._judged:
            return
        self._judged = made_from
        own = fours(self.config.server.addresses)
        self._addresses = numbers(self.config.server.addresses)
        self._served, self._by_syn, self._elsewhere, self.places = [], [], [], {}
        for service in self.config.service:
            found, said = self._found, listeners.elsewhere(service, self._found, own)
            if takes_syns(self.config, service) and listeners.only_by_syn(service, found, own):
                found = listeners.as_for_syns(found)
                self._by_syn.append(service.name)
                said = listeners.by_syn_said(service)
            if said:
                self._elsewhere.append(said)
            if listeners.is_served(service, found, own):
                self._served.append(service.name)
            place = listeners.chosen(service, found, own)
            if place is not None:
                self.places[service.name] = place
        self._elsewhere += self._judge6()
        self._listening = self._rows(self._found)
        self._listed = [Process(one.pid, one.process) for one in self._listening]

    def _judge6(self) -> list[str]:
        """Where IPv6 connections are taken. Returns who takes none, if this server has an address
        of it."""
        own, places = sixes(self.config.server.addresses), self._listeners.six
        found = {
            service.name: listeners.listener_address6(service, own, places)
            for service in self.config.service
            if service.protocol == "tcp" and service.name in self._served
        }
        self.listeners6 = {name: one for name, one in found.items() if one}
        ports = {service.name: service.listener.port for service in self.config.service}
        return [
            f"service {name} takes no IPv6 connections here, so they go to other servers: its "
            f"application listens on port {ports[name]} by IPv4 only; let it listen on [::] too"
            for name, one in found.items()
            if one is None and own
        ]

    def _rows(self, found: frozenset[listeners.Listener]) -> list[Listening]:
        """Services' own first, then by port; no more than a datagram has room for."""
        ports = {service.listener.port for service in self.config.service}
        ordered = sorted(found, key=lambda one: (one.port not in ports, one.port, int(one.ip)))
        rows = []
        for one in ordered[:LISTENERS_MAX]:
            process = self._processes.get(one.inode, Process(0, ""))
            rows.append(
                Listening(
                    int(one.ip),
                    one.port,
                    process.pid,
                    process.name,
                    one.mptcp,
                    one.udp,
                    one.box.name if one.box else "",
                    one.outside,
                )
            )
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
