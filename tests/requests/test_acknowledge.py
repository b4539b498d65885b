# SPDX-License-Identifier: Apache-2.0
"""When a held request is acknowledged, rule by rule."""

from __future__ import annotations

import pytest

from ipos.requests.acknowledge import PAUSE_NS, SEGMENTS_MAX, Acknowledge, decide
from ipos.requests.window import Insertion


@pytest.mark.parametrize(
    ("insertion", "pushed", "unacknowledged", "pause_ns", "expected"),
    [
        (Insertion.EXTENDED, False, 1, 0, Acknowledge.HOLD),
        (Insertion.EXTENDED, False, SEGMENTS_MAX - 1, PAUSE_NS - 1, Acknowledge.HOLD),
        (Insertion.EXTENDED, False, SEGMENTS_MAX, 0, Acknowledge.SEGMENTS),
        (Insertion.EXTENDED, True, 1, 0, Acknowledge.PUSHED),
        (Insertion.EXTENDED, False, 1, PAUSE_NS, Acknowledge.PAUSE),
        (Insertion.GAP, False, 1, 0, Acknowledge.GAP),
        (Insertion.DUPLICATE, False, 0, 0, Acknowledge.DUPLICATE),
    ],
)
def test_the_rules(
    insertion: Insertion, pushed: bool, unacknowledged: int, pause_ns: int, expected: Acknowledge
) -> None:
    decided = decide(
        insertion,
        pushed=pushed,
        unacknowledged=unacknowledged,
        last_seen_ns=5,
        now_ns=5 + pause_ns,
    )
    assert decided is expected
    assert decided.now == (expected is not Acknowledge.HOLD)
