# SPDX-License-Identifier: Apache-2.0
"""Bytes that travel in pieces which may be lost, doubled or late. Pure: time is an argument.

The sender has at most WINDOW pieces on their way; the receiver says after each which it has. A
piece that is not there after a while is sent again: the while is twice the slowest answer of late,
and AGAIN_NS at least.
"""

from collections.abc import Iterator

from ipos.agent.endpoints.transfer_message import PIECE

WINDOW = 64
"""Pieces: their numbers behind `next_` are the bits of one `Got`."""
AGAIN_NS = 5_000_000
AGAIN_MAX_NS = 100_000_000


def pieces(length: int) -> int:
    """How many there are."""
    return -(-length // PIECE)


class Sender:
    """One side. `due` gives what is to be sent now, as (offset, bytes)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._count = pieces(len(data))
        self._next = 0
        self._has: set[int] = set()
        self._sent_ns: dict[int, int] = {}
        self._again_ns = AGAIN_NS

    @property
    def is_over(self) -> bool:
        return self._next >= self._count

    def due(self, now_ns: int) -> Iterator[tuple[int, bytes]]:
        for number in range(self._next, min(self._count, self._next + WINDOW)):
            if number in self._has:
                continue
            sent_ns = self._sent_ns.get(number)
            if sent_ns is None or now_ns - sent_ns >= self._again_ns:
                if sent_ns is not None:
                    self._again_ns = min(AGAIN_MAX_NS, self._again_ns * 5 // 4)
                self._sent_ns[number] = now_ns
                at = number * PIECE
                yield at, self.data[at : at + PIECE]

    def got(self, next_: int, more: int) -> None:
        """The receiver has these. Older news and nonsense change nothing."""
        if next_ > self._count:
            return
        if next_ > self._next:
            self._next = next_
            self._again_ns = AGAIN_NS
        for bit in range(WINDOW):
            if more >> bit & 1:
                self._has.add(next_ + 1 + bit)
        gone = [number for number in (*self._has, *self._sent_ns) if number < self._next]
        for number in gone:
            self._has.discard(number)
            self._sent_ns.pop(number, None)


class Receiver:
    """The other. all_: how many bytes there are to be."""

    def __init__(self, all_: int) -> None:
        self.all_ = all_
        self._count = pieces(all_)
        self._next = 0
        self._ahead: dict[int, bytes] = {}
        self._bytes = bytearray()

    @property
    def is_over(self) -> bool:
        return self._next >= self._count

    @property
    def data(self) -> bytes:
        """All of it, when it is over."""
        return bytes(self._bytes)

    def take(self, at: int, data: bytes) -> bool:
        """Take a piece. False for what is none of ours."""
        number = at // PIECE
        if at % PIECE or number >= self._count or len(data) != min(PIECE, self.all_ - at):
            return False
        if self._next <= number < self._next + WINDOW + 1:
            self._ahead.setdefault(number, data)
        while self._next in self._ahead:
            self._bytes += self._ahead.pop(self._next)
            self._next += 1
        return True

    def got(self) -> tuple[int, int]:
        """As in `Got`."""
        return self._next, sum(1 << number - self._next - 1 for number in self._ahead)
