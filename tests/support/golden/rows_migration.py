# SPDX-License-Identifier: Apache-2.0
"""Migration: offers and answers at the first server, adoption at the owner, data in between."""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import icmp
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import NOBODY, nobody
from tests.support.golden.machine import Config, network, refusers
from tests.support.golden.row import (
    Row,
    Step,
    rx,
    to_back,
    to_front,
)
from tests.support.golden.rows_handshake import KEY, RESET
from tests.support.golden.rows_request import (
    ATTACHED,
    ELSEWHERE,
    HELLO,
    HOLDING,
    LOCAL,
    OPEN_ROW,
    forward,
    offered,
)

CLOSED, REFUSED = constant("IPOS_TEMP_CLOSED"), constant("IPOS_TEMP_REFUSED")
HEAD_END = p.IRS + 1 + len(p.HEAD)
NOT_ADOPTED, UNKNOWN = constant("IPOS_REFUSE_NOT_ADOPTED"), constant("IPOS_REFUSE_UNKNOWN")
HELD_ROW = {**HOLDING, "held": len(p.HEAD), "complete": 1, "parsed": len(p.HEAD), "chunks": [16],
            "head_state": 9}  # fmt: skip


def _held(data: bytes) -> dict[str, Any]:
    return {"hold_pool": [(15, {"bytes": data.ljust(1024, b"\0")})]}


CHUNK = _held(p.HEAD)
LONG_AGO, JUST_NOW = -60, -1  # milliseconds
GIVEN = {"forward": [(KEY, forward(acknowledged=1))]}
OFFERED: dict[str, Any] = {
    **CHUNK,
    "forward": [(KEY, forward(offered_ms=JUST_NOW))],
    "holding": [(KEY, HELD_ROW)],
}
UNANSWERED: dict[str, Any] = {**OFFERED, "forward": [(KEY, forward(offered_ms=LONG_AGO))]}
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
               "holding": [(KEY, {"held": len(p.HEAD), "refused": refusers(2)})]}),
    Row(about="type 7, nobody else: 503",
        steps=[rx("back", p.notice(7, reason=1), "shot", to_front(nobody()))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "DROP_NO_SERVER": 1, "UNAVAILABLE": 1,
                "ANSWERED": 1},
        config=ELSEWHERE, before=OFFERED, traffic={2: (0, 1)},
        after={"forward": [], "holding": [(KEY, {"answer": len(NOBODY)})]}),
    Row(about="type 7, nobody else, and it is TLS: RST",
        steps=[rx("back", p.notice(7, reason=1), "redirect", to_front(p.reset()))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "DROP_NO_SERVER": 1, "RST_SENT": 1},
        config=ELSEWHERE, traffic={2: (0, 1)},
        before={**_held(HELLO), "forward": [(KEY, forward(len(HELLO), offered_ms=JUST_NOW))],
                "holding": [(KEY, {**HELD_ROW, "held": len(HELLO), "parsed": len(HELLO)})]},
        after={"forward": [], "holding": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="type 7 for want of room, nobody else: silence, until the request comes again",
        steps=[rx("back", p.notice(7, reason=2), "shot"),
               rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "ASKED_LATER": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2}, config=ELSEWHERE, traffic={2: (1, 1)},
        before={**OFFERED, "holding": [(KEY, {**HELD_ROW, "last_seen_ns": -60_000_000})]},
        after={"forward": [(KEY, forward())],
               "holding": [(KEY, {"refused": refusers(), "complete": 1, "looked": 1})]}),
    Row(about="the same, and its segments come again at once: it is neither read nor offered again",
        steps=[rx("back", p.notice(7, reason=2), "shot"),
               rx("front", p.client("PA", p.HEAD), "shot"),
               rx("front", p.client("PA", b"x", seq=HEAD_END), "shot")],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "ASKED_LATER": 1, "HELD": 2},
        config=ELSEWHERE, traffic={2: (0, 1)},
        before={**OFFERED, "holding": [(KEY, {**HELD_ROW, "last_seen_ns": 0})]},
        after={"forward": [], "holding": [(KEY, {"looked": 1, "complete": 1,
                                                 "held": len(p.HEAD) + 1})]}),
    Row(about="type 7 for want of room, after the header timeout: 503",
        steps=[rx("back", p.notice(7, reason=2), "shot", to_front(nobody()))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "DROP_NO_SERVER": 1, "UNAVAILABLE": 1,
                "ANSWERED": 1},
        config=ELSEWHERE, traffic={2: (0, 1)},
        before={**OFFERED, "holding": [(KEY, {**HELD_ROW, "crowded_ms": 1})]},
        after={"forward": [], "holding": [(KEY, {"answer": len(NOBODY)})]}),
    Row(about="type 7 about an earlier offer to the same server: nothing is chosen again",
        steps=[rx("back", p.notice(7, reason=2, offer=3), "shot")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, config=BOTH,
        before={**OFFERED, "forward": [(KEY, forward(offered_ms=JUST_NOW, migration=4))]}),
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
        counts={"FRAMES_RECEIVED": 1, "DROP_COOKIE_USED": 1, "RST_SENT": 1},
        before={"forward": [(KEY, forward(acknowledged=1, offered_ms=-1_000))]},
        traffic={2: (0, 1)},
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="type 7, unknown there, about another packet than our last",
        steps=[rx("back", p.notice(7, reason=UNKNOWN, iss=p.ISS + 2), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=GIVEN),
    Row(about="type 7, unknown there, about a packet that may have overtaken our offer: it stays",
        steps=[rx("back", p.notice(7, reason=UNKNOWN, iss=p.ISS + 1), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_DENIAL_EARLY": 1},
        before={"forward": [(KEY, forward(acknowledged=1, offered_ms=JUST_NOW))]}),
]  # fmt: skip

NEXT = p.ip("PA", b"more of it", seq=HEAD_END)
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
    _forwarded("data to its owner: type 2", NEXT, client_end=HEAD_END + 10),
    _forwarded("a bare ACK to its owner: padding goes", p.ip("A", seq=HEAD_END, options=[])),
    _forwarded("an ACK raises what the client has seen",
               p.ip("A", seq=HEAD_END, ack=p.ISS + 5001), client_ack=p.ISS + 5001),
    _forwarded("FIN to its owner", p.ip("FA", seq=HEAD_END), client_end=HEAD_END + 1),
    _forwarded("RST to its owner", p.ip("R", seq=HEAD_END)),
    _forwarded("SYN for a live tuple, to its owner",
               p.ip("S", seq=p.IRS + 9, options=p.syn_options()), last_syn=p.IRS + 9,
               client_end=HEAD_END),
    _forwarded("data out of a VLAN into a VLAN", NEXT, vlan=p.VLAN, back_vlan=p.VLAN + 1,
               client_end=HEAD_END + 10),
    _forwarded("data out of a VLAN onto an untagged LAN", NEXT, vlan=p.VLAN),
    _forwarded("data onto a tagged LAN", NEXT, back_vlan=p.VLAN),
    _forwarded("a full segment with all options", p.ip("A", bytes(1420), seq=HEAD_END)),
    _forwarded("a segment with forty bytes of options",
               p.ip("A", b"x", seq=HEAD_END, options=[("SAck", (1, 2, 3, 4, 5, 6)), *p.echo()])),
    _forwarded("TOS, identification and TTL travel", p.ip("A", b"x", seq=HEAD_END, tos=0x12,
                                                          ttl=3)),
    Row(about="data to its owner without tags: eight bytes of zero",
        steps=[rx("front", p.from_router(NEXT), "redirect",
                  to_back(p.sent_packet(NEXT, tag=bytes(8))))],
        counts={"FORWARDED": 1}, before=GIVEN, after={"forward": [(KEY, {"packets": 2})]},
        config=Config(authenticate=False)),
    Row(about="the request again, its offer fresh: its bytes go by us alone",
        steps=[rx("front", p.client("PA", p.HEAD), "drop")], counts={"ABSORBED": 1},
        before=OFFERED),
    Row(about="the request again with more behind it, its offer fresh",
        steps=[rx("front", p.client("PA", p.HEAD + b"more"), "drop")], counts={"ABSORBED": 1},
        before=OFFERED),
    Row(about="what follows the request, its offer fresh: as data",
        steps=[rx("front", p.client("PA", b"more", seq=HEAD_END), "redirect",
                  to_back(p.sent_packet(p.ip("PA", b"more", seq=HEAD_END))))],
        counts={"FORWARDED": 1}, before=OFFERED,
        after={"forward": [(KEY, {**forward(), "packets": 2, "client_end": HEAD_END + 4})]}),
    Row(about="the request again, no answer for long: offered again",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"FRAMES_SENT": 2}, before=UNANSWERED),
    Row(about="an ACK, no answer for long: offered again",
        steps=[rx("front", p.client("A", seq=HEAD_END), "shot", *offered(p.HEAD))],
        counts={"FRAMES_SENT": 2}, before=UNANSWERED),
    Row(about="more data, no answer for long: as data",
        steps=[rx("front", p.from_router(NEXT), "redirect", to_back(p.sent_packet(NEXT)))],
        counts={"FORWARDED": 1}, before=UNANSWERED,
        after={"forward": [(KEY, {**forward(), "packets": 2, "client_end": HEAD_END + 10})]}),
    Row(about="the owner is down before it answered: another server is chosen",
        steps=[rx("front", p.client("PA", p.HEAD), "shot",
                  *offered(p.HEAD, to=p.MAC3, endpoint=p.S3))],
        counts={"CHOSEN_AGAIN": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, before=OFFERED,
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)), traffic={2: (0, 1), 3: (1, 0)},
        after={"forward": [(KEY, forward(server=3, destination_ip=network(p.S3)))],
               "holding": [(KEY, {"refused": refusers(2)})]}),
    Row(about="the owner is down after type 3: RST",
        steps=[rx("front", p.from_router(NEXT), "redirect", to_front(p.reset()))],
        counts={"DROP_OWNER_DOWN": 1, "RST_SENT": 1}, before=GIVEN, traffic={2: (0, 1)},
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)),
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="the owner is down after type 3: a RST is not answered",
        steps=[rx("front", p.client("R", seq=HEAD_END), "drop")],
        counts={"DROP_OWNER_DOWN": 1}, before=GIVEN, traffic={2: (0, 1)},
        config=Config(candidates=(2, 3), states=((2, "DOWN"),)),
        after={"forward": [], "temporary": [(KEY, {"state": RESET})]}),
    Row(about="ICMP fragmentation needed, for a migrated connection: to its owner",
        steps=[rx("front", p.from_router(icmp.fragmentation_needed()), "redirect",
                  to_back(p.sent_packet(icmp.fragmentation_needed())))],
        counts={"ICMP_FORWARDED": 1, "FORWARDED": 1}, before=GIVEN),
    Row(about="ICMP fragmentation needed, for a connection of our own",
        steps=[rx("front", p.from_router(icmp.fragmentation_needed()), "to kernel")], counts={},
        before={"local": [(KEY, {**LOCAL, "state": ATTACHED})]}),
    Row(about="ICMP that quotes too little",
        steps=[rx("front", p.from_router(icmp.fragmentation_needed(quoted=2)), "to kernel")],
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
    _grown_in_tc("data to its owner", NEXT),
    _grown_in_tc("a bare ACK to its owner: padding goes", p.ip("A", seq=HEAD_END, options=[])),
    _grown_in_tc("FIN to its owner", p.ip("FA", seq=HEAD_END)),
    _grown_in_tc("a full segment to its owner", p.ip("A", bytes(1420), seq=HEAD_END)),
    _grown_in_tc("data out of a VLAN into a VLAN", NEXT, p.VLAN, p.VLAN + 1),
    _grown_in_tc("data out of a VLAN onto an untagged LAN", NEXT, p.VLAN),
    _grown_in_tc("data onto a tagged LAN", NEXT, 0, p.VLAN),
]

# ---- the owner ----------------------------------------------------------------------------------


ROWS = [*FIRST_SERVER, *DATA, *IN_TC]
