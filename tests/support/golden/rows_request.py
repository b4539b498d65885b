# SPDX-License-Identifier: Apache-2.0
"""Requests at the first server: held, decided, and served here."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ipos.abi.layout import constant
from native.values import Attributes, Socket, SocketState
from spec.requests.h2 import PREFACE
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import NOBODY, nobody
from tests.support.golden.machine import (
    APPLICATION_IP,
    LISTENER,
    Config,
    network,
    refusers,
)
from tests.support.golden.places_of_keys import lock_of
from tests.support.golden.row import (
    MARK_ROUND,
    OTHER_CPU,
    THIS_CPU,
    Establishes,
    Row,
    Step,
    into_front,
    rx,
    to_back,
    to_front,
)
from tests.support.golden.rows_handshake import BARE, HANDSHAKE, KEY, OPENED

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
_END = p.IRS + 1 + len(p.HEAD)
_CUT = p.from_router(p.ip("A", p.HEAD), pad=False)
_FIN = p.from_router(p.ip("FA", seq=_END), pad=False)
PIECE = 0x69704F5E
FULL = 1420  # bytes of a full segment with timestamps, at the MSS we offer
MORE = p.client("PA", b"more", seq=p.IRS + 40)
NOT_ADOPTED = constant("IPOS_REFUSE_NOT_ADOPTED")
LONG = b"GET /" + b"a" * 14_595
_AGAIN = p.client("PA", p.HEAD)
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
            fin: bool = False, vlan: int = 0, ts: int = p.TS_LATER) -> list[Any]:  # fmt: skip
    """Type 1, then the request in type 2 frames of at most 1,024 bytes."""
    out = [to_back(offers.connection(held=len(data), acknowledged=acknowledged, to=to,
                                endpoint=endpoint, vlan=vlan, ts=(ts, p.OUR_TS)))]  # fmt: skip
    for at in range(0, len(data), 1024):
        last = at + 1024 >= len(data)
        inner = piece(data[at : at + 1024], at, last, fin and last, options=p.echo(ts))
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


HELLO = p.client_hello("www.example")

HERE = [
    _here("request, decided for here: the listener adopts it", p.client("PA", p.HEAD)),
    _here("request with the cookie, its ACK was lost", p.client("PA", p.HEAD), before={},
          counts={"COOKIE_ACCEPTED": 1}),
    _here("request of a client without options",
          p.client("PA", p.HEAD, ack=p.ISS_BARE + 1, options=[]),
          attributes=PLAIN, hs=BARE, before={"temporary": [(KEY, {**OPENED, "hs": BARE})]}),
    Row(about="request with FIN: the kernel makes no socket of it, so the FIN goes by itself",
        steps=[rx("front", p.client("FPA", p.HEAD), "shot", into_front(_CUT), into_front(_FIN)),
               Step(hook="tc", where="front", frame=_CUT, mark=PIECE, verdict="ok", adopted=ALL),
               Establishes(socket=SOCKET),
               Step(hook="tc", where="front", frame=_FIN, verdict="ok")],
        counts={"SERVED_HERE": 1, "ADOPTED": 1}, traffic={1: (1, 0)}, before=OPEN_ROW,
        after={"temporary": [], "local": [(KEY, {**LOCAL, "state": ATTACHED, "client_fin_seen": 1,
                                                 "client_fin": _END + 1, "cookie": 77})]}),
    _here("request in the front's VLAN", p.client("PA", p.HEAD, vlan=p.VLAN),
          config=Config(front_vlan=p.VLAN)),
    _here("request on one LAN for front and back", p.client("PA", p.HEAD),
          config=Config(one_lan=True)),
    _here("request that begins with CRLF", p.client("PA", b"\r\n\r\n" + p.HEAD)),
    _here("request of HTTP/1.0, without Host", p.client("PA", b"GET / HTTP/1.0\r\n\r\n")),
    _here("TLS ClientHello", p.client("PA", HELLO)),
    _here("TLS ClientHello in two records",
          p.client("PA", HELLO[:3] + b"\0\2" + HELLO[5:7] +
                   HELLO[:3] + b"\0" + bytes([HELLO[4] - 2]) + HELLO[7:])),
    _here("HTTP/2 request", p.client("PA", PREFACE + b"\0\0\0\4\0\0\0\0\0"
                                     b"\0\0\1\1\5\0\0\0\1\x84")),
    _here("nothing is asked for: the first byte decides, whatever it is", p.client("PA", b"\x00"),
          config=Config(mode="ANY")),
    _here("half a request where nothing is asked for", p.client("PA", p.HEAD[:9]),
          config=Config(mode="ANY")),
    _here("what no head is, where nothing is read", p.client("PA", b"GET /\r\nmore"),
          config=Config(mode="TCP")),
    _here("HTTP/2's preface alone, where nothing is asked for", p.client("PA", QUIET),
          config=Config(mode="ANY")),
    _here("TLS where nothing else is let in", p.client("PA", HELLO),
          config=Config(mode="TLS")),
    _here("head and body in one segment", p.client("PA", p.HEAD + b"body" * 100)),
    _here("while the other server drains", p.client("PA", p.HEAD),
          config=Config(candidates=(2, 1), states=((2, "DRAIN"),))),
    _here("a listener on any address", p.client("PA", p.HEAD), config=Config(application="0.0.0.0"),
          sockets=[Socket(SocketState.LISTEN, IPv4Address("0.0.0.0"), p.APPLICATION)]),
    _here("a listener on an address of ours takes what came for another server's",
          p.client("PA", p.HEAD), config=Config(application="0.0.0.0", listener="127.0.0.2"),
          sockets=[Socket(SocketState.LISTEN, IPv4Address("127.0.0.2"), p.APPLICATION)]),
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
    fields = {"sockets": (), "config": Config(candidates=(1, 2)), **fields}
    return Row(
        about=about, steps=[rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2, **(counts or {})},
        before=OPEN_ROW, traffic={1: (1, 1), 2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward())], "holding": [
            (KEY, {"held": len(p.HEAD), "complete": 1, "refused": refusers(1)})]}, **fields,
    )  # fmt: skip


NOT_HERE = [
    _again("no listener: another server is chosen"),
    _again("a listener on another port: another server is chosen",
           sockets=[Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), p.APPLICATION + 1)]),
    _again("a listener on an address that is not ours: another server is chosen",
           config=Config(application="0.0.0.0", listener="127.0.0.2", candidates=(1, 2)),
           sockets=[Socket(SocketState.LISTEN, IPv4Address("127.0.0.3"), p.APPLICATION)]),
    _again("full accept queue: another server is chosen",
           sockets=[Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), p.APPLICATION,
                           queued=1, backlog=0)]),
    _again("a live socket has the four-tuple: another server is chosen",
           sockets=[LISTENER, SOCKET]),
    Row(about="no listener, nobody else: 503",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", to_front(nobody()))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "DROP_NO_SERVER": 1,
                "UNAVAILABLE": 1, "ANSWERED": 1},
        before=OPEN_ROW, sockets=(), traffic={1: (1, 1)},
        after={"temporary": [], "holding": [(KEY, {"answer": len(NOBODY)})]}),
    Row(about="no server ready any more: 503",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", to_front(nobody()))],
        counts={"HELD": 1, "DROP_NO_SERVER": 1, "UNAVAILABLE": 1, "ANSWERED": 1},
        before=OPEN_ROW, config=Config(states=((1, "MAINT"),)),
        after={"temporary": [], "holding": [(KEY, {"answer": len(NOBODY)})]}),
    Row(about="a second segment in one batch with the adopted one: our kernel takes it after that",
        steps=[rx("front", MORE, "redirect", into_front(MORE)),
               Step(hook="tc", where="front", frame=MORE, verdict="ok", mark=MARK_ROUND)],
        counts={},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": THIS_CPU})]}),
    Row(about="one behind the last of a held head: those pieces are in the queue before it",
        steps=[rx("front", MORE, "redirect", into_front(MORE))], counts={},
        before={"local": [(KEY, LOCAL)]}),
    Row(about="a second segment while another CPU adopts: to the end of the queue",
        steps=[rx("front", MORE, "redirect", into_front(MORE))], counts={},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": OTHER_CPU})]}),
    Row(about="a second segment that has gone round for long enough",
        steps=[Step(hook="tc", where="front", frame=MORE, verdict="shot", mark=MARK_ROUND + 31)],
        counts={"DROP_OUT_OF_ORDER": 1},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": OTHER_CPU})]}),
    Row(about="a second segment before the one to adopt from",
        steps=[Step(hook="tc", where="front", frame=MORE, verdict="shot", mark=MARK_ROUND + 31)],
        counts={"DROP_OUT_OF_ORDER": 1}, before={"local": [(KEY, LOCAL)]}),
    Row(about="a second segment, and our kernel has refused the first",
        steps=[rx("front", MORE, "shot")], counts={"DROP_OUT_OF_ORDER": 1},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "reason": NOT_ADOPTED})]}),
    Row(about="the request twice, maybe in one batch: to the end of the queue",
        steps=[rx("front", _AGAIN, "redirect", into_front(_AGAIN))], counts={},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": THIS_CPU})]}),
    Row(about="the request twice, on two CPUs: no evidence of anything",
        steps=[rx("front", _AGAIN, "shot")], counts={"DROP_OUT_OF_ORDER": 1},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": OTHER_CPU})]}),
    Row(about="the request again, behind itself: our kernel did not take it, another is chosen",
        steps=[Step(hook="tc", where="front", frame=_AGAIN, verdict="shot", mark=MARK_ROUND,
                    sent=tuple(offered(p.HEAD)))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2},
        config=Config(candidates=(1, 2)), traffic={1: (0, 1), 2: (1, 0)},
        before={"local": [(KEY, {**LOCAL, "state": ADOPTING, "adopting": THIS_CPU})]},
        after={"local": [], "forward": [(KEY, forward())],
               "holding": [(KEY, {"held": len(p.HEAD), "refused": refusers(1)})]}),
    Row(about="a segment while another CPU is busy with its connection",
        steps=[rx("front", _AGAIN, "shot")], counts={"DROP_BUSY": 1},
        before={**OPEN_ROW, "locks": [(lock_of(KEY), OTHER_CPU)]}),
]  # fmt: skip


ROWS = [*HERE, *NOT_HERE]
