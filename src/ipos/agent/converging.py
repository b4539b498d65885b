# SPDX-License-Identifier: Apache-2.0
"""Keeps the maps true to the configuration and to what the members say.

A row of Server state follows each datagram. Everything else is looked at only when somebody's
standing has changed, or while a server is starting slowly: in a farm of many nearly every datagram
says nothing but new numbers.
"""

import struct
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address

import structlog

from ipos.agent import plan, pools
from ipos.agent.members import Age, Member, Members
from ipos.agent.slowstart import Starts
from ipos.agent.snapshot import Snapshot
from ipos.agent.urls import compile_urls
from ipos.agent.writer import Writer
from ipos.config.schema import Config
from ipos.inic.libbpf.maps import Map
from ipos.inic.maps import Tables

_TRAFFIC = struct.Struct("=QQ")
"""`struct ipos_traffic`, of which a test sees that it has no more."""

log = structlog.get_logger()


class Converging:
    """The rows of one agent. `traffic` is the map of what was sent to each server.

    `slots` are the services' names by index, `numbers` the pools' keys, `settled` says whether
    what no member has said may be removed.
    """

    def __init__(
        self, config: Config, tables: Tables, traffic: Map, members: Members, before: Snapshot
    ) -> None:
        self._config = config
        self._members = members
        self._traffic = traffic
        self._sent: dict[int, plan.Sent] = {}
        self._writer = Writer(tables)
        self._starts = Starts()
        self._ramps: Mapping[tuple[str, int], int] = {}
        self._seen: dict[IPv4Address, tuple[object, ...]] = {}
        self._is_due = True
        self.settled = False
        members.expect(config.farm.members, self._writer.known_servers())
        self.slots = plan.number_services(config, before.services)
        wanted = pools.definitions(config)
        self.numbers = pools.number_pools(wanted, before.pools, before.pools)
        self._writer.prepare(compile_urls(config, self.slots, self.numbers))

    def said(self, members: Collection[Member], now_ns: int) -> None:
        """Rows of those who have just spoken, beside what had been sent to them by then."""
        if not members:
            return
        traffic = self._traffic.first(max([member.index for member in members]) + 1)
        said = {}
        for member in members:
            sent = _TRAFFIC.unpack_from(traffic, member.index * _TRAFFIC.size)
            self._sent[member.index] = sent
            said[member.index] = plan.server_row(member, sent, member.age(now_ns))
        self._writer.servers(said)

    def converge(self, now_ns: int, *, prune: bool, opening: bool) -> bool:
        """Rewrite the maps when anybody's standing has changed; whether it has.

        opening: who is there now was there before us.
        """
        self._writer.tidy()
        quiet = self._members.is_quiet(now_ns)
        if quiet and not self._is_due and prune == self.settled:
            return False
        self._is_due = True  # and so it stays when something of this fails
        standing = {
            member.back_ip: _standing(member, now_ns) for member in self._members.by_ip.values()
        }
        services = self._config.service
        self._starts.look(services, self._members, now_ns, opening=opening)
        ramps = self._starts.ramps(services, now_ns)
        changed = standing != self._seen or prune != self.settled
        if changed or (ramps != self._ramps and not prune):
            self._write(now_ns, ramps, prune=prune)
        elif ramps != self._ramps:
            self._write_ramps(now_ns, ramps)
        if changed:
            self._report(standing)
            self._seen, self.settled = standing, prune
        # Time alone changes what is written while somebody is silent or starting.
        self._is_due = not quiet or bool(ramps)
        return changed

    def prepare(self, fresh: Config) -> tuple[list[str], list[str]]:
        """Have another configuration's rules ready in the maps: its `slots` and `numbers`.

        MapError when there is no room for them. Takes its time; nobody else may write meanwhile.
        """
        slots = plan.number_services(fresh, self.slots)
        # Until we are settled, requests still follow the rules of the agent before us.
        live = pools.definitions(self._config) if self.settled else self.numbers
        numbers = pools.number_pools(pools.definitions(fresh), self.numbers, live)
        self._writer.prepare(compile_urls(fresh, slots, numbers))
        return slots, numbers

    def take(self, fresh: Config, slots: list[str], numbers: list[str]) -> None:
        """Go by another configuration, which was prepared, from the next `converge` on."""
        self._config, self.slots, self.numbers = fresh, slots, numbers
        self._members.expect(fresh.farm.members)
        self._seen = {}

    def _write(self, now_ns: int, ramps: Mapping[tuple[str, int], int], *, prune: bool) -> None:
        wanted = plan.plan(
            self._config, self.slots, self.numbers, self._members, self._sent, now_ns, ramps
        )
        self._writer.write(wanted, prune=prune)
        self._ramps = ramps

    def _write_ramps(self, now_ns: int, ramps: Mapping[tuple[str, int], int]) -> None:
        """Of all that is planned, only what depends on how far the starting servers are."""
        self._writer.pools(plan.pool_rows(self._config, self.numbers, self._members, now_ns, ramps))
        self._ramps = ramps

    def _report(self, standing: dict[IPv4Address, tuple[object, ...]]) -> None:
        """Only what an operator wants to be woken for."""
        for address, (age, *_) in standing.items():
            before = self._seen.get(address, (None,))[0]
            if age is Age.DOWN and before is not Age.DOWN:
                log.warning("server is down", back_address=str(address))
            elif before is Age.DOWN and age is Age.FRESH:
                log.warning("server is back", back_address=str(address))


def _standing(member: Member, now_ns: int) -> tuple[object, ...]:
    """All that the maps other than Server state depend on."""
    state = member.state
    if state is None:
        return (Age.UNHEARD,)
    return (
        member.age(now_ns), state.state, state.server, state.mac, state.addresses, state.services,
        state.listening, state.weight,
    )  # fmt: skip
