# SPDX-License-Identifier: Apache-2.0
"""Requests at the first server: held, decided, and served here."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ipos.inic.layout import constant
from ipos.inic.native import Attributes, Socket, SocketState
from ipos.requests.h2 import PREFACE
from tests.golden import packets as p
from tests.golden.machine import (
    APPLICATION_IP,
    LISTENER,
    Config,
    connection_key,
    network,
)
from tests.golden.row import Establishes, Row, Step, into_front, rx, to_back, to_front
from tests.golden.rows_handshake import BARE, HANDSHAKE, KEY, OPENED, RESET

ALL = Attributes(p.TS_LATER, p.OUR_TS, 1460, 7, 10, False, True, True, True, False)
PLAIN = Attributes(0, 0, 536, 0, 0, False, False, False, False, False)
PENDING, ADOPTING, ATTACHED = (
    constant(f"IPOS_EP_{s}") for s in ("PENDING", "ADOPTING", "ATTACHED")
)
ELSEWHERE = Config(candidates=(2,))
OPEN_ROW = {"temporary": [(KEY, OPENED)]}
SOCKET = Socket(SocketState.ESTABLISHED, IPv4Address(p.SERVICE), p.WEB, IPv4Address(p.CLIENT),
                p.PORT, p.IRS + 1)  # fmt: skip
FIRST, REST = p.HEAD[:20], p.HEAD[20:]
FULL = 1420  # bytes of a full segment with timestamps, at the MSS we offer
LONG = b"GET /" + b"a" * 14_595
QUIET = PREFACE + b"\0\0\0\4\0\0\0\0\0"  # and empty SETTINGS

LOCAL: dict[str, Any] = {
    "endpoint_ip": network(p.SERVICE), "endpoint_port": p.APPLICATION, "first": 1,
    "giver": 1,
    "hs": HANDSHAKE, "state": PENDING, "service": 1, "adopt_seq": p.IRS + 1,
    "rcv_need": p.IRS + 1, "rcv_nxt": p.IRS + 1, "snd_nxt": p.ISS + 1,
}  # fmt: skip
HOLDING: dict[str, Any] = {
    "hs": HANDSHAKE, "iss": p.ISS, "irs": p.IRS, "service": 1, "window": 502,
    "client_mac": bytes.fromhex("020000000099"),
}  # fmt: skip


def forward(size: int = len(p.HEAD), **fields: Any) -> dict[str, Any]:
    end = p.IRS + 1 + size
    return {
        "destination_ip": network(p.S2), "destination_port": p.APPLICATION, "server": 2,
        "iss": p.ISS, "irs": p.IRS, "acknowledged": 0, "service": 1, "client_end": end,
        "client_ack": p.ISS + 1, "request_end": end, "packets": 1, "first": 1, **fields,
    }  # fmt: skip


def piece(
    data: bytes, offset: int = 0, last: bool = True, fin: bool = False, **fields: Any
) -> bytes:
    """A held request's packet, made anew: id 0, DF, TTL 64."""
    flags = "A" + "P" * last + "F" * fin
    packet = bytearray(p.ip(flags, data, seq=p.IRS + 1 + offset, **fields))
    packet[4:6] = b"\0\0"  # identification
    return p.ip_checksum_right(bytes(packet))


def offered(data: bytes, *, acknowledged: int = 0, to: str = p.MAC2, endpoint: str = p.S2,
            fin: bool = False, vlan: int = 0) -> list[Any]:  # fmt: skip
    """Type 1, then the request in type 2 frames of at most 1,024 bytes."""
    out = [to_back(p.connection(held=len(data), acknowledged=acknowledged, to=to,
                                endpoint=endpoint, vlan=vlan))]  # fmt: skip
    for at in range(0, len(data), 1024):
        last = at + 1024 >= len(data)
        inner = piece(data[at : at + 1024], at, last, fin and last)
        out.append(to_back(p.sent_packet(inner, to=to, endpoint=endpoint, vlan=vlan)))
    return out


def _here(about: str, *frames: bytes, attributes: Attributes = ALL, **fields: Any) -> Row:
    """One segment that decides for this server."""
    counts = {"SERVED_HERE": 1, **fields.pop("counts", {})}
    hs = fields.pop("hs", HANDSHAKE)
    return Row(
        about=about,
        steps=[rx("front", frame, "to kernel", adopted=attributes) for frame in frames],
        counts=counts, traffic={1: (1, 0)}, before=fields.pop("before", OPEN_ROW),
        after={"temporary": [], "local": [(KEY, {**LOCAL, "hs": hs, "state": ADOPTING,
               "snd_nxt": hs["iss"] + 1, **fields.pop("row", {})})]},
        **fields,
    )  # fmt: skip


HERE = [
    _here("request, decided for here: the listener adopts it", p.client("PA", p.HEAD)),
    _here("request with the cookie, its ACK was lost", p.client("PA", p.HEAD), before={},
          counts={"COOKIE_ACCEPTED": 1}),
    _here("request of a client without options",
          p.client("PA", p.HEAD, ack=p.ISS_BARE + 1, options=[]),
          attributes=PLAIN, hs=BARE, before={"temporary": [(KEY, {**OPENED, "hs": BARE})]}),
    _here("request with FIN", p.client("FPA", p.HEAD)),
    _here("request in the front's VLAN", p.client("PA", p.HEAD, vlan=p.VLAN),
          config=Config(front_vlan=p.VLAN)),
    _here("request on one LAN for front and back", p.client("PA", p.HEAD),
          config=Config(one_lan=True)),
    _here("request that begins with CRLF", p.client("PA", b"\r\n\r\n" + p.HEAD)),
    _here("request of HTTP/1.0, without Host", p.client("PA", b"GET / HTTP/1.0\r\n\r\n")),
    _here("TLS ClientHello", p.client("PA", b"\x16\x03\x01\0\x08\1\0\0\4abcd")),
    _here("TLS ClientHello in two records",
          p.client("PA", b"\x16\x03\x01\0\x02\1\0\x16\x03\x01\0\x06\0\4abcd")),
    _here("TLS record of another message", p.client("PA", b"\x16\x03\x01\0\x04abcd")),
    _here("TLS record of no bytes", p.client("PA", b"\x16\x03\x01\0\0")),
    _here("HTTP/2 request", p.client("PA", PREFACE + b"\0\0\0\4\0\0\0\0\0"
                                     b"\0\0\1\1\5\0\0\0\1\x84")),
    _here("a grammar of its own: the first byte decides", p.client("PA", b"\x00")),
    _here("head and body in one segment", p.client("PA", p.HEAD + b"body" * 100)),
    _here("while the other server drains", p.client("PA", p.HEAD),
          config=Config(candidates=(2, 1), states=((2, "DRAIN"),))),
    _here("a listener on any address", p.client("PA", p.HEAD), config=Config(application="0.0.0.0"),
          sockets=[Socket(SocketState.LISTEN, IPv4Address("0.0.0.0"), p.APPLICATION)]),
    Row(about="request, adopted, and the socket exists",
        steps=[rx("front", p.client("PA", p.HEAD), "to kernel", adopted=ALL),
               Establishes(socket=SOCKET),
               rx("front", p.client("A", seq=p.IRS + 1 + len(p.HEAD)), "to kernel")],
        counts={"SERVED_HERE": 1, "ADOPTED": 1}, traffic={1: (1, 0)}, before=OPEN_ROW,
        after={"temporary": [], "local": [(KEY, {**LOCAL, "state": ATTACHED, "cookie": 77})]}),
    Row(about="a socket of nobody's we know",
        steps=[Establishes(socket=SOCKET)], counts={}),
    Row(about="another event of a socket",
        steps=[Establishes(socket=SOCKET, op=4)], counts={},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING})]}),
]  # fmt: skip


def _again(about: str, counts: dict[str, int] | None = None, **fields: Any) -> Row:
    """This server cannot, another can."""
    fields.setdefault("sockets", ())
    return Row(
        about=about, steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2, **(counts or {})},
        config=Config(candidates=(1, 2)), before=OPEN_ROW, traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD), "complete": 1, "refused": 2})]},
        **fields,
    )  # fmt: skip


NOT_HERE = [
    _again("no listener: another server is chosen"),
    _again("a listener on another port: another server is chosen",
           sockets=[Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), p.APPLICATION + 1)]),
    _again("full accept queue: another server is chosen",
           sockets=[Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), p.APPLICATION,
                           queued=1, backlog=0)]),
    _again("a live socket has the four-tuple: another server is chosen",
           sockets=[LISTENER, SOCKET]),
    Row(about="no listener, nobody else: RST",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect", to_front(p.reset()))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "DROP_NO_SERVER": 1,
                "RST_SENT": 1},
        before=OPEN_ROW, sockets=(),
        after={"temporary": [(KEY, {"hs": HANDSHAKE, "state": RESET,
                                    "client_end": p.IRS + 1 + len(p.HEAD)})]}),
    Row(about="no server ready any more: RST",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect", to_front(p.reset()))],
        counts={"HELD": 1, "DROP_NO_SERVER": 1, "RST_SENT": 1},
        before=OPEN_ROW, config=Config(states=((1, "MAINT"),)),
        after={"temporary": [(KEY, {"hs": HANDSHAKE, "state": RESET})]}),
    Row(about="a second segment in one batch with the adopted one: our kernel takes it after that",
        steps=[rx("front", p.client("PA", b"more", seq=p.IRS + 40), "to kernel")],
        counts={},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING})]}),
    Row(about="a second segment before the one to adopt from",
        steps=[rx("front", p.client("PA", b"more", seq=p.IRS + 40), "shot")],
        counts={"DROP_OUT_OF_ORDER": 1}, before={"local": [(KEY, LOCAL)]}),
    Row(about="the request twice in one batch: too soon to choose again",
        steps=[rx("front", p.client("PA", p.HEAD), "shot")], counts={"DROP_OUT_OF_ORDER": 1},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "last_seen_ns": 0})]}),
    Row(about="the request again: our kernel did not take it, another server is chosen",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2},
        config=Config(candidates=(1, 2)), traffic={1: (0, 1), 2: (1, 0)},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING})]},
        after={"local": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD), "refused": 2})]}),
]  # fmt: skip

_PIECE_HERE = p.from_router(piece(p.HEAD), pad=False)

HELD = [
    Row(about="request in two segments: the first is acknowledged, then decided for here",
        steps=[rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST)))),
               rx("front", p.client("PA", REST, seq=p.IRS + 21), "shot", into_front(_PIECE_HERE)),
               Step(hook="tc", where="front", frame=_PIECE_HERE, verdict="ok", adopted=ALL)],
        counts={"HELD": 2, "HOLD_ACKED": 1, "SERVED_HERE": 1}, traffic={1: (1, 0)},
        before=OPEN_ROW,
        after={"temporary": [], "local": [(KEY, {**LOCAL, "state": ADOPTING})],
               "holding": [(KEY, {**HOLDING, "held": len(p.HEAD), "acknowledged": 20,
                                  "complete": 1})]}),
    Row(about="request in two segments, in reverse order",
        steps=[rx("front", p.client("PA", REST, seq=p.IRS + 21), "redirect", to_front(p.ack(0))),
               rx("front", p.client("A", FIRST), "shot", into_front(_PIECE_HERE))],
        counts={"HELD": 2, "HOLD_ACKED": 1, "SERVED_HERE": 1}, traffic={1: (1, 0)},
        before=OPEN_ROW,
        after={"temporary": [], "local": [(KEY, LOCAL)],
               "holding": [(KEY, {"held": len(p.HEAD), "acknowledged": 0, "complete": 1})]}),
    Row(about="request in two segments for another server: both acknowledged bytes and new ones",
        steps=[rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST)))),
               rx("front", p.client("PA", REST, seq=p.IRS + 21), "shot",
                  *offered(p.HEAD, acknowledged=20))],
        counts={"HELD": 2, "HOLD_ACKED": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=ELSEWHERE,
        before=OPEN_ROW, traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {**HOLDING, "held": len(p.HEAD), "acknowledged": 20})]}),
    Row(about="full segments: the fourth is acknowledged, with all before it",
        steps=[*(rx("front", p.client("A", LONG[at : at + FULL], seq=p.IRS + 1 + at), "shot")
                 for at in range(0, 3 * FULL, FULL)),
               rx("front", p.client("A", LONG[3 * FULL : 4 * FULL], seq=p.IRS + 1 + 3 * FULL),
                  "redirect", to_front(p.ack(4 * FULL)))],
        counts={"HELD": 4, "HOLD_ACKED": 1}, before=OPEN_ROW,
        after={"temporary": [],
               "holding": [(KEY, {**HOLDING, "held": 4 * FULL, "acknowledged": 4 * FULL})]}),
    Row(about="a full segment after a pause: acknowledged",
        steps=[rx("front", p.client("A", LONG[:FULL]), "redirect", to_front(p.ack(FULL)))],
        counts={"HELD": 1, "HOLD_ACKED": 1},
        before={"holding": [(KEY, {**HOLDING, "last_seen_ns": -6_000_000})]},
        after={"holding": [(KEY, {"held": FULL, "acknowledged": FULL})]}),
    Row(about="a held segment again: acknowledged again",
        steps=[rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST)))),
               rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST))))],
        counts={"HELD": 2, "HOLD_ACKED": 2}, before=OPEN_ROW,
        after={"temporary": [], "holding": [(KEY, {"held": 20, "acknowledged": 20})]}),
    Row(about="a held segment with a wrong checksum",
        steps=[rx("front", p.from_router(p.wrong_checksum(p.ip("A", FIRST * 2))), "shot")],
        counts={"DROP_BAD_CHECKSUM": 1}, before={"holding": [(KEY, HOLDING)]}),
    Row(about="2,000 bytes of head for another server: pieces of 1,024",
        steps=[rx("front", p.client("A", LONG[:1300]), "redirect", to_front(p.ack(1300))),
               rx("front", p.client("PA", LONG[1300:1963] + b" HTTP/1.0\r\n\r\n" + bytes(24),
                                    seq=p.IRS + 1301), "shot",
                  *offered(LONG[:1963] + b" HTTP/1.0\r\n\r\n" + bytes(24), acknowledged=1300))],
        counts={"HELD": 2, "HOLD_ACKED": 1, "MIGRATED": 1, "FRAMES_SENT": 3}, config=ELSEWHERE,
        before=OPEN_ROW, traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward(2000))],
               "holding": [(KEY, {"held": 2000})]}),
    Row(about="a segment beyond the window",
        steps=[rx("front", p.client("A", b"a" * 100, seq=p.IRS + 1 + 14_601), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"holding": [(KEY, HOLDING)]}),
    Row(about="data that begins before the window",
        steps=[rx("front", p.client("A", b"xx", seq=p.IRS), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"holding": [(KEY, HOLDING)]}),
    Row(about="data that begins where the window ends",
        steps=[rx("front", p.client("A", b"x", seq=p.IRS + 1 + 14_600), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"holding": [(KEY, HOLDING)]}),
    Row(about="a FIN behind frames of HTTP/2 that ask for nothing: RST",
        steps=[rx("front", p.client("PA", QUIET), "shot"),
               rx("front", p.client("FA", seq=p.IRS + 1 + len(QUIET)), "redirect",
                  to_front(p.reset()))],
        counts={"HELD": 1, "FIN_ANSWERED": 1, "RST_SENT": 1},
        before=OPEN_ROW, after={"temporary": [
            (KEY, {"state": RESET, "client_end": p.IRS + 1 + len(QUIET)})]}),
    Row(about="a FIN within a head: RST",
        steps=[rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST)))),
               rx("front", p.client("FA", seq=p.IRS + 21), "redirect", to_front(p.reset()))],
        counts={"HELD": 1, "HOLD_ACKED": 1, "FIN_ANSWERED": 1, "RST_SENT": 1},
        before=OPEN_ROW,
        after={"temporary": [(KEY, {"state": RESET, "client_end": p.IRS + 21})]}),
    Row(about="RST while a request is held",
        steps=[rx("front", p.client("A", FIRST), "redirect", to_front(p.ack(len(FIRST)))),
               rx("front", p.client("RA", seq=p.IRS + 21), "drop")],
        counts={"HELD": 1, "HOLD_ACKED": 1, "ABSORBED": 1}, before=OPEN_ROW,
        after={"temporary": [(KEY, {"state": constant("IPOS_TEMP_CLOSED")})]}),
    Row(about="RST out of the blue while a request is held",
        steps=[rx("front", p.client("R", seq=p.IRS + 77), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1},
        before={"holding": [(KEY, {**HOLDING, "held": 20, "acknowledged": 20})]}),
    Row(about="keepalive while a request is held",
        steps=[rx("front", p.client("A", seq=p.IRS + 20), "redirect", to_front(p.ack(20)))],
        counts={"KEEPALIVE_ANSWERED": 1},
        before={"holding": [(KEY, {**HOLDING, "held": 20, "acknowledged": 20})]}),
    Row(about="SYN while acknowledged bytes are held: the ACK again",
        steps=[rx("front", p.syn(), "redirect", to_front(p.answer(
            "A", seq=p.ISS + 1, ack=p.IRS + 21, window=-(-(p.WINDOW - 20) >> 7),
            options=p.echo(0, p.TS))))],
        counts={"ACK_REPEATED": 1},
        before={"holding": [(KEY, {**HOLDING, "held": 20, "acknowledged": 20})]}),
    Row(about="an ACK for another ISN while acknowledged bytes are held",
        steps=[rx("front", p.client("A", ack=p.ISS + 9), "drop")],
        counts={"DROP_NO_COOKIE": 1},
        before={"holding": [(KEY, {**HOLDING, "held": 20, "acknowledged": 20})]}),
    Row(about="no piece left in the hold pool: dropped, unacknowledged",
        steps=[rx("front", p.client("A", FIRST), "shot")], counts={"DROP_HOLD_FULL": 1},
        before=OPEN_ROW, pieces=0,
        after={"temporary": [], "holding": [(KEY, {"held": 0, "acknowledged": 0})]}),
    Row(about="no row left for held requests",
        steps=[rx("front", p.client("A", FIRST), "shot")], counts={"DROP_HOLD_FULL": 1},
        before={**OPEN_ROW,
                "holding": [(connection_key(port), HOLDING) for port in range(1, 5)]}),
    Row(about="five gaps are one too many",
        steps=[*(rx("front", p.client("A", b"x", seq=p.IRS + 11 + 10 * i), "redirect",
                    to_front(p.ack(0))) for i in range(4)),
               rx("front", p.client("A", b"x", seq=p.IRS + 61), "shot")],
        counts={"HELD": 4, "HOLD_ACKED": 4, "DROP_HOLD_FULL": 1}, before=OPEN_ROW,
        after={"temporary": [], "holding": [(KEY, {"held": 0})]}),
]  # fmt: skip

FULL_TABLES = [
    Row(about="Local is full: RST",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect", to_front(p.reset()))],
        counts={"DROP_TABLE_FULL": 2, "HELD": 1, "RST_SENT": 1},
        before={**OPEN_ROW, "local": [(connection_key(port), LOCAL) for port in range(1, 5)]},
        after={"temporary": [(KEY, {"state": RESET})]}),
    Row(about="Forward is full: served here",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", into_front(_PIECE_HERE))],
        counts={"DROP_TABLE_FULL": 1, "HELD": 1, "SERVED_HERE": 1}, traffic={1: (1, 0)},
        config=Config(candidates=(2, 1), policy="FIXED"),
        before={**OPEN_ROW, "forward": [(connection_key(port), forward()) for port in range(1, 5)]},
        after={"temporary": [], "local": [(KEY, LOCAL)],
               "holding": [(KEY, {**HOLDING, "held": len(p.HEAD)})]}),
    Row(about="Forward is full and the service is not served here: RST",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect", to_front(p.reset()))],
        counts={"DROP_TABLE_FULL": 1, "HELD": 1, "RST_SENT": 1}, config=ELSEWHERE,
        before={**OPEN_ROW, "forward": [(connection_key(port), forward()) for port in range(1, 5)]},
        after={"temporary": [(KEY, {"state": RESET})]}),
]  # fmt: skip

ROWS = [*HERE, *NOT_HERE, *HELD, *FULL_TABLES]
