# SPDX-License-Identifier: Apache-2.0
"""Which server should hold a service address. Pure.

The server that lists an address holds it while it can. When it cannot, one of the others does: the
one that holds it already, or else the winner of a rendezvous hash over address and server. All
servers that know the same come to the same answer. A dead server's addresses spread over all
servers that are left. A server that joins or leaves moves no address except those that it holds.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.member_faults import FRONT, TEXTS, Fault
from ipos.agent.heartbeat.membership import Members
from ipos.agent.uplinks.uplink_faults import unusable
from ipos.config.uplink import Uplink
from ipos.ip_family import packed


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as far as addresses are concerned.

    `number` is its back address. `lists` are its own addresses, `holds` those that it answers for
    and `claims` those that it wants from their holders. `why` says why it can hold none, empty when
    it can. `takes`: it may also hold another server's. `doubtful`: it is silent, and will be down
    soon if it stays so. `down`: it is silent for good, and answers for nothing. `unusable` are
    addresses that no client reaches it by, and why.
    """

    number: int
    name: str
    lists: Collection[int] = ()
    holds: Collection[int] = ()
    claims: Collection[int] = ()
    why: str = ""
    takes: bool = True
    doubtful: bool = False
    down: bool = False
    unusable: Mapping[int, str] = field(default_factory=dict, hash=False)

    def is_holding(self, address: int) -> bool:
        """Whether it answers for the address, as far as is known."""
        return not self.down and address in self.holds


class Index:
    """The servers of one moment, found by address: a large farm asks for hundreds at once."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._able: list[Server] = []
        self._listing: dict[int, Server] = {}
        self._holding: dict[int, list[Server]] = {}
        for server in servers:
            if server.why:
                continue
            for address in server.lists:
                if address not in server.unusable:
                    self._listing.setdefault(address, server)
            if server.takes:
                self._able.append(server)
                for address in server.holds:
                    self._holding.setdefault(address, []).append(server)

    def choose(self, address: int) -> Server | None:
        """Who should hold the address; None when nobody can."""
        listing = self._listing.get(address)
        if listing is not None:
            return listing
        holding = [one for one in self._holding.get(address, ()) if address not in one.unusable]
        able = holding or [one for one in self._able if address not in one.unusable]
        return max(able, key=lambda server: weight(address, server.number), default=None)


def choose(address: int, servers: Iterable[Server]) -> Server | None:
    """Who should hold the address; None when nobody can."""
    return Index(servers).choose(address)


def rank(address: int, number: int, servers: Sequence[Server]) -> int:
    """How many servers would take the address before the one with this number."""
    mine = weight(address, number)
    return sum(
        server.takes
        and not server.why
        and address not in server.unusable
        and weight(address, server.number) > mine
        for server in servers
    )


@lru_cache(maxsize=65_536)
def weight(address: int, number: int) -> bytes:
    """Of a server for an address: the largest one wins (rendezvous hashing)."""
    said = packed(address) + number.to_bytes(4, "big")
    return hashlib.blake2b(said, digest_size=8).digest()


def because(address: int, servers: Sequence[Server], *, own: bool) -> str:
    """Why a server takes an address."""
    if own:
        return "it is this server's own"
    return why_not_its_own(address, servers)


def why_not_its_own(address: int, servers: Sequence[Server]) -> str:
    """Why the server that lists an address does not hold it."""
    for server in servers:
        if address in server.lists:
            why = server.why or server.unusable.get(address)
            return why or f"{server.name} has not taken it back yet"
    return "no server lists it"


def servers_of(members: Members, now_ns: int, uplinks: Sequence[Uplink] = ()) -> list[Server]:
    """The farm's servers as this one knows them now."""
    listed = {
        address
        for member in members.by_ip.values()
        if uplinks and member.state is not None
        for address in member.state.addresses
    }
    return [
        _server(
            member, now_ns, unusable(uplinks, member.state, listed),
            mine=member is members.myself,
        )
        for member in members.by_ip.values()
        if member.state is not None
    ]  # fmt: skip


def _server(member: Member, now_ns: int, unusable: Mapping[int, str], *, mine: bool) -> Server:
    state, age = member.state, Age.FRESH if mine else member.age(now_ns)
    assert state is not None
    name = state.server or str(member.back_ip)
    why = _why_not(member, name, age)
    partakes = state.holds is not None
    return Server(
        number=int(member.back_ip),
        name=name,
        lists=() if member.standing.refused else state.addresses,
        holds=state.addresses if state.holds is None else state.holds,
        claims=state.claims,
        why=why,
        takes=partakes
        and age is Age.FRESH
        and not member.standing.why
        and state.state == ServerState.READY,
        doubtful=not mine and age is not Age.DOWN and member.is_doubtful(now_ns),
        down=age is Age.DOWN,
        unusable=unusable,
    )


def _why_not(member: Member, name: str, age: Age) -> str:
    """Why a server can hold no address. One that drains can, until it has no connection left.

    Nor is a server unable because it hears no other server or is not heard, although it gets no
    requests: it may reach its clients, and a server that wants its address finds that it answers
    for it.
    """
    state = member.state
    assert state is not None
    if age is Age.DOWN:
        return f"{name} is down"
    if member.standing.refused:
        return f"{name} is refused: {member.standing.why}"
    if member.standing.state is ServerState.DOWN and state.fault in FRONT:
        return f"{name} cannot be reached: {TEXTS[Fault(state.fault)]}"
    if state.state == ServerState.MAINT:
        return f"{name} is in maintenance"
    if state.state == ServerState.DRAIN and state.leaving is not None and state.leaving.gives:
        return f"{name} is drained"
    return ""
