# SPDX-License-Identifier: Apache-2.0
"""The servers of the farm, as one of them knows them. Pure: time is an argument.

    UNHEARD --datagram--> FRESH --500 ms of silence--> STALE, its iNIC answers probes
                            ^                            |  ^
                            |                    silence |  | an answer
                            |                            v  |
                            '-------datagram---------- SUSPECTED --550 ms without a sign--> DOWN

`now_ns` is a clock that never steps, `wall_ms` the clock that the servers share. A datagram is
believed when it is authentic, of this farm, from a member's own address, sent within the last few
seconds, and newer than the last one from there. The memory of what was newest is kept longer than
a datagram can be believed, so none can be played back, not even to one that has just come back.

A sign of life is less than a datagram: the answer of a silent server's data plane to a probe. It
needs no agent, so the server is stale and not down, and its connections live; `silent` says who is
to be asked. A server that is down needs a datagram to come back: nobody knows what it serves now.
One that says itself that it is down, as `ipos detach` does in its name, is so at once.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import msgspec

from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import heard_rows, message, parts
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.member import (
    ASK_NS,
    LATE_NS,
    STALE_NS,
    TENTH_NS,
    Age,
    Member,
    hears_mark,
)
from ipos.agent.heartbeat.message import Rejected, State, stands_the_same
from ipos.agent.heartbeat.parts import Parts
from ipos.agent.heartbeat.troubles import Trouble, Troubles
from ipos.config.crosscheck import MEMBERS_MAX

INDEX_MAX = constant("IPOS_SERVERS_MAX") - 1
PAUSE_NS = constant("IPOS_PAUSE_NS")
_NAMED = ("version", "tag", "clock", "duplicate", "full")


@dataclass(slots=True)
class Members:
    """All servers of a farm, this one included. `counts` names what became of datagrams.

    With `discover`, an unknown server that proves the secret becomes a member.
    """

    farm: str
    key: Key
    me: IPv4Address
    discover: bool = False
    by_ip: dict[IPv4Address, Member] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _by_number: dict[int, Member] = field(default_factory=dict)
    _my_number: int = field(init=False)
    _my_mark: bytes = field(init=False)
    _expected: set[IPv4Address] = field(default_factory=set)
    _troubles: Troubles = field(default_factory=Troubles)
    changes: int = 0
    """Rises when anybody says anything but numbers, begins or is gone."""
    _is_news: bool = True
    _parts: Parts = field(default_factory=Parts)
    _heard: bytes = b""
    begun_ns: int = 0
    """When a server was last heard that had begun, or was heard again after a silence."""
    listened_ns: int = sys.maxsize
    """When all that had come was read last."""
    _calm: tuple[int, int] = (-1, 0)
    """While `changes` is this and it is not later than that, all is calm."""

    def __post_init__(self) -> None:
        self._my_number = int(self.me)
        self._my_mark = hears_mark(self._my_number)

    def expect(
        self, addresses: Iterable[IPv4Address], known: Mapping[IPv4Address, int] | None = None
    ) -> None:
        """Have exactly these members, and ourselves. With `discover`, others stay.

        A server keeps its number, because connections of the data plane refer to it: those of now,
        and those `known` from a life before. The rest are numbered in order of address.
        """
        self._expected = wanted = {*addresses, self.me}
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
        self._note(True)

    def recall(self, states: Mapping[IPv4Address, tuple[int, State, int]], now_ns: int) -> None:
        """Take what was known of others by an agent before us: index, state, when it was heard.

        Their data planes are asked for a sign of life before anybody forgets them: their agents may
        be dead while they serve. One that was down needs a datagram to come back, as always.
        """
        for address, (index, state, heard_ns) in states.items():
            known = self.by_ip.get(address)
            if address == self.me or (known is None and not self.discover):
                continue
            member = known or Member(address, index)
            member.state, member.recalled = state, True
            member.heard_ns, member.sign_ns = heard_ns, now_ns
            member.down = state.state == ServerState.DOWN
            self.by_ip[address] = self._by_number[int(address)] = member
        self._note(True)

    def forget_silent(self, now_ns: int) -> None:
        """Those who were recalled, have given no sign, and nobody expects."""
        for address, member in list(self.by_ip.items()):
            if member.recalled and address not in self._expected and member.age(now_ns) is Age.DOWN:
                del self.by_ip[address], self._by_number[int(address)]
                self._note(True)

    @property
    def myself(self) -> Member:
        return self._by_number[self._my_number]

    def others(self) -> list[Member]:
        myself = self._by_number.get(self._my_number)
        return [member for member in self.by_ip.values() if member is not myself]

    def hear_myself(self, state: State, now_ns: int) -> None:
        """Our own row needs no network."""
        member = self.myself
        self._note(not stands_the_same(member.state, state))
        member.state, member.heard_ns = state, now_ns

    def receive(self, datagram: bytes, source: int, now_ns: int, wall_ms: int) -> Member | None:
        """Believe a datagram and answer whose it is, or count why not and change nothing.

        `source` is the address it came from, as a number.
        """
        try:
            state = self._state(datagram, source, now_ns)
            if state is None:
                return None
            member = self._sender(state, source)
            member.check_time(state, now_ns, wall_ms)
        except Rejected as rejected:
            self.counts[rejected.reason] += 1
            if rejected.reason in _NAMED:
                self._name(source, str(rejected), now_ns)
            return None
        self.counts["accepted"] += 1
        if member.state is None:
            self.by_ip[member.back_ip] = self._by_number[source] = member
        self._note(member.down or not stands_the_same(member.state, state))
        member.hear(state, now_ns, self._my_mark)
        member.apart_ms = wall_ms - state.sent_ms
        self._see_begin(member, now_ns)
        return member

    def _see_begin(self, member: Member, now_ns: int) -> None:
        if member.boot_ns == now_ns:
            self.begun_ns = now_ns

    def hear_numbers(self, heard: bytes, now_ns: int) -> None:
        """See who has spoken to our data plane: the rows of `heard`, of all indices.

        Of one that was recalled, or has begun anew, a whole state must come first. The numbers
        themselves are read by `take_numbers`: the data plane has them already.
        """
        self._heard = heard
        newest = heard_rows.newest(heard)
        for member in self.by_ip.values():
            said, before = newest[member.index], member.newest
            if said <= before or said[0] != before[0]:
                continue
            state = member.state
            if state is None or member.recalled or not state.edition:
                continue
            self._note(member.down)
            last_ns, _ = heard_rows.times(heard, member.index)
            member.hear_again((said[0], said[1]), last_ns, now_ns, self._my_mark)
            self._see_begin(member, now_ns)

    def take_numbers(self) -> dict[int, tuple[int, int]]:
        """Have in all states the numbers that were heard last.

        Returns by index what we had sent each of these servers by then, and how much was closed.
        """
        found = {}
        for member in self.by_ip.values():
            state, index, (_, sequence) = member.state, member.index, member.newest
            if state is None or member.recalled or sequence <= state.sequence:
                continue
            fields, found[index] = heard_rows.numbers(self._heard, index)
            member.state = msgspec.structs.replace(state, sequence=sequence, **fields)
        return found

    def heard_since(self, heard: bytes, now_ns: int) -> int:
        """Since when our data plane has heard another server without a pause; now if it does not.

        `heard`: as of `hear_numbers`. A server with news says whole states, which only we read: if
        the data plane has heard it soon after the last one, there was no pause in between.
        """
        found = [now_ns]
        for member in self.others():
            last, since = heard_rows.times(heard, member.index)
            if now_ns - last > PAUSE_NS:
                continue
            goes_on = since - member.heard_ns <= PAUSE_NS
            found.append(min(since, member.heard_ns) if goes_on else since)
        return min(found)

    def troubles(self, now_ns: int) -> list[Trouble]:
        """Those of the last few seconds."""
        return self._troubles.lately(now_ns)

    def _name(self, source: int, why: str, now_ns: int) -> None:
        is_member = source in self._by_number
        if is_member or self.discover:
            self._troubles.name(source, why, now_ns, member=is_member)

    def _state(self, datagram: bytes, source: int, now_ns: int) -> State | None:
        """A datagram's, None while other parts of it are to come."""
        if datagram[:1] != bytes((parts.KIND,)):
            return message.decode(datagram, self.key)
        part = parts.decode(datagram, self.key)
        if part is None:
            raise message.wrong_tag()
        if part.back_ip != source:
            raise Rejected("source", "a part of a state that another wrote than sent it")
        whole = self._parts.join(part, source, now_ns)
        return None if whole is None else message.decode_body(whole)

    def all_heard(self) -> bool:
        """Whether everybody has spoken since we began."""
        return all(
            member.state is not None and not member.recalled for member in self.by_ip.values()
        )

    def is_somebody_late(self, since_ns: int) -> bool:
        """Whether one who is up has said nothing since then, or shortly before.

        Clocks differ a little, so some servers speak before we do.
        """
        due_ns = since_ns - TENTH_NS // 2
        return any(
            member.heard_ns < due_ns
            and member.heard_ns + max(0, member.again_ns - TENTH_NS) < due_ns
            and member.state is not None
            and not member.down
            for member in self.by_ip.values()
        )

    def is_calm(self, now_ns: int) -> bool:
        """Whether all have spoken lately, or are down and known to be: time changes nothing."""
        changes, until_ns = self._calm
        if changes == self.changes and now_ns < until_ns:
            return True
        until_ns = now_ns + ASK_NS
        for address, member in self.by_ip.items():
            if member.state is None:
                return False
            if member.down:
                if member.recalled and address not in self._expected:
                    return False
                continue
            silent_ns = member.heard_ns + member.ask_ns
            if silent_ns <= now_ns:
                return False
            until_ns = min(until_ns, silent_ns)
        self._calm = self.changes, until_ns
        return True

    def is_quiet(self, now_ns: int) -> bool:
        """All is calm, and since this was last asked nobody has said anything but numbers.

        Then nobody is to be asked for a sign of life, and the maps say what they should.
        """
        news, self._is_news = self._is_news, False
        return not news and self.is_calm(now_ns)

    def _note(self, news: bool) -> None:
        self._is_news |= news
        self.changes += news

    def silent(self, now_ns: int) -> list[Member]:
        """Those of whom a sign of life is wanted. Who is down by now stays so until it speaks."""
        found = []
        for member in self.by_ip.values():
            if (
                member.state is None
                or now_ns - member.heard_ns < member.ask_ns
                or member is self.myself
            ):
                continue
            was_down, member.down = member.down, member.age(now_ns) is Age.DOWN
            self._note(member.down and not was_down)
            if not member.down:
                found.append(member)
        return found

    def answered(self, source: IPv4Address, mac: bytes, now_ns: int) -> None:
        """A silent member's data plane has answered, from this MAC address."""
        member = self.by_ip.get(source)
        if member is None or member.state is None or member.state.mac != mac:
            return
        if member.age(now_ns) is not Age.DOWN:
            member.sign_ns = now_ns

    def begun(self, now_ns: int) -> dict[int, int | None]:
        """Of the others that are up, by index: when the agent began. None: it says it is down."""
        found: dict[int, int | None] = {}
        for member in self.others():
            if member.state is None:
                continue
            if member.state.state == ServerState.DOWN:
                found[member.index] = None
            elif member.age(now_ns) is not Age.DOWN:
                found[member.index] = member.state.boot
        return found

    def known_at(self, now_ns: int) -> int:
        """The time at which to judge others outside of a beat: what they said may not be read."""
        return min(now_ns, self.listened_ns + LATE_NS)

    def hears_nobody(self, now_ns: int) -> bool:
        """Whether there are others, and none of them is heard or answers."""
        known = [member for member in self.others() if member.state is not None]
        return bool(known) and all(
            member.age(now_ns) not in (Age.FRESH, Age.STALE) for member in known
        )

    def all_answer(self, now_ns: int) -> bool:
        """Whether all others that are up hear what this server asks on back, as far as is known.

        Then a connection that no server answers for is nobody's.
        """
        for member in self.others():
            if member.state is None:
                continue
            age = member.age(now_ns)
            if member.standing.why and not member.standing.refused:
                return False
            if age is not Age.DOWN and (
                age not in (Age.FRESH, Age.STALE) or member.deaf_ns or member.recalled
            ):
                return False
        return True

    def slept(self, gap_ns: int, now_ns: int) -> None:
        """We did not run for a while: silence in that time proves nothing about the others.

        After a long pause nothing that was before it does: all have as long as any to be heard.
        """
        for member in self.by_ip.values():
            if member.state is None:
                continue
            member.heard_ns = min(member.heard_ns + gap_ns, now_ns)
            member.sign_ns = min(member.sign_ns + gap_ns, now_ns)
            if gap_ns >= STALE_NS and not member.down:
                member.sign_ns = now_ns
            member.paused = True

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
        if not self.discover:
            raise Rejected("stranger", "a state datagram of one that is no member")
        if len(self.by_ip) >= MEMBERS_MAX:
            raise Rejected("full", f"a farm has at most {MEMBERS_MAX} servers, so it is left out")
        index = _free([member.index for member in self.by_ip.values()])
        return Member(IPv4Address(source), index)


def _free(taken: Collection[int]) -> int:
    """A number nobody has: one that nobody had lately, as long as there are such."""
    following = max(taken, default=0) + 1
    if following <= INDEX_MAX:
        return following
    return min(set(range(1, INDEX_MAX + 1)) - set(taken))
