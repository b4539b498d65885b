# SPDX-License-Identifier: Apache-2.0
"""The one error that received bytes can cause."""

from __future__ import annotations

from ipos.errors import IposError


class WireError(IposError):
    """Bytes that are no ipOS frame: truncated, over-long, damaged, forged or of another version.

    ``field``         the field at fault, as the value's attribute is called
    ``offset``        its first byte, counted from the first byte handed to the decoder
    ``unknown_type``  the type number, when that is the fault. Such a frame is well formed as far
                      as we can tell: a later version's, to be counted and dropped in its own name.
    """

    def __init__(
        self, field: str, offset: int, problem: str, *, unknown_type: int | None = None
    ) -> None:
        super().__init__(f"{field} at byte {offset}: {problem}")
        self.field = field
        self.offset = offset
        self.unknown_type = unknown_type
