# SPDX-License-Identifier: Apache-2.0
"""A place in bytes of which more may come. Pure."""


class More(Exception):
    """A byte is wanted that is not there yet."""


class Reader:
    """Everything that wants a byte that is not there raises `More`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def peek(self) -> int:
        """The byte at hand."""
        if self.at >= len(self.data):
            raise More
        return self.data[self.at]

    def next(self) -> int:
        """The byte at hand, and past it."""
        byte = self.peek()
        self.at += 1
        return byte

    def line(self) -> bytes:
        """Up to LF, which is left out."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise More
        start, self.at = self.at, end + 1
        return self.data[start:end]

    def skip(self, length: int) -> None:
        if self.at + length > len(self.data):
            raise More
        self.at += length
