# SPDX-License-Identifier: Apache-2.0
"""Bytes that travel in pieces which may be lost, doubled or late. Pure: time is an argument.

The sender has at most WINDOW pieces on their way, and fewer at first; the receiver says now and
then which it has. A piece of which it has said nothing for four times as long as usual is sent
again, and each time it is waited for longer.
"""

from collections.abc import Iterator

from ipos.agent.endpoints.transfer_message import PIECE

WINDOW = 64
"""Pieces: their numbers behind `next_` are the bits of one `Got`."""
FIRST = 16
"""Pieces on their way before anything has been heard."""
AGAIN_NS = 20_000_000
AGAIN_MAX_NS = 200_000_000


def pieces(length: int) -> int:
    """How many there are."""
    return -(-length // PIECE)


class Sender:
    """One side. `due` gives what is to be sent now, as (offset, bytes)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._count = pieces(len(data))
        self._next = 0
        self._window = FIRST
        self._has: set[int] = set()
        self._sent_ns: dict[int, int] = {}
        self._again: set[int] = set()
        """Pieces that were sent more than once: their answers measure nothing."""
        self._took_ns = AGAIN_NS / 4
        self._backoff = 1.0

    @property
    def is_over(self) -> bool:
        return self._next >= self._count

    def due(self, now_ns: int) -> Iterator[tuple[int, bytes]]:
        patience_ns = min(AGAIN_MAX_NS, max(AGAIN_NS, 4 * self._took_ns) * self._backoff)
        lost = False
        for number in range(self._next, min(self._count, self._next + self._window)):
            if number in self._has:
                continue
            sent_ns = self._sent_ns.get(number)
            if sent_ns is None or now_ns - sent_ns >= patience_ns:
                if sent_ns is not None:
                    self._again.add(number)
                    lost = True
                self._sent_ns[number] = now_ns
                at = number * PIECE
                yield at, self.data[at : at + PIECE]
        if lost:
            self._backoff = min(16.0, 1.5 * self._backoff)
            self._window = max(FIRST, self._window // 2)

    def got(self, next_: int, more: int, now_ns: int) -> None:
        """The receiver has these. Older news and nonsense change nothing."""
        if next_ > self._count:
            return
        if next_ > self._next:
            last = next_ - 1
            if last in self._sent_ns and last not in self._again:
                self._took_ns += (now_ns - self._sent_ns[last] - self._took_ns) / 4
                self._backoff = 1.0
            self._window = min(WINDOW, self._window + next_ - self._next)
            self._next = next_
        for bit in range(WINDOW):
            if more >> bit & 1:
                self._has.add(next_ + 1 + bit)
        for number in [each for each in (*self._has, *self._sent_ns) if each < self._next]:
            self._has.discard(number)
            self._again.discard(number)
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
