# SPDX-License-Identifier: Apache-2.0
"""What is IPv6's alone: headers, cookies, frames of protocol 3.

How a connection goes on is the same code as IPv4's, and `tests/native/test_farm.py` runs it for
both.
"""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import packets as p
from tests.support.golden import packets6 as six
from tests.support.golden.machine import Config, network
from tests.support.golden.row import Row, Step, rx, to_back, to_front
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_request import forward

_OURS = {"iss": six.ISS, "irs": p.IRS}
_GIVEN: dict[str, Any] = {"forward": [(KEY, forward(**_OURS, acknowledged=1))]}
_OFFERED: dict[str, Any] = {"forward": [(KEY, forward(**_OURS))]}
_OPEN = constant("IPOS_TEMP_OPEN")


def _row(about: str, *steps: Step, counts: dict[str, int], **fields: Any) -> Row:
    return Row(about=f"IPv6: {about}", steps=steps, counts=counts, family=6, **fields)


def _dropped(about: str, frame: bytes, counter: str, **fields: Any) -> Row:
    return _row(about, rx("front", frame, "drop"), counts={counter: 1}, **fields)


def _passes(about: str, frame: bytes, where: str = "front") -> Row:
    step = Step(hook="xdp", where=where, frame=frame, verdict="pass")
    return _row(f"passes: {about}", step, counts={"PASSED": 1})


ROWS = [
    _row("a SYN as Linux sends it", rx("front", six.syn(), "redirect", to_front(six.syn_ack())),
         counts={"SYN_ACK": 1}),
    _row("a SYN without timestamps: the MSS is one of four",
         rx("front", six.syn(1420, stamps=False), "redirect",
            to_front(six.syn_ack(1420, stamps=False))), counts={"SYN_ACK": 1}),
    _row("an MSS below what IPv6 guarantees counts as that",
         rx("front", six.syn(536), "redirect", to_front(six.syn_ack(536))),
         counts={"SYN_ACK": 1}),
    _row("the handshake's third segment proves its cookie", rx("front", six.client("A"), "drop"),
         counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1},
         after={"temporary": [(KEY, {"state": _OPEN, "hs": {
             **_OURS, "mss": six.CLIENT_MSS, "snd_wscale": p.CLIENT_SCALE, "options": 7,
             "ts_recent": p.TS_LATER, "ts_sent": six.OUR_TS}})]}),
    _dropped("another cookie", six.client("A", ack=six.ISS + 3), "DROP_NO_COOKIE"),
    _dropped("a fragment of TCP", six.TCP_FRAGMENT, "DROP_FRAGMENT"),
    _passes("a fragment of UDP", six.UDP_FRAGMENT),
    *(_dropped(f"{name} before TCP", six.client("S", between=between),
               "DROP_EXTENSION_HEADER") for name, between in six.EXTENSIONS.items()),
    _passes("an extension header to no service's address",
            six.client("S", between=six.EXTENSIONS["destination options"], to=six.ELSEWHERE)),
    _dropped("a packet cut short", six.client("A", p.HEAD)[:-8], "DROP_MALFORMED"),
    _dropped("a wrong TCP checksum", six.client("S", chksum=7), "DROP_BAD_CHECKSUM"),
    _dropped("a client that is denied", six.syn(), "DROP_DENIED",
             config=Config(deny=((p.CLIENT, 120),))),
    _row("a client's packet of a connection that lives elsewhere",
         rx("front", six.client("A", b"more"), "redirect",
            to_back(six.sent_packet(six.ip("A", b"more")))), counts={"FORWARDED": 1},
         before=_GIVEN, after={"forward": [(KEY, {"packets": 2})]}),
    _row("a bare acknowledgement, whose tag is made at once",
         rx("front", six.client("A"), "redirect", to_back(six.sent_packet(six.ip("A")))),
         counts={"FORWARDED": 1}, before=_GIVEN,
        after={"forward": [(KEY, {"packets": 2})]}),
    _row("1,396 bytes, whose tag covers the headers alone",
         rx("front", six.client("A", b"x" * 1384), "redirect",
            to_back(six.sent_packet(six.ip("A", b"x" * 1384)))), counts={"FORWARDED": 1},
         before=_GIVEN, after={"forward": [(KEY, {"packets": 2})]}),
    _row("a packet that is too big on the way to the client: to the owner",
         rx("front", six.from_router(six.too_big()), "redirect",
            to_back(six.sent_packet(six.too_big()))),
         counts={"ICMP_FORWARDED": 1, "FORWARDED": 1}, before=_GIVEN),
    _row("type 3: the owner has the connection", rx("back", six.notice(3), "drop"),
         counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1}, before=_OFFERED,
         after={"forward": [(KEY, {"acknowledged": 1})]}),
    _row("type 6: the connection lives at s3, which four bytes name",
         rx("back", six.notice(6, reason=1, endpoint=p.S3), "drop"),
         counts={"FRAMES_RECEIVED": 1, "MOVE_TOLD": 1}, before=_GIVEN,
         traffic={2: (0, 1), 3: (1, 0)},
         after={"forward": [(KEY, {"server": 3, "destination_ip": network(p.S3)})]}),
    _row("type 6 by a stranger's MAC address",
         rx("back", six.notice(6, reason=1, endpoint=p.S3, by=p.STRANGER), "drop"),
         counts={"DROP_FRAME_FOREIGN": 1}, before=_GIVEN),
    _row("a frame of IPv4's protocol is none of this program's",
         rx("back", p.notice(3, by=p.MAC2), "drop"), counts={"DROP_FRAME_CHECKSUM": 1},
         before=_OFFERED),
]  # fmt: skip
