# SPDX-License-Identifier: Apache-2.0
"""The containers of this server: found, looked into, and prepared to take connections of the farm.

A container is a network namespace that a pair of interfaces leads to. It is prepared when a service
has its application there:

    our end of the pair    what the application answers is taken there (`ipos_box_out`)
    its end                the kernel is given endpoints for its listener there (`ipos_box_in`)
    routes                 the farm's service addresses are local there, as they are here
    connection tracking    does not see the services, if the container translates addresses
    arp_announce           so that it does not ask its gateway in the name of a service address

Only then are its listeners told, so that nothing is sent to a container that is not ready. It stays
prepared as long as it is there, because it may have connections. All of this is done in a thread.
"""

import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent.host import container_names
from ipos.agent.host.listeners import Box, Listener, Listeners, as_for_syns, boxes
from ipos.agent.network.rtnetlink import LinkNews, RtNetlink, Wire
from ipos.agent.network.seen_sockets import SeenSockets
from ipos.agent.network.untracked import Untracked, services
from ipos.agent.network.wired_namespaces import LEAVE_TO_ENTER, Seat, search
from ipos.closing import Closing
from ipos.config.modes import takes_syns
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.ip_family import fours
from ipos.kernel import box_hooks

BOXES_MAX = 64
"""Containers that are looked into; those with the lowest interfaces."""
LOOK_NS = 450_000_000
"""A listener that begins tells nobody."""
_ALL_NS = 5_000_000_000
"""However quiet it is, all interfaces are listed again."""
DENIED = (
    "the agent may not look into the containers here, so no application in one is found: "
    + LEAVE_TO_ENTER
)
_SYS = Path("/proc/sys/net/ipv4")
_SYSCTLS = {"conf/{peer}/arp_announce": "2", "tcp_rfc1337": "0"}
_SYNCOOKIES = "tcp_syncookies"


@dataclass(slots=True)
class _Known:
    wire: Wire
    seat: Seat
    name: str
    prepared: frozenset[IPv4Address] | None = None
    untracked: Untracked = field(default_factory=Untracked)
    sought: bool = False
    """Whether its processes were looked for once more since something listens there."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look is to go by. prune: no other address is one of the farm."""

    config: Config
    addresses: frozenset[IPv4Address]
    prune: bool


@dataclass(slots=True)
class Boxes(Closing):
    """Those of this network namespace. own: our interfaces, which lead to no container. seen: the
    sockets that the data plane sees to exist.
    """

    pins: Path
    own: Collection[int]
    seen: SeenSockets = field(default_factory=SeenSockets)
    found: frozenset[Listener] = frozenset()
    """The sockets of services in containers that are prepared."""
    gone: set[int] = field(default_factory=set)
    """Our ends of wires that are not there any more; whoever ends their connections empties it."""
    trouble: str = ""
    denied: str = ""
    """Why no container is looked into, where there are any."""
    _known: dict[int, _Known] = field(default_factory=dict)
    _news: LinkNews = field(default_factory=LinkNews)
    _looked_ns: int = -LOOK_NS
    _listed_ns: int = -_ALL_NS
    _list: bool = True
    _looking: bool = False

    def begin(self, now_ns: int) -> bool:
        """Whether a look is due; then `look` is to be called, in a thread."""
        if self._looking:
            return False
        if self._news.any() or now_ns - self._listed_ns >= _ALL_NS:
            self._list = True
        if not self._list and (not self._known or now_ns - self._looked_ns < LOOK_NS):
            return False
        self._looked_ns, self._looking = now_ns, True
        if self._list:
            self._listed_ns = now_ns
        return True

    def look(self, by: Look) -> None:
        """Find and prepare. Nothing that goes wrong in one container affects the others."""
        self.trouble = self.denied = ""
        again = self._list
        try:
            if again:
                self._list = False
                self._find()
            self.found = self._look_into(by, again=again)
        except (IposError, OSError) as error:
            self._list = True
            self.trouble = f"containers cannot be looked into: {error}"
        finally:
            self._looking = False

    def seat(self, index: int) -> Seat | None:
        """Where the container behind our end of a wire can be entered."""
        known = self._known.get(index)
        return known.seat if known else None

    def seats(self) -> list[Seat]:
        """Where those can be entered that may have connections of the farm."""
        return [one.seat for one in list(self._known.values()) if one.prepared is not None]

    def close(self) -> None:
        self._news.close()

    def _find(self) -> None:
        with RtNetlink() as netlink:
            wires = _first_wires(netlink.wires(), self.own)
        there = {wire.index for wire in wires}
        for index in box_hooks.indices(self.pins) - there:
            box_hooks.remove(self.pins, index)
            self.gone.add(index)
        known = {index: one for index, one in self._known.items() if index in there}
        fresh = [wire for wire in wires if wire.index not in known]
        if fresh:
            seats = search({wire.namespace for wire in fresh})
            for wire in fresh:
                seat = seats.get(wire.namespace)
                if seat is not None:
                    known[wire.index] = _Known(wire, seat, container_names.name_of(seat))
        self._known = known

    def _look_into(self, by: Look, *, again: bool) -> frozenset[Listener]:
        seen: list[Listener] = []
        ports = {one.listener.port for one in by.config.service if one.protocol == "tcp"}
        picks = {one.listener.box for one in by.config.service if one.listener.box}
        for index, known in list(self._known.items()):
            try:
                with known.seat.entered():
                    listening = list(_listening(ports, self.seen))
            except PermissionError:
                self.denied = DENIED
                continue
            except OSError:  # the process has ended that it was found by, or the container
                del self._known[index]
                self._list = True
                continue
            if listening and not known.seat.cgroup:
                _seek(known)
            fits = {pick for pick in picks if container_names.fits(pick, known.name, known.seat)}
            box = Box(index, known.wire.namespace, known.name, frozenset(fits))
            seen += [replace(one, box=box) for one in listening]
        ready = set()
        for service in by.config.service:
            own = fours(by.config.server.addresses)
            there = boxes(service, seen, own)
            if not there and takes_syns(by.config, service):
                there = boxes(service, as_for_syns(seen), own)
            # Where several have it, none is chosen; but one that was chosen before stays ready.
            ready |= {one.index for one in there if len(there) == 1 or self._is_ready(one.index)}
        unready = {index for index in ready if not self._prepare(index, by, again=again)}
        # Of others it is told why they are not chosen.
        told = ready | {
            one.box.index
            for one in seen
            if one.box and (one.mptcp or one.outside or _is_one_of_many(one, seen))
        }
        return frozenset(one for one in seen if one.box and one.box.index in told - unready)

    def _is_ready(self, index: int) -> bool:
        return self._known[index].prepared is not None

    def _prepare(self, index: int, by: Look, *, again: bool) -> bool:
        """Whether it is ready. again: look once more whether addresses are translated there."""
        known = self._known[index]
        enough = known.prepared is not None and known.prepared >= by.addresses
        done = enough and (not by.prune or known.prepared == by.addresses)
        if done and not again:
            return True
        try:
            if not done:
                box_hooks.attach(self.pins, index, known.wire.peer, known.seat.entered)
            with known.seat.entered():
                if not done:
                    _route(by.addresses, prune=by.prune)
                    _set(socket.if_indextoname(known.wire.peer))
                known.untracked.keep(services(by.config, by.addresses))
        except (IposError, OSError) as error:
            self.trouble = f"the container {known.name} cannot be prepared: {error}"
            return False
        if known.untracked.trouble:
            self.trouble = f"in the container {known.name}, {known.untracked.trouble}"
        if not done:
            known.prepared = by.addresses
        return True


def _seek(known: _Known) -> None:
    """An engine makes the namespace before the first process is in it, which tells its name."""
    if known.sought:
        return
    known.sought = True
    seat = search({known.wire.namespace}).get(known.wire.namespace)
    if seat is not None:
        known.seat, known.name = seat, container_names.name_of(seat)


def release(indices: Iterable[int]) -> None:
    """Take back what was made in the containers behind these ends of wires."""
    with RtNetlink() as netlink:
        wires = {wire.index: wire for wire in netlink.wires()}
    there = [wires[index] for index in indices if index in wires]
    seats = search({wire.namespace for wire in there}) if there else {}
    for wire in there:
        seat = seats.get(wire.namespace)
        if seat is None:
            continue
        with suppress(OSError), seat.entered():
            _route(frozenset(), prune=True)
            Untracked().keep(None)
            _unset(socket.if_indextoname(wire.peer))


def _first_wires(wires: Iterable[Wire], own: Collection[int]) -> list[Wire]:
    """One wire for each namespace."""
    found: dict[int, Wire] = {}
    for wire in sorted(wires, key=lambda wire: wire.index):
        if wire.index not in own:
            found.setdefault(wire.namespace, wire)
    return list(found.values())[:BOXES_MAX]


def _is_one_of_many(one: Listener, seen: Iterable[Listener]) -> bool:
    """Whether several containers have it, so that it is told which there are."""
    return len({other.box for other in seen if other.port == one.port}) > 1


def _listening(ports: Collection[int], seen: SeenSockets) -> Iterator[Listener]:
    with closing(Listeners(seen)) as listeners:
        return iter([one for one in listeners.now() if one.port in ports])


def _route(addresses: frozenset[IPv4Address], *, prune: bool) -> None:
    """Have the addresses local in this thread's namespace."""
    with RtNetlink() as netlink:
        ours = set(fours(netlink.marked_routes()))
        for address in addresses - ours:
            with suppress(FileExistsError):  # by itself, or by an address that it has
                netlink.add_local(address)
        for address in ours - addresses if prune else ():
            with suppress(ProcessLookupError):
                netlink.delete_local(address)


def _set(peer: str) -> None:
    for name, value in _SYSCTLS.items():
        (_SYS / name.format(peer=peer)).write_text(value)
    syncookies = _SYS / _SYNCOOKIES
    if syncookies.read_text().strip() == "0":  # without them the kernel adopts no endpoint
        syncookies.write_text("1")


def _unset(peer: str) -> None:
    """As a new interface there would have it."""
    usual = (_SYS / "conf/default/arp_announce").read_text()
    (_SYS / f"conf/{peer}/arp_announce").write_text(usual)
