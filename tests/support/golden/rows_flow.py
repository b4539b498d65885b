# SPDX-License-Identifier: Apache-2.0
"""Datagrams of a UDP service at the server that its clients address."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from scapy.layers.inet import IP, UDP, IPOption_NOP

from ipos.abi.layout import constant
from tests.support.golden import flows as f
from tests.support.golden import packets as p
from tests.support.golden.flows import ANY, KEY, Flows, flow, owned, told
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, into_front, rx, to_back, to_front

ELSEWHERE = Config(flows=Flows())
HERE = Config(flows=Flows(candidates=(1,)))
NEXT = dataclasses.replace(ELSEWHERE, flows=Flows(candidates=(2, 3)))
_DATAGRAM = p.from_router(f.datagram())
_OFFERED = {"FLOW_NEW": 1, "FLOW_OFFERED": 1, "FRAMES_SENT": 1, "PASSED": 1}
_AGAIN = {"FLOW_OFFERED": 1, "FRAMES_SENT": 1, "PASSED": 1}
_FORWARDED = {"FORWARDED": 1, "PASSED": 1}
_OUT = {"zero": 0, "client_port": p.PORT, "service_port": f.DNS, "port": f.DNS}


_Rows = Mapping[str, Any]


def _row(about: str, *steps: Step, counts: Mapping[str, int], before: _Rows | None = None,
         after: _Rows | None = None, config: Config = ELSEWHERE, **fields: Any) -> Row:  # fmt: skip
    fields.setdefault("sockets", (f.LISTENER,))
    return Row(about=f"flow: {about}", steps=steps, counts=counts, config=config,
               before=before or {}, after=after or {}, **fields)  # fmt: skip


def _new(server: int = 2, **fields: Any) -> dict[str, Any]:
    return {"udp_new": [(KEY, told(flow(server, **{"state": 0, **fields})))]}


def _known(server: int = 2, table: str = "udp_new", **fields: Any) -> dict[str, Any]:
    return {table: [(KEY, flow(server, **fields))]}


def _offer(server: int = 2, **fields: Any) -> tuple[Any, Any]:
    to, endpoint = {2: (p.MAC2, p.S2), 3: (p.MAC3, p.S3)}[server]
    return into_front(_DATAGRAM), to_back(f.offer(to=to, endpoint=endpoint, **fields))


_OWNED = {"udp_owned": [(KEY, told(owned(first=1))), (ANY, told(owned(first=0)))]}
_LONG = f.datagram(b"x" * 1472)
_FIRST, _LATER = f.fragments(b"y" * 2000, 1480)
_OF_FIRST = {**_OUT, "service_ip": KEY["service_ip"], "server": 2}

FIRST_SERVER = [
    _row("first datagram: its server is told, and it comes by once more",
         rx("front", _DATAGRAM, "redirect", *_offer()), counts=_OFFERED, after=_new(packets=1)),
    _row("the datagram behind its offer", Step(hook="tc", where="front", frame=_DATAGRAM,
         mark=f.MARK_FLOW, verdict="redirect", sent=(to_back(f.packet(f.datagram())),)),
         counts={"FORWARDED": 1}, before=_known(state=0, packets=1),
         after=_new(packets=1)),
    _row("the row has been evicted before the datagram behind its offer came by",
         Step(hook="tc", where="front", frame=_DATAGRAM, mark=f.MARK_FLOW, verdict="shot"),
         counts={"DROP_FLOW_EVICTED": 1}),
    _row("a datagram while the offer is on its way",
         rx("front", _DATAGRAM, "redirect", to_back(f.packet(f.datagram()))), counts=_FORWARDED,
         before=_known(state=0), after=_new(packets=1)),
    _row("no acknowledgement after 51 ms: offered again",
         rx("front", _DATAGRAM, "redirect", *_offer(number=2)), counts=_AGAIN,
         before=_known(state=0, offered_ns=-51_000_000), after=_new(packets=1, offer=2)),
    _row("acknowledged, and the application has not answered yet: not asked within a second",
         rx("front", _DATAGRAM, "redirect", to_back(f.packet(f.datagram()))), counts=_FORWARDED,
         before=_known(offered_ns=-900_000_000), after=_new(state=1, packets=1)),
    _row("the same after a second: asked whether it has",
         rx("front", _DATAGRAM, "redirect", *_offer(number=0)), counts=_AGAIN,
         before=_known(offered_ns=-1_100_000_000, offer=4095),
         after=_new(state=1, packets=1, offer=0)),
    _row("answered: never asked again",
         rx("front", _DATAGRAM, "redirect", to_back(f.packet(f.datagram()))), counts=_FORWARDED,
         before=_known(table="udp_flows", state=2, offered_ns=-50_000_000_000),
         after={"udp_flows": [(KEY, {"state": 2, "packets": 1})]}),
    _row("a datagram longer than its tag covers",
         rx("front", p.from_router(f.datagram(b"z" * 1400)), "redirect",
            to_back(f.packet(f.datagram(b"z" * 1400)))), counts=_FORWARDED,
         before=_known(), after=_new(state=1, packets=1)),
    _row("a datagram without data",
         rx("front", p.from_router(f.datagram(b"")), "redirect",
            to_back(f.packet(f.datagram(b"")))), counts=_FORWARDED,
         before=_known(), after=_new(state=1, packets=1)),
    _row("here: to our kernel", rx("front", _DATAGRAM, "to kernel"), config=HERE,
         counts={"FLOW_NEW": 1, "PASSED": 1}, after={**_new(1, packets=1, offer=0), **_OWNED}),
    _row("here, and the application has answered before: a row that stays",
         rx("front", _DATAGRAM, "to kernel"), config=HERE,
         counts={"FLOW_KEPT": 1, "PASSED": 1},
         before={**_known(1, state=0), "udp_owned": [(KEY, owned(answered_ns=-1_000_000))]},
         after={"udp_new": [], "udp_flows": [(KEY, {"server": 1, "state": 2})], **_OWNED},
         also={}),
    _row("no row that stays is left: the flow keeps the one that it has",
         rx("front", _DATAGRAM, "to kernel"), config=HERE,
         counts={"FLOW_FULL": 1, "PASSED": 1},
         before={**_known(1, state=0), "udp_owned": [(KEY, owned(answered_ns=-1_000_000))],
                 "udp_flows": [(f.key(port=n), flow()) for n in range(4)]},
         after={"udp_new": [(KEY, {"state": 2})], **_OWNED}),
    _row("silent for too long: another flow, and another server",
         rx("front", _DATAGRAM, "redirect", *_offer(3, number=2)),
         config=dataclasses.replace(ELSEWHERE, flows=Flows(candidates=(3,))),
         counts=_OFFERED,
         before=_known(last_seen_ns=-61_000_000_000, refusals=1, refused=(3, 0, 0, 0, 0)),
         after=_new(3, packets=1, offer=2, refusals=0)),
    *(
        _row(f"its server is {state}: the next datagram goes to another one",
             rx("front", _DATAGRAM, "redirect", *_offer(3, number=2)),
             config=dataclasses.replace(NEXT, states=((2, state),)),
             counts={**_AGAIN, "FLOW_AGAIN": 1}, before=_known(table="udp_flows", state=2),
             after={"udp_flows": [(KEY, {"server": 3, "state": 0, "offer": 2})]})
        for state in ("DOWN", "MAINT")
    ),
    _row("its server drains: it stays there",
         rx("front", _DATAGRAM, "redirect", to_back(f.packet(f.datagram()))), counts=_FORWARDED,
         config=dataclasses.replace(NEXT, states=((2, "DRAIN"),)), before=_known(),
         after=_new(state=1, packets=1)),
    _row("a new flow, while the first candidate drains",
         rx("front", _DATAGRAM, "redirect", *_offer(3)), counts=_OFFERED,
         config=dataclasses.replace(NEXT, states=((2, "DRAIN"),)), after=_new(3, packets=1)),
    _row("no server is ready", rx("front", _DATAGRAM, "shot"),
         config=dataclasses.replace(ELSEWHERE, states=((2, "DOWN"),)),
         counts={"DROP_FLOW_NO_SERVER": 1, "PASSED": 1}),
    _row("denied", rx("front", _DATAGRAM, "shot"), counts={"DROP_DENIED": 1, "PASSED": 1},
         config=dataclasses.replace(ELSEWHERE, deny=((p.CLIENT, 32),))),
    _row("from a neighbour in the name of a server's own address",
         rx("front", p.from_router(bytes(IP(src=p.S2, dst=p.SERVICE) / UDP(sport=9, dport=53))),
            "shot"), counts={"DROP_OWN_ADDRESS": 1, "PASSED": 1},
         config=dataclasses.replace(ELSEWHERE, own_pair=True)),
    _row("IP options", rx("front", p.from_router(f.datagram(options=[IPOption_NOP()])), "shot"),
         counts={"DROP_IP_OPTIONS": 1, "PASSED": 1}),
    _row("a length that is shorter than its own header",
         rx("front", p.from_router(f.datagram()[:24] + b"\0\x07" + f.datagram()[26:]), "shot"),
         counts={"DROP_MALFORMED": 1, "PASSED": 1}),
    _row("cut short", rx("front", p.from_router(f.datagram(b"x" * 99)[:90]), "shot"),
         counts={"DROP_MALFORMED": 1, "PASSED": 1}),
    *(
        _row(f"left alone: {what}", rx("front", p.from_router(packet), "to kernel"),
             counts={"PASSED": 1}, config=config)
        for what, packet, config in (
            ("a port of no service", f.datagram(to_port=54), ELSEWHERE),
            ("an address of no service", f.datagram(to="203.0.113.9"), ELSEWHERE),
            ("a port that no service ever had",
             f.datagram(), dataclasses.replace(ELSEWHERE, foreign_ports=(53,))),
            ("a farm without UDP services", f.datagram(), Config()),
        )
    ),
    _row("VLANs on both sides",
         rx("front", p.ether(f.datagram(), p.FRONT, p.ROUTER, p.VLAN, 0), "redirect",
            to_back(f.packet(f.datagram(), vlan=43))), counts=_FORWARDED,
         config=dataclasses.replace(ELSEWHERE, front_vlan=p.VLAN, back_vlan=43),
         before=_known(), after=_new(state=1, packets=1)),
    _row("by one LAN", rx("front", _DATAGRAM, "redirect", to_front(f.packet(f.datagram()))),
         counts=_FORWARDED, config=dataclasses.replace(ELSEWHERE, one_lan=True),
         before=_known(), after=_new(state=1, packets=1)),
]  # fmt: skip

TOLD = [
    _row("type 3: the server has it", rx("back", f.notice(3), "shot"),
         counts={"FRAMES_RECEIVED": 1, "FLOW_ACKNOWLEDGED": 1}, before=_known(state=0),
         after=_new(state=1)),
    _row("type 3: and its application has answered",
         rx("back", f.notice(3, reason=1), "shot"),
         counts={"FRAMES_RECEIVED": 1, "FLOW_KEPT": 1}, before=_known(),
         after={"udp_new": [], "udp_flows": [(KEY, told(flow(state=2)))]}),
    _row("type 3, the application has answered, of a flow that has had a row that stays before",
         rx("back", f.notice(3, reason=1), "shot"), counts={"FRAMES_RECEIVED": 1},
         before=_known(table="udp_flows"), after={"udp_flows": [(KEY, told(flow(state=2)))]}),
    _row("type 3 behind the type 7 of the same offer", rx("back", f.notice(3, reason=1), "shot"),
         counts={"FRAMES_RECEIVED": 1},
         before=_known(state=3, refusals=1, refused=(2, 0, 0, 0, 0))),
    _row("type 7: nobody listens there", rx("back", f.notice(7, reason=1), "shot"),
         counts={"FRAMES_RECEIVED": 1}, before=_known(state=0),
         after=_new(state=3, refusals=1, refused=[2, 0, 0, 0, 0])),
    _row("the datagram after a refusal goes to another server",
         rx("front", _DATAGRAM, "redirect", *_offer(3, number=2)), config=NEXT,
         counts={**_AGAIN, "FLOW_AGAIN": 1},
         before=_known(state=3, refusals=1, refused=(2, 0, 0, 0, 0)),
         after=_new(3, packets=1, offer=2)),
    _row("all have refused: dropped, and then all are asked anew",
         rx("front", _DATAGRAM, "shot"), rx("front", _DATAGRAM, "redirect", *_offer(number=2)),
         counts={"DROP_FLOW_NO_SERVER": 1, "PASSED": 2, "FLOW_OFFERED": 1, "FLOW_AGAIN": 1,
                 "FRAMES_SENT": 1},
         before=_known(state=3, refusals=1, refused=(2, 0, 0, 0, 0)),
         after=_new(packets=1, offer=2)),
    _row("type 3 of an earlier offer", rx("back", f.notice(3, number=9), "shot"),
         counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_OFFER": 1}, before=_known(state=0)),
    _row("type 7 by another than its server", rx("back", f.notice(7, by=p.MAC3), "shot"),
         counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_OFFER": 1}, before=_known(state=0)),
    _row("type 3 of no flow", rx("back", f.notice(3), "shot"),
         counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}),
    _row("type 3 with a wrong tag", rx("back", f.notice(3, tag=b"no tag.."), "drop"),
         counts={"DROP_FRAME_TAG": 1}, before=_known(state=0)),
    _row("type 3 that has not passed XDP",
         Step(hook="tc", where="back", frame=f.notice(3), verdict="shot"),
         counts={"DROP_FRAME_UNSEEN": 1}, before=_known(state=0)),
    _row("type 4, which UDP has not", rx("back", f.notice(4), "drop"),
         counts={"DROP_FRAME_TYPE": 1}, before=_known()),
]  # fmt: skip

LONG = [
    _row("too long for a frame, and not to be split: its sender is told",
         rx("front", p.from_router(f.datagram(b"x" * 1445, flags="DF")), "redirect",
            to_front(f.too_long(f.datagram(b"x" * 1445, flags="DF")))),
         counts={"DROP_FLOW_LONG": 1, "PASSED": 1}, before=_known(),
         after=_new(state=1, packets=1)),
    _row("the longest that needs one frame",
         rx("front", p.from_router(f.datagram(b"x" * 1444, flags="DF")), "redirect",
            to_back(f.packet(f.datagram(b"x" * 1444, flags="DF")))), counts=_FORWARDED,
         before=_known(), after=_new(state=1, packets=1)),
    _row("too long for a frame: in two fragments",
         rx("front", p.from_router(_LONG), "redirect",
            *(to_back(f.packet(one)) for one in f.split(_LONG))),
         counts={**_FORWARDED, "FLOW_SPLIT": 1}, before=_known(), after=_new(state=1, packets=1)),
    _row("a first fragment as long as the LAN allows, in two; the others follow it",
         rx("front", p.from_router(_FIRST), "redirect",
            *(to_back(f.packet(one)) for one in f.split(_FIRST))),
         rx("front", p.from_router(_LATER), "redirect", to_back(f.packet(_LATER))),
         counts={"FORWARDED": 2, "PASSED": 2, "FLOW_SPLIT": 1}, before=_known(),
         after={**_new(state=1, packets=1), "udp_fragments": [(f.fragment_key(), _OF_FIRST)]}),
    _row("a later fragment that is too long for a frame, in two",
         rx("front", p.from_router(f.fragments(b"y" * 3000, 1480)[1]), "redirect",
            *(to_back(f.packet(one)) for one in f.split(f.fragments(b"y" * 3000, 1480)[1]))),
         counts={**_FORWARDED, "FLOW_SPLIT": 1},
         before={**_known(), "udp_fragments": [(f.fragment_key(), {**_OF_FIRST, "seen_ns": -1})]}),
    _row("longer than two frames", rx("front", p.from_router(f.datagram(b"x" * 2600)), "shot"),
         counts={"DROP_FLOW_LONG": 1, "PASSED": 1}, before=_known(),
         after=_new(state=1, packets=1)),
    _row("a later fragment whose first one nobody has seen",
         rx("front", p.from_router(_LATER), "to kernel"),
         counts={"FLOW_FRAGMENT_LOST": 1, "PASSED": 1}, before=_known()),
    _row("a later fragment, long after the first",
         rx("front", p.from_router(_LATER), "to kernel"),
         counts={"FLOW_FRAGMENT_LOST": 1, "PASSED": 1},
         before={"udp_fragments": [(f.fragment_key(), {**_OF_FIRST, "seen_ns": -31_000_000_000})]}),
    _row("fragments of a flow that is served here",
         rx("front", p.from_router(_FIRST), "to kernel"),
         rx("front", p.from_router(_LATER), "to kernel"), config=HERE,
         counts={"PASSED": 2}, before=_known(1, state=2),
         after={**_new(1, state=2, packets=1), **_OWNED,
                "udp_fragments": [(f.fragment_key(), {**_OF_FIRST, "server": 1})]}),
]  # fmt: skip

ICMP = [
    _row("an ICMP error about an answer goes to the owner",
         rx("front", p.from_router(f.unreachable()), "redirect",
            to_back(f.packet(f.unreachable()))),
         counts={"FORWARDED": 1, "ICMP_FORWARDED": 1}, before=_known()),
    *(
        _row(f"an ICMP message that stays here: {what}",
             rx("front", p.from_router(packet), "to kernel"), counts={}, before=before)
        for what, packet, before in (
            ("of no flow", f.unreachable(by_port=54), _known()),
            ("about a flow that is served here", f.unreachable(), _known(1)),
            ("of another type", f.unreachable(kind=11), _known()),
            ("with too little of the packet", f.unreachable(quoted=0), _known()),
        )
    ),
]  # fmt: skip

assert constant("IPOS_FLOW_PACKET_MAX") == 20 + 8 + 1444

ROWS = [*FIRST_SERVER, *TOLD, *LONG, *ICMP]
