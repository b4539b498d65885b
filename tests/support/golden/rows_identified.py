# SPDX-License-Identifier: Apache-2.0
"""Identified sessions: requests that bring an identifier, and what servers tell each other of rows.

Values and frames are written down once more, from `struct ipos_session_value` and `ipos_learned`.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any

from ipos.abi.layout import constant
from ipos.handshake.siphash import siphash64
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, Out, network
from tests.support.golden.row import Row, Step, Table, rx, to_back
from tests.support.golden.rows_handshake import HANDSHAKE, KEY
from tests.support.golden.rows_request import HOLDING, OPEN_ROW, forward, piece
from tests.support.golden.rows_session import BEGINS, DAY, DAY_KEY, OTHER_KEY, flipped, sealed
from tests.support.golden.rows_session import tables as inserting
from tests.support.scapy_layers import IposHeader

IDENTITY = bytes.fromhex("1f0c9a44d2e8b370")
LIFE_S = 100
TURN, REVOKED = 5, 65_535
_SECOND = 1_000_000_000
_ALL = "ff:ff:ff:ff:ff:ff"


def value(identity: bytes = IDENTITY, *, key: bytes = DAY_KEY, day: int = DAY) -> bytes:
    said = struct.pack(">I", day)
    tag = siphash64(key, identity + said + b"\1").to_bytes(8, "little")
    return (identity + tag + said).hex().encode()


def place(identity: bytes = IDENTITY) -> dict[str, int]:
    return {"hash": int.from_bytes(identity, sys.byteorder), "service_port": p.WEB}


def row(server: str | None = p.S3, turn: int = TURN, left_s: int = 90) -> dict[str, int]:
    ip = network(server) if server else 0
    return {"server_ip": ip, "turn": turn, "expires_ns": left_s * _SECOND}


def tables(*rows: dict[str, int], keys_change: bool = False) -> dict[str, Any]:
    """The service identifies its sessions, and these are the rows of the one there is."""
    made = inserting(keys_change)
    ((service, session),) = made["sessions"]
    session |= {"kind": constant("IPOS_SESSION_IDENTIFY"), "lifetime_s": LIFE_S}
    made["sessions"] = [(service, session)]
    return {**made, "cookies": [(place(), each) for each in rows]}


def told(server: str, turn: int, *, by: str = p.MAC2, kind: int = 10, sent_s: int = p.SENT_S,
         identity: bytes = IDENTITY) -> bytes:  # fmt: skip
    """A frame to all: the server has the session."""
    head = bytes(IposHeader(src=p.SERVICE, sport=p.WEB, dst=server, dport=turn, type=kind,
                              protocol=1))  # fmt: skip
    body = head + identity + struct.pack(">I", sent_s)
    return p.on_back(body + p.tag64(body), _ALL, by)


# ---- requests -----------------------------------------------------------------------------------


def _asks(about: str, cookie: bytes, *rows: dict[str, int], server: int = 3, begins: bool = False,
          session: bytes = bytes(8), tells: Sequence[Out] = (),
          counts: dict[str, int] | None = None, config: Config | None = None,
          also: Table = ()) -> Row:  # fmt: skip
    """The policy gives s2 all requests, so only a session comes to s3."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; IPOS=" + cookie + b"\r\n\r\n"
    to, endpoint = {2: (p.MAC2, p.S2), 3: (p.MAC3, p.S3)}[server]
    options = p.SACK | p.STAMPS | p.SCALE | BEGINS * begins
    offer = offers.connection(held=len(request), to=to, endpoint=endpoint, options=options,
                              session=int.from_bytes(session, "big"))  # fmt: skip
    packet = p.sent_packet(piece(request, options=p.echo()), to=to, endpoint=endpoint)
    frames = [*tells, to_back(offer), to_back(packet)]
    config = config or Config(candidates=(2, 3))
    return Row(
        about=about,
        steps=[rx("front", p.client("PA", request), "shot", *frames)],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": len(frames), **(counts or {})},
        config=config,
        before={**tables(*rows, keys_change=config.keys_change), **OPEN_ROW},
        traffic={server: (1, 0)},
        after={"temporary": [],
               "forward": [(KEY, forward(len(request), server=server,
                                         destination_ip=network(endpoint)))],
               "holding": [(KEY, {**HOLDING, "held": len(request),
                                 "hs": {**HANDSHAKE, "options": options}})]},
        also={"cookies": also} if also else {},
    )  # fmt: skip


def _kept(about: str, cookie: bytes, *rows: dict[str, int], **fields: Any) -> Row:
    return _asks(about, cookie, *rows, counts={"SESSION_KEPT": 1}, **fields)


def _anew(about: str, why: str, cookie: bytes, *rows: dict[str, int]) -> Row:
    return _asks(about, cookie, *rows, server=2, begins=True, counts={f"SESSION_{why}": 1})


OURS = value()
DRAINS = Config(candidates=(2, 3), states=((3, "DRAIN"),))
REQUESTS = [
    _kept("a request with an identifier goes to the server in its row", OURS, row()),
    _anew("an identifier without a row is chosen anew, and the client gets another", "UNKNOWN",
          OURS),
    _anew("so is one that is revoked", "UNKNOWN", OURS, row(None, REVOKED)),
    _anew("and one whose row has expired", "UNKNOWN", OURS, row(left_s=-1)),
    _anew("an identifier with another's proof is forged", "FORGED", flipped(OURS, 3), row()),
    _anew("and one whose proof is changed", "FORGED", flipped(OURS, 20), row()),
    _anew("and one that says another day", "FORGED", flipped(OURS, 39), row()),
    _anew("and one of yesterday, whose key is not here", "FORGED", value(day=DAY - 1), row()),
    _anew("and one under a key that is not believed", "FORGED", value(key=OTHER_KEY), row()),
    _anew("and one of zeros", "FORGED", value(bytes(8)), row()),
    _anew("and one that is cut", "FORGED", OURS[:-1], row()),
    _anew("and the value of an inserted cookie", "FORGED", sealed(p.S3), row()),
    _kept("while keys change, one under the other goes on, and is given under ours",
          value(key=OTHER_KEY), row(), begins=True, session=IDENTITY,
          config=Config(candidates=(2, 3), keys_change=True)),
    _kept("a row that has lived for half its life begins it again", OURS, row(left_s=49)),
    _asks("a session whose server drains moves, and all hear of it before its new server does",
          OURS, row(), server=2, begins=True, session=IDENTITY, config=DRAINS,
          tells=(to_back(told(p.S2, TURN + 1, by=p.BACK)),), counts={"SESSION_MOVED": 1},
          also=[(place(), {"server_ip": network(p.S2), "turn": TURN + 1})]),
    _asks("and so does one of a server in maintenance", OURS, row(), server=2, begins=True,
          session=IDENTITY, config=Config(candidates=(2, 3), states=((3, "MAINT"),)),
          tells=(to_back(told(p.S2, TURN + 1, by=p.BACK)),), counts={"SESSION_MOVED": 1},
          also=[(place(), {"server_ip": network(p.S2), "turn": TURN + 1})]),
    _asks("a session that has moved most often keeps its turn", OURS, row(turn=REVOKED - 1),
          server=2, begins=True, session=IDENTITY, config=DRAINS,
          tells=(to_back(told(p.S2, REVOKED - 1, by=p.BACK)),), counts={"SESSION_MOVED": 1},
          also=[(place(), {"server_ip": network(p.S2), "turn": REVOKED - 1})]),
    _kept("a server that drains keeps a session that nobody else can have", OURS, row(),
          config=Config(candidates=(3,), states=((3, "DRAIN"),)),
          also=[(place(), {"server_ip": network(p.S3), "turn": TURN})]),
]  # fmt: skip

# ---- what others tell ---------------------------------------------------------------------------


def _hears(about: str, known: dict[str, int] | None, frame: bytes, there: dict[str, Any],
           counter: str = "COOKIE_HEARD") -> Row:  # fmt: skip
    received = {} if counter.startswith("DROP_FRAME_T") else {"FRAMES_RECEIVED": 1}
    return Row(
        about=about,
        steps=[Step(hook="wire", where="back", frame=frame, verdict="drop")],
        counts={**received, counter: 1},
        before=tables(*([known] if known else [])),
        also={"cookies": [(place(), there)]},
    )


_S2, _S3 = ({"server_ip": network(server), "turn": TURN} for server in (p.S2, p.S3))
NEWS = [
    _hears("type 10: a session that is new here", None, told(p.S3, TURN), _S3),
    _hears("type 10: a later turn is newer", row(p.S3, TURN - 1), told(p.S2, TURN), _S2),
    _hears("type 10: an earlier turn is older", row(p.S2), told(p.S3, TURN - 1), _S2,
           "SESSION_OLD"),
    _hears("type 10: in one turn the higher address wins", row(p.S2), told(p.S3, TURN), _S3),
    _hears("type 10: and not the lower one, whatever came first", row(p.S3), told(p.S2, TURN), _S3,
           "SESSION_OLD"),
    _hears("type 10: the same again begins its life again", row(p.S3), told(p.S3, TURN), _S3),
    _hears("type 10: a revoked session does not come back", row(None, REVOKED),
           told(p.S3, REVOKED - 1), {"server_ip": 0, "turn": REVOKED}, "SESSION_OLD"),
    _hears("type 10: a late frame is not believed", row(p.S2), told(p.S3, 9, sent_s=p.SENT_S - 60),
           _S2, "DROP_FRAME_TIME"),
    _hears("type 11: no data plane forgets an identified session", row(p.S2),
           told(p.S2, TURN, kind=11), _S2, "DROP_FRAME_UNKNOWN"),
]  # fmt: skip

ROWS = REQUESTS + NEWS
