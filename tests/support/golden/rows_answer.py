# SPDX-License-Identifier: Apache-2.0
"""What the iNIC answers itself: a response and FIN, and a small TCP until the client has closed."""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import header
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import END, FULL, HEARD, TOO_LONG, acked, answered, response
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, rx, to_front
from tests.support.golden.rows_handshake import BARE, CLOSED, KEY
from tests.support.golden.rows_request import HOLDING, OPEN_ROW


def _nearly(**fields: Any) -> dict[str, Any]:
    """A head that 100 more bytes make too long."""
    return {**HOLDING, "held": FULL - 100, "parsed": FULL - 100, "head_state": 1,
            "acknowledged": FULL - 100, **fields}  # fmt: skip


LAST = p.client("A", b"a" * 100, seq=END - 100)
REFUSED = rx("front", LAST, "shot", to_front(answered()))
COUNTS = {"DROP_HEAD_TOO_LONG": 1, "ANSWERED": 1}
ANSWER = {"answer": len(TOO_LONG), "held": FULL, "acknowledged": FULL, "client_end": END}


def _row(about: str, *steps: Step, counts: dict[str, int], after: dict[str, Any] | None = None,
         closed: int = 0, **fields: Any) -> Row:  # fmt: skip
    """From a nearly too long head on; `closed`: the end of the client's stream, when it is over."""
    before = fields.pop("row", _nearly())
    left: dict[str, Any] = {"holding": [(KEY, {**ANSWER, **(after or {})})]}
    if closed:
        left = {"holding": [], "temporary": [(KEY, {"state": CLOSED, "client_end": closed})]}
    return Row(about=about, steps=[fields.pop("first", REFUSED), *steps],
               counts={**COUNTS, **counts}, before={"holding": [(KEY, before)]}, after=left,
               **fields)  # fmt: skip


def _small(mss: int) -> Row:
    """A client without options: MSS 536, no timestamps."""
    hs = {**BARE, "mss": mss}
    frame = p.client("A", b"a" * 100, seq=END - 100, ack=p.ISS_BARE + 1, options=[])
    told = answered(seq=p.ISS_BARE + 1, options=[], window=p.WINDOW)
    return _row("a response to a client without options", counts={}, row=_nearly(hs=hs),
                first=rx("front", frame, "shot", to_front(told)))  # fmt: skip


GET, HOST = b"GET / HTTP/1.1\r\n", b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
HEADS = {
    "LINE_FEED": b"GET / HTTP/1.1\nHost: a\r\n",
    "CARRIAGE_RETURN": GET + b"Host: a\rb\r\n",
    "NUL": GET + HOST + b"X: \0\r\n",
    "CONTROL": GET + HOST + b"X: \x01\r\n",
    "FOLD": GET + HOST + b"X: y\r\n z\r\n",
    "LEADING_SPACE": GET + b" Host: a\r\n",
    "SPACE_BEFORE_COLON": GET + b"Host : a\r\n",
    "METHOD": b"GeT / HTTP/1.1\r\n" + HOST,
    "TARGET": b"GET a HTTP/1.1\r\n" + HOST,
    "PERCENT": b"GET /%zz HTTP/1.1\r\n" + HOST,
    "ENCODED_SLASH": b"GET /a%2fb/../c HTTP/1.1\r\n" + HOST,
    "ABOVE_ROOT": b"GET /../a HTTP/1.1\r\n" + HOST,
    "VERSION": b"GET / HTTP/1.2\r\n" + HOST,
    "HEADER_NAME": GET + HOST + b": y\r\n",
    "HOST": GET + b"Host: a b\r\n",
    "HOST_MISSING": GET + b"X: a\r\n",
    "HOST_TWICE": GET + HOST + HOST,
    "LENGTH": POST + b"Content-Length: x\r\n",
    "LENGTH_TWICE": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n",
    "ENCODING": POST + b"Transfer-Encoding: gzip\r\n",
    "LENGTH_AND_ENCODING": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    "HOST_DIFFERS": b"GET http://b/ HTTP/1.1\r\n" + HOST,
}


UNENDED = {
    "a first byte that no method has": (b"\x00", "NUL"),
    "lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "METHOD"),
    "a digit before a method": (b"1GET /", "METHOD"),
    "a method and no target": (b"PING\r\n", "CARRIAGE_RETURN"),
    "a target and no version": (b"GET /\r\n", "CARRIAGE_RETURN"),
    "another protocol's version": (b"OPTIONS * RTSP/1.0\r\n", "VERSION"),
    "a greeting of SSH": (b"SSH-2.0-x\r\n", "METHOD"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nabc\r\n", "CARRIAGE_RETURN"),
    "a ClientHello behind an empty line": (b"\r\n\x16\x03\x01", "CONTROL"),
    "half a preface": (b"PRI * HTTP/2.0\r\n\r\nGET /", "VERSION"),
    "a preface behind an empty line": (b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "TARGET"),
}

_HELLO = p.client_hello("www.example")
NO_HELLOS = {
    "but a method and not a version follows": b"\x16GET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
    "but the record is of another message": b"\x16\x03\x01\0\x04abcd",
    "but the record is of no bytes": b"\x16\x03\x01\0\0",
    "but the record is longer than any": b"\x16\x03\x01\x40\x01",
    "but an alert follows inside": b"\x16\x03\x01\0\x02\1\0\x15",
    "but the message has no bytes": b"\x16\x03\x01\0\x04\1\0\0\0",
    "but the message is of no version": _HELLO[:9] + b"\2" + _HELLO[10:],
    "but a list is longer than what is around it": _HELLO[:43] + b"\x20" + _HELLO[44:],
    "but the extensions are shorter than what is left": _HELLO[:51] + b"\1" + _HELLO[52:],
    "but the message is cut": _HELLO[:8] + bytes([_HELLO[8] - 1]) + _HELLO[9:-1],
}


def _at_once(about: str, data: bytes, reason: str, **config: Any) -> Row:
    """What can be no head any more is refused where that shows, not when it has had its time."""
    reasons = {one.name: one.text for one in header().ambiguities}
    told, end = response("400 Bad Request", reasons[reason]), p.IRS + 1 + len(data)
    return Row(about=f"400 at once: {about}",
               steps=[rx("front", p.client("PA", data), "shot", to_front(answered(told, ack=end)))],
               counts={"HELD": 1, "ANSWERED": 1, f"AMBIGUOUS_{reason}": 1}, before=OPEN_ROW,
               config=Config(**config),
               after={"temporary": [], "holding": [(KEY, {"answer": len(told)})]})  # fmt: skip


def _refused() -> list[Row]:
    """Every reason to refuse a head, told to the client and counted."""
    reasons = {reason.name: reason.text for reason in header().ambiguities}
    assert reasons.keys() == HEADS.keys() | {"TOO_LONG", "NOT_TLS", "NO_HELLO"}
    rows = []
    for name, start in HEADS.items():
        head, data = start + b"\r\n", response("400 Bad Request", reasons[name])
        end = p.IRS + 1 + len(head)
        rows.append(
            Row(about=f"400: {reasons[name]}",
                steps=[rx("front", p.client("PA", head), "shot",
                          to_front(answered(data, ack=end)))],
                counts={"HELD": 1, "ANSWERED": 1, f"AMBIGUOUS_{name}": 1}, before=OPEN_ROW,
                after={"temporary": [],
                       "holding": [(KEY, {"answer": len(data), "client_end": end})]})
        )  # fmt: skip
    return rows


AT_ONCE = [
    *(_at_once(about, data, reason) for about, (data, reason) in UNENDED.items()),
    _at_once("a ClientHello where HTTP is spoken", b"\x16\x03\x01\0\0", "CONTROL", mode="HTTP"),
    _at_once("HTTP where TLS is spoken", p.HEAD, "NOT_TLS", mode="TLS"),
    *(_at_once(f"TLS, {about}", data, "NO_HELLO") for about, data in NO_HELLOS.items()),
    _at_once("TLS is spoken and this is none", b"\x16GET", "NO_HELLO", mode="TLS"),
]

ROWS = [
    *AT_ONCE,
    *_refused(),
    _row("a head that fills the window without an end: 431", counts={}),
    _row(
        "a head that is too long, in front's VLAN",
        counts={},
        config=Config(front_vlan=p.VLAN),
        first=rx(
            "front",
            p.client("A", b"a" * 100, seq=END - 100, vlan=p.VLAN),
            "shot",
            to_front(answered(vlan=p.VLAN)),
        ),
    ),
    _small(536),
    _row(
        "a response that is heard whole",
        rx("front", p.client("A", seq=END, ack=HEARD), "shot"),
        counts={"ABSORBED": 1},
    ),
    _row(
        "a response that got lost: the client sends its request again",
        rx("front", LAST, "shot", to_front(answered())),
        counts={"ANSWER_REPEATED": 1},
    ),
    _row(
        "a response of which the client has a part",
        rx(
            "front",
            p.client("A", seq=END, ack=p.ISS + 1 + 40),
            "shot",
            to_front(answered(TOO_LONG[40:], seq=p.ISS + 1 + 40)),
        ),
        counts={"ANSWER_REPEATED": 1},
    ),
    _row(
        "an old acknowledgement behind a response",
        rx("front", p.client("A"), "shot"),
        counts={"ABSORBED": 1},
    ),
    _row(
        "a client that closes before it has heard: the response acknowledges its FIN",
        rx("front", p.client("FA", seq=END), "shot", to_front(answered(ack=END + 1))),
        rx("front", p.client("A", seq=END + 1, ack=HEARD), "shot"),
        counts={"ANSWER_REPEATED": 1, "ABSORBED": 1},
        closed=END + 1,
    ),
    _row(
        "a client that has heard and closes, its FIN twice",
        rx("front", p.client("FA", seq=END, ack=HEARD), "redirect", to_front(acked(END + 1))),
        rx(
            "front",
            p.client("FA", seq=END, ack=HEARD),
            "redirect",
            to_front(answered(b"", seq=HEARD, ack=END + 1, flags="A")),
        ),
        counts={"ANSWER_ACKED": 1, "FIN_REPEATED": 1},
        closed=END + 1,
    ),
    _row(
        "more of a request behind its response: taken and thrown away",
        rx(
            "front",
            p.client("PA", b"the body", seq=END, ack=HEARD),
            "redirect",
            to_front(acked(END + 8)),
        ),
        counts={"ANSWER_ACKED": 1},
        after={"client_end": END + 8},
    ),
    _row(
        "a gap behind a response: asked for",
        rx(
            "front",
            p.client("PA", b"the body", seq=END + 9, ack=HEARD),
            "redirect",
            to_front(acked()),
        ),
        counts={"ANSWER_ACKED": 1},
    ),
    _row(
        "a keepalive behind a response",
        rx("front", p.client("A", seq=END - 1, ack=HEARD), "redirect", to_front(acked())),
        counts={"ANSWER_ACKED": 1},
    ),
    _row(
        "a segment behind a response with a wrong checksum",
        rx(
            "front",
            p.from_router(p.wrong_checksum(p.ip("A", b"x" * 40, seq=END, ack=HEARD))),
            "shot",
        ),
        counts={"DROP_BAD_CHECKSUM": 1},
    ),
    _row(
        "an acknowledgement of more than the response",
        rx("front", p.client("A", seq=END, ack=HEARD + 1), "drop"),
        counts={"DROP_NO_COOKIE": 1},
    ),
    _row(
        "a segment far behind a response",
        rx("front", p.client("A", b"x", seq=END + FULL + 1, ack=HEARD), "drop"),
        counts={"DROP_BAD_SEQUENCE": 1},
    ),
    _row(
        "RST of a client that was answered",
        rx("front", p.client("R", seq=END), "drop"),
        counts={"ABSORBED": 1},
        closed=END,
    ),
    _row(
        "RST that knows the response's numbers",
        rx("front", p.client("RA", seq=END - 7, ack=HEARD), "drop"),
        counts={"ABSORBED": 1},
        closed=END,
    ),
    _row(
        "RST at a guessed number against a response",
        rx("front", p.client("R", seq=END + 1), "drop"),
        counts={"DROP_BAD_SEQUENCE": 1},
    ),
    _row(
        "a SYN for a connection that was answered",
        rx(
            "front",
            p.syn(),
            "redirect",
            to_front(answered(b"", seq=HEARD, flags="A", options=p.echo(0, p.TS))),
        ),
        counts={"ACK_REPEATED": 1},
    ),
]
