# SPDX-License-Identifier: Apache-2.0
"""Option bytes: scapy's lists in every order, hostile lists, and our SYN-ACK read by scapy."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.handshake.options import Options, Timestamps, parse_options, write_syn_ack_options

from .witness import segment

FULL = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 9)), ("WScale", 10)]
AGREED = Options(1460, 10, True, Timestamps(7, 9))


@pytest.mark.parametrize("order", list(permutations(FULL)))
def test_every_order_reads_the_same(order: tuple[tuple[str, Any], ...]) -> None:
    assert parse_options(segment("S", list(order)).options) == AGREED
    spaced = [entry for option in order for entry in (("NOP", None), option)]
    assert parse_options(segment("S", spaced).options) == AGREED


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", Options()),
        ("0101", Options()),
        # The end of the list, and what stands behind it.
        ("0402 00 03030a", Options(sack_permitted=True)),
        # A kind without a length, a length below 2, a length beyond the header: read so far.
        ("0402 03", Options(sack_permitted=True)),
        ("0402 0301 03030a", Options(sack_permitted=True)),
        ("0402 0300 03030a", Options(sack_permitted=True)),
        ("0402 080a00000001", Options(sack_permitted=True)),
        ("0402 0204", Options(sack_permitted=True)),
        # A known kind with another length is skipped by that length.
        ("0203ff 02040578", Options(mss=1400)),
        ("0206ffffffff 03030a", Options(window_scale=10)),
        ("040300 03030a", Options(window_scale=10)),
        ("0304ffff 03030a", Options(window_scale=10)),
        ("080b000000010000000200 0402", Options(sack_permitted=True)),
        ("0806ffffffff 0402", Options(sack_permitted=True)),
        # The first of two wins.
        ("03030a 030302", Options(window_scale=10)),
        ("02040578 020405b4", Options(mss=1400)),
        ("080a0000000100000002 080a0000000300000004", Options(timestamps=Timestamps(1, 2))),
        # Limits.
        ("03030e", Options(window_scale=14)),
        ("03030f", Options(window_scale=14)),
        ("0303ff", Options(window_scale=14)),
        ("030300", Options(window_scale=0)),
        ("02040000", Options(mss=536)),
        ("02040217", Options(mss=536)),
        ("02040219", Options(mss=537)),
        ("0204ffff", Options(mss=65535)),
        # Kinds we do not know: MPTCP (30), Fast Open (34), accurate ECN (172).
        ("1e0c0001" + "00" * 8 + "03030a", Options(window_scale=10)),
        ("2202 ac05010203 0402", Options(sack_permitted=True)),
    ],
)
def test_the_rules_one_by_one(raw: str, expected: Options) -> None:
    assert parse_options(bytes.fromhex(raw)) == expected


@given(st.binary(max_size=40))
def test_any_bytes_are_a_list(raw: bytes) -> None:
    read = parse_options(raw)
    assert 536 <= read.mss <= 0xFFFF
    assert read.window_scale is None or 0 <= read.window_scale <= 14


@pytest.mark.parametrize(
    ("scale", "sack", "stamped", "expected"),
    [
        (None, False, False, "02040598"),
        (None, True, False, "02040598 01010402"),
        (None, False, True, "02040598 0101080a 0000000100000002"),
        (None, True, True, "02040598 0402080a 0000000100000002"),
        (3, False, False, "02040598 01030307"),
        (3, True, False, "02040598 01010402 01030307"),
        (3, False, True, "02040598 0101080a 0000000100000002 01030307"),
        (3, True, True, "02040598 0402080a 0000000100000002 01030307"),
    ],
)
def test_the_options_of_our_syn_ack(
    scale: int | None, sack: bool, stamped: bool, expected: str
) -> None:
    stamps = Timestamps(1, 2) if stamped else None
    offered = Options(window_scale=scale, sack_permitted=sack, timestamps=stamps)
    assert write_syn_ack_options(offered, stamps) == bytes.fromhex(expected)
