# SPDX-License-Identifier: Apache-2.0
"""A field table has no gap, no overlap and no row outside, or there is no table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from ipos.wire.checksum import checksum
from ipos.wire.fields import At, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    first: Annotated[int, At(0, 2)]
    second: Annotated[int, At(4, 4)]
    note: str = ""


def test_a_gap_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Pair.second is at byte 4, .* ends at 2"):
        Layout(Pair, 8)


def test_an_overlap_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Pair.second is at byte 4, .* ends at 5"):
        Layout(Pair, 8, zero=(At(2, 3),))


def test_another_size_is_refused() -> None:
    with pytest.raises(TypeError, match="Pair has 8 bytes, not 9"):
        Layout(Pair, 9, zero=(At(2, 2),))


def test_bytes_and_value() -> None:
    layout = Layout(Pair, 8, computed={"sum": At(2, 2)})
    raw = layout.encode(Pair(first=1, second=2, note="a field without a place"), sum=b"\xab\xcd")
    assert raw.hex() == "0001abcd00000002"
    assert layout.decode(raw, 0) == Pair(first=1, second=2)
    assert layout.place("second") == At(4, 4)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 1071, section 3: the sum of these words is 0xddf2.
        ("0001f203f4f5f6f7", 0xFFFF - 0xDDF2),
        ("00000000", 0xFFFF),
        ("ffffffff", 0x0000),
        ("ffff0001", 0xFFFE),
    ],
)
def test_checksum(data: str, expected: int) -> None:
    assert checksum(bytes.fromhex(data)) == expected
