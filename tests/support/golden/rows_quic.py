# SPDX-License-Identifier: Apache-2.0
"""First flights of QUIC at the server that its clients address, and numbers in connection IDs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipos.abi.layout import constant
from tests.support import quic_packets as q
from tests.support.golden import flows as f
from tests.support.golden import packets as p
from tests.support.golden.flows import ANY, KEY, Flows, flow, owned, told
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, into_front, to_back

_ALL = constant("IPOS_QUIC_READS_SLOTS") - 1
QUIC = Flows(mode="QUIC", number=(1, 2), numbers=((0x0002, 2), (0x0003, 3)))
CONFIG = Config(flows=QUIC)
_ID = b"\x83\x94\xc8\xf0\x3e\x51\x57\x08"
_NAME = b"www.example.org"
_NAMES = b"\0" + len(_NAME).to_bytes(2, "big") + _NAME
_EXTENSION = (
    b"\0\0" + (len(_NAMES) + 2).to_bytes(2, "big") + len(_NAMES).to_bytes(2, "big") + _NAMES
)
_KEYS = b"\0\x33" + (1400).to_bytes(2, "big") + bytes(1400)


def hello(extensions: bytes) -> bytes:
    """A ClientHello."""
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\1" + len(body).to_bytes(3, "big") + body


_SMALL, _LARGE = hello(_EXTENSION), hello(_KEYS + _EXTENSION)
_WHOLE = f.datagram(q.initial(_ID, q.crypto(0, _SMALL)))
_FIRST = f.datagram(q.initial(_ID, q.crypto(0, _LARGE[:1000])))
_SECOND = f.datagram(q.initial(_ID, q.crypto(1000, _LARGE[1000:]), number=1))


def _step(packet: bytes, verdict: str, *sent: Any) -> Step:
    return Step(hook="quic", where="front", frame=p.from_router(packet), verdict=verdict, sent=sent)


def _row(about: str, *steps: Step, counts: Mapping[str, int], config: Config = CONFIG,
         **fields: Any) -> Row:  # fmt: skip
    return Row(about=f"quic: {about}", steps=steps, counts=counts, config=config,
               sockets=(f.LISTENER,), **fields)  # fmt: skip


def _new(server: int = 2, **fields: Any) -> dict[str, Any]:
    row = told(flow(server, **{"state": 0, "offer": 0, **fields}))
    return {"udp_new": [(KEY, row)]}


def _again(*packets: bytes) -> list[Any]:
    return [into_front(p.ether(one, p.FRONT, p.ROUTER, 0, 0)) for one in packets]


_HELD = {"quic_hellos": [(KEY, {"held": 1})]}
_KNOWN = {"udp_new": [(KEY, flow(2))]}
_NUMBERED = f.datagram(q.short(b"\x99\x00\x03rest."))
_OF_DOWN = Config(flows=QUIC, states=((3, "DOWN"),))

ROWS = [
    _row("a ClientHello in one datagram: its flow gets a row, and tc sends it on",
         _step(_WHOLE, "unspec"), counts={"QUIC_READ": 1, "FLOW_NEW": 1}, after=_new()),
    _row("a part of one is held", _step(_FIRST, "shot"), counts={"QUIC_READ": 1, "QUIC_HELD": 1},
         after=_HELD),
    _row("the rest of it: all comes by once more, behind the offer, in order",
         _step(_FIRST, "shot"),
         _step(_SECOND, "shot", to_back(f.offer()), *_again(_FIRST, _SECOND)),
         counts={"QUIC_READ": 2, "QUIC_HELD": 1, "FLOW_NEW": 1, "FLOW_OFFERED": 1,
                 "FRAMES_SENT": 1}, after=_new(offer=1, packets=2)),
    _row("the same the other way round", _step(_SECOND, "shot"),
         _step(_FIRST, "shot", to_back(f.offer()), *_again(_SECOND, _FIRST)),
         counts={"QUIC_READ": 2, "QUIC_HELD": 1, "FLOW_NEW": 1, "FLOW_OFFERED": 1,
                 "FRAMES_SENT": 1}, after=_new(offer=1, packets=2)),
    _row("four datagrams without the rest of it: the default pool has them",
         *(_step(_FIRST, "shot") for _ in range(3)),
         _step(_FIRST, "shot", to_back(f.offer()), *_again(*[_FIRST] * 4)),
         counts={"QUIC_READ": 4, "QUIC_HELD": 3, "QUIC_UNREAD": 1, "FLOW_NEW": 1,
                 "FLOW_OFFERED": 1, "FRAMES_SENT": 1}, after=_new(offer=1, packets=4)),
    _row("no more reads in this second", _step(_WHOLE, "shot"), counts={"DROP_QUIC_SHARE": 1},
         before={"quic_reads": [(_ALL, {"since_ns": 0, "wrong": constant("IPOS_QUIC_READS")})]}),
    _row("another version: for the policy", _step(f.datagram(b"\xc0\x1a\x2a\x3a\x4a" + bytes(40)),
         "unspec"), counts={}),
    _row("the number in a connection ID, and no row: the flow gets one",
         _step(_NUMBERED, "unspec"), counts={"QUIC_NUMBER": 1, "FLOW_NEW": 1}, after=_new(3)),
    _row("the number of another server than the row's: there, by no row",
         _step(_NUMBERED, "redirect",
               to_back(f.packet(_NUMBERED, to=p.MAC3, endpoint=p.S3))),
         counts={"QUIC_NUMBER": 1, "FORWARDED": 1}, before=_KNOWN),
    _row("the number of a server that is down: the policy's choice", _step(_NUMBERED, "unspec"),
         counts={}, config=_OF_DOWN),
    _row("our own number, and another server's row",
         _step(f.datagram(q.short(b"\x99\x00\x01rest.")), "ok"), counts={"QUIC_NUMBER": 1},
         config=Config(flows=Flows(mode="QUIC", number=(1, 2), numbers=((1, 1),))),
         before=_KNOWN, after={"udp_owned": [(KEY, told(owned(first=1))),
                                             (ANY, told(owned(first=0)))]}),
    _row("a service of plain UDP: nothing is read", _step(_WHOLE, "unspec"), counts={},
         config=Config(flows=Flows())),
    _row("what we have put back ourselves", Step(hook="quic", where="front",
         frame=p.from_router(_WHOLE), verdict="unspec", mark=f.MARK_FLOW), counts={}),
]  # fmt: skip
