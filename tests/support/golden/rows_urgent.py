# SPDX-License-Identifier: Apache-2.0
"""Urgent data: no byte may be in what we read and not in what the application reads."""

from __future__ import annotations

from typing import Any

from tests.support.golden import packets as p
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, rx, to_front
from tests.support.golden.rows_close import LIVE, local, mine
from tests.support.golden.rows_handshake import HANDSHAKE, KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import FOLLOWED
from tests.support.golden.rows_request import ADOPTING, ALL, FIRST, HOLDING, LOCAL, OPEN_ROW

CLEARED = {"URGENT_CLEARED": 1}
BODY = b"a body with an urgent byte"


def _urgent(data: bytes, at: int = 3, **fields: Any) -> bytes:
    return p.client("PAU", data, urgent=at, **fields)


ROWS = [
    Row(about="an urgent byte in a request that is adopted: the flag and the pointer go",
        steps=[rx("front", _urgent(p.HEAD), "to kernel", adopted=ALL,
                  left=p.client("PA", p.HEAD))],
        counts={"SERVED_HERE": 1, **CLEARED}, traffic={1: (1, 0)}, before=OPEN_ROW,
        after={"temporary": [], "local": [(KEY, {**LOCAL, "hs": HANDSHAKE, "state": ADOPTING})]}),
    Row(about="an urgent byte in a request that is held",
        steps=[rx("front", _urgent(FIRST), "redirect",
                  to_front(p.ack(len(FIRST))))],
        counts={"HELD": 1, "HOLD_ACKED": 1, **CLEARED}, before=OPEN_ROW,
        after={"temporary": [], "holding": [(KEY, {**HOLDING, "held": len(FIRST)})]}),
    Row(about="an urgent byte in a body at the server that the client addressed",
        steps=[rx("front", _urgent(BODY, seq=HEAD_END, ack=p.ISS + 1), "to kernel",
                  left=p.client("PA", BODY, seq=HEAD_END, ack=p.ISS + 1))],
        counts=CLEARED, before=local(), after={"local": [(KEY, LIVE)]}),
    Row(about="an urgent pointer far behind the segment, in a followed body",
        steps=[rx("front", _urgent(BODY, 60_000, seq=HEAD_END, ack=p.ISS + 1), "to kernel",
                  left=p.client("PA", BODY, seq=HEAD_END, ack=p.ISS + 1))],
        counts=CLEARED, config=Config(decide="REQUEST"),
        before=local(**{**FOLLOWED, "request_end": HEAD_END + 100}),
        after={"local": [(KEY, {"given": HEAD_END + len(BODY)})]}),
    Row(about="an urgent pointer without data, to a byte that is still to come",
        steps=[rx("front", p.client("AU", seq=HEAD_END, ack=p.ISS + 1, urgent=9), "to kernel",
                  left=p.client("A", seq=HEAD_END, ack=p.ISS + 1))],
        counts=CLEARED, before=local(), after={"local": [(KEY, LIVE)]}),
    Row(about="an urgent byte in a body that comes in a frame",
        steps=[rx("back", p.packet(p.ip("PAU", BODY, seq=HEAD_END, urgent=1)), "to kernel",
                  left=p.ether(p.ip("PA", BODY, seq=HEAD_END), p.BACK, p.MAC2, 0, 0))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1, **CLEARED}, before=mine()),
    Row(about="an urgent byte with a wrong checksum: the checksum stays wrong",
        steps=[rx("front", _urgent(BODY, seq=HEAD_END, damage=0x100), "to kernel",
                  left=p.client("PA", BODY, seq=HEAD_END, damage=0x100))],
        counts=CLEARED, before=local()),
    Row(about="an urgent byte for a service whose server speaks first: left alone",
        steps=[rx("front", _urgent(BODY, seq=HEAD_END), "to kernel")], counts={},
        config=Config(select="CONNECTION"), before=local()),
]  # fmt: skip
