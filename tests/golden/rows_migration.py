# SPDX-License-Identifier: Apache-2.0
"""Migration: offers and answers at the first server, adoption at the owner, data in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.inic.layout import constant
from ipos.inic.native import Socket, SocketState
from tests.golden import packets as p
from tests.golden.machine import LISTENER, Config, connection_key, network
from tests.golden.row import Establishes, Row, Step, into_front, rx, to_back, to_front
from tests.golden.rows_handshake import ENDED, HANDSHAKE, KEY, RESET
from tests.golden.rows_request import (
    ADOPTING,
    ALL,
    ATTACHED,
    ELSEWHERE,
    HOLDING,
    LOCAL,
    OPEN_ROW,
    PENDING,
    SOCKET,
    forward,
    offered,
)

CLOSED = constant("IPOS_TEMP_CLOSED")
HEAD_END = p.IRS + 1 + len(p.HEAD)
NOT_ADOPTED, UNKNOWN = constant("IPOS_REFUSE_NOT_ADOPTED"), constant("IPOS_REFUSE_UNKNOWN")
HELD_ROW = {**HOLDING, "held": len(p.HEAD), "complete": 1, "parsed": len(p.HEAD), "chunks": [16],
            "head_state": 9}  # fmt: skip
CHUNK = {"hold_pool": [(15, {"bytes": p.HEAD.ljust(1024, b"\0")})]}
LONG_AGO, JUST_NOW = -60_000_000, -1_000_000
GIVEN = {"forward": [(KEY, forward(acknowledged=1))]}
OFFERED: dict[str, Any] = {
    **CHUNK,
    "forward": [(KEY, forward(offered_ns=JUST_NOW))],
    "holding": [(KEY, HELD_ROW)],
}
UNANSWERED: dict[str, Any] = {**OFFERED, "forward": [(KEY, forward(offered_ns=LONG_AGO))]}
BOTH = Config(candidates=(2, 3))

# ---- the first server ---------------------------------------------------------------------------

FIRST_SERVER = [
    Row(about="request, decided for another server: types 1 and 2",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=ELSEWHERE, before=OPEN_ROW,
        traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {**HOLDING, "held": len(p.HEAD), "complete": 1})]}),
    Row(about="request with FIN, decided for another server",
        steps=[rx("front", p.client("FPA", p.HEAD), "shot", *offered(p.HEAD, fin=True))],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=ELSEWHERE, before=OPEN_ROW,
        traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD), "fin": 1})]}),
    Row(about="request, decided for another server, in the back's VLAN",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD, vlan=p.VLAN))],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2},
        config=Config(candidates=(2,), back_vlan=p.VLAN), before=OPEN_ROW, traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD)})]}),
    Row(about="type 3: the request need not be held any more",
        steps=[rx("back", p.notice(3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1}, before=OFFERED,
        after={"forward": [(KEY, forward(acknowledged=1))], "holding": []}),
    Row(about="type 3 again: nothing changes",
        steps=[rx("back", p.notice(3), "drop")], counts={"FRAMES_RECEIVED": 1}, before=GIVEN),
    Row(about="type 7: another server is chosen at once",
        steps=[rx("back", p.notice(7, reason=2), "shot",
                  *offered(p.HEAD, to=p.MAC3, endpoint=p.S3))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "MIGRATED": 1, "FRAMES_SENT": 2},
        config=BOTH, before=OFFERED, traffic={2: (0, 1), 3: (1, 0)},
        after={"forward": [(KEY, forward(server=3, destination_ip=network(p.S3)))],
               "holding": [(KEY, {"held": len(p.HEAD), "refused": 4})]}),
    Row(about="type 7, nobody else: RST",
        steps=[rx("back", p.notice(7, reason=2), "redirect", to_front(p.reset()))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "DROP_NO_SERVER": 1, "RST_SENT": 1},
        config=ELSEWHERE, before=OFFERED, traffic={2: (0, 1)},
        after={"forward": [], "holding": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="type 7 after type 3: never chosen again",
        steps=[rx("back", p.notice(7, reason=2), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, config=BOTH, before=GIVEN),
    Row(about="type 4: the connection has ended",
        steps=[rx("back", p.notice(4), "drop")], counts={"FRAMES_RECEIVED": 1}, before=GIVEN,
        traffic={2: (0, 1)},
        after={"forward": [], "temporary": [(KEY, {"state": CLOSED, "client_end": HEAD_END})]}),
    Row(about="type 4 before type 3: what was held goes too",
        steps=[rx("back", p.notice(4), "drop")], counts={"FRAMES_RECEIVED": 1}, before=OFFERED,
        traffic={2: (0, 1)},
        after={"forward": [], "holding": [], "temporary": [(KEY, {"state": CLOSED})]}),
    Row(about="type 4 and then the late duplicate of the request",
        steps=[rx("back", p.notice(4), "drop"), rx("front", p.client("PA", p.HEAD), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1}, before=GIVEN, traffic={2: (0, 1)},
        after={"forward": [], "temporary": [(KEY, {"state": CLOSED})]}),
    Row(about="type 7, unknown there: the row goes, and the client is reset when it speaks",
        steps=[rx("back", p.notice(7, reason=UNKNOWN, iss=p.ISS + 1), "drop"),
               rx("front", p.client("PA", b"next", seq=HEAD_END), "redirect",
                  to_front(p.reset()))],
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1, "RST_SENT": 1}, before=GIVEN,
        traffic={2: (0, 1)},
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="type 7, unknown there, about another packet than our last",
        steps=[rx("back", p.notice(7, reason=UNKNOWN, iss=p.ISS + 2), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=GIVEN),
]  # fmt: skip

_MORE = p.ip("PA", b"more of it", seq=HEAD_END)
_FORWARDED = {"packets": 2, "client_ack": p.ISS + 1, "request_end": HEAD_END, "last_syn": 0}


def _forwarded(about: str, packet: bytes, vlan: int = 0, back_vlan: int = 0,
               frame: bytes | None = None, **row: Any) -> Row:  # fmt: skip
    return Row(
        about=about,
        steps=[rx("front", p.from_router(packet, vlan) if frame is None else frame, "redirect",
                  to_back(p.sent_packet(packet, vlan=back_vlan)))],
        counts={"FORWARDED": 1}, before=GIVEN, after={"forward": [(KEY, {**_FORWARDED, **row})]},
        config=Config(front_vlan=vlan, back_vlan=back_vlan),
    )  # fmt: skip


DATA = [
    _forwarded("data to its owner: type 2", _MORE, client_end=HEAD_END + 10),
    _forwarded("a bare ACK to its owner: padding goes", p.ip("A", seq=HEAD_END, options=[])),
    _forwarded("an ACK raises what the client has seen",
               p.ip("A", seq=HEAD_END, ack=p.ISS + 5001), client_ack=p.ISS + 5001),
    _forwarded("FIN to its owner", p.ip("FA", seq=HEAD_END), client_end=HEAD_END + 1),
    _forwarded("RST to its owner", p.ip("R", seq=HEAD_END)),
    _forwarded("SYN for a live tuple, to its owner",
               p.ip("S", seq=p.IRS + 9, options=p.syn_options()), last_syn=p.IRS + 9,
               client_end=HEAD_END),
    _forwarded("data out of a VLAN into a VLAN", _MORE, vlan=p.VLAN, back_vlan=p.VLAN + 1,
               client_end=HEAD_END + 10),
    _forwarded("data out of a VLAN onto an untagged LAN", _MORE, vlan=p.VLAN),
    _forwarded("data onto a tagged LAN", _MORE, back_vlan=p.VLAN),
    _forwarded("a full segment with all options", p.ip("A", bytes(1420), seq=HEAD_END)),
    _forwarded("a segment with forty bytes of options",
               p.ip("A", b"x", seq=HEAD_END, options=[("SAck", (1, 2, 3, 4, 5, 6)), *p.echo()])),
    _forwarded("TOS, identification and TTL travel", p.ip("A", b"x", seq=HEAD_END, tos=0x12,
                                                          ttl=3)),
    Row(about="data to its owner without tags: eight bytes of zero",
        steps=[rx("front", p.from_router(_MORE), "redirect",
                  to_back(p.sent_packet(_MORE, tag=bytes(8))))],
        counts={"FORWARDED": 1}, before=GIVEN, after={"forward": [(KEY, {"packets": 2})]},
        config=Config(authenticate=False)),
    Row(about="the request again, its offer fresh: as data",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect",
                  to_back(p.sent_packet(p.ip("PA", p.HEAD))))],
        counts={"FORWARDED": 1}, before=OFFERED,
        after={"forward": [(KEY, {**forward(), "packets": 2})]}),
    Row(about="the request again, no answer for long: offered again",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"FRAMES_SENT": 2}, before=UNANSWERED),
    Row(about="an ACK, no answer for long: offered again",
        steps=[rx("front", p.client("A", seq=HEAD_END), "shot", *offered(p.HEAD))],
        counts={"FRAMES_SENT": 2}, before=UNANSWERED),
    Row(about="more data, no answer for long: as data",
        steps=[rx("front", p.from_router(_MORE), "redirect", to_back(p.sent_packet(_MORE)))],
        counts={"FORWARDED": 1}, before=UNANSWERED,
        after={"forward": [(KEY, {**forward(), "packets": 2, "client_end": HEAD_END + 10})]}),
    Row(about="the owner is down before it answered: another server is chosen",
        steps=[rx("front", p.client("PA", p.HEAD), "shot",
                  *offered(p.HEAD, to=p.MAC3, endpoint=p.S3))],
        counts={"CHOSEN_AGAIN": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, before=OFFERED,
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)), traffic={2: (0, 1), 3: (1, 0)},
        after={"forward": [(KEY, forward(server=3, destination_ip=network(p.S3)))],
               "holding": [(KEY, {"refused": 4})]}),
    Row(about="the owner is down after type 3: RST",
        steps=[rx("front", p.from_router(_MORE), "redirect", to_front(p.reset()))],
        counts={"DROP_OWNER_DOWN": 1, "RST_SENT": 1}, before=GIVEN, traffic={2: (0, 1)},
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)),
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="the owner is down after type 3: a RST is not answered",
        steps=[rx("front", p.client("R", seq=HEAD_END), "drop")],
        counts={"DROP_OWNER_DOWN": 1}, before=GIVEN, traffic={2: (0, 1)},
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)),
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="ICMP fragmentation needed, for a migrated connection: to its owner",
        steps=[rx("front", p.from_router(p.fragmentation_needed()), "redirect",
                  to_back(p.sent_packet(p.fragmentation_needed())))],
        counts={"ICMP_FORWARDED": 1, "FORWARDED": 1}, before=GIVEN),
    Row(about="ICMP fragmentation needed, for a connection of our own",
        steps=[rx("front", p.from_router(p.fragmentation_needed()), "to kernel")], counts={},
        before={"local": [(KEY, {**LOCAL, "state": ATTACHED})]}),
    Row(about="ICMP that quotes too little",
        steps=[rx("front", p.from_router(p.fragmentation_needed(quoted=2)), "to kernel")],
        counts={}, before=GIVEN),
    Row(about="frames cannot be sent: counted",
        steps=[rx("front", p.client("PA", p.HEAD), "shot")],
        counts={"HELD": 1, "MIGRATED": 1, "DROP_EMIT": 1}, config=ELSEWHERE, before=OPEN_ROW,
        traffic={2: (1, 0)}, emit_fails=True,
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD)})]}),
]  # fmt: skip


def _grown_in_tc(about: str, packet: bytes, vlan: int = 0, back_vlan: int = 0) -> Row:
    """What XDP passed because its buffer had no room behind the packet."""
    return Row(
        about=f"in tc: {about}",
        steps=[Step(hook="tc", where="front", frame=p.from_router(packet, vlan),
                    verdict="redirect", sent=(to_back(p.sent_packet(packet, vlan=back_vlan)),))],
        counts={"FORWARDED": 1}, before=GIVEN,
        config=Config(front_vlan=vlan, back_vlan=back_vlan),
    )  # fmt: skip


IN_TC = [
    _grown_in_tc("data to its owner", _MORE),
    _grown_in_tc("a bare ACK to its owner: padding goes", p.ip("A", seq=HEAD_END, options=[])),
    _grown_in_tc("FIN to its owner", p.ip("FA", seq=HEAD_END)),
    _grown_in_tc("a full segment to its owner", p.ip("A", bytes(1420), seq=HEAD_END)),
    _grown_in_tc("data out of a VLAN into a VLAN", _MORE, p.VLAN, p.VLAN + 1),
    _grown_in_tc("data out of a VLAN onto an untagged LAN", _MORE, p.VLAN),
    _grown_in_tc("data onto a tagged LAN", _MORE, 0, p.VLAN),
]

# ---- the owner ----------------------------------------------------------------------------------

_OFFER = p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE)
_REQUEST = p.ip("PA", p.HEAD)
_CARRIED = p.packet(_REQUEST)
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
    answer = told(7, constant(f"IPOS_REFUSE_{reason}"), **fields.pop("answer", {}))
    offer = fields.pop("offer", _OFFER)
    return Row(
        about=f"type 1 refused: {about}", steps=[rx("back", offer, "redirect", to_back(answer))],
        counts=counts, **fields,
    )  # fmt: skip


OWNER = [
    Row(about="type 1: the endpoint waits for its request",
        steps=[rx("back", _OFFER, "drop")], counts={"FRAMES_RECEIVED": 1},
        after={"connect": [(KEY, OURS)]}),
    Row(about="type 1 with bytes that the farm acknowledged",
        steps=[rx("back", p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, acknowledged=20),
                  "drop")],
        counts={"FRAMES_RECEIVED": 1},
        after={"connect": [(KEY, {**OURS, "rcv_need": p.IRS + 21})]}),
    Row(about="type 1 in the back's VLAN",
        steps=[rx("back", p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, vlan=p.VLAN),
                  "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=Config(back_vlan=p.VLAN),
        after={"connect": [(KEY, OURS)]}),
    Row(about="type 1 without a tag, where tags are off",
        steps=[rx("back", p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, tag=bytes(16)),
                  "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=Config(authenticate=False),
        after={"connect": [(KEY, OURS)]}),
    _refused("no such service", "NO_LISTENER", answer={"service_port": 81},
             offer=p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, service_port=81)),
    _refused("in maintenance", "STATE", config=Config(states=((1, "MAINT"),))),
    _refused("another connection of the tuple is attached", "TUPLE_LIVE",
             before=ours(ATTACHED, hs={**HANDSHAKE, "iss": p.ISS + 77})),
    _refused("a local connection has the tuple", "TUPLE_LIVE",
             before={"local": [(KEY, {**LOCAL, "state": ATTACHED})]}),
    _refused("we have given the tuple away ourselves", "TUPLE_LIVE", before=GIVEN),
    _refused("Forward-Connect is full", "TABLE_FULL", counts={"DROP_TABLE_FULL": 1},
             before={"connect": [(connection_key(port), OURS) for port in range(1, 5)]}),
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
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=p.IRS + 21)],
        native_only="an established socket needs a peer"),
    Row(about="type 1 of a connection that has ended here",
        steps=[rx("back", _OFFER, "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="type 2: on front's ingress, and a notice behind it",
        steps=[rx("back", _CARRIED, "redirect", into_front(_INNER), into_front(told(3)))],
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
    Row(about="the notice behind it, and the socket exists: type 3",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(3)),))],
        counts={"FRAMES_SENT": 1}, before=ours(ATTACHED)),
    Row(about="the notice behind it, and no socket: type 7",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, NOT_ADOPTED)),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1}, before=ours(ADOPTING), after={"connect": []}),
    Row(about="the notice behind a later piece, the first one was lost: silence",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")],
        counts={}, before=ours(PENDING)),
    Row(about="the notice behind it, and the queue was full: type 7 says so",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="shot"),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_QUEUE_FULL"))),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1, "DROP_NOT_ADOPTED": 1}, before=ours(PENDING),
        sockets=[Socket(SocketState.LISTEN, LISTENER.service, p.APPLICATION, queued=1, backlog=0)],
        after={"connect": []}),
    Row(about="the notice behind it, and nobody listens: type 7 says so",
        steps=[Step(hook="inward", where="front", frame=_INNER, verdict="shot"),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_NO_LISTENER"))),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1, "DROP_NOT_ADOPTED": 1}, before=ours(PENDING),
        sockets=[], after={"connect": []}),
    Row(about="the notice behind it, and our kernel still lacks acknowledged bytes",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="shot")], counts={},
        before=ours(ATTACHED, rcv_need=HEAD_END + 1), sockets=[LISTENER, SOCKET]),
    Row(about="the notice behind it, and our kernel has all acknowledged bytes: type 3",
        steps=[Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(3)),))],
        counts={"FRAMES_SENT": 1}, before=ours(ATTACHED, rcv_need=p.IRS + 21),
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
        counts={"DROP_OUT_OF_ORDER": 1}, before=ours(ADOPTING)),
    *(_taken_out(*each) for each in [
        ("a plain one, left alone by tc", _MORE, p.BACK, {}),
        ("padding of a short packet goes", p.ip("A", options=[]), p.BACK, {}),
        ("our application has closed", _MORE, p.FRONT, {"server_fin_seen": 1}),
        ("a request of many, all of it our application's", _MORE, p.FRONT,
         {"follow": constant("IPOS_FOLLOW_LENGTH"), "request_end": HEAD_END + 10}),
    ]),
    _taken_out("the client's FIN", p.ip("FA", b"end", seq=HEAD_END), p.FRONT, {},
               client_fin_seen=1, client_fin=HEAD_END + 4),
    Row(about="type 2 with an ICMP error for a socket: on front's ingress",
        steps=[rx("back", p.packet(p.fragmentation_needed()), "redirect",
                  into_front(p.ether(p.fragmentation_needed(), p.FRONT, p.MAC2, 0, 0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=ours(ATTACHED)),
    Row(about="type 2 of a connection that has ended here: type 4 again",
        steps=[rx("back", p.packet(_MORE), "redirect", to_back(told(4)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="type 2 of a connection nobody knows: refused",
        steps=[rx("back", p.packet(_MORE), "redirect",
                  to_back(told(7, UNKNOWN, iss=p.ISS + 1)))],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1, "REFUSED": 1, "FRAMES_SENT": 1}),
    Row(about="type 2 with a RST of a connection nobody knows: dropped",
        steps=[rx("back", p.packet(p.ip("R", seq=HEAD_END)), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}),
]  # fmt: skip

ROWS = [*FIRST_SERVER, *DATA, *IN_TC, *OWNER]
