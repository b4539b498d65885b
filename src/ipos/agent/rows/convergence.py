# SPDX-License-Identifier: Apache-2.0
"""Keeps the maps in step with the configuration and with what the members say.

Each datagram updates its row of Server state. The other maps are looked at only when somebody's
standing has changed, or while a server is in slow start: in a large farm nearly every datagram has
only new numbers.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

import structlog

from ipos.abi import rows
from ipos.abi.columns import Columns
from ipos.abi.layout import layout
from ipos.agent.candidates.slow_start import Starts
from ipos.agent.heartbeat.member import Age, Member, Standing
from ipos.agent.heartbeat.member_faults import Fault, Faults
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host.listeners import Listener
from ipos.agent.rows import desired, pools
from ipos.agent.rows.address_rows import Arps
from ipos.agent.rows.map_writer import NotInForce, Writer
from ipos.agent.rows.url_rows import compile_urls
from ipos.agent.snapshot.recall import recalled
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.config.schema import Config, Route
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.maps import Tables

_TRAFFIC = Columns("ipos_traffic", ("sent", "closed"), tuple)
_TRAFFIC_SIZE = layout("ipos_traffic").size

RETRY_NS = 1_000_000_000

log = structlog.get_logger()


def _digest(routes: Iterable[Route]) -> str:
    """Another one where a route's number means another route."""
    said = "\n".join(
        " ".join((one.service, one.host, one.path, *(one.alpn or ()))) for one in routes
    )
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _renamed(before: Sequence[str], now: Sequence[str]) -> list[int]:
    """Indices in use that had another name before, or none."""
    return [
        index
        for index, name in enumerate(now)
        if name and (index >= len(before) or before[index] != name)
    ]


class Convergence:
    """The rows of one agent. `traffic` is the map of what was sent to each server.

    `slots` are the services' names by index, `numbers` the pools' keys, `settled` says whether
    what no member has said may be removed. `not_in_force` names what the kernel did not take; it
    is tried again each second.
    """

    def __init__(
        self,
        config: Config,
        tables: Tables,
        traffic: Map,
        members: Members,
        before: Snapshot,
        now_ns: int,
    ) -> None:
        self._config = config
        self._members = members
        self._traffic = traffic
        self._sent: dict[int, desired.Sent] = {}
        self._writer = Writer(tables)
        self._starts = Starts()
        self._ramps: Mapping[tuple[str, int], int] = {}
        self._seen: dict[IPv4Address, tuple[object, ...]] = {}
        self._faulty: dict[IPv4Address, str] = {}
        self._is_due = True
        self._links = Fault.NONE
        self._arps = Arps({})
        self.boxed: Callable[[], Mapping[str, Listener]] = dict
        """By service, the socket in a container that it is served by."""
        self.allow_boxes: Callable[[], None] = lambda: None
        """Tells the data plane that there are any, before a row names one."""
        self._boxed: dict[str, Listener] = {}
        self.listeners6: Callable[[], Mapping[str, IPv6Address]] = dict
        """By service, the only IPv6 address of ours where its application listens."""
        self.why_not_six: Callable[[], str] = lambda: "its programs are not loaded"
        """Loads the programs of IPv6, and says why they are not there yet."""
        self._listeners6: dict[str, IPv6Address] = {}
        self._boxes_due = False
        self.settled = False
        self.rests = False
        """Whether there was nothing to write at the last look, and time alone changes nothing."""
        self.faults = Faults(members, now_ns, shared=config.farm.announce == "bgp")
        self.not_in_force = ""
        self._retry_ns = 0
        members.expect(config.farm.members, self._writer.known_servers())
        members.recall(recalled(self._writer.found_servers(), before), now_ns)
        self.slots = pools.number_services(config, before.services)
        wanted = pools.definitions(config)
        self.numbers = pools.number_pools(wanted, before.pools, before.pools)
        self._tallies = tables.tallies
        self.rules = _digest(config.route)
        self._forget(before.services, before.pools, before.rules)
        self._writer.prepare(compile_urls(config, self.slots, self.numbers))

    def said(self, members: Collection[Member], now_ns: int) -> None:
        """Rows of those who have just spoken, beside what had been sent to them by then."""
        if not members:
            return
        traffic = self._traffic.first(max([member.index for member in members]) + 1)
        said = {}
        for member in members:
            at = member.index * _TRAFFIC_SIZE
            sent = _TRAFFIC.read(traffic[at : at + _TRAFFIC_SIZE])
            self._sent[member.index] = sent
            said[member.index] = desired.server_row(member, sent, member.age(now_ns))
        self._writer.servers(said)

    def converge(
        self,
        now_ns: int,
        *,
        prune: bool,
        opening: bool,
        links: Fault = Fault.NONE,
        front_ns: int = 0,
        held: frozenset[int] = frozenset(),
        arps: Mapping[int, rows.Arp] | None = None,
        asks: Collection[int] = (),
    ) -> bool:
        """Rewrite the maps when anybody's standing has changed; whether it has.

        opening: who is there now was there before us. `links`: what is wrong with our own.
        front_ns, held: see `Faults.look`. asks: addresses that another server held a short while
        ago.
        """
        self._writer.tidy()
        told = Arps(self._arps.who if arps is None else arps, frozenset(asks))
        boxed = dict(self.boxed())
        quiet = self._members.is_quiet(now_ns) and not self.faults.uneasy and links == self._links
        listeners6 = dict(self.listeners6())
        inside = boxed == self._boxed and listeners6 == self._listeners6
        quiet = quiet and told == self._arps and inside
        self._links = links
        if quiet and not self._is_due and prune == self.settled:
            self.rests = True
            return False
        self.rests = False
        self._is_due = True  # and so it stays when something of this fails
        if prune:
            self._members.forget_silent(now_ns)
        if self.faults.look(now_ns, links, front_ns, held):
            self._members.changes += 1
        standing = {
            member.back_ip: _standing(member, now_ns) for member in self._members.by_ip.values()
        }
        services = self._config.service
        self._starts.look(services, self._members, now_ns, opening=opening)
        ramps = self._starts.ramps(services, now_ns)
        changed = standing != self._seen or prune != self.settled or told != self._arps
        self._boxes_due |= not inside  # until it is written
        changed |= self._boxes_due
        self._arps = told
        if boxed and not self._boxed:
            self.allow_boxes()
        self._boxed, self._listeners6 = boxed, listeners6
        again = bool(self.not_in_force) and now_ns >= self._retry_ns
        if changed or again or (ramps != self._ramps and not prune):
            self._write(now_ns, ramps, prune=prune)
        elif ramps != self._ramps:
            self._write_ramps(now_ns, ramps)
        if changed:
            self._report(standing)
            self._seen, self.settled, self._boxes_due = standing, prune, False
        # Time alone changes what is written while somebody is silent or starting.
        self._is_due = not quiet or bool(ramps) or bool(self.not_in_force)
        return changed

    def prepare(self, fresh: Config) -> tuple[list[str], list[str]]:
        """Have another configuration's rules ready in the maps: its `slots` and `numbers`.

        MapError when there is no room for them. Takes its time; nobody else may write meanwhile.
        """
        slots = pools.number_services(fresh, self.slots)
        # Until we are settled, requests still follow the rules of the agent before us.
        live = pools.definitions(self._config) if self.settled else self.numbers
        numbers = pools.number_pools(pools.definitions(fresh), self.numbers, live)
        self._writer.prepare(compile_urls(fresh, slots, numbers))
        return slots, numbers

    def take(self, fresh: Config, slots: list[str], numbers: list[str]) -> None:
        """Go by another configuration, which was prepared, from the next `converge` on."""
        before = self.slots, self.numbers, self.rules
        self._config, self.slots, self.numbers = fresh, slots, numbers
        self.rules = _digest(fresh.route)
        self._forget(*before)
        self._members.expect(fresh.farm.members)
        self._seen = {}

    def _forget(self, services: Sequence[str], numbers: Sequence[str], rules: str) -> None:
        """Tallies begin at 0 where an index means something else than it did."""
        renamed = self.rules != rules
        self._tallies.forget(
            _renamed(services, self.slots),
            _renamed(numbers, self.numbers),
            range(1, len(self._config.route) + 1) if renamed else (),
        )

    def _write(self, now_ns: int, ramps: Mapping[tuple[str, int], int], *, prune: bool) -> None:
        # The data plane writes rows itself. This writes all, so it must know what those say.
        self._sent |= self._members.take_numbers()
        wanted = desired.plan(
            self._config, self.slots, self.numbers, self._members, self._sent, now_ns, ramps,
            self._arps, self._boxed, self._listeners6,
        )  # fmt: skip
        self.not_in_force = ""
        if wanted.addresses6 and not self._writer.find_six():
            self.not_in_force = (
                f"not in force: IPv6 service addresses, because {self.why_not_six()}"
            )
            wanted = dataclasses.replace(wanted, addresses6={}, deny6={})
        try:
            self._writer.write(wanted, prune=prune)
        except NotInForce as left:
            self.not_in_force = str(left)
        if self.not_in_force:
            self._retry_ns = now_ns + RETRY_NS
        self._ramps = ramps

    def _write_ramps(self, now_ns: int, ramps: Mapping[tuple[str, int], int]) -> None:
        """Of all that is planned, only what depends on how far the starting servers are."""
        self._writer.pools(
            desired.pool_rows(self._config, self.numbers, self._members, now_ns, ramps)
        )
        self._ramps = ramps

    def _report(self, standing: dict[IPv4Address, tuple[object, ...]]) -> None:
        """Only what an operator wants to be woken for."""
        for address, now in standing.items():
            before = self._seen.get(address, (None,))
            if _is_dead(now) and not _is_dead(before):
                log.warning("server is down", back_address=str(address))
            elif before[0] is Age.DOWN and now[0] is Age.FRESH:
                log.warning("server is back", back_address=str(address))
            self._report_fault(address)

    def _report_fault(self, address: IPv4Address) -> None:
        why = self._members.by_ip[address].standing.why
        if why == self._faulty.get(address, ""):
            return
        self._faulty[address] = why
        if why and address == self._members.me:
            log.error("this server gets no requests", reason=why)
        elif why:
            log.warning("server gets no requests", back_address=str(address), reason=why)
        else:
            log.warning("server gets requests again", back_address=str(address))


def _is_dead(standing: tuple[object, ...]) -> bool:
    """Whether silence has made it down, and not only out."""
    return standing[0] is Age.DOWN and standing[-1] == Standing()


def _standing(member: Member, now_ns: int) -> tuple[object, ...]:
    """All that the maps other than Server state depend on."""
    state = member.state
    if state is None:
        return (Age.UNHEARD,)
    return (
        member.age(now_ns), state.state, state.server, state.mac, state.addresses, state.services,
        state.listening, state.weight, member.standing, state.starting, state.by_syn,
    )  # fmt: skip
