# SPDX-License-Identifier: Apache-2.0
"""The servers of the farm as one of them knows them. Pure: time is an argument.

    UNHEARD --datagram--> FRESH --500 ms of silence--> STALE, its iNIC answers probes
                            ^                            |  ^
                            |                    silence |  | an answer
                            |                            v  |
                            '-------datagram---------- SUSPECTED --800 ms without a sign--> DOWN

`now_ns` is a clock that never steps, `wall_ms` the clock that the servers share. A datagram is
believed when it is authentic, of this farm, from a member's own address, sent within the last few
seconds, and newer than the last one from there. The memory of what was newest is kept longer than
a datagram can be believed, so none can be played back, not even to one that has just come back.

A sign of life is less than a datagram: the answer of a silent server's data plane to a probe. It
needs no agent, so the server is stale and not down, and its connections live; `silent` says who is
to be asked. A server that is down needs a datagram to come back: nobody knows what it serves now.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from ipos.agent import message
from ipos.agent.message import Rejected, State

ASK_NS = 250_000_000
"""Two datagrams and a half: its data plane is asked before anybody calls it stale."""
STALE_NS = 500_000_000
DOWN_NS = 800_000_000
"""With the tenth of a second between two looks and the one between two datagrams, a second."""
CLOCK_MS = 5_000
"""How far a sender's clock may be from ours; cookies bear somewhat more."""
FORGET_NS = 3 * CLOCK_MS * 1_000_000
INDEX_MAX = 255


class Age(Enum):
    """How old what we know of a member is."""

    UNHEARD = "unheard"
    FRESH = "fresh"
    STALE = "stale"
    SUSPECTED = "suspected"
    DOWN = "down"


@dataclass(slots=True)
class Member:
    """One server of the farm. `index` is our own number for it in the data plane's maps."""

    back_ip: IPv4Address
    index: int
    state: State | None = None
    heard_ns: int = 0
    sign_ns: int = 0
    newest: tuple[int, int] = (0, 0)
    down: bool = False

    def age(self, now_ns: int) -> Age:
        if self.state is None:
            return Age.UNHEARD
        if self.down or now_ns - max(self.heard_ns, self.sign_ns) >= DOWN_NS:
            return Age.DOWN
        if now_ns - self.heard_ns < STALE_NS:
            return Age.FRESH
        return Age.STALE if now_ns - self.sign_ns < STALE_NS else Age.SUSPECTED


@dataclass(slots=True)
class Members:
    """All servers of a farm, this one included. `counts` names what became of datagrams.

    With `discover`, an unknown server that proves the secret becomes a member.
    """

    farm: str
    key: bytes
    me: IPv4Address
    discover: bool = False
    by_ip: dict[IPv4Address, Member] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _by_number: dict[int, Member] = field(default_factory=dict)
    _my_number: int = field(init=False)
    _is_news: bool = True

    def __post_init__(self) -> None:
        self._my_number = int(self.me)

    def expect(
        self, addresses: Iterable[IPv4Address], known: Mapping[IPv4Address, int] | None = None
    ) -> None:
        """Have exactly these members, and ourselves. With `discover`, others stay.

        Who has a number keeps it, for connections of the data plane refer to it: those of now,
        and those `known` from a life before. The rest are numbered in order of address.
        """
        wanted = {*addresses, self.me}
        taken = {address: member.index for address, member in self.by_ip.items()}
        taken |= {ip: index for ip, index in (known or {}).items() if ip in wanted}
        for address in list(self.by_ip):
            if address not in wanted and not self.discover:
                del self.by_ip[address]
        for address in sorted(wanted - self.by_ip.keys()):
            index = taken.get(address) or _free(taken.values())
            taken[address] = index
            self.by_ip[address] = Member(address, index)
        # Numbers are compared in C and addresses are not: asked for some thirty times a second.
        self._by_number = {int(address): member for address, member in self.by_ip.items()}
        self._is_news = True

    @property
    def myself(self) -> Member:
        return self._by_number[self._my_number]

    def others(self) -> list[Member]:
        return [member for member in self.by_ip.values() if member.back_ip != self.me]

    def hear_myself(self, state: State, now_ns: int) -> None:
        """Our own row needs no network."""
        member = self.myself
        self._is_news |= not _stands_the_same(member.state, state)
        member.state, member.heard_ns = state, now_ns

    def receive(self, datagram: bytes, source: int, now_ns: int, wall_ms: int) -> Member | None:
        """Believe a datagram and answer whose it is, or count why not and change nothing.

        `source` is the address it came from, as a number.
        """
        try:
            state = message.decode(datagram, self.key)
            member = self._sender(state, source)
            self._check_time(member, state, now_ns, wall_ms)
        except Rejected as rejected:
            self.counts[rejected.reason] += 1
            return None
        self.counts["accepted"] += 1
        if member.state is None:
            self.by_ip[member.back_ip] = self._by_number[source] = member
        self._is_news |= member.down or not _stands_the_same(member.state, state)
        member.state, member.heard_ns, member.down = state, now_ns, False
        member.newest = (state.boot, state.sequence)
        return member

    def all_heard(self) -> bool:
        """Whether everybody has spoken since we began."""
        return all(member.state is not None for member in self.by_ip.values())

    def is_somebody_late(self, since_ns: int) -> bool:
        """Whether one who is up has said nothing since then."""
        return any(
            member.heard_ns < since_ns and member.state is not None and not member.down
            for member in self.by_ip.values()
        )

    def is_quiet(self, now_ns: int) -> bool:
        """All have spoken lately, and since this was last asked they said nothing but numbers.

        Then nobody is to be asked for a sign of life, and the maps say what they should.
        """
        news, self._is_news = self._is_news, False
        since_ns = now_ns - ASK_NS
        return not news and all(
            member.heard_ns > since_ns and member.state is not None
            for member in self.by_ip.values()
        )

    def silent(self, now_ns: int) -> list[Member]:
        """Those of whom a sign of life is wanted. Who is down by now stays so until it speaks."""
        found = []
        for member in self.by_ip.values():
            if member.state is None or now_ns - member.heard_ns < ASK_NS or member is self.myself:
                continue
            member.down = member.age(now_ns) is Age.DOWN
            if not member.down:
                found.append(member)
        return found

    def sign(self, source: IPv4Address, mac: bytes, now_ns: int) -> None:
        """A silent member's data plane has answered, from this MAC address."""
        member = self.by_ip.get(source)
        if member is None or member.state is None or member.state.mac != mac:
            return
        if member.age(now_ns) is not Age.DOWN:
            member.sign_ns = now_ns

    def slept(self, gap_ns: int) -> None:
        """We did not run for a while: silence in that time proves nothing about the others."""
        for member in self.by_ip.values():
            if member.state is not None:
                member.heard_ns += gap_ns
                member.sign_ns += gap_ns

    def _sender(self, state: State, source: int) -> Member:
        if state.farm != self.farm:
            raise Rejected("farm", f"a state datagram of the farm {state.farm}")
        if source != state.back_ip or len(state.mac) != 6:
            raise Rejected("source", "a state datagram that another wrote than sent it")
        if source == self._my_number:
            raise Rejected("own", "a state datagram of our own")
        member = self._by_number.get(source)
        if member is not None:
            return member
        if not self.discover or len(self.by_ip) >= INDEX_MAX:
            raise Rejected("stranger", "a state datagram of one that is no member")
        index = _free([member.index for member in self.by_ip.values()])
        return Member(IPv4Address(source), index)

    def _check_time(self, member: Member, state: State, now_ns: int, wall_ms: int) -> None:
        if abs(wall_ms - state.sent_ms) > CLOCK_MS:
            raise Rejected("clock", f"a state datagram {wall_ms - state.sent_ms} ms old")
        forgotten = now_ns - member.heard_ns > FORGET_NS
        if (state.boot, state.sequence) <= member.newest and not forgotten:
            raise Rejected("replayed", "a state datagram that is not newer than the last one")


def _stands_the_same(before: State | None, now: State) -> bool:
    """Whether a server says the same of all that other maps than Server state depend on."""
    return (
        before is not None
        and before.boot == now.boot
        and before.state == now.state
        and before.services == now.services
        and before.listening == now.listening
        and before.addresses == now.addresses
        and before.server == now.server
        and before.mac == now.mac
        and before.weight == now.weight
    )


def _free(taken: Collection[int]) -> int:
    """A number nobody has: one that nobody had lately, as long as there are such."""
    following = max(taken, default=0) + 1
    if following <= INDEX_MAX:
        return following
    return min(set(range(1, INDEX_MAX + 1)) - set(taken))
