# SPDX-License-Identifier: Apache-2.0
"""The state of a server: one UDP datagram of a few hundred bytes.

It is sent when there is something new, and every tenth time. In the beats between, a frame to
the other data planes says what changes all the time (`pace`, `ipos.wire.StatePacket`).

One that has many services or addresses has more to say, and says it in parts (`parts`).

    offset  size
    0       1     version = 3: of all that servers tell each other, frames included
    1       n     body: `State` as a MessagePack array; a receiver ignores elements it does not know
    1 + n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

BLAKE2b and not the SipHash of the frames: these datagrams never meet the data plane, and the
standard library has it in C.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import datagram_tags, parts
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key
from ipos.config.schema import NAME_PATTERN
from ipos.errors import IposError
from ipos.ip_family import FOUR_MAX, packed

PORT = 7077
VERSION = 3
"""Rises when frames change, too: who is not heard is given no connections. 2 are `parts`."""
SIZE_MAX = 1400
LISTENERS_MAX = 24
"""Listening sockets that one datagram names at most; a service's own come first."""
APPLICATIONS_MAX = 8
"""And applications, in the order of their sockets."""


Word = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
"""Of a server: it becomes part of host names, of responses and of file names."""
Big = Annotated[int, Meta(ge=0)]
Address6 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Percent = Annotated[int, Meta(ge=0, le=100)]


class Rejected(IposError):
    """A datagram that is not believed. `reason` is the name it is counted under."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Listening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A listening socket: address as a number, port, and its process (0: hidden).

    mptcp: it takes no connection of the farm but by its SYN. udp: of UDP, else of TCP. container:
    what the one is called that it is in, "" if in none. outside: it takes no connection, because it
    is not of the server's cgroup.
    """

    ip: Word
    port: Annotated[int, Meta(ge=0, le=0xFFFF)]
    pid: int = 0
    process: str = ""
    mptcp: bool = False
    udp: bool = False
    container: str = ""
    outside: bool = False

    def takes_at(self, port: int, *, udp: bool = False, by_syn: bool = False) -> bool:
        """Whether it takes connections of the farm at this port, or flows.

        by_syn: whether SYNs are forwarded to it.
        """
        if self.outside or (self.mptcp and not by_syn):
            return False
        return self.port == port and self.udp == udp


class Application(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A process that listens, with its children: memory in bytes, CPU in permille of the board."""

    pid: int
    memory: int
    cpu_permille: int
    name: str = ""


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an operator wants of a server, its state and its weight, and when he said each.

    Times are ms since 1970, 0 for what nobody said. `weight` 0 is the one that is configured.
    `deadline_ms` is when connections that are left on a server that drains are reset, 0: never.
    `shed` idle connections are to be chosen anew, which was said at `shed_ms`.
    """

    server: str
    state: int
    when_ms: int
    weight: int = 0
    weighed_ms: int = 0
    deadline_ms: int = 0
    shed: int = 0
    shed_ms: int = 0


class Leaving(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far a server is that is to lose its connections, since it was told so.

    `moved`: with their next request; `handed_back`: to their first servers, without one; `reset`:
    by the deadline. `left` are those that its applications have, by reason (`drain.reasons`).
    `forwards` are those that it gives on for others, `unattached` those that wait in it for a
    request. `gives`: others may have its addresses.
    """

    since_ms: int
    deadline_ms: int
    moved: int
    handed_back: int
    reset: int
    left: dict[str, int]
    forwards: int = 0
    unattached: int = 0
    gives: bool = False


class Starting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A service's application that the server may start.

    `phase` is a `ipos.instance.record.Phase`. `wanted`: requests wait in this server for it.
    `used_s` is until when it was used as far as this server knows, as Unix time. `memory` is what
    it took last time, in bytes, `obeyed` the number of the last choice that was carried out. `why`
    is the sentence about its last failure. `connections` are those that it has, rounded, 0 where
    they do not matter. `call` names the call that asked for it, where it was spawned: then `why`
    says how it has ended.
    """

    service: str
    phase: Annotated[int, Meta(ge=0, le=0xFF)] = 0
    wanted: bool = False
    used_s: Big = 0
    memory: Big = 0
    obeyed: Big = 0
    why: str = ""
    connections: Big = 0
    call: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call for a spawned program, which lives as long as its caller's server says this.

    `service` is the one by which it is reached, and `name` is the call's own: its server's name, a
    dot and a number. `wanted`: it does not run yet, so somebody is to start it with `args`.
    """

    service: str
    name: str
    wanted: bool = False
    args: list[str] = []


class Choice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which server is to start a service's application, or to stop it. Numbers rise.

    `call` is the call that it is started for, "" where it is for requests.
    """

    service: str
    server: str
    number: Big
    stops: bool = False
    call: str = ""


class Addresses6(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a state says of IPv6 addresses, of 16 bytes each, as it does of IPv4 ones."""

    addresses: list[Address6] = []
    holds: list[Address6] = []
    claims: list[Address6] = []


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One server at one moment.

    `boot` is when its agent started and `sent_ms` when this was sent, both wall-clock time since
    1970 in milliseconds; (boot, sequence) rises strictly. Addresses are numbers, `mac` is the
    back interface's. `services` are the names of those whose application listens and is well.
    `bandwidth` is in bits per second, memory in bytes; `limit` is how many connections it takes,
    0 for any number. `weight` counts in every pool that has it, 0: what is configured there does.
    A server whose data plane is taken away says that its state is DOWN; nobody else does.
    `fault` is what it says is wrong with itself (`member_faults`), 0 for nothing. `hears` are
    those it hears, two bytes each (`membership.hears_mark`); None when it does not say.
    `withheld` are the TCP options that its kernel cannot take (`enum ipos_options`).
    `holds` are the service addresses that it answers for on front, None when it does not say;
    `claims` those that it wants from their holders (`ipos.agent.holders`).
    It says its next state `again_ms` after this one. `leaving` is how far it is with losing its
    connections, None while it is not to. `edition` rises when it says anything new but
    numbers; frames that say nothing else name it. 0: there are none. `starting` are the services
    whose applications it may start, where there is something to say, `choices` who is to. `uplinks`
    are those that it is on and what is wrong with each (`uplinks.uplink_faults`); None where the
    farm has none. `memory_short` and `bandwidth_short` are how short it is of them, 0 for enough
    (`ipos.agent.host.shortage`). `by_syn` are those of `services` whose connections it can take
    only by their SYNs. `calls` are those of the server's programs for spawned ones. `six` has the
    IPv6 addresses of `addresses`, `holds` and `claims` in a datagram, and is empty otherwise: there
    these have numbers of either family, IPv4 first.
    New fields go to the end, with a default.
    """

    farm: str
    server: Name
    boot: int
    sequence: int
    sent_ms: int
    state: Annotated[int, Meta(ge=int(ServerState.READY), le=int(ServerState.DOWN))]
    back_ip: Word
    mac: bytes
    addresses: list[Word]
    tcp_connections: Word = 0
    cpu_permille: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    memory_available: Big = 0
    bandwidth_available: Big = 0
    services: list[str] = []
    listening: list[Listening] = []
    orders: list[Order] = []
    applications: list[Application] = []
    limit: Word = 0
    weight: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    fault: Annotated[int, Meta(ge=0, le=0xFF)] = 0
    hears: bytes | None = None
    withheld: Annotated[int, Meta(ge=0, le=0xFF)] = 0
    holds: list[Word] | None = None
    claims: list[Word] = []
    again_ms: Annotated[int, Meta(ge=100, le=250)] = 100
    leaving: Leaving | None = None
    edition: Word = 0
    starting: list[Starting] = []
    choices: list[Choice] = []
    uplinks: dict[str, Annotated[int, Meta(ge=0, le=0xFF)]] | None = None
    memory_short: Percent = 0
    bandwidth_short: Percent = 0
    by_syn: list[str] = []
    calls: list[Call] = []
    six: Addresses6 | None = None


def stands_the_same(before: State | None, now: State) -> bool:
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
        and before.fault == now.fault
        and (before.hears, before.holds, before.claims) == (now.hears, now.holds, now.claims)
        and (before.starting, before.choices) == (now.starting, now.choices)
        and before.uplinks == now.uplinks
        and (before.by_syn, before.calls) == (now.by_syn, now.calls)
    )


def contains(hears: bytes, mark: bytes) -> bool:
    """Whether the marks of a state have this one (`membership.hears_mark`)."""
    return any(hears[at : at + 2] == mark for at in range(0, len(hears), 2))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def encode(state: State, key: Key) -> bytes:
    """The datagram that says this, whatever its length."""
    body = _body(state)
    return body + datagram_tags.tag(body, key)


def datagrams(state: State, key: Key) -> list[bytes]:
    """What is sent for a state: one datagram, or parts where it is too long for one.

    Applications, and then listening sockets, are left out from the end until it fits in one; where
    the rest alone is too long for that, until it fits in the parts there may be.
    """
    bare = msgspec.structs.replace(state, listening=[], applications=[])
    one = SIZE_MAX - TAG_SIZE
    room = one if len(_body(bare)) <= one else parts.PARTS_MAX * parts.PIECE
    while len(body := _body(state)) > room and (state.listening or state.applications):
        state = _shorter(state)
    if len(body) <= one:
        return [body + datagram_tags.tag(body, key)]
    return parts.split(body, state.boot, state.sequence, state.back_ip, key)


def _shorter(state: State) -> State:
    """With half of its applications, or of its listening sockets where none are left."""
    if state.applications:
        fewer = state.applications[: len(state.applications) // 2]
        return msgspec.structs.replace(state, applications=fewer)
    listening = state.listening[: len(state.listening) // 2]
    return msgspec.structs.replace(state, listening=listening)


def _body(state: State) -> bytes:
    return bytes((VERSION,)) + _encoder.encode(_by_family(state))


def _by_family(state: State) -> State:
    """As it is in a datagram: MessagePack has no numbers of 16 bytes."""
    named = (state.addresses, state.holds or [], state.claims)
    if not any(one > FOUR_MAX for each in named for one in each):
        return state
    fours = [[one for one in each if one <= FOUR_MAX] for each in named]
    sixes = [[packed(one) for one in each if one > FOUR_MAX] for each in named]
    return msgspec.structs.replace(
        state,
        addresses=fours[0],
        holds=None if state.holds is None else fours[1],
        claims=fours[2],
        six=Addresses6(*sixes),
    )


def _together(state: State) -> State:
    """As it is everywhere else."""
    if state.six is None:
        return state
    told = (state.six.addresses, state.six.holds, state.six.claims)
    addresses, holds, claims = (
        [number for number in (int.from_bytes(one, "big") for one in each) if number > FOUR_MAX]
        for each in told
    )
    return msgspec.structs.replace(
        state,
        addresses=[*state.addresses, *addresses],
        holds=None if state.holds is None else [*state.holds, *holds],
        claims=[*state.claims, *claims],
        six=None,
    )


def decode(datagram: bytes, key: Key) -> State:
    """What an authentic datagram says; Rejected names why another is not believed."""
    if len(datagram) < 1 + TAG_SIZE:
        raise Rejected("short", f"a state datagram of {len(datagram)} bytes is cut short")
    if datagram[0] != VERSION:
        raise _other_version(datagram[0])
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if not datagram_tags.is_right(body, tag, key):
        raise wrong_tag()
    return decode_body(body)


def wrong_tag() -> Rejected:
    """What a datagram is rejected by that is not under the farm's key."""
    return Rejected(
        "tag",
        "its datagrams fail the farm's tag: it has another secret_file, or is another farm's; "
        "give all servers of a farm the same secret_file",
    )


def _other_version(version: int) -> Rejected:
    return Rejected(
        "version",
        f"its datagrams are of version {version}, not {VERSION}: it runs another release of ipOS, "
        "and neither believes the other's frames; run one release on all servers",
    )


def decode_body(body: bytes) -> State:
    """The state in a datagram without its tag, or in all its parts."""
    if body[:1] != bytes((VERSION,)):
        raise _other_version(body[0] if body else 0)
    try:
        return _together(_decoder.decode(body[1:]))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Rejected("malformed", f"a state datagram that cannot be read: {error}") from None
