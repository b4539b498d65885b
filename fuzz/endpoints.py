# SPDX-License-Identifier: Apache-2.0
"""The native library against the oracle of unattached endpoints, packet by packet.

For each packet: the same counters, the same answer byte for byte, the same state, as many bytes
held and acknowledged. When a request is whole, the same handshake and the same bytes must reach
the owner, here or there, or the client the same refusal. Then the connection is Local's or
Forward's, which the oracle does not know, and the session ends.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ipos.abi.layout import constant, header, layout
from ipos.handshake.segment import Flag, Segment, SegmentError, parse_packet
from ipos.wire import ethernet, packets, responses
from native.shapes import pack, unpack
from spec.handshake.cookies import Agreed, Handshake
from spec.handshake.unattached import State
from spec.requests import http, tls
from spec.requests.endpoint import Around, Endpoint, Step, step
from spec.requests.head import Head, Mode
from spec.requests.head_result import Ambiguity
from tests.support.clients import Session, frame
from tests.support.golden import packets as golden
from tests.support.golden.machine import (
    LISTENER,
    NOW_NS,
    WALL_NS,
    Config,
    NativeMachine,
    Ran,
    configure,
    connection_key,
    network,
)

SIZES = {
    "forward": 16, "local": 16, "connect": 16, "temporary": 64, "holding": 16, "hold_pool": 64,
    "hold_free": 64, "deny": 16,
}  # fmt: skip
IDLE = 0.15
"""Share of the sessions that begin between two requests."""
TABLES = ("forward", "local", "holding", "temporary")
_STATES = {
    constant("IPOS_TEMP_OPEN"): State.OPEN,
    constant("IPOS_TEMP_CLOSED"): State.CLOSED,
    constant("IPOS_TEMP_RESET"): State.RESET,
}
_HANDSHAKE = tuple(field.name for field in fields(Handshake))
_BLANK = constant("HEAD_BLANK")
_EPOCHS = range(golden.EPOCH - 1, golden.EPOCH + 120)
_PAUSES_NS = (0, 0, 0, 1_000_000, 4_999_999, 5_000_000, 5_000_001, 1_000_000_000, 17_000_000_000)
_ANSWER = bytes.fromhex((golden.ROUTER + golden.FRONT).replace(":", "")) + b"\x08\x00"
_TUPLE = layout("ipos_tuple")


class Mismatch(Exception):
    """Two judges differ; the text says in what."""


def cookie_key(epoch: int) -> bytes:
    return epoch.to_bytes(16, "big")


@dataclass(slots=True)
class Bench:
    """One node, cleared between sessions. `there`: requests are decided for s2.

    `starts`: no server has the application, and one is to start it.
    """

    there: bool
    starts: bool = False
    machine: NativeMachine = field(default_factory=lambda: NativeMachine(SIZES))
    packets: int = 0

    def __post_init__(self) -> None:
        candidates = () if self.starts else (2,) if self.there else (1,)
        starts = "WAIT" if self.starts else "NOT"
        configure(self.machine, Config(candidates=candidates, starts=starts))
        for epoch in _EPOCHS:
            raw = cookie_key(epoch)
            self.machine.table("cookie_keys")[epoch % constant("IPOS_EPOCHS")] = {
                "key": struct.unpack("<QQ", raw), "epoch": epoch, "valid": 1,
            }  # fmt: skip
        self.machine.listen([LISTENER])

    def session(self, seed: int, length: int) -> None:
        """Run one client; Mismatch if the judges differ."""
        rng = random.Random(seed)
        self._clear()
        client = Session.begin(rng, rng.randrange(1, 65_536))
        endpoints: dict[tuple[int, ...], Endpoint] = {}
        now = NOW_NS
        if rng.random() < IDLE:
            key, endpoint = self._idle(rng, client)
            endpoints[key] = endpoint
        for number in range(length):
            now += rng.choice(_PAUSES_NS)
            packet = client.next_packet()
            self.packets += 1
            try:
                going = self._packet(client, packet, endpoints, now)
            except Mismatch as mismatch:
                shown = packet[:64].hex() + "..." * (len(packet) > 64)
                raise Mismatch(f"session {seed}, packet {number} ({shown}): {mismatch}") from None
            if not going:
                return

    def _idle(self, rng: random.Random, client: Session) -> tuple[tuple[int, ...], Endpoint]:
        """A client that was answered, and whose connection has left its application."""
        agreed = Agreed.TIMESTAMPS if client.stamped else Agreed(0)
        began = Handshake(rng.getrandbits(32), rng.getrandbits(32), 1460, 7, agreed, 0, 0)
        goes_on = replace(began, iss=rng.getrandbits(32), irs=client.isn)
        client.heard(goes_on.iss, rng.getrandbits(32))
        self.machine.table("holding")[connection_key(client.port)] = {
            "hs": {name: int(getattr(goes_on, name)) for name in _HANDSHAKE}, "service": 1,
            "iss": began.iss, "irs": began.irs, "live": 1, "head_state": _BLANK,
            "client_ip": network(golden.CLIENT), "window": 502,
            "client_mac": bytes.fromhex(golden.ROUTER.replace(":", "")),
        }  # fmt: skip
        key = (network(golden.CLIENT), client.port, network(golden.SERVICE))
        head = Head(mode=Mode.LATER)
        return key, Endpoint(State.IDLE, goes_on, head=head, began=began)

    def _clear(self) -> None:
        node = self.machine.node
        for name in TABLES:
            store = node.store(name)
            for key, _ in list(store.items()):
                store.delete(key)
        free = node.store("hold_free")
        while free.pop() is not None:
            pass
        for index in range(SIZES["hold_pool"]):
            free.push(index.to_bytes(4, "little"))

    def _packet(
        self,
        client: Session,
        packet: bytes,
        endpoints: dict[tuple[int, ...], Endpoint],
        now: int,
    ) -> bool:
        """One packet; whether the session goes on."""
        node = self.machine.node
        node.clock(now)
        before = node.counters()
        ran = self.machine.xdp(frame(packet), "front")
        if ran.verdict == "pass":
            ran = self.machine.ingress(ran.frame, "front")
        counters = _since(before, node.counters())
        counters.pop("URGENT_CLEARED", None)  # the oracle knows no urgent data
        try:
            segment = _parsed(packet)
        except SegmentError as error:
            return _unsound(error, packet, ran, counters)
        key = (int(segment.source), segment.source_port, int(segment.destination))
        wall_s = (WALL_NS - NOW_NS + now) / 1e9
        around = Around(
            key=cookie_key, now_wall_s=wall_s, now_ns=now,
            server_ready=not self.starts, starts=self.starts,
        )  # fmt: skip
        told = step(endpoints.get(key, Endpoint()), segment, around)
        endpoints[key] = told.endpoint
        if told.endpoint.state is State.DECIDED:
            self._decided(told.endpoint, segment, ran)
            return False
        if "START_AWAITED" in told.counters and _refusal(
            told.endpoint.window.data, later=told.endpoint.began is not None
        ):
            self._refused_whole(told.endpoint, ran)
            return False
        _compare("counters", counters, _counted(told.counters))
        _compare("answer", _answers(ran), _answer(told))
        _compare("endpoint", self._seen(segment), _expected(told.endpoint))
        client.answered = client.answered or len(told.endpoint.answer) + bool(told.endpoint.answer)
        if Flag.SYN in (told.answer.flags if told.answer else Flag(0)):
            assert told.answer is not None
            stamps = told.answer.options.find(b"\x08\x0a")
            value = told.answer.options[stamps + 2 : stamps + 6] if stamps >= 0 else bytes(4)
            client.heard(told.answer.seq, int.from_bytes(value, "big"))
        # When it comes again depends on clocks that the oracle has not.
        return "START_AWAITED" not in told.counters

    def _seen(self, segment: Segment) -> tuple[Any, ...]:
        """The endpoint as the tables have it."""
        key = pack(
            _TUPLE,
            {
                **connection_key(segment.source_port),
                "client_ip": int(segment.source),
                "service_ip": int(segment.destination),
            },
        )
        rows = {name: self.machine.node.store(name).get(key) for name in TABLES}
        if rows["forward"] or rows["local"]:
            return (State.DECIDED,)
        if rows["holding"]:
            row = unpack(layout("ipos_holding"), rows["holding"])
            if row["answer"]:
                return (State.ANSWERED, row["answer"], row["client_end"], row["fin"])
            state = State.HOLDING
            if row["acknowledged"] or row["live"]:
                state = State.ACKNOWLEDGED
            if not row["held"] and not any(piece["end"] for piece in row["ranges"]):
                # A row that was made for a segment, which then had no place.
                state = State.IDLE if row["live"] else State.OPEN
            return (state, _handshake(row["hs"]), row["held"], row["acknowledged"])
        if not rows["temporary"]:
            return (State.NONE,)
        row = unpack(layout("ipos_temporary"), rows["temporary"])
        state = _STATES[row["state"]]
        if state is State.CLOSED:
            return (state, row["client_end"])
        return (state, _handshake(row["hs"]), 0, 0) if state is State.OPEN else (state,)

    def _refused_whole(self, endpoint: Endpoint, ran: Ran) -> None:
        """A request that no server may serve does not wait for one: the client is told at once."""
        refusal = _refusal(endpoint.window.data, later=endpoint.began is not None)
        got = b"".join(parse_packet(out.frame[14:]).data for out in ran.clones)
        if ran.redirected:
            got += parse_packet(ran.redirected.frame[14:]).data
        _compare("refusal", got, refusal)

    def _decided(self, endpoint: Endpoint, segment: Segment, ran: Ran) -> None:
        """The owner gets the handshake and the bytes, whichever way."""
        assert endpoint.handshake is not None
        handshake = endpoint.handshake
        if ran.assigned:
            _compare("attributes", _attributes(ran), (handshake.mss, handshake.snd_wscale,
                     handshake.options))  # fmt: skip
            return
        got = bytearray()
        for out in ran.clones:
            if out.where == "front":
                got += parse_packet(out.frame[14:]).data
                continue
            decoded = ethernet.decode(out.frame, golden.FRAME_KEY).packet
            if isinstance(decoded, packets.DataPacket):
                got += parse_packet(decoded.inner).data
            elif isinstance(decoded, packets.ConnectionPacket):
                block = decoded.control_block
                assert block is not None
                first = endpoint.began or handshake
                _compare("control block",
                         (block.iss, block.irs, block.snd_nxt, block.peer_mss, block.snd_wscale,
                          block.flags),
                         (first.iss, first.irs, handshake.iss + 1 & 0xFFFF_FFFF, handshake.mss,
                          handshake.snd_wscale, handshake.options))  # fmt: skip
        refusal = _refusal(endpoint.window.data, later=endpoint.began is not None)
        _compare("request", bytes(got), refusal or endpoint.window.data)


def _refusal(data: bytes, *, later: bool) -> bytes:
    """The response to a whole request that no server may serve; empty for any other."""
    if data[:1] == b"\x16" and not later:
        none = Head().feed(data).found and tls.read(tls.message(data)) is None
        refusal = Ambiguity.NO_HELLO if none else None
    else:
        refusal = http.read(data, later=later).refusal
    texts = {reason.number: reason.text for reason in header().ambiguities}
    return responses.refused(texts[refusal]) if refusal else b""


def _parsed(packet: bytes) -> Segment:
    """The segment, if it is for the service; packets of no service pass."""
    padded = frame(packet)[14:]
    try:
        segment = parse_packet(padded)
        destination, port = int(segment.destination), segment.destination_port
    except SegmentError as error:
        if error.counter == "PASSED":
            raise
        at = (padded[0] & 15) * 4
        destination = int.from_bytes(padded[16:20], "big")
        port = int.from_bytes(padded[at + 2 : at + 4], "big")
        if not _served(destination, port):
            raise SegmentError("PASSED", "for no service") from None
        raise
    if not _served(destination, port):
        raise SegmentError("PASSED", "for no service")
    return segment


def _served(destination: int, port: int) -> bool:
    known = [network(ip) for ip in (golden.SERVICE, golden.S2, golden.S3)]
    return destination in known and port == golden.WEB


def _unsound(error: SegmentError, packet: bytes, ran: Ran, counters: dict[str, int]) -> bool:
    """What the packet's fate must be; whether the session goes on.

    Only tc and the kernel sum payloads up, XDP just the shortest. So a wrong sum may be found
    late, and what XDP makes of a packet by its header alone may stand: it opens a row that its
    cookie proves, answers a SYN, resets again what was reset, or drops it for another reason.
    """
    if error.counter != "DROP_BAD_CHECKSUM":
        _compare("counters", counters, {error.counter: 1})
        return True
    if counters == {"DROP_BAD_CHECKSUM": 1}:
        return True
    only_drop = all(name.startswith("DROP_") for name in counters) and not _answers(ran)
    long = len(packet) - 20 > 64  # of TCP; less than that XDP sums up itself
    allowed = ran.assigned or only_drop or (long and not {"HELD", "MIGRATED"} & set(counters))
    if not allowed:
        raise Mismatch(f"a wrong checksum, and {counters}, {_answers(ran)}")
    return False


def _since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def _counted(names: tuple[str, ...]) -> dict[str, int]:
    return {name: names.count(name) for name in names}


def _answers(ran: Ran) -> list[str]:
    sent = [*ran.clones, *([ran.redirected] if ran.redirected else [])]
    return [out.frame.hex() for out in sent]


def _answer(told: Step) -> list[str]:
    return [] if told.answer is None else [(_ANSWER + told.answer.packet()).hex()]


def _expected(endpoint: Endpoint) -> tuple[Any, ...]:
    state = endpoint.state
    if state in (State.OPEN, State.HOLDING, State.ACKNOWLEDGED, State.IDLE):
        return (state, _agreed(endpoint.handshake), endpoint.window.held, endpoint.acknowledged)
    if state is State.ANSWERED:
        return (state, len(endpoint.answer), endpoint.client_end, endpoint.fin)
    return (state, endpoint.client_end) if state is State.CLOSED else (state,)


def _handshake(row: dict[str, int]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("iss", "irs", "mss", "snd_wscale", "options"))


def _agreed(handshake: Handshake | None) -> tuple[int, ...]:
    assert handshake is not None
    return (handshake.iss, handshake.irs, handshake.mss, handshake.snd_wscale,
            int(handshake.options))  # fmt: skip


def _attributes(ran: Ran) -> tuple[int, int, Agreed]:
    (assignment,) = ran.assigned
    told = assignment.attributes
    assert told is not None
    options = Agreed(told.sack_ok | told.tstamp_ok << 1 | told.wscale_ok << 2 | told.ecn_ok << 3)
    return (told.mss, told.snd_wscale, options)


def _compare(what: str, native: object, oracle: object) -> None:
    if native != oracle:
        raise Mismatch(f"{what}: the core has {native}, the oracle {oracle}")


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """At least `count` packets; how many there were, and what differed."""
    rng = random.Random(seed)
    benches = (Bench(there=False), Bench(there=True), Bench(there=True, starts=True))
    found: list[str] = []
    while sum(bench.packets for bench in benches) < count and len(found) < 20:
        bench = rng.choice(benches)
        try:
            bench.session(rng.getrandbits(48), rng.randrange(3, 60))
        except Mismatch as mismatch:
            found.append(str(mismatch))
    return sum(bench.packets for bench in benches), found
