# SPDX-License-Identifier: Apache-2.0
"""Sessions by an inserted cookie: its value in a response, and in requests that bring it back.

The values are written down once more, from `struct ipos_session_value`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

from ipos.abi.layout import constant
from ipos.handshake.siphash import siphash64
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, network, words
from tests.support.golden.row import Row, Step, rx, to_back, to_front
from tests.support.golden.rows_close import local, out, reply
from tests.support.golden.rows_handshake import HANDSHAKE, KEY
from tests.support.golden.rows_request import HOLDING, OPEN_ROW, forward, piece

DAY = p.SENT_S // 86_400
DAY_KEY, OTHER_KEY = b"the day's key 16", b"the other day's."
STATUS, ON_ITS_WAY = constant("IPOS_INSERT_STATUS"), constant("IPOS_INSERT_SENT")
BEGINS = 32  # IPOS_OPT_SESSION: the first response gets a cookie
MARK_LINE = constant("IPOS_MARK_LINE")
NAME = b"IPOS"
START = p.ISS + 1


def _tag(key: bytes, message: bytes) -> bytes:
    return siphash64(key, message).to_bytes(8, "little")


def sealed(server: str, *, key: bytes = DAY_KEY, day: int = DAY, nonce: int = 77) -> bytes:
    named = IPv4Address(server).packed + struct.pack("<I", nonce)
    tag = _tag(key, named + struct.pack(">I", day))
    mask = int.from_bytes(_tag(key, tag + b"\0"), "big")
    hidden = (int.from_bytes(named, "big") ^ mask).to_bytes(8, "big")
    return (hidden + tag + struct.pack(">I", day)).hex().encode()


def before_abi_11(server: str, *, key: bytes = DAY_KEY) -> bytes:
    said = struct.pack(">I", DAY) + IPv4Address(server).packed
    return (said + _tag(key, said)).hex().encode()


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + (b"0" if value[at : at + 1] != b"0" else b"1") + value[at + 1 :]


def _line(value: bytes) -> bytes:
    return b"Set-Cookie: " + NAME + b"=" + value + b"; Path=/; HttpOnly\r\n"


def tables(other: bool = False) -> dict[str, Any]:
    """The service inserts cookies, and the day's keys are there."""
    line = _line(bytes(40))
    session = {
        "kind": constant("IPOS_SESSION_INSERT"), "line_len": len(line), "line": line,
        "value_at": line.index(bytes(40)), "name_len": len(NAME), "name": NAME,
    }  # fmt: skip
    keys = {"key": words(DAY_KEY), "other": words(OTHER_KEY), "epoch": DAY, "valid": 1 + 2 * other}
    return {"sessions": [(1, session)],
            "session_keys": [(DAY % constant("IPOS_SESSION_DAYS"), keys)]}  # fmt: skip


# ---- a response ---------------------------------------------------------------------------------

SAID = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LINE = _line(sealed(p.SERVICE, nonce=p.ISS ^ p.IRS))
TEXT = SAID[:17] + LINE  # up to where the application's bytes go on
SENT = reply("PA", seq=START, data=SAID)


def _first() -> bytes:
    """The segment that goes before our kernel's: the kernel ends its checksum, so it is of before,
    but for the length in the pseudo header.
    """
    kept = SENT[: -len(SAID)]
    ip = bytearray(kept[14:34])
    more = len(LINE) - len(SAID)
    struct.pack_into("!H", ip, 2, struct.unpack_from("!H", ip, 2)[0] + more)
    tcp = bytearray(kept[34:])
    total = (struct.unpack_from("!H", tcp, 16)[0] ^ 0xFFFF) + more
    struct.pack_into("!H", tcp, 16, (total & 0xFFFF) + (total >> 16) ^ 0xFFFF)
    tcp[13] &= ~8  # PSH
    return kept[:14] + p.ip_checksum_right(bytes(ip + tcp)) + TEXT[: len(LINE)]


def _behind() -> bytes:
    moved = reply("PA", seq=START + len(LINE), data=SAID)
    return moved[: -len(SAID)] + TEXT[len(LINE) :] + SAID[17:]


RESPONSE = [
    Row(about="the first response says which server has the session, and nobody else can read it",
        steps=[out(SENT, to_front(SENT), left=_behind()),
               Step(hook="out", where="front", frame=SENT, verdict="ok", mark=MARK_LINE,
                    left=_first())],
        counts={"SESSION_BEGUN": 1},
        before={**tables(), **local(insert=STATUS, insert_next=START, snd_nxt=START)},
        after=local(insert=ON_ITS_WAY, insert_next=START + 17,
                    snd_nxt=START + len(LINE) + len(SAID))),
]  # fmt: skip

# ---- requests -----------------------------------------------------------------------------------


def _asks(about: str, value: bytes, *, server: int = 3, begins: bool = False,
          keys_change: bool = False) -> Row:  # fmt: skip
    """The policy gives s2 all requests, so only a session comes to s3."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; IPOS=" + value + b"\r\n\r\n"
    to, endpoint = {2: (p.MAC2, p.S2), 3: (p.MAC3, p.S3)}[server]
    options = p.SACK | p.STAMPS | p.SCALE | BEGINS * begins
    offer = offers.connection(held=len(request), to=to, endpoint=endpoint, options=options)
    packet = p.sent_packet(piece(request, options=p.echo()), to=to, endpoint=endpoint)
    return Row(
        about=about,
        steps=[rx("front", p.client("PA", request), "shot", to_back(offer), to_back(packet))],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2,
                **({"SESSION_KEPT": 1} if server == 3 else {})},
        config=Config(candidates=(2, 3), keys_change=keys_change),
        before={**tables(keys_change), **OPEN_ROW}, traffic={server: (1, 0)},
        after={"temporary": [],
               "forward": [(KEY, forward(len(request), server=server,
                                         destination_ip=network(endpoint)))],
               "holding": [(KEY, {**HOLDING, "held": len(request),
                                 "hs": {**HANDSHAKE, "options": options}})]},
    )  # fmt: skip


def _anew(about: str, value: bytes, **fields: Any) -> Row:
    return _asks(about, value, server=2, begins=True, **fields)


OURS = sealed(p.S3)
REQUESTS = [
    _asks("a request with the cookie goes to the server that it names", OURS),
    _anew("a cookie of yesterday, whose key is not here, names nobody", sealed(p.S3, day=DAY - 1)),
    _anew("a cookie that is changed in its sealed half names nobody", flipped(OURS, 3)),
    _anew("a cookie that is changed in its tag names nobody", flipped(OURS, 20)),
    _anew("a cookie that says another day names nobody", flipped(OURS, 39)),
    _anew("a cookie that is cut names nobody", OURS[:-1]),
    _anew("a cookie in capitals names nobody", OURS.upper()),
    _anew("a cookie under a key that is not believed names nobody", sealed(p.S3, key=OTHER_KEY)),
    _asks("while keys change, one under the other goes on, and the client gets one under ours",
          sealed(p.S3, key=OTHER_KEY), begins=True, keys_change=True),
    _asks("and one under ours stays as it is", OURS, keys_change=True),
    _asks("a cookie from before ABI 11 goes on, and the client gets a sealed one",
          before_abi_11(p.S3), begins=True),
    _anew("one from before ABI 11 with another server's address names nobody",
          flipped(before_abi_11(p.S3), 15)),
]  # fmt: skip

ROWS = RESPONSE + REQUESTS
