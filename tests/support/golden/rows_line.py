# SPDX-License-Identifier: Apache-2.0
"""Numbers of a connection whose first response has a session's line: kernel's and client's."""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import packets as p
from tests.support.golden.row import Row, Step, rx
from tests.support.golden.rows_close import SENT, local, out, reply
from tests.support.golden.rows_migration import HEAD_END

LINE, BEHIND = 80, 17
DONE, ON_ITS_WAY = constant("IPOS_INSERT_DONE"), constant("IPOS_INSERT_SENT")
PLACE = {"at": p.ISS + 1, "length": LINE, "behind": BEHIND, "day": 1, "sum": 1}


def _local(insert: int, **fields: Any) -> dict[str, Any]:
    return local(insert=insert, line=PLACE, **fields)


def _sack(ack: int, *edges: int, nops: int = 2) -> bytes:
    """The client's acknowledgement; with an odd number of NOPs the edges stand at odd places."""
    options: list[Any] = [("NOP", None)] * nops
    return p.ip("A", seq=HEAD_END, ack=ack, options=[*options, ("SAck", edges), *p.echo()[2:]])


def _heard(about: str, came: bytes, heard: bytes, insert: int = ON_ITS_WAY) -> Row:
    return Row(about=about, counts={}, before=_local(insert), after=_local(insert),
               steps=[rx("front", p.from_router(came), "to kernel",
                         left=p.from_router(heard, pad=False))])  # fmt: skip


def _told(about: str, frame: bytes, left: bytes, insert: int, snd_nxt: int) -> Row:
    return Row(about=about, counts={}, before=_local(insert), after=_local(insert, snd_nxt=snd_nxt),
               steps=[out(frame, left=left)])  # fmt: skip


START = p.ISS + 1
ROWS = [
    _heard("an acknowledgement of what stands before the line is our kernel's number",
           _sack(START, START + 500, START + 600), _sack(START, START + 420, START + 520)),
    _heard("who has a part of the line has nothing behind it",
           _sack(START + 79, START + 500, START + 600), _sack(START, START + 420, START + 520)),
    _heard("a block that begins in the line leaves the byte behind it out",
           _sack(START, START + 40, START + 180), _sack(START, START + 1, START + 100)),
    _heard("and so does one that begins right behind the line",
           _sack(START, START + 80, START + 180), _sack(START, START + 1, START + 100)),
    _heard("options at odd places are translated as well",
           _sack(START + 97, START + 500, START + 600, nops=3),
           _sack(START + 17, START + 420, START + 520, nops=3)),
    _heard("in the end all numbers are lower",
           _sack(START, START + 40, START + 60), _sack(START - 80, START - 40, START - 20), DONE),
    _told("what our kernel sends behind the line is higher", reply("PA", data=b"more"),
          reply("PA", seq=SENT + LINE, data=b"more"), ON_ITS_WAY, SENT + LINE + 4),
    _told("an acknowledgement of our kernel's too", reply("A", seq=START + 1),
          reply("A", seq=START + 1 + LINE), ON_ITS_WAY, SENT),
    _told("a number from before the line stays", reply("A", seq=START), reply("A", seq=START),
          ON_ITS_WAY, SENT),
    _told("in the end all are higher", reply("A", seq=START), reply("A", seq=START + LINE),
          DONE, SENT),
    Row(about="a line that cannot be made again: what holds it does not leave",
        steps=[Step(hook="out", where="front", verdict="shot",
                    frame=reply("PA", seq=START, data=b"HTTP/1.1 200 OK\r\n"))],
        counts={"DROP_LINE": 1}, before=_local(ON_ITS_WAY), after=_local(ON_ITS_WAY)),
]  # fmt: skip
