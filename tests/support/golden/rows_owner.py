# SPDX-License-Identifier: Apache-2.0
"""What the owner does: offers, requests and later packets that come in frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from native.values import Socket, SocketState
from tests.support.golden import icmp, offers
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, connection_key
from tests.support.golden.row import (
    OTHER_CPU,
    THIS_CPU,
    Establishes,
    Row,
    Step,
    into_front,
    rx,
    to_back,
)
from tests.support.golden.rows_handshake import ENDED, HANDSHAKE, KEY
from tests.support.golden.rows_migration import (
    GIVEN,
    HEAD_END,
    NEXT,
    NOT_ADOPTED,
    REFUSED,
    UNKNOWN,
)
from tests.support.golden.rows_request import (
    ADOPTING,
    ALL,
    ATTACHED,
    LOCAL,
    PENDING,
    SOCKET,
)

_OFFER = offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE)

_NUMBERED = offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, migration=0x1_7777)

_REQUEST = p.ip("PA", p.HEAD)

_CARRIED = p.packet(_REQUEST)

_LATER = p.client("PA", b"later", seq=HEAD_END)

_INNER = p.ether(_REQUEST, p.FRONT, p.MAC2, 0, 0)


def told(kind: int, reason: int = 0, **fields: Any) -> bytes:
    """A notice of ours to s2 about an endpoint here."""
    return p.notice(kind, to=p.MAC2, by=p.BACK, reason=reason, **{"endpoint": p.SERVICE, **fields})


OURS: dict[str, Any] = {**LOCAL, "first": 2, "giver": 2}


def ours(state: int, **fields: Any) -> dict[str, Any]:
    return {"connect": [(KEY, {**OURS, "state": state, **fields})]}


def _taken_out(about: str, inner: bytes, mac: str, fields: dict[str, Any], **noted: Any) -> Row:
    """A type 2 for a socket of ours. mac: to whom it seems to be sent once out of its frame."""
    return Row(about=f"type 2 for a socket: {about}",
               steps=[rx("back", p.packet(inner), "to kernel",
                         left=p.ether(inner, mac, p.MAC2, 0, 0))],
               counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1},
               before=ours(ATTACHED, **fields),
               after={"connect": [(KEY, noted)]} if noted else {})  # fmt: skip


def _refused(about: str, reason: str, **fields: Any) -> Row:
    counts = {"FRAMES_RECEIVED": 1, "REFUSED": 1, "FRAMES_SENT": 1, **fields.pop("counts", {})}
    answer = told(7, constant(f"IPOS_REFUSE_{reason}"), offer=0x7777, **fields.pop("answer", {}))
    offer = fields.pop("offer", _NUMBERED)
    key = fields.pop("key", KEY)
    kept = {"state": REFUSED, "reason": constant(f"IPOS_REFUSE_{reason}"), "offer": 0x7777}
    return Row(
        about=f"type 1 refused: {about}", steps=[rx("back", offer, "redirect", to_back(answer))],
        counts=counts, after={"temporary": [(key, kept)]}, **fields,
    )  # fmt: skip


OWNER = [
    Row(about="type 1: the endpoint waits for its request",
        steps=[rx("back", _OFFER, "drop")], counts={"FRAMES_RECEIVED": 1},
        after={"connect": [(KEY, OURS)]}),
    Row(about="type 1 with bytes that the farm acknowledged",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE,
                                            acknowledged=20), "drop")],
        counts={"FRAMES_RECEIVED": 1},
        after={"connect": [(KEY, {**OURS, "rcv_need": p.IRS + 21})]}),
    Row(about="type 1 in the back's VLAN",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, vlan=p.VLAN),
                  "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=Config(back_vlan=p.VLAN),
        after={"connect": [(KEY, OURS)]}),
    Row(about="type 1 without a tag, where tags are off",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE,
                                            tag=bytes(16)), "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=Config(authenticate=False),
        after={"connect": [(KEY, OURS)]}),
    _refused("no such service", "NO_LISTENER", answer={"service_port": 81},
             key=connection_key(service_port=81),
             offer=offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, service_port=81,
                                migration=0x1_7777)),
    _refused("in maintenance", "STATE", config=Config(states=((1, "MAINT"),))),
    _refused("another connection of the tuple is attached, of another first server", "TUPLE_LIVE",
             before=ours(ATTACHED, first=3, hs={**HANDSHAKE, "iss": p.ISS + 77})),
    Row(about="type 1 of another connection on the same ports, from the same first server: ours "
              "gives way, and its application sees the end",
        steps=[rx("back", _NUMBERED, "shot")], counts={"FRAMES_RECEIVED": 1, "CLOSED": 1},
        before=ours(ATTACHED, hs={**HANDSHAKE, "iss": p.ISS + 77}),
        after={"connect": [], "temporary": [(KEY, {"state": ENDED["state"]})]}),
    Row(about="type 1 that is late, of the connection before this one",
        steps=[rx("back", _NUMBERED, "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1},
        before={**ours(ATTACHED, hs={**HANDSHAKE, "iss": p.ISS + 77}),
                "temporary": [(KEY, ENDED)]}),
    _refused("a local connection has the tuple", "TUPLE_LIVE",
             before={"local": [(KEY, {**LOCAL, "state": ATTACHED})]}),
    _refused("we have given the tuple away ourselves", "TUPLE_LIVE", before=GIVEN),
    _refused("Forward-Connect is full", "TABLE_FULL", counts={"DROP_TABLE_FULL": 1},
             before={"connect": [(connection_key(port), OURS) for port in range(1, 5)]}),
    _refused("the same offer again, though it could be taken now", "QUEUE_FULL",
             before={"temporary": [(KEY, {**ENDED, "state": REFUSED, "offer": 0x7777,
                                          "reason": constant("IPOS_REFUSE_QUEUE_FULL")})]}),
    Row(about="type 1: the next offer after one that was refused",
        steps=[rx("back", _NUMBERED, "drop")], counts={"FRAMES_RECEIVED": 1},
        before={"temporary": [(KEY, {**ENDED, "state": REFUSED, "offer": 0x7776})]},
        after={"connect": [(KEY, OURS)]}),
    Row(about="type 1 again, while its request is awaited",
        steps=[rx("back", _OFFER, "drop")], counts={"FRAMES_RECEIVED": 1, "ABSORBED": 1},
        before=ours(PENDING)),
    Row(about="type 1 again, while its request is on the way into our kernel",
        steps=[rx("back", _OFFER, "drop")], counts={"FRAMES_RECEIVED": 1, "ABSORBED": 1},
        before=ours(ADOPTING, adopting=OTHER_CPU)),
    Row(about="type 1 again for a socket that exists: type 3 again",
        steps=[rx("back", _OFFER, "redirect", to_back(told(3)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, before=ours(ATTACHED)),
    Row(about="type 1 again while acknowledged bytes are still missing",
        steps=[rx("back", _OFFER, "shot")], counts={"FRAMES_RECEIVED": 1, "ABSORBED": 1},
        before=ours(ATTACHED, rcv_need=p.IRS + 21)),
    Row(about="type 1 again: our kernel has what was acknowledged, unseen by egress",
        steps=[rx("back", _OFFER, "redirect", to_back(told(3)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1},
        before=ours(ATTACHED, rcv_need=p.IRS + 21),
        after={"connect": [(KEY, {"rcv_need": p.IRS + 1})]},
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=p.IRS + 21)],
        native_only="an established socket needs a peer"),
    Row(about="type 1 of a connection that has ended here",
        steps=[rx("back", _OFFER, "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="type 2: on front's ingress, and a notice behind it",
        steps=[rx("back", _CARRIED, "redirect", into_front(_INNER), into_front(told(3)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(PENDING)),
    Row(about="type 2 with a FIN: on front's ingress without it, then the FIN, then the notice",
        steps=[rx("back", p.packet(p.ip("FPA", p.HEAD)), "redirect",
                  into_front(p.ether(p.ip("A", p.HEAD), p.FRONT, p.MAC2, 0, 0)),
                  into_front(p.ether(p.ip("FA", seq=HEAD_END), p.FRONT, p.MAC2, 0, 0)),
                  into_front(told(3)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(PENDING)),
    Row(about="type 2 in VLANs of back and front",
        steps=[rx("back", p.packet(_REQUEST, vlan=p.VLAN), "redirect",
                  into_front(p.ether(_REQUEST, p.FRONT, p.MAC2, 9, 0)),
                  into_front(p.notice(3, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE, vlan=p.VLAN)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(PENDING),
        config=Config(back_vlan=p.VLAN, front_vlan=9)),
    Row(about="type 2 on one LAN for front and back",
        steps=[rx("front", _CARRIED, "redirect", into_front(_INNER), into_front(told(3)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(PENDING),
        config=Config(one_lan=True)),
    Row(about="the first piece of two that were acknowledged: no notice yet",
        steps=[rx("back", _CARRIED, "redirect", into_front(_INNER))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1},
        before=ours(PENDING, rcv_need=HEAD_END + 1)),
    Row(about="the request on front's ingress: adopted",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="ok", adopted=ALL)],
        counts={}, before=ours(PENDING), after=ours(ADOPTING)),
    Row(about="the request again on front's ingress, while another CPU adopts",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="shot")],
        counts={"DROP_OUT_OF_ORDER": 1}, before=ours(ADOPTING, adopting=OTHER_CPU)),
    Row(about="the request again on front's ingress, behind itself: once more",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="ok", adopted=ALL)],
        counts={}, before=ours(ADOPTING, adopting=THIS_CPU), after=ours(ADOPTING)),
    Row(about="a notice that followed another packet, while another CPU adopts: silence",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")],
        counts={}, before=ours(ADOPTING, adopting=OTHER_CPU)),
    Row(about="the notice behind it, and the socket exists: type 3",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(3)),))],
        counts={"FRAMES_SENT": 1}, before=ours(ATTACHED)),
    Row(about="the notice behind it, and no socket: type 7",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, NOT_ADOPTED)),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1}, before=ours(ADOPTING, adopting=THIS_CPU),
        after={"connect": [], "temporary": [(KEY, {"state": REFUSED, "reason": NOT_ADOPTED})]}),
    Row(about="the notice behind a later piece, the first one was lost: silence",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")],
        counts={}, before=ours(PENDING)),
    Row(about="the notice behind it, and the queue was full: type 7 says so",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="shot"),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_QUEUE_FULL"))),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1, "DROP_NOT_ADOPTED": 1}, before=ours(PENDING),
        sockets=[Socket(SocketState.LISTEN, LISTENER.service, p.APPLICATION, queued=1, backlog=0)],
        after={"connect": [], "temporary": [(KEY, {"state": REFUSED})]}),
    Row(about="the notice behind it, and nobody listens: type 7 says so",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="shot"),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_NO_LISTENER"))),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1, "DROP_NOT_ADOPTED": 1}, before=ours(PENDING),
        sockets=[], after={"connect": [], "temporary": [(KEY, {"state": REFUSED})]}),
    Row(about="the notice behind it, and our kernel still lacks acknowledged bytes",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")], counts={},
        before=ours(ATTACHED, rcv_need=HEAD_END + 1), sockets=[LISTENER, SOCKET]),
    Row(about="the notice behind it, and our kernel has all acknowledged bytes: type 3",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(3)),))],
        counts={"FRAMES_SENT": 1}, before=ours(ATTACHED, rcv_need=p.IRS + 21),
        after={"connect": [(KEY, {"rcv_need": p.IRS + 1})]},
        sockets=[LISTENER, Socket(SocketState.ESTABLISHED, SOCKET.service, p.WEB, SOCKET.client,
                                  p.PORT, p.IRS + 21)]),
    Row(about="the notice behind a packet whose endpoint has gone",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")], counts={}),
    Row(about="a whole adoption: offer, request, socket, acknowledgement",
        steps=[rx("back", _OFFER, "drop"),
               rx("back", _CARRIED, "redirect", into_front(_INNER), into_front(told(3))),
               Step(hook="inward", where="front", frame=_INNER, verdict="ok", adopted=ALL),
               Establishes(socket=SOCKET),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(3)),))],
        counts={"FRAMES_RECEIVED": 2, "DECAPSULATED": 1, "ADOPTED": 1, "FRAMES_SENT": 1},
        after={"connect": [(KEY, {**OURS, "state": ATTACHED, "cookie": 77})]}),
    Row(about="type 2 out of order before there is a socket",
        steps=[Step(hook="inward", where="front", verdict="shot",
                    frame=p.client("PA", b"later", seq=HEAD_END))],
        counts={"DROP_OUT_OF_ORDER": 1}, before=ours(ADOPTING, adopting=THIS_CPU)),
    Row(about="type 2 out of order, while another CPU adopts: to the end of the queue",
        steps=[Step(hook="inward", where="front", verdict="redirect", sent=(into_front(_LATER),),
                    frame=_LATER)],
        counts={}, before=ours(ADOPTING, adopting=OTHER_CPU)),
    *(_taken_out(*each) for each in [
        ("a plain one, left alone by tc", NEXT, p.BACK, {}),
        ("padding of a short packet goes", p.ip("A", options=[]), p.BACK, {}),
        ("our application has closed", NEXT, p.FRONT, {"server_fin_seen": 1}),
        ("a request of many, all of it our application's", NEXT, p.FRONT,
         {"follow": constant("IPOS_FOLLOW_LENGTH"), "request_end": HEAD_END + 10}),
    ]),
    _taken_out("the client's FIN", p.ip("FA", b"end", seq=HEAD_END), p.FRONT, {},
               client_fin_seen=1, client_fin=HEAD_END + 4),
    Row(about="type 2 with an ICMP error for a socket: on front's ingress",
        steps=[rx("back", p.packet(icmp.fragmentation_needed()), "redirect",
                  into_front(p.ether(icmp.fragmentation_needed(), p.FRONT, p.MAC2, 0, 0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(ATTACHED)),
    Row(about="type 2 of a connection that has ended here: type 4 again",
        steps=[rx("back", p.packet(NEXT), "redirect", to_back(told(4)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="type 2 of a connection nobody knows: refused",
        steps=[rx("back", p.packet(NEXT), "redirect",
                  to_back(told(7, UNKNOWN, iss=p.ISS + 1)))],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1, "REFUSED": 1, "FRAMES_SENT": 1}),
    Row(about="type 2 with a RST of a connection nobody knows: dropped",
        steps=[rx("back", p.packet(p.ip("R", seq=HEAD_END)), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}),
]  # fmt: skip

ROWS = OWNER
