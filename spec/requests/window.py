# SPDX-License-Identifier: Apache-2.0
"""The receive window of an unattached endpoint: segments in any order -> bytes in order.

14,600 bytes from the client's ISN + 1, offsets counted from there, and the window does not move:
nothing is read from it before the whole head is there. Beyond the bytes in order at most four
pieces are kept. A segment is judged by the first rule that applies:

1.  it starts before offset 0, or at 14,600 or beyond: OUTSIDE. Otherwise its end is trimmed to
    14,600: a client whose window was rounded or widened may have sent the end of a head and the
    start of a body in one segment.
2.  it is empty or ends within what is held in order: DUPLICATE.
3.  its start is trimmed to what is held in order. If that leaves no gap, it extends the bytes in
    order, and pieces that now touch are joined: EXTENDED.
4.  otherwise it is joined with the pieces it overlaps or touches. If it is within one piece:
    DUPLICATE. If more than four would remain: NO_ROOM, nothing is kept. Memory is taken in blocks
    of 1,024 bytes, and what lies behind a gap must be worth its blocks: if it needs another one,
    and with it there were more than two and one for every 512 bytes that are here: NO_ROOM. Else:
    GAP. So a few bytes far apart take two blocks and not one or two each.

Bytes in order never change; of two copies of a byte beyond them the later stands (they differ only
if the client is broken).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WINDOW = 14_600
PIECES_MAX = 4
BLOCK = 1024
BLOCKS_FREE = 2


class Insertion(Enum):
    """What became of a segment."""

    EXTENDED = "extended"
    GAP = "gap"
    DUPLICATE = "duplicate"
    OUTSIDE = "outside"
    NO_ROOM = "no room"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes beyond a gap."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class ReceiveWindow:
    """``data`` is held in order; ``pieces`` lie beyond it, ascending, with gaps between them."""

    data: bytes = b""
    pieces: tuple[Piece, ...] = ()

    @property
    def held(self) -> int:
        """The end of the bytes in order."""
        return len(self.data)

    def insert(self, offset: int, data: bytes) -> tuple[ReceiveWindow, Insertion]:
        """The window after a segment at this offset; the same window unless EXTENDED or GAP."""
        if not 0 <= offset < WINDOW:
            return self, Insertion.OUTSIDE
        data = data[: WINDOW - offset]
        if not data or offset + len(data) <= self.held:
            return self, Insertion.DUPLICATE
        trimmed = data[max(self.held - offset, 0) :]
        new = Piece(max(offset, self.held), trimmed)
        touching = [p for p in self.pieces if p.start <= new.end and new.start <= p.end]
        apart = [p for p in self.pieces if p not in touching]
        known = any(p.start <= new.start and new.end <= p.end for p in touching)
        joined = _join(touching, new)
        if joined.start == self.held:
            return ReceiveWindow(self.data + joined.data, tuple(apart)), Insertion.EXTENDED
        if known:
            return self, Insertion.DUPLICATE
        if len(apart) == PIECES_MAX or not self._worth(new):
            return self, Insertion.NO_ROOM
        pieces = sorted([*apart, joined], key=lambda piece: piece.start)
        return ReceiveWindow(self.data, tuple(pieces)), Insertion.GAP

    def _worth(self, new: Piece) -> bool:
        """Whether a piece behind a gap needs no block, or no more than the bytes are worth."""
        taken = _blocks(0, self.held).union(*(_blocks(p.start, p.end) for p in self.pieces))
        needed = taken | _blocks(new.start, new.end)
        bytes_here = self.held + sum(len(p.data) for p in self.pieces) + len(new.data)
        return needed == taken or len(needed) <= BLOCKS_FREE + bytes_here // (BLOCK // 2)


def _blocks(start: int, end: int) -> set[int]:
    return set(range(start // BLOCK, -(-end // BLOCK)))


def _join(touching: list[Piece], new: Piece) -> Piece:
    start = min([new.start, *(p.start for p in touching)])
    joined = bytearray(max([new.end, *(p.end for p in touching)]) - start)
    for piece in [*touching, new]:
        joined[piece.start - start : piece.end - start] = piece.data
    return Piece(start, bytes(joined))
