# SPDX-License-Identifier: Apache-2.0
"""Finds servers that are heard and cannot serve: half-dead links, names that two servers have.
Pure.

    its front is out         it says so itself: no carrier, or its next hop does not answer
    it does not hear us      its states say whom it hears, and we are not among them
    our own back is out      we reach nobody
    its name, its address    another server has it too, and was there before; where routers are told
                             of addresses, several may have one, but not the first of another

Such a server gets nothing new at once, and so does one that refuses offers itself. When the fault
lasts it is down, so its clients are told. A server stays out until there was no fault for a while.
Otherwise a loose plug would move every session at each contact.

A server that is silent is down when another one is heard. Who hears nobody may be the one that is
cut off: then the others are out, and down when that has lasted, or when nobody on front answers for
what they had although front is well. Without front they are never down: no client could be told,
and others may serve these connections by now.

A front that is out counts only while another server's front is well. When a switch or a router
restarts, all servers lose front together; none is better than another, and connections survive
that.
"""

from enum import IntEnum
from typing import NamedTuple

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.member import STALE_NS, Age, Member, Standing, hears_mark
from ipos.agent.heartbeat.membership import Members
from ipos.ip_family import address_of


class Fault(IntEnum):
    """What a server says is wrong with itself. Numbers are never used again."""

    NONE = 0
    FRONT_CARRIER = 1
    FRONT_NEIGHBOUR = 2
    BACK_CARRIER = 3
    DUPLICATE = 4


TEXTS = {
    Fault.FRONT_CARRIER: "its front interface has no carrier",
    Fault.FRONT_NEIGHBOUR: "its next hop on front does not answer ARP",
    Fault.BACK_CARRIER: "its back interface has no carrier",
    Fault.DUPLICATE: "another server has its name or an address of it",
}
FRONT = (int(Fault.FRONT_CARRIER), int(Fault.FRONT_NEIGHBOUR))
FRONT_DOWN_NS = 3_000_000_000
"""A plug that is put into another socket is back by then, and its connections live."""
DEAF_DOWN_NS = 200_000_000
"""It has not heard us for half a second already when it says so: together 0.7 s."""
CALM_NS = 1_000_000_000
"""So long a server must have heard us before it is taken for one that does."""
OPENING_NS = 1_500_000_000
"""So long after either side has begun to speak, not to be heard proves nothing. A kernel that has
asked by ARP before there was a carrier asks again a second later."""
ALONE_NS = 5_000_000_000
"""Who hears nobody takes the others for dead after that."""
GONE_NS = 5_000_000_000
"""A server that has been down for so long leaves its name and its addresses to others."""


class _Deaf(NamedTuple):
    """What was made of it that a server does not hear us, and when it last said so."""

    said_ns: int
    state: ServerState


_ALONE = "no server is heard, so it may be this one that is cut off"


class Faults:
    """The judge of one agent: sets `standing` of every member.

    `mine` is what this server says of itself, `hears` whom it hears; both go into its next state.
    """

    def __init__(self, members: Members, started_ns: int, *, shared: bool = False) -> None:
        """shared: several servers may list one address, if it is the first of one at most."""
        self._members = members
        self._shared = shared
        self._started_ns = started_ns
        self._deaf: dict[int, _Deaf] = {}
        self._out: dict[int, int] = {}
        self._dead: set[int] = set()
        self._alone_ns: int | None = None
        self._front_ns, self._held = 0, frozenset[int]()
        self.mine = Fault.NONE
        self.hears = b""
        self.uneasy = False

    def begin(self, now_ns: int) -> None:
        """This server speaks again after a pause, in which no server could hear it."""
        self._started_ns = now_ns

    def look(
        self, now_ns: int, links: Fault, front_ns: int = 0, held: frozenset[int] = frozenset()
    ) -> bool:
        """Judge all anew; whether anybody's standing has changed. `links` is about our own.

        front_ns: when a next hop on front last answered. held: addresses that we answer for.
        """
        members = self._members
        known = [member for member in members.by_ip.values() if member.state is not None]
        refused = _refused(known, now_ns, shared=self._shared)
        mine = Fault.DUPLICATE if members.myself.index in refused else links
        well = {
            member.index
            for member in known
            if _is_up(member, now_ns) and not _front_is_out(member, members, mine)
        } - refused.keys()
        before = {member.index: member.standing for member in known}
        self._front_ns, self._held = front_ns, held
        self._see_whether_alone(now_ns, mine)
        for member in known:
            if member.index in refused:
                why = refused[member.index]
                member.standing = Standing(why, ServerState.MAINT, refused=True)
            else:
                member.standing = self._standing(member, now_ns, mine, well)
        self.mine = mine
        self.hears = b"".join(
            sorted(
                hears_mark(int(member.back_ip))
                for member in known
                if member is not members.myself and member.age(now_ns) in (Age.FRESH, Age.STALE)
            )
        )
        self.uneasy = any(member.standing.why or member.deaf_ns for member in known)
        return before != {member.index: member.standing for member in known}

    def _see_whether_alone(self, now_ns: int, mine: Fault) -> None:
        if not self._members.hears_nobody(now_ns):
            self._alone_ns = None
        elif self._alone_ns is None or mine in FRONT:
            self._alone_ns = now_ns

    def _silent(self, member: Member, now_ns: int) -> Standing:
        """Of one that is silent for good: down, or only out, see above. Once down it stays so."""
        state = member.state
        assert state is not None
        since_ns = max(member.heard_ns, member.sign_ns) + STALE_NS
        is_dead = (
            member.index in self._dead
            or state.state == ServerState.DOWN
            or self._alone_ns is None
            or now_ns - self._alone_ns >= ALONE_NS
            or (self._front_ns > since_ns and not self._held.isdisjoint(state.addresses))
        )
        if not is_dead:
            return Standing(_ALONE, ServerState.MAINT)
        self._dead.add(member.index)
        return Standing()

    def _standing(self, member: Member, now_ns: int, mine: Fault, well: set[int]) -> Standing:
        state, myself = member.state, member is self._members.myself
        assert state is not None
        fault = int(mine) if myself else state.fault
        if not myself and fault == Fault.DUPLICATE:
            return Standing(TEXTS[Fault.DUPLICATE], ServerState.MAINT, refused=True)
        if member.age(now_ns) is Age.DOWN:
            self._deaf.pop(member.index, None)
            self._out.pop(member.index, None)
            return self._silent(member, now_ns)
        self._dead.discard(member.index)
        why, after_ns = "", 0
        deaf = None if myself else self._deafness(member, now_ns)
        if fault in FRONT and well - {member.index}:
            why, after_ns = TEXTS[Fault(fault)], FRONT_DOWN_NS
        elif not myself and mine is Fault.BACK_CARRIER:
            why, after_ns = "our own back interface has no carrier", GONE_NS
        elif deaf is not None:
            self._out.pop(member.index, None)
            return Standing("it does not hear us, though we hear it", deaf)
        if not why:
            self._out.pop(member.index, None)
            return Standing()
        since_ns = self._out.setdefault(member.index, now_ns)
        lasts = now_ns - since_ns >= after_ns
        return Standing(why, ServerState.DOWN if lasts else ServerState.MAINT)

    def _deafness(self, member: Member, now_ns: int) -> ServerState | None:
        """What it is because it does not hear us; None: nothing.

        There is a pause before it is believed to hear us again. In that time it is what it was: who
        was deaf for a moment only does not become down by it.
        """
        opening_ns = max(member.boot_ns, self._started_ns) + OPENING_NS
        deaf_ns = member.deaf_ns if member.age(now_ns) is Age.FRESH else 0
        before = self._deaf.get(member.index)
        if deaf_ns and now_ns >= opening_ns:
            lasts_ns = now_ns - max(deaf_ns, opening_ns)
            patience_ns = max(DEAF_DOWN_NS, 2 * member.again_ns)  # two of its states say so
            was_down = before is not None and before.state is ServerState.DOWN
            down = was_down or lasts_ns >= patience_ns
            before = _Deaf(now_ns, ServerState.DOWN if down else ServerState.MAINT)
            self._deaf[member.index] = before
        if before is not None and now_ns - before.said_ns < CALM_NS:
            return before.state
        self._deaf.pop(member.index, None)
        return None


def _is_up(member: Member, now_ns: int) -> bool:
    state = member.state
    return (
        state is not None
        and member.age(now_ns) in (Age.FRESH, Age.STALE)
        and state.state == ServerState.READY
    )


def _front_is_out(member: Member, members: Members, mine: Fault) -> bool:
    assert member.state is not None
    return (int(mine) if member is members.myself else member.state.fault) in FRONT


def _refused(known: list[Member], now_ns: int, *, shared: bool) -> dict[int, str]:
    """The servers that have a name or address of another server, and that other server.

    The name belongs to the server that does not itself say that it is refused; of two, to the one
    whose agent was started first. So all servers come to the same answer, and a refused server
    stays out when the agent of the other one is restarted, until that server is gone.
    """
    there = [member for member in known if not _is_gone(member, now_ns)]
    there.sort(key=_precedence)
    owners: dict[tuple[str, object], Member] = {}
    refused: dict[int, str] = {}
    for member in there:
        state = member.state
        assert state is not None
        claims: list[tuple[str, object]] = [("MAC address", state.mac)]
        claims += [("name", state.server)] if state.server else []
        own = state.addresses[:1] if shared else state.addresses
        claims += [("address", address) for address in own]
        taken = next((claim for claim in claims if claim in owners), None)
        if taken is None:
            owners |= dict.fromkeys(claims, member)
            continue
        refused[member.index] = (
            f"{owners[taken].back_ip} has the {_claim(*taken)} too, and was there before: "
            "give each server its own"
        )
    return refused


def _precedence(member: Member) -> tuple[bool, int, int]:
    assert member.state is not None
    return member.state.fault == Fault.DUPLICATE, member.state.boot, member.index


def _claim(what: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"{what} {value.hex(':')}"
    return f"{what} {address_of(value) if isinstance(value, int) else value}"


def _is_gone(member: Member, now_ns: int) -> bool:
    state = member.state
    if state is None or state.state == ServerState.DOWN:
        return True
    last_ns = max(member.heard_ns, member.sign_ns)
    return member.age(now_ns) is Age.DOWN and now_ns - last_ns >= GONE_NS
