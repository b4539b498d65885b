# SPDX-License-Identifier: Apache-2.0
"""Flows of a UDP service at the server that answers them: what frames bring, and what leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tests.support.golden import flows as f
from tests.support.golden import packets as p
from tests.support.golden.flows import ANY, KEY, Flows, owned, told
from tests.support.golden.machine import Config
from tests.support.golden.row import Exactly, Row, Step, into_front, rx, to_back

FARM = Config(flows=Flows(candidates=(1,)))
MOVED = dataclasses.replace(FARM, flows=Flows(application_port=5353, candidates=(1,)))
_APPLICATION = dataclasses.replace(f.LISTENER, service_port=5353)
_GIVEN = {"udp_owned": [(KEY, told(owned(first=2))), (ANY, told(owned()))]}
_HEARD = {"FRAMES_RECEIVED": 1}
_NEW = {"udp_owned": [(KEY, told(owned())), (ANY, told(owned()))]}
_NEVER = Exactly(0)


_Rows = Mapping[str, Any]


def _row(about: str, *steps: Step, counts: Mapping[str, int], before: _Rows | None = None,
         after: _Rows | None = None, config: Config = FARM, **fields: Any) -> Row:  # fmt: skip
    fields.setdefault("sockets", (f.LISTENER,))
    return Row(about=f"flow at its owner: {about}", steps=steps, counts=counts, config=config,
               before=before or {}, after=after or {}, **fields)  # fmt: skip


def _known(**fields: Any) -> dict[str, Any]:
    return {"udp_owned": [(KEY, owned(**{"first": 2, "answered_ns": _NEVER, **fields})),
                          (ANY, owned(answered_ns=_NEVER))]}  # fmt: skip


def _refuses(about: str, frame: bytes, counter: str, verdict: str = "drop", **fields: Any) -> Row:
    counts = {counter: 1} | (_HEARD if verdict == "shot" else {})
    return _row(about, rx("back", frame, verdict), counts=counts, **fields)


_SENT = {"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}

OFFERS = [
    _row("type 1: type 3", rx("back", f.offered(), "shot", to_back(f.says(3))), counts=_SENT,
         after=_GIVEN),
    _row("type 1 of a flow that the application has answered: type 3 says so",
         rx("back", f.offered(number=7), "shot", to_back(f.says(3, number=7, reason=1))),
         counts=_SENT, before=_known(answered_ns=-1_000_000), after=_GIVEN),
    _row("type 1 in back's VLAN",
         rx("back", f.offered(vlan=43), "shot", to_back(f.says(3, vlan=43))), counts=_SENT,
         config=dataclasses.replace(FARM, back_vlan=43), after=_GIVEN),
    _row("type 1, and nobody listens: type 7",
         rx("back", f.offered(number=5), "shot", to_back(f.says(7, number=5, reason=1))),
         counts={**_SENT, "FLOW_REFUSED": 1}, sockets=()),
    _row("type 1 for an application at another port",
         rx("back", f.offered(), "shot", to_back(f.says(3))), counts=_SENT, config=MOVED,
         sockets=(_APPLICATION,), after=_GIVEN),
    _row("type 1 in maintenance: type 7",
         rx("back", f.offered(), "shot", to_back(f.says(7, reason=7))),
         counts={**_SENT, "FLOW_REFUSED": 1},
         config=dataclasses.replace(FARM, states=((1, "MAINT"),))),
    _refuses("type 1 for another server", f.offered(endpoint=p.S3), "DROP_FRAME_RECEIVER", "shot"),
    _refuses("type 1 of six seconds ago", f.offered(sent_s=p.SENT_S - 6), "DROP_FRAME_TIME",
             "shot"),
    _refuses("type 1 of a service that is none", f.offered(service_port=54), "DROP_FRAME_UNKNOWN",
             "shot"),
    _refuses("type 1 with a wrong tag", f.offered(tag=b"no tag.."), "DROP_FRAME_TAG"),
    _refuses("type 1 cut within its tag", f.offered(cut=35), "DROP_FRAME_SHORT"),
    _refuses("type 1 from a foreign MAC", f.offered(by=p.STRANGER), "DROP_FRAME_FOREIGN"),
]  # fmt: skip


def _arrives(about: str, inner: bytes, after: Mapping[str, Any], **fields: Any) -> Row:
    """Type 2, which goes to front's ingress."""
    vlan = fields.pop("front_vlan", 0)
    config = fields.pop("config", FARM)
    return _row(about, rx("back", f.arrives(inner), "redirect",
                          into_front(f.out_of_frame(inner, vlan))),
                counts={**_HEARD, "DECAPSULATED": 1}, after=after,
                config=dataclasses.replace(config, front_vlan=vlan), **fields)  # fmt: skip


_FIRST, _LATER = f.fragments(b"y" * 2000, 1448)
_OF_FIRST = {"client_port": p.PORT, "service_port": f.DNS, "port": f.DNS, "server": 1,
             "service_ip": KEY["service_ip"]}  # fmt: skip
_SOUND = f.arrives(f.datagram())

ARRIVALS = [
    _arrives("type 2 behind its type 1", f.datagram(), {"udp_owned": [
        (KEY, {"packets": 1, "first": 2}), (ANY, {"packets": 0})]}, before=_known()),
    _arrives("type 2, whose type 1 was lost: its rows are made", f.datagram(), _NEW),
    _arrives("type 2 without data", f.datagram(b""), _NEW),
    _arrives("type 2 with more than a tag covers", f.datagram(b"z" * 1400), _NEW),
    _arrives("type 2 into front's VLAN", f.datagram(), _NEW, front_vlan=p.VLAN),
    _arrives("a first fragment", _FIRST,
             {**_NEW, "udp_fragments": [(f.fragment_key(), _OF_FIRST)]}),
    _arrives("a later fragment", _LATER, _NEW | {"udp_owned": []}, before={
        "udp_fragments": [(f.fragment_key(), {**_OF_FIRST, "seen_ns": -1})]}),
    _row("an ICMP error about an answer", rx("back", f.arrives(f.unreachable()), "redirect",
         into_front(f.out_of_frame(f.unreachable()))),
         counts={**_HEARD, "DECAPSULATED": 1}, before=_known()),
    _row("on front's ingress: to our kernel", Step(hook="inward", where="front",
         frame=f.out_of_frame(f.datagram()), verdict="ok"), counts={}, before=_known()),
    _row("on front's ingress: to an application at another port", Step(hook="inward", where="front",
         frame=f.out_of_frame(f.datagram()), verdict="ok", adopted="socket"), counts={},
         config=MOVED, sockets=(_APPLICATION,), native_only="sk_assign needs a real packet"),
    _row("on front's ingress: a fragment for an application at another port",
         Step(hook="inward", where="front", frame=f.out_of_frame(_FIRST), verdict="shot"),
         counts={"DROP_FLOW_APPLICATION": 1}, config=MOVED, sockets=(_APPLICATION,)),
    _row("nobody listens here", rx("back", _SOUND, "shot"), sockets=(),
         counts={**_HEARD, "DECAPSULATED": 1, "DROP_FLOW_NO_LISTENER": 1}),
    _row("by one LAN", rx("front", _SOUND, "redirect", into_front(f.out_of_frame(f.datagram()))),
         counts={**_HEARD, "DECAPSULATED": 1}, config=dataclasses.replace(FARM, one_lan=True),
         before=_known(), after={"udp_owned": [(KEY, {"packets": 1}), (ANY, {})]}),
    _refuses("type 2 with a wrong tag", f.arrives(f.datagram(), tag=b"no tag.."), "DROP_FRAME_TAG"),
    _refuses("type 2 cut within its tag", _SOUND[: len(f.packet(f.datagram())) - 1],
             "DROP_FRAME_SHORT"),
    _refuses("type 2 for another server", f.arrives(f.datagram(), endpoint=p.S3),
             "DROP_FRAME_RECEIVER"),
    _refuses("type 2 of another client's port", f.arrives(f.datagram(), port=p.PORT + 1),
             "DROP_FRAME_UNKNOWN"),
    _refuses("type 2 from a foreign MAC", f.arrives(f.datagram(), by=p.STRANGER),
             "DROP_FRAME_FOREIGN"),
    _row("a datagram on back, without a frame",
         rx("back", p.from_router(f.datagram()), "drop"), counts={"DROP_BACK_DIRECT": 1}),
    _row("a later fragment on back, without a frame",
         rx("back", p.from_router(_LATER), "drop"), counts={"DROP_BACK_DIRECT": 1}),
    _row("a datagram on back for no service: left alone",
         rx("back", p.from_router(f.datagram(to_port=54)), "to kernel"), counts={"PASSED": 1}),
]  # fmt: skip


def _out(about: str, packet: bytes, left: bytes | None = None,
         counts: Mapping[str, int] | None = None, **fields: Any) -> Row:  # fmt: skip
    return _row(f"answer {about}",
                Step(hook="out", where="front", frame=f.leaves(packet), verdict="ok",
                     left=None if left is None else f.leaves(left)),
                counts=counts or {}, **fields)  # fmt: skip


_WRONG = f.answer(by=p.S2)
_ANSWERS = f.answer_fragments(b"a" * 2000, 1480, p.S2)
_RIGHT = f.answer_fragments(b"a" * 2000, 1480, p.SERVICE)
_CORRECTED = {"FLOW_SOURCE": 1}

ANSWERS = [
    _out("by the address that was asked", f.answer(by=p.SERVICE), before=_known()),
    _out("by another address of this server", _WRONG, f.answer(by=p.SERVICE), _CORRECTED,
         before=_known()),
    _out("by another address, without a checksum", f.answer(by=p.S2, checksum=False),
         f.answer(by=p.SERVICE, checksum=False), _CORRECTED, before=_known()),
    _out("by another port", f.answer(by=p.SERVICE, by_port=5353), f.answer(by=p.SERVICE),
         _CORRECTED, config=MOVED,
         before={"udp_owned": [(KEY, owned()), (f.key("0.0.0.0", service_port=5353), owned())]}),
    _out("by an address that the client asked before the last one", f.answer(by=p.S2),
         before={"udp_owned": [(f.key(p.S2), owned(p.S2)), (KEY, owned()), (ANY, owned())]}),
    _out("to a client that has asked nothing", _WRONG),
    _out("of no service", f.answer(by=p.S2, by_port=54), before=_known()),
    _out("in a farm without UDP services", _WRONG, before=_known(), config=Config()),
    _row("answer in fragments, by another address: all of them are corrected",
         *(Step(hook="out", where="front", frame=f.leaves(was), verdict="ok", left=f.leaves(is_))
           for was, is_ in zip(_ANSWERS, _RIGHT, strict=True)),
         counts=_CORRECTED, before=_known(),
         after={"udp_fragments": [(f.fragment_key(9, outbound=True, of=p.S2), {})]}),
    _out("'s later fragment, whose first one was right", _ANSWERS[1], before=_known()),
]  # fmt: skip

ROWS = [*OFFERS, *ARRIVALS, *ANSWERS]
