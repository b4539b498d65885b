# SPDX-License-Identifier: Apache-2.0
"""Does what the states of the addresses require: ARP on front, rows, reports."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Protocol

import msgspec
import structlog

from ipos.abi import rows
from ipos.abi.families import AnyAddressKey
from ipos.abi.rows import Arp
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import State
from ipos.agent.holders.actions import Kind
from ipos.agent.holders.choice import Server, servers_of, why_not_its_own
from ipos.agent.holders.states import Addresses
from ipos.agent.snapshot.snapshot import Held
from ipos.config.uplink import Uplink
from ipos.ip_family import Address, address_of, packed

log = structlog.get_logger()


class Front(Protocol):
    """The methods of `Neighbours` that are used here."""

    def ask(self, address: int) -> None: ...
    def announce(self, address: int) -> None: ...
    def answered(self) -> set[int]: ...


class Keeper:
    """The service addresses of one agent. `front` is None where routers are told otherwise.

    `found` are the rows of `addresses` that an agent before this one has left.
    """

    def __init__(
        self,
        members: Members,
        front: Front | None,
        found: Mapping[AnyAddressKey, rows.Address],
        own: list[Address],
        now_ns: int,
        uplinks: Sequence[Uplink] = (),
    ) -> None:
        self._uplinks = uplinks
        self.out: frozenset[int] = frozenset()
        """Addresses whose uplink is out of service: nobody is to hold them."""
        self.why_out: Callable[[int], str] = lambda _: ""
        """Why nobody is to hold an address; empty where that is not so."""
        self._was_out = self.out
        self._members = members
        self._front = front
        self._states = Addresses(int(members.me), now_ns, held_before(found, own))
        self._servers: list[Server] = []
        self._changes = -1
        self._is_calm = self._settled = False
        self.rests = False
        """Whether there was nothing to do at the last look."""
        self._arps = self._answers()
        self.counts: Counter[str] = Counter()

    def arps(self) -> dict[int, Arp]:
        """The server that answers for each address that was looked at. For others the kernel
        answers."""
        return self._arps

    def _answers(self) -> dict[int, Arp]:
        if self._front is None:
            return {}
        held = set(self._states.holds)
        listed = {address for server in self._servers for address in server.lists}
        return {one: Arp.ANSWER if one in held else Arp.SILENT for one in listed | held}

    def asks(self, now_ns: int) -> set[int]:
        """Addresses here whose cookies may be of connections that have an owner already."""
        return self._states.asks(now_ns)

    def learns(self, now_ns: int) -> bool:
        """Whether it may have been away or has just begun, and does not know who came after it."""
        return self._front is not None and self._states.learns(now_ns)

    @property
    def taken(self) -> frozenset[int]:
        """The addresses that this server answers for, because nobody else on front does."""
        return frozenset(self._states.holds) if self._front is not None else frozenset()

    def returned(self) -> dict[bytes, IPv4Address]:
        """Addresses that others held while this server was away, and their back addresses: once."""
        told = {
            packed(address): IPv4Address(number)
            for address, number in self._states.returned.items()
        }
        self._states.returned.clear()
        return told

    @property
    def silent(self) -> list[int]:
        """Addresses that another server answers for, or no server."""
        return [address for address, arp in self.arps().items() if arp is Arp.SILENT]

    def tell(self, state: State) -> State:
        """Our state with what it says about addresses."""
        if self._front is None:
            return state
        return msgspec.structs.replace(state, holds=self._states.holds, claims=self._states.claims)

    def ran(self, now_ns: int) -> None:
        """The agent had no CPU until now, but the data plane ran, so nobody took us for dead."""
        self._states.rest(now_ns)

    def look(self, now_ns: int, *, settled: bool, cut_off: bool = False) -> None:
        """Take in who is there and who answers, and do what follows.

        cut_off: this server has no front and hears nobody.
        """
        if self._changes < 0:
            self._states.begin(now_ns)
        # Routers answer our questions as next hops: those are no service addresses.
        answered = self._front.answered() & self._arps.keys() if self._front is not None else ()
        if self._is_at_rest(now_ns, settled=settled) and not answered and not cut_off:
            self._states.rest(now_ns)
            self.rests = True
            return
        self.rests = False
        self._changes = self._members.changes
        self._servers = servers_of(self._members, now_ns, self._uplinks)
        if self._front is not None:
            self._go_on(self._front, answered, now_ns, settled=settled, cut_off=cut_off)
        self._arps = self._answers()

    def _is_at_rest(self, now_ns: int, *, settled: bool) -> bool:
        """Whether nothing can have changed since the last look, at which nothing was to be done."""
        was_calm, self._is_calm = self._is_calm, self._members.is_calm(now_ns)
        was_settled, self._settled = self._settled, settled
        was_out, self._was_out = self._was_out, self.out
        return (
            (self._front is None or now_ns < self._states.rest_ns)
            and self._changes == self._members.changes
            and was_calm
            and self._is_calm
            and was_settled == settled
            and was_out == self.out
            and not self._states.slept(now_ns)
        )

    def _go_on(
        self, front: Front, answered: Collection[int], now_ns: int, *, settled: bool, cut_off: bool
    ) -> None:
        """Do what follows from who is there and who answers."""
        for one in self._states.look(
            self._in_service(), answered, now_ns, settled=settled, cut_off=cut_off
        ):
            address = str(address_of(one.address))
            if one.kind is Kind.ASK:
                front.ask(one.address)
                continue
            if one.kind is Kind.ANNOUNCE:
                front.announce(one.address)
                continue
            self.counts[one.kind.value.replace(" ", "_")] += 1
            if one.kind is Kind.TAKEN:
                tell = log.info if one.is_own else log.warning
                tell("this server holds an address now", address=address, reason=one.why)
            elif one.kind is Kind.GIVEN_UP:
                why = self.why_out(one.address) or one.why
                log.warning("this server gave an address up", address=address, reason=why)
            else:
                log.warning("another machine on front answers for an address", address=address)

    def _in_service(self) -> list[Server]:
        """The servers as if none listed an address that nobody is to hold."""
        if not self.out:
            return self._servers
        return [
            replace(one, lists=[address for address in one.lists if address not in self.out])
            for one in self._servers
        ]

    def holder(self, address: int) -> int:
        """The index of another server that answers for an address, 0 where that is not known."""
        number, _ = self._states.holder(address)
        if self._front is None or number is None or number == int(self._members.me):
            return 0
        member = self._members.by_ip.get(IPv4Address(number))
        return 0 if member is None else member.index

    @property
    def holds_any(self) -> bool:
        """Whether this server answers for an address, if the farm decides that."""
        return self._front is not None and bool(self._states.holds)

    @property
    def has_its_own(self) -> bool:
        """Whether each address of this server has a holder."""
        state = self._members.myself.state
        if self._front is None or state is None:
            return True
        return all(
            address in self.out or self._states.holder(address)[0] is not None
            for address in state.addresses
        )

    def held(self, now_ns: int) -> list[Held]:
        """For the snapshot: each address, its holder, since when and why."""
        names = {server.number: server.name for server in self._servers}
        found = []
        for server in sorted(self._servers, key=lambda one: one.number):
            for address in server.lists:
                holder, since_ns = self._states.holder(address)
                if self._front is None:
                    holder, since_ns = None if server.down else server.number, 0
                if holder == server.number:
                    why = "it is its own"
                else:
                    why = self.why_out(address) or why_not_its_own(address, self._servers)
                found.append(
                    Held(
                        address=str(address_of(address)),
                        server=server.name,
                        holder="" if holder is None else names.get(holder, ""),
                        since_ns=since_ns,
                        why=why,
                    )
                )
        return found


def held_before(found: Mapping[AnyAddressKey, rows.Address], own: list[Address]) -> list[int]:
    """What the data plane that runs already answers for: this server's own, unless it is silent.

    None before any agent has written a row: then all addresses are other servers' for now.
    """
    alone = {int(key.ip): row.arp for key, row in found.items() if not key.protocol}
    return [
        address
        for address, arp in alone.items()
        if arp == Arp.ANSWER or (arp == Arp.KERNEL and address_of(address) in own)
    ]
