# SPDX-License-Identifier: Apache-2.0
"""The median of a few paired ratios, and how far to trust it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median with an interval. confidence: the chance, 0 to 1, that it covers the true median."""

    median: float
    low: float
    high: float
    confidence: float


def estimate(samples: Sequence[float]) -> Estimate:
    """The samples' median and its interval by order statistics.

    The interval runs from the k-th smallest sample to the k-th largest, k as large as 95 percent
    allow. It supposes nothing of the distribution but independence: each sample lies below the
    true median with probability 1/2, so the k-th misses it with a binomial's tail. Fewer than six
    samples cannot give 95 percent; then it is all of their range, with the confidence that has.
    """
    ordered = sorted(samples)
    cut = 1
    while 2 * (cut + 1) <= len(ordered) and _coverage(len(ordered), cut + 1) >= CONFIDENCE:
        cut += 1
    return Estimate(median(ordered), ordered[cut - 1], ordered[-cut], _coverage(len(ordered), cut))


def _coverage(count: int, cut: int) -> float:
    """Chance that the median lies between the cut-th smallest and the cut-th largest of `count`."""
    missed = 2 * sum(comb(count, below) for below in range(cut))
    return 1 - missed / float(2**count)
