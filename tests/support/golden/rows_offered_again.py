# SPDX-License-Identifier: Apache-2.0
"""Offers: again, and no piece older than what its owner has seen; and of another version."""

from __future__ import annotations

from typing import Any

from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.row import Row, rx
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END, HELD_ROW, UNANSWERED
from tests.support.golden.rows_request import offered

_LATER = p.TS_LATER + 40


def _ack(time: int, **fields: Any) -> bytes:
    return p.client("A", seq=HEAD_END, options=p.echo(time), **fields)


ROWS = [
    Row(about="type 1 with an option that is not known",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, options=263),
                  "drop")],
        counts={"DROP_FRAME_VERSION": 1}),
    *(Row(about=f"{what} with a later time of the client's, no answer for long: offered with it",
          steps=[rx("front", frame, "shot", *offered(p.HEAD, ts=_LATER))],
          counts={"FRAMES_SENT": 2}, before=UNANSWERED,
          after={"holding": [(KEY, {"hs": {**HELD_ROW["hs"], "ts_recent": _LATER}})]})
      for what, frame in (
          ("the request again", p.client("PA", p.HEAD, options=p.echo(_LATER))),
          ("an ACK", _ack(_LATER)))),
    *(Row(about=f"an ACK with {what}, no answer for long: offered as before",
          steps=[rx("front", frame, "shot", *offered(p.HEAD))],
          counts={"FRAMES_SENT": 2}, before=UNANSWERED)
      for what, frame in (
          ("a later time and a number that nobody sent", _ack(_LATER, ack=p.ISS + 2)),
          ("a later time and a wrong checksum", _ack(_LATER, damage=9)),
          ("an earlier time", _ack(p.TS_LATER - 9)),
          ("no time", p.client("A", seq=HEAD_END, options=[])))),
]  # fmt: skip
