# SPDX-License-Identifier: Apache-2.0
"""A position in received bytes: all decoders move one cursor, so every offset is absolute."""

from __future__ import annotations

from ipos.wire.errors import WireError


class Cursor:
    """Reads forward, never past the end; ``offset`` is the next byte to be read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, field: str, size: int) -> bytes:
        """The next ``size`` bytes; ``WireError`` names ``field`` if they are not all there."""
        end = self.offset + size
        if end > len(self.data):
            left = len(self.data) - self.offset
            raise WireError(field, self.offset, f"truncated: {size} bytes are needed, {left} left")
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def finish(self, padded_to: int = 0) -> None:
        """Refuse bytes that no header accounts for, but for padding up to ``padded_to`` bytes."""
        end = max(self.offset, padded_to)
        if len(self.data) > end:
            raise WireError("end", end, f"over-long: {len(self.data) - end} bytes too many")
