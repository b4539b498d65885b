# SPDX-License-Identifier: Apache-2.0
"""When a held request is acknowledged, rule by rule."""

from __future__ import annotations

import pytest

from spec.requests.acknowledge import PAUSE_NS, SEGMENTS_MAX, Acknowledge, decide
from spec.requests.window import Insertion


@pytest.mark.parametrize(
    ("insertion", "length", "mss", "unacknowledged", "pause_ns", "expected"),
    [
        (Insertion.EXTENDED, 1420, 1460, 1, 0, Acknowledge.HOLD),
        (Insertion.EXTENDED, 524, 536, 1, 0, Acknowledge.HOLD),
        (Insertion.EXTENDED, 1420, 1460, SEGMENTS_MAX - 1, PAUSE_NS, Acknowledge.HOLD),
        (Insertion.EXTENDED, 1420, 1460, SEGMENTS_MAX, 0, Acknowledge.SEGMENTS),
        (Insertion.EXTENDED, 1419, 1460, 1, 0, Acknowledge.SHORT),
        (Insertion.EXTENDED, 523, 536, 1, 0, Acknowledge.SHORT),
        (Insertion.EXTENDED, 1420, 1460, 1, PAUSE_NS + 1, Acknowledge.PAUSE),
        (Insertion.GAP, 1420, 1460, 1, 0, Acknowledge.GAP),
        (Insertion.DUPLICATE, 1420, 1460, 0, 0, Acknowledge.DUPLICATE),
    ],
)
def test_the_rules(
    insertion: Insertion,
    length: int,
    mss: int,
    unacknowledged: int,
    pause_ns: int,
    expected: Acknowledge,
) -> None:
    decided = decide(
        insertion,
        length=length,
        mss=mss,
        unacknowledged=unacknowledged,
        last_seen_ns=5,
        now_ns=5 + pause_ns,
    )
    assert decided is expected
    assert decided.now == (expected is not Acknowledge.HOLD)
