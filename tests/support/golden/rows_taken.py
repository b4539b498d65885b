# SPDX-License-Identifier: Apache-2.0
"""The agent takes a held request out of its table: as it has read it, or not at all."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address
from typing import Any

from ipos.abi.layout import constant
from ipos.agent.expiry.notices import MARK_LATE
from tests.support.golden import packets as p
from tests.support.golden.row import Exactly, Row, Step
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import CHUNK, HELD_ROW

CREATED, SEEN = 0x1122_3344_5566_7788, 0x99AA_BBCC
_REASON = 14 + 16 + 6
_NO_MORE = p.notice(6, endpoint=str(IPv4Address(constant("IPOS_ROLE_HOLDING"))))
"""The agent has it counted off in `roles`, as of every row that it takes."""


def _take(created: int = CREATED, seen: int = SEEN) -> bytes:
    frame = bytearray(p.notice(7, reason=1, iss=seen))
    frame[_REASON : _REASON + 2] = b"\0\1"
    frame[_REASON + 6 : _REASON + 14] = created.to_bytes(8, sys.byteorder)
    return bytes(frame)


def _step(frame: bytes, verdict: str) -> Step:
    return Step(hook="tc", where="front", mark=MARK_LATE, frame=frame, verdict=verdict)


def _row(about: str, *steps: Step, after: dict[str, Any]) -> Row:
    at = {**HELD_ROW, "created_ns": Exactly(CREATED), "last_seen_ns": Exactly(SEEN)}
    return Row(about=about, steps=steps, counts={}, before={**CHUNK, "holding": [(KEY, at)]},
               after=after)  # fmt: skip


ROWS = [
    _row("the agent takes a held request as it is: its pieces are the agent's to give back",
         _step(_take(), "stolen"), _step(_NO_MORE, "shot"), after={"holding": []}),
    _row("one that has begun anew since the agent read it stays",
         _step(_take(created=1), "shot"), after={}),
    _row("one to which bytes have come since stays", _step(_take(seen=1), "shot"), after={}),
]  # fmt: skip
