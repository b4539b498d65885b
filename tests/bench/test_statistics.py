# SPDX-License-Identifier: Apache-2.0
"""The interval of a median, against the definition and against chance."""

import random
from statistics import median

import pytest

from bench.statistics import CONFIDENCE, estimate


@pytest.mark.parametrize(
    ("count", "cut", "confidence"),
    # Tables of the sign test's interval: n, the rank of its ends, its exact confidence.
    [(1, 1, 0.0), (3, 1, 0.75), (6, 1, 0.96875), (7, 1, 0.984375), (9, 2, 0.9609375),
     (15, 4, 0.96484375), (25, 8, 0.956714630126953)],
)  # fmt: skip
def test_the_ends_are_the_ranks_of_the_sign_test(count: int, cut: int, confidence: float) -> None:
    samples = list(range(1, count + 1))
    random.Random(count).shuffle(samples)
    found = estimate(samples)
    assert (found.low, found.high) == (cut, count + 1 - cut)
    assert found.confidence == pytest.approx(confidence)
    assert found.median == median(samples)


def test_it_covers_the_true_median_as_often_as_it_says() -> None:
    chance = random.Random(7)
    tries = 4000
    # Skewed on purpose: the interval supposes no shape. The median of 2^gauss is 1.
    found = [estimate([2 ** chance.gauss(0, 1) for _ in range(9)]) for _ in range(tries)]
    covered = sum(each.low <= 1 <= each.high for each in found) / tries
    assert covered == pytest.approx(found[0].confidence, abs=0.015)
    assert found[0].confidence >= CONFIDENCE
