# SPDX-License-Identifier: Apache-2.0
"""All agents speak at the same tenths of a second, once each."""

import pytest

from ipos.agent.daemon import INTERVAL_S, _until_next


@pytest.mark.parametrize("now_s", [1_700_000_000.0, 1_700_000_000.03, 1_700_000_000.0999])
def test_the_next_time_is_a_tenth_of_a_second(now_s: float) -> None:
    tenths = (now_s + _until_next(now_s)) / INTERVAL_S
    assert abs(tenths - round(tenths)) < 1e-4


def test_a_timer_that_rings_early_is_not_rung_again_for_the_same_time() -> None:
    assert _until_next(1_700_000_000.0999) > INTERVAL_S
    assert _until_next(1_700_000_000.0001) < INTERVAL_S
