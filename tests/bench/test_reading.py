# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.reading` as small as it gets: that every step is measured, not what."""

from __future__ import annotations

import pytest

from bench.deciding import RULES, head
from bench.reading import SIZES, STEPS, measure
from spec.requests.head_result import Outcome
from spec.requests.http import read


@pytest.mark.parametrize("size", SIZES)
def test_a_timed_head_has_its_size_and_ends_with_its_cookie(size: int) -> None:
    for session in ("insert", "learn"):
        data = head(size, session)
        said = read(data, b"IPOS")
        assert (said.outcome, said.length) == (Outcome.DONE, size)
        assert data.rstrip().endswith(said.cookie)
        assert said.cookie


@pytest.mark.farm
def test_every_step_of_every_head_is_timed() -> None:
    _, found = measure(rounds=1, repeat=1)
    assert [(one.size, one.step) for one in found] == [
        (size, step) for size in SIZES for step in STEPS
    ]
    assert RULES == 10_000
